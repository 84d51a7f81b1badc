/**
 * The wire between the chat and the page around it: one MessagePort, which only `embed.js` on the declared origin gets.
 *
 * We say hello to the origin that our address declares, and to no other; the page answers with the port. Nothing of the
 * conversation goes out: that the chat wants to close, how much is unread, what happened. What comes in is checked and bounded,
 * and what is not good is left. A chat on a page of its own, or in a plain frame, has nobody to talk to and goes on alone.
 *
 * @typedef {{url?: string, title?: string, referrer?: string}} Page
 * @typedef {object} Options how the page wants the chat to be
 * @property {string} [color]
 * @property {string} [locale]
 * @property {'light' | 'dark' | 'auto'} [theme]
 * @property {'ask' | 'granted' | 'denied'} [consent]
 * @typedef {{page: Page, open: boolean, options: Options}} Around
 *
 * What is heard: `opened {focus}`, `closed`, `page {url, title, referrer}`, `context {context}`, `identify {id, token}` (both ''
 * for nobody), `consent {answer}`, `locale {locale}`, `theme {theme}`, `send {text}`, `prefill {text}`, `reset`.
 * @typedef {'opened' | 'closed' | 'page' | 'context' | 'identify' | 'consent' | 'locale' | 'theme' | 'send' | 'prefill' | 'reset'} Heard
 * @typedef {'ready' | 'close' | 'unread' | 'message' | 'error' | 'event' | 'navigate' | 'resize'} Told
 */

const TEXT_BYTES = 8 * 1024;
const OBJECT_BYTES = 4 * 1024;
/** As long as the page around waits for us: sooner, what it says of consent would come too late. */
const ANSWER_WITHIN_MS = 9000;

/** @param {unknown} value @param {number} bytes */
const text = (value, bytes) => (typeof value === 'string' && value !== '' && new TextEncoder().encode(value).length <= bytes ? value : undefined);

/** What JSON can say of an object, if that is not too much. @param {unknown} value @returns {object | undefined} */
function plain(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const json = text(JSON.stringify(value), OBJECT_BYTES);
  return json && JSON.parse(json);
}

/** Whose token it says it is. Only the edge can tell whether that is true. @param {string} token @returns {string | undefined} */
function subject(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (it) => it.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === 'string' && sub !== '' ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** The token, alone or in an object; null: nobody is signed in. @param {any} value */
function identity(value) {
  if (value === null) return { id: '', token: '' };
  const token = text(typeof value === 'object' ? value.token : value, OBJECT_BYTES);
  const id = token && subject(token);
  return id && { id, token };
}

const LOCALE = /^[a-z]{2,3}(-[a-z0-9]{1,8})*$/i;
const THEME = /^(light|dark|auto)$/;

/** @param {string} name @param {unknown} value */
const named = (name, value) => value !== undefined && { [name]: value };
/** @param {string} name @param {RegExp} like */
const word = (name, like) => (/** @type {unknown} */ value) => typeof value === 'string' && like.test(value) && { [name]: value };

/** What each type of message may carry; anything but an object is refused. @type {Record<string, (value: any) => unknown>} */
const SHAPES = {
  open: (value) => ({ focus: value === true }),
  close: () => ({}),
  page: asPage,
  context: (value) => (value === null ? {} : named('context', plain(value))),
  identify: identity,
  consent: word('answer', /^(granted|denied)$/),
  locale: word('locale', LOCALE),
  theme: word('theme', THEME),
  send: (value) => named('text', text(value, TEXT_BYTES)),
  prefill: (value) => named('text', text(value, TEXT_BYTES)),
  reset: (value) => value === true && {},
};
/** Both ways of the port, `open` and `close` are asked for or have happened. @type {Record<string, Heard>} */
const HAPPENED = { open: 'opened', close: 'closed' };

/** Of what the page had set when it answered: this is told as if it were said now, and in this order. */
const SAID_BEFORE = ['reset', 'identify', 'context', 'prefill', 'send'];

/** What came from the page around is cut to what a request may carry. @param {any} page @returns {Page} */
export function asPage(page) {
  const short = (/** @type {unknown} */ value, /** @type {number} */ max) => (typeof value === 'string' && value !== '' ? value.slice(0, max) : undefined);
  return { url: short(page?.url, 1000), title: short(page?.title, 200), referrer: short(page?.referrer, 1000) };
}

/** @param {any} given @returns {Options} */
function asOptions(given) {
  const like = { color: /^#[0-9a-f]{6}$/i, locale: LOCALE, theme: THEME, consent: /^(ask|granted|denied)$/ };
  return Object.fromEntries(Object.entries(like).flatMap(([name, it]) => (typeof given?.[name] === 'string' && it.test(given[name]) ? [[name, given[name]]] : [])));
}

/** @param {string} address */
function originOf(address) {
  try {
    return new URL(address).origin;
  } catch {
    return undefined;
  }
}

/** @param {Window} self */
export function connect(self = window) {
  const { location, document } = self;
  const framed = self.parent !== self;
  const query = new URLSearchParams(location.search);
  const declared = framed ? query.get('origin') : null;
  // No page can write the first; where a browser has none, the second mostly says the same.
  const seen = framed ? (location.ancestorOrigins?.[0] ?? originOf(document.referrer)) : undefined;
  const origin = [declared ?? seen].find((it) => it && it !== 'null' && it !== location.origin);
  /** @type {Map<string, (said: any) => void>} */
  const hearers = new Map();
  /** @type {MessagePort | undefined} */
  let port;
  /** @type {[Told, unknown][]} */
  let untold = [];
  let alone = false;
  let opening = 0;

  /** @param {string} type @param {unknown} value */
  function hear(type, value) {
    if (!Object.hasOwn(SHAPES, type)) return;
    const said = SHAPES[type](value);
    if (!said || typeof said !== 'object') {
      tell('error', { code: `bad_${type}` });
      return;
    }
    const pass = () => hearers.get(HAPPENED[type] ?? type)?.(said);
    if (type === 'open' || type === 'close') self.cancelAnimationFrame(opening);
    // The word may be here before the frame is shown, and what is not painted can't take the focus.
    if (type === 'open') opening = self.requestAnimationFrame(pass);
    else pass();
  }

  /** @param {Told} type @param {unknown} [payload] names and counts, and never what anybody wrote */
  function tell(type, payload) {
    if (port) port.postMessage([type, payload]);
    else if (declared && !alone) untold.push([type, payload]);
  }

  /** @type {Promise<Around>} */
  const ready = new Promise((resolve, reject) => {
    if (declared && seen && seen !== 'null' && seen !== declared) {
      reject(new Error('origin_not_allowed'));
      return;
    }
    const page = asPage(framed ? { url: document.referrer } : { url: location.href, title: document.title, referrer: document.referrer });
    // An address is anybody's word: it may say how the chat looks, not who is there or what is said.
    const asked = asOptions({ color: query.get('color'), locale: query.get('locale'), theme: query.get('theme') });
    const goOn = () => {
      alone = !port;
      untold = [];
      resolve({ page, open: true, options: asked });
    };
    if (!declared || declared === 'null') {
      goOn();
      return;
    }
    self.addEventListener('message', ({ data, source, origin, ports }) => {
      if (port || source !== self.parent || origin !== declared || data?.frontdesk !== 'init' || data.v !== 1 || !ports[0]) return;
      port = ports[0];
      port.onmessage = ({ data }) => Array.isArray(data) && hear(String(data[0]), data[1]);
      for (const said of untold) port.postMessage(said);
      const given = data.options ?? {};
      const around = { page: asPage(given.page), open: data.open === true, options: asOptions(given) };
      resolve(around);
      for (const type of SAID_BEFORE) if (given[type] !== undefined) hear(type, given[type]);
      if (around.open) hear('open', given.focus);
      if (!alone) return;
      // It came late, to a chat that has begun with less.
      hear('page', given.page);
      for (const type of /** @type {const} */ (['locale', 'theme', 'consent'])) if (around.options[type]) hear(type, around.options[type]);
    });
    setTimeout(() => port || goOn(), ANSWER_WITHIN_MS);
    self.parent.postMessage({ frontdesk: 'hello', v: 1 }, declared);
  });
  // Who waits for it hears of a refusal; nobody must.
  ready.catch(() => {});

  return {
    framed,
    ready,
    /** Whether the page around listens. */
    connected: () => port !== undefined,
    tell,
    /** The shop's origin where it is not the desk's own. @returns {string | undefined} */
    origin: () => origin ?? undefined,
    /** @param {Heard} type @param {(said: any) => void} hearer */
    on: (type, hearer) => void hearers.set(type, hearer),
  };
}
