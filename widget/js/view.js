/**
 * The page: the only module that touches it. `render(state)` brings it up to date; what the visitor does goes out through `on`.
 *
 * Nodes of exchanges and of their finished blocks stay where they are, so nothing jumps, flickers or loses a selection
 * while an answer grows.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {object} Config
 * @property {string} name
 * @property {string} [tagline]
 * @property {{title: string, text?: string}} [greeting]
 * @property {{icon?: string, label: string, message?: string}[]} [topics]
 * @property {{light?: string, dark?: string}} [accent]
 * @property {string} [footnote]
 * @property {{label: string, href: string}} [privacy]
 * @property {import('./texts.js').Texts} [texts]
 */
import { icon, ring } from './icons.js';
import { parse, render as renderBlock, safeHref } from './markdown.js';
import { notice as noticeOf } from './notice.js';
import { isRunning, running, secondsToWait } from './state.js';
import { say } from './texts.js';

/** Within this many pixels of the end the reader is following, and the page follows along. */
const FOLLOWING_PX = 48;

/**
 * @param {object} options
 * @param {Config} options.config
 * @param {boolean} options.framed
 * @param {() => number} options.maxChars
 * @param {{send(text: string, how?: {typedMs?: number, honeypot?: string}): boolean, stop(): void, retry(): void, edit(): void, close(): void, ask(asking: boolean): void, clear(): void}} options.on
 */
export function createView({ config, framed, maxChars, on }) {
  const texts = config.texts ?? {};
  const t = (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => say(texts, key, values);
  const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
  const date = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

  const log = find('log');
  const welcome = find('welcome');
  const turns = find('turns');
  const strip = find('notice');
  const field = /** @type {HTMLTextAreaElement} */ (find('field'));
  const button = /** @type {HTMLButtonElement} */ (find('send'));
  const newest = find('newest');
  const status = find('status');
  /** @type {Map<string, ReturnType<typeof exchangeNodes>>} */
  const shown = new Map();
  /** @type {State | undefined} */
  let state;
  let noticeKey = '';
  let noticeTold = '';
  let announced = '';
  let longestWait = 0;
  /** When the message in the field was begun. */
  let begunAt = 0;
  let following = true;
  let newestId = '';
  const sizedByScript = !CSS.supports('field-sizing', 'content');

  paintOnce();

  function paintOnce() {
    document.title = config.name;
    find('name').textContent = config.name;
    find('mark').prepend(config.name.slice(0, 1).toUpperCase());
    find('greeting').textContent = config.greeting?.title ?? '';
    find('greeting-text').textContent = config.greeting?.text ?? '';
    find('footnote').textContent = config.footnote ?? '';
    const privacy = config.privacy && safeHref(new URL(config.privacy.href, location.href).href);
    const link = /** @type {HTMLAnchorElement} */ (find('privacy'));
    link.hidden = !privacy;
    if (privacy && config.privacy) {
      link.href = privacy;
      link.textContent = config.privacy.label;
    }
    find('topics').replaceChildren(
      ...(config.topics ?? []).map(({ icon: picture = 'chat', label, message = label }) => {
        const topic = element('button', { type: 'button' }, icon(picture), element('span', {}, label), icon('go'));
        topic.addEventListener('click', () => {
          on.send(message);
          // The topics go away, and the focus must not go with them.
          focus();
        });
        return element('li', {}, topic);
      }),
    );
    log.setAttribute('aria-label', t('conversation'));
    field.placeholder = t('placeholder');
    field.setAttribute('aria-label', t('message'));
    const close = find('close');
    const fresh = find('new');
    name(close, t('close'), icon('down'));
    name(fresh, t('new_chat'), icon('pen'));
    newest.append(icon('arrow'), t('to_newest'));
    close.hidden = !framed;
    document.documentElement.classList.toggle('framed', framed);
    paintAccent(config.accent);

    close.addEventListener('click', on.close);
    fresh.addEventListener('click', () => on.ask(true));
    newest.addEventListener('click', () => scrollToEnd(true));
    let top = 0;
    log.addEventListener('scroll', () => {
      // Only going up ends the following: an end that moves away by itself does not.
      following = log.scrollHeight - log.scrollTop - log.clientHeight < FOLLOWING_PX || (following && log.scrollTop >= top);
      top = log.scrollTop;
      if (following) newest.hidden = true;
    });
    // The phone's keyboard and a resized window move the end, not who was reading there.
    const sizes = new ResizeObserver(() => following && scrollToEnd(false));
    sizes.observe(log);
    sizes.observe(turns);
    field.addEventListener('input', () => {
      begunAt ||= performance.now();
      if (field.value === '') begunAt = 0;
      paintComposer();
    });
    field.addEventListener('keydown', (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
    find('composer').addEventListener('submit', (event) => event.preventDefault());
    button.addEventListener('click', (event) => {
      if (!state || !running(state)) submit();
      // By the second half of a double click the button has turned, but nobody meant to stop what the first half sent.
      else if (event.detail < 2) on.stop();
      field.focus();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || event.isComposing) return;
      if (state?.asking) on.ask(false);
      else on.close();
    });
  }

  function submit() {
    const text = field.value.trim();
    if (button.disabled || text === '') return;
    // What is shown may be a frame behind what is: only a message that was taken leaves the field.
    // What the visitor takes back to edit was not typed now.
    const typedMs = begunAt ? Math.round(performance.now() - begunAt) : undefined;
    if (!on.send(text, { typedMs, honeypot: /** @type {HTMLInputElement} */ (find('topic')).value })) return;
    field.value = '';
    begunAt = 0;
  }

  /** @param {State} next */
  function render(next) {
    const before = state;
    state = next;
    const wasFollowing = following;
    if (before?.exchanges !== next.exchanges || before?.online !== next.online) paintExchanges(next);
    paintNotice(next);
    paintStatus(next);
    if (next.draft && next.draft !== before?.draft) {
      field.value = next.draft.text;
      field.focus();
    }
    paintComposer();

    const last = next.exchanges.at(-1);
    if (last && last.id !== newestId) {
      // One's own message is always worth seeing.
      newestId = last.id;
      scrollToEnd(false);
    } else if (wasFollowing) {
      scrollToEnd(false);
    } else if (last && isRunning(last) && before?.exchanges !== next.exchanges) {
      newest.hidden = false;
    }
  }

  /** @param {State} next */
  function paintExchanges(next) {
    const empty = next.exchanges.length === 0;
    welcome.hidden = !empty;
    turns.hidden = empty;
    find('new').hidden = empty;
    const ids = new Set(next.exchanges.map((it) => it.id));
    for (const [id, nodes] of shown) {
      if (ids.has(id)) continue;
      nodes.root.remove();
      shown.delete(id);
    }
    let day = '';
    next.exchanges.forEach((exchange, index) => {
      let nodes = shown.get(exchange.id);
      if (!nodes) {
        nodes = exchangeNodes(exchange);
        shown.set(exchange.id, nodes);
      }
      if (turns.children[index] !== nodes.root) turns.insertBefore(nodes.root, turns.children[index] ?? null);
      const its = dayOf(exchange.at);
      nodes.day.hidden = its === day;
      nodes.day.textContent = its;
      day = its;
      nodes.paint(exchange, index === next.exchanges.length - 1, next.online);
    });
    log.setAttribute('aria-busy', String(running(next) !== undefined));
  }

  /** @param {Exchange} first */
  function exchangeNodes(first) {
    const day = element('div', { class: 'day' });
    const said = element('div', { class: 'bubble', dir: 'auto' }, first.text);
    const fate = element('div', { class: 'meta' });
    const body = element('div', { class: 'bubble body', dir: 'auto' });
    const dots = element('div', { class: 'bubble dots' }, element('i'), element('i'), element('i'), element('span'));
    const copy = element('button', { type: 'button', class: 'tool' });
    const clock = element('time');
    const remark = element('span', { class: 'remark' });
    const meta = element('div', { class: 'meta' }, clock, copy, remark);
    const reply = element('div', { class: 'turn assistant' }, element('span', { class: 'quiet' }, t('assistant')), body, dots, meta);
    const root = element('div', { class: 'exchange' }, day, element('div', { class: 'turn visitor' }, element('span', { class: 'quiet' }, t('you')), said, fate), reply);
    /** @type {Exchange | undefined} */
    let painted;
    let wasLast = false;
    let wasOnline = true;
    let answer = '';
    let growing = false;
    /** @type {string[]} */
    let sources = [];

    const ready = () => name(copy, t('copy'), icon('copy'));
    ready();
    copy.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(painted?.answer ?? '');
        name(copy, t('copied'), icon('check'));
        setTimeout(ready, 1600);
      } catch {
        // The page around us may forbid it; then there is nothing to say that helps.
      }
    });

    function paintAnswer(/** @type {Exchange} */ it) {
      const grows = isRunning(it);
      if (it.answer === answer && grows === growing) return;
      const blocks = parse(it.answer);
      let same = 0;
      while (same < blocks.length && blocks[same].source === sources[same]) same += 1;
      // The block that was last may have been shown as half-written.
      same = Math.min(same, Math.max(0, sources.length - 1));
      while (body.children.length > same) body.lastElementChild?.remove();
      body.append(...blocks.slice(same).map((block, index) => renderBlock(block, document, grows && same + index === blocks.length - 1)));
      sources = blocks.map((block) => block.source);
      answer = it.answer;
      growing = grows;
    }

    return {
      root,
      day,
      /** @param {Exchange} it @param {boolean} last @param {boolean} online */
      paint(it, last, online) {
        if (it === painted && last === wasLast && online === wasOnline) return;
        painted = it;
        wasLast = last;
        wasOnline = online;
        const runs = isRunning(it);
        paintAnswer(it);
        body.hidden = it.answer === '';
        body.classList.toggle('growing', runs);
        dots.hidden = it.answer !== '' || !runs || (!online && it.phase === 'sending');
        /** @type {HTMLElement} */ (dots.lastElementChild).textContent = it.late ? t('late') : it.phase === 'queued' ? t('queued') : '';
        fate.textContent = it.phase === 'sending' && !online ? t('waits_for_network') : it.phase === 'failed' && it.answer === '' && !last ? t('unanswered') : '';
        const remarks = [it.lost && it.phase !== 'failed' ? t('lost') : '', it.phase === 'stopped' ? t('stopped') : '', it.stopping && runs ? t('stopping') : '', it.late && runs && it.answer !== '' ? t('late') : ''].filter(Boolean);
        remark.textContent = remarks.join(' · ');
        const tools = last && !runs && it.answer !== '';
        clock.hidden = !tools;
        clock.textContent = time.format(it.at);
        clock.dateTime = new Date(it.at).toISOString();
        copy.hidden = !tools || !navigator.clipboard;
        meta.hidden = !tools && remarks.length === 0;
        reply.hidden = body.hidden && dots.hidden && meta.hidden;
      },
    };
  }

  /** @param {State} next */
  function paintStatus(next) {
    const text = !next.online ? t('status_offline') : next.delay?.why === 'reconnecting' ? t('status_reconnecting') : next.delay ? t('status_busy') : (config.tagline ?? '');
    set(find('tagline'), text);
    find('dot').classList.toggle('off', !next.online || next.delay !== null);
    set(status, announced || (running(next) ? t('answering') : ''));
  }

  /** @param {State} next */
  function paintNotice(next) {
    const what = noticeOf(next, texts);
    strip.hidden = what === null;
    const key = JSON.stringify(what);
    if (key === noticeKey) return;
    noticeKey = key;
    if (!what) {
      strip.replaceChildren();
      noticeTold = announced = '';
      return;
    }
    longestWait = what.key === noticeTold ? Math.max(longestWait, what.seconds) : what.seconds;
    const hadFocus = strip.contains(document.activeElement);
    const news = what.key !== noticeTold;
    // Counting down aloud each second would drown everything else: only news is announced.
    if (news) announced = `${what.title} ${what.text}`;
    noticeTold = what.key;
    strip.className = `notice ${what.tone}`;
    const act = { retry: on.retry, edit: on.edit, delete: on.clear, keep: () => on.ask(false) };
    const actions = what.actions.map(([action, label]) => {
      const button = element('button', { type: 'button', class: action }, label);
      button.disabled = action === 'retry' && what.seconds > 0;
      button.addEventListener('click', () => {
        act[action]();
        field.focus();
      });
      return button;
    });
    strip.replaceChildren(
      what.icon === 'ring' ? ring(what.seconds, longestWait) : icon(what.icon),
      element('div', {}, element('b', {}, what.title), element('span', {}, what.text), ...(actions.length > 0 ? [element('span', { class: 'actions' }, ...actions)] : [])),
    );
    if (what.key === 'asking' && news) actions[0]?.focus();
    else if (hadFocus) (actions[0] ?? field).focus();
  }

  function paintComposer() {
    if (!state) return;
    if (sizedByScript) {
      field.style.height = 'auto';
      field.style.height = `${field.scrollHeight}px`;
    }
    const now = running(state);
    const count = [...field.value.trim()].length;
    const long = count > maxChars();
    const warning = find('too-long');
    warning.hidden = !long;
    set(warning, long ? t('too_long', { count, max: maxChars() }) : '');
    field.setAttribute('aria-invalid', String(long));
    const kind = now ? 'stop' : 'send';
    if (button.dataset.kind !== kind) {
      button.dataset.kind = kind;
      name(button, t(kind), icon(kind));
    }
    button.disabled = now ? now.stopping === true : count === 0 || long || secondsToWait(state) > 0;
  }

  /** @param {boolean} smooth */
  function scrollToEnd(smooth) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    log.scrollTo({ top: log.scrollHeight, behavior: smooth && !calm ? 'smooth' : 'instant' });
    following = true;
    newest.hidden = true;
  }

  /** @param {number} at */
  function dayOf(at) {
    const midnight = new Date().setHours(0, 0, 0, 0);
    if (at >= midnight) return t('today');
    return at >= midnight - 86_400_000 ? t('yesterday') : date.format(at);
  }

  /** To where the visitor goes on writing. On touch screens that would raise the keyboard over what is to be read. */
  function focus() {
    if (matchMedia('(pointer: coarse)').matches) find('panel').focus({ preventScroll: true });
    else field.focus({ preventScroll: true });
    if (following) scrollToEnd(false);
  }

  return { render, focus };
}

/** The shop's colour, with ink on it that can be read whatever it is. @param {Config['accent']} accent */
export function paintAccent(accent) {
  const root = document.documentElement.style;
  for (const theme of /** @type {const} */ (['light', 'dark'])) {
    const colour = accent?.[theme];
    if (!colour || !/^#[0-9a-f]{6}$/i.test(colour)) continue;
    const [r, g, b] = [1, 3, 5].map((at) => {
      const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    root.setProperty(`--shop-${theme}`, colour);
    root.setProperty(`--shop-${theme}-ink`, 1.05 / (luminance + 0.05) >= 4.5 ? '#ffffff' : '#101110');
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A button that is a picture still has a name, for who cannot see it and for who points at it. @param {HTMLElement} button @param {string} label @param {Node} picture */
function name(button, label, picture) {
  button.setAttribute('aria-label', label);
  button.title = label;
  button.replaceChildren(picture);
}

/** Writing the same text again would make screen readers say it again. @param {HTMLElement} node @param {string} text */
function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
