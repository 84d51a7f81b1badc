/**
 * The page. `render(state)` brings it up to date; what the visitor does goes out through `on`. Its parts have their own
 * modules: an exchange (turn.js), the notice (strip.js), the field (composer.js), and who reads the end (follow.js).
 *
 * @typedef {import('./state.js').State} State
 * @typedef {import('./config.js').Config} Config
 * @typedef {import('./types.js').Actions} Actions
 */
import { createComposer } from './composer.js';
import { element, name, set } from './dom.js';
import { createFollower } from './follow.js';
import { directionOf, say, sayDay } from './i18n.js';
import { icon } from './icons.js';
import { safeHref } from './links.js';
import { isClosed, isRunning, running } from './state.js';
import { createStrip } from './strip.js';
import { createTurn } from './turn.js';
import { paintTheme } from './theme.js';

/** A reply is read aloud once, when it is whole; whoever wants more of it than this reads it in the log. */
const SPOKEN_CHARS = 1500;
/** What takes no longer than this is not worth a word. */
const SLOW_MS = 600;

/**
 * @param {object} options
 * @param {Config} options.config
 * @param {import('./i18n.js').Texts} options.texts
 * @param {boolean} options.framed
 * @param {() => number} options.maxChars
 * @param {Actions} options.on
 */
export function createView({ config, texts, framed, maxChars, on }) {
  const t = (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => say(texts, key, values);
  const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const features = config.features ?? {};
  const shop = config.name ?? t('chat');
  const tools = { t, texts, imageHosts: config.image_hosts ?? [], features, on };

  const log = find('log');
  const turns = find('turns');
  const status = find('status');
  /** @type {Map<string, ReturnType<typeof createTurn>>} */
  const shown = new Map();
  /** @type {State | undefined} */
  let state;
  let newestId = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let slow;
  /** What was said last, for who listens. */
  let spoken = '';

  paintOnce();
  const composer = createComposer({ t, find, maxChars, attach: features.attach === true, on });
  const strip = createStrip({ texts, strip: find('notice'), field: composer.field, on });
  const follower = createFollower(log, turns, find('newest'));

  function paintOnce() {
    document.documentElement.lang = texts.locale;
    document.documentElement.dir = directionOf(texts);
    document.title = shop;
    find('name').textContent = shop;
    paintMark();
    find('greeting').textContent = config.greeting?.title ?? t('greeting');
    find('greeting-text').textContent = config.greeting?.text ?? '';
    find('footnote').textContent = config.footnote ?? t('ai_disclosure');
    const privacy = config.privacy && safeHref(new URL(config.privacy.href, location.href).href);
    const link = /** @type {HTMLAnchorElement} */ (find('privacy'));
    link.hidden = !privacy;
    if (privacy && config.privacy) {
      link.href = privacy;
      link.textContent = config.privacy.label;
    }
    find('topics').replaceChildren(
      ...(config.topics ?? []).map(({ icon: picture = 'chat', label, message = label }) => {
        const topic = element('button', { type: 'button' }, icon(picture), element('span', {}, element('bdi', {}, label)), icon('go'));
        topic.addEventListener('click', () => {
          on.send(message);
          // The topics go away, and the focus must not go with them.
          focus();
        });
        return element('li', {}, topic);
      }),
    );
    find('captcha').dataset.title = t('captcha');
    log.setAttribute('aria-label', t('conversation'));
    const close = find('close');
    const fresh = find('new');
    name(close, t('close'), icon('down'));
    name(fresh, t('new_chat'), icon('new'));
    find('newest').append(icon('arrow'), t('to_newest'));
    close.hidden = !framed;
    document.documentElement.classList.toggle('framed', framed);
    paintTheme(document.documentElement, config.theme);

    close.addEventListener('click', on.close);
    // Where there are several conversations, beginning another deletes none.
    fresh.addEventListener('click', on.newConversation);
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || event.isComposing || event.defaultPrevented) return;
      on.close();
    });
  }

  function paintMark() {
    const mark = find('mark');
    const letter = [...shop].slice(0, 1).join('').toUpperCase();
    mark.replaceChildren(letter);
    if (!config.logo) return;
    const logo = element('img', { src: config.logo, alt: '' });
    logo.addEventListener('error', () => mark.replaceChildren(letter));
    mark.replaceChildren(logo);
  }

  /** @param {State} next */
  function render(next) {
    const before = state;
    state = next;
    const wasFollowing = follower.following();
    const changed = before?.exchanges !== next.exchanges || before?.online !== next.online;
    if (changed) paintExchanges(next);
    if (before && changed) listen(before, next);
    strip.render(next);
    paintStatus(next);
    composer.render(next, before);

    const last = next.exchanges.at(-1);
    if (last && last.id !== newestId) {
      newestId = last.id;
      // One's own message is always worth seeing; what comes by itself must not take anybody away from what they read.
      if ('kind' in last && last.kind === 'push' && !wasFollowing) follower.more();
      else follower.toEnd();
    } else if (wasFollowing) {
      follower.toEnd();
    } else if (last && isRunning(last) && changed) {
      follower.more();
    }
  }

  /** @param {State} next */
  function paintExchanges(next) {
    const { exchanges, online } = next;
    const empty = exchanges.length === 0;
    find('welcome').hidden = !empty;
    turns.hidden = empty;
    find('new').hidden = empty;
    const ids = new Set(exchanges.map((it) => it.id));
    for (const [id, turn] of shown) {
      if (ids.has(id)) continue;
      turn.root.remove();
      shown.delete(id);
    }
    const now = running(next) !== undefined;
    const answered = exchanges.findLast((it) => !isRunning(it) && it.answer !== '')?.id;
    let day = '';
    exchanges.forEach((/** @type {import('./turn.js').Exchange} */ exchange, index) => {
      let turn = shown.get(exchange.id);
      if (!turn) {
        turn = createTurn(exchange, tools);
        shown.set(exchange.id, turn);
      }
      if (turns.children[index] !== turn.root) turns.insertBefore(turn.root, turns.children[index] ?? null);
      const its = sayDay(texts, exchange.at);
      const last = index === exchanges.length - 1;
      const editable = last && !now && exchange.phase !== 'failed' && exchange.kind !== 'push';
      turn.paint(exchange, { last, online, editable, editing: next.editing === exchange.id, tools: exchange.id === answered, day: its === day ? '' : its });
      day = its;
    });
    log.setAttribute('aria-busy', String(now));
  }

  /** A reply that has become whole, or that came by itself, is said once. @param {State} before @param {State} next */
  function listen(before, next) {
    const was = new Map(before.exchanges.map((it) => [it.id, it]));
    const over = next.exchanges.findLast((it) => {
      const earlier = was.get(it.id);
      return !isRunning(it) && it.answer !== '' && (earlier ? isRunning(earlier) : 'kind' in it && it.kind === 'push' && before.exchanges.length > 0);
    });
    const text = over && (shown.get(over.id)?.spoken(SPOKEN_CHARS) || over.answer.slice(0, SPOKEN_CHARS));
    if (text) spoken = `${t('assistant')} ${text}`;
    else if (running(next) || next.exchanges.length === 0) spoken = '';
  }

  /** @param {State} next */
  function paintStatus(next) {
    const closed = isClosed(next);
    const now = running(next);
    const sending = next.online && now?.phase === 'sending';
    const left = sending ? now.at + SLOW_MS - Date.now() : 0;
    clearTimeout(slow);
    if (left > 0) slow = setTimeout(() => state && paintStatus(state), left);
    const connecting = sending && left <= 0;
    const text = !next.online ? t('status_offline') : closed ? t('closed') : next.delay?.why === 'reconnecting' ? t('connecting') : next.delay ? t('status_busy') : connecting ? t('connecting') : (config.tagline ?? '');
    set(find('tagline'), text);
    find('dot').classList.toggle('off', !next.online || closed || next.delay !== null || connecting);
    find('progress').hidden = !sending;
    // What a notice has interrupted is not said twice.
    if (strip.announced()) spoken = '';
    set(status, strip.announced() || (now ? t('answering') : spoken));
  }

  /** To where the visitor goes on writing. On touch screens that would raise the keyboard over what is to be read. */
  function focus() {
    if (matchMedia('(pointer: coarse)').matches) find('panel').focus({ preventScroll: true });
    else composer.field.focus({ preventScroll: true });
    if (follower.following()) follower.toEnd();
  }

  return { render, focus };
}
