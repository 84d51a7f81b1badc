/**
 * The page. `render(state)` brings it up to date; what the visitor does goes out through `on`. Its parts have their own
 * modules: the field (composer.js), and the conversation (talk.js), which comes when there is one.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {import('./config.js').Config} Config
 * @typedef {import('./types.js').Actions} Actions
 */
import { createComposer } from './composer.js';
import { element, name, set } from './dom.js';
import { directionOf, say } from './i18n.js';
import { icon } from './icons.js';
import { AGAIN_MS, loadTalk } from './later.js';
import { safeHref } from './links.js';
import { isClosed, running } from './state.js';
import { paintTheme } from './theme.js';

/** What takes no longer than this is not worth a word. */
const SLOW_MS = 600;

/**
 * @param {object} options
 * @param {Config} options.config
 * @param {import('./i18n.js').Texts} options.texts
 * @param {boolean} options.framed
 * @param {() => number} options.maxChars
 * @param {(session: string) => number} [options.maxComment] 0: none is asked for
 * @param {Actions} options.on
 */
export function createView({ config, texts, framed, maxChars, maxComment, on }) {
  const t = (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => say(texts, key, values);
  const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const features = config.features ?? {};
  const shop = config.name ?? t('chat');
  const tools = { t, texts, imageHosts: config.image_hosts ?? [], features, maxComment, on };

  const log = find('log');
  const status = find('status');
  /** @type {State | undefined} */
  let state;
  /** What shows a conversation. @type {ReturnType<import('./later.js').Talk['createTalk']> | undefined} */
  let talk;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let slow;
  /** What shows a conversation can't be had. */
  let lost = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let again;

  paintOnce();
  const composer = createComposer({ t, find, maxChars, attach: features.attach === true, on });

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
        for (const near of ['pointerenter', 'focus']) topic.addEventListener(near, () => void bringTalk(), { once: true });
        return element('li', {}, topic);
      }),
    );
    find('captcha').dataset.title = t('captcha');
    log.setAttribute('aria-label', t('conversation'));
    const close = find('close');
    name(close, t('close'), icon('down'));
    close.hidden = !framed;
    document.documentElement.classList.toggle('framed', framed);
    paintTheme(document.documentElement, config.theme);

    close.addEventListener('click', on.close);
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
    const empty = next.exchanges.length === 0;
    if (!talk && (!empty || !next.online || next.undeleted > 0)) void bringTalk();
    find('welcome').hidden = !empty && talk !== undefined;
    talk?.render(next);
    paintStatus(next);
    composer.render(next, before);
  }

  /** Where it can't be had, the next state tries again, or time does. */
  async function bringTalk() {
    const loaded = await Promise.resolve(loadTalk()).catch(() => undefined);
    if (talk) return;
    lost = !loaded;
    if (!loaded) {
      clearTimeout(again);
      again = setTimeout(() => state && render(state), AGAIN_MS);
      if (state) paintStatus(state);
      return;
    }
    talk = loaded.createTalk({ find, tools, field: composer.field, on });
    if (state) render(state);
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
    // An update of the edge may have taken it away: then only a reload helps.
    const unseen = lost && next.exchanges.length > 0;
    status.className = unseen ? '' : 'quiet';
    set(status, unseen ? t(next.online ? 'reload' : 'unreachable') : (talk?.said() ?? ''));
  }

  /** To where the visitor goes on writing. On touch screens that would raise the keyboard over what is to be read. */
  function focus() {
    if (matchMedia('(pointer: coarse)').matches) find('panel').focus({ preventScroll: true });
    else composer.field.focus({ preventScroll: true });
    talk?.keep();
  }

  return { render, focus, bringTalk };
}
