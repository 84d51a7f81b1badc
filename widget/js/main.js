/** Wires the parts together: what the visitor does and what the edge says become events, each new state is kept and shown. */
import { createApi } from './api.js';
import { asPage, foreignParent, framed, listen, tell } from './bridge.js';
import { fingerprint, randomId } from './fingerprint.js';
import { createSigner } from './proof.js';
import { deliver, isForgotten } from './reply.js';
import { apply, history, initialState, isRunning, running, secondsToWait } from './state.js';
import { createStore } from './store.js';
import { createView } from './view.js';

/** @typedef {import('./state.js').Event} Event */

/** A growing answer is written down this often; its other changes at once. */
const KEEP_EVERY_MS = 400;
/** A cancelled reply ends within moments. If that never arrives, the visitor still gets the field back. */
const STOP_WITHIN_MS = 4000;

/** A program that drives the browser says so here. */
const webdriver = navigator.webdriver === true;
const query = new URLSearchParams(location.search);
const site = query.get('site') ?? 'default';
const store = createStore(site);
let page = asPage(framed ? { url: document.referrer } : { url: location.href, title: document.title, referrer: document.referrer });

const api = createApi({
  // The page is at <base>/widget/…, wherever a proxy has put that.
  base: new URL('../', location.href),
  store,
  fingerprint: () => fingerprint(store),
  signer: createSigner(),
  describe: () => ({
    site,
    parent_origin: foreignParent(),
    page,
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    signals: { webdriver },
  }),
});

let state = apply(initialState(), { type: 'online', online: navigator.onLine !== false });
/** @type {ReturnType<typeof createView> | undefined} */
let view;
/** @type {AbortController | null} */
let delivery = null;
let paintDue = false;
/** How the message of this id was written. @type {{id: string, typedMs?: number, honeypot?: string}} */
let written = { id: '' };
/** @type {ReturnType<typeof setTimeout> | undefined} */
let keepDue;
/** @type {ReturnType<typeof setInterval> | undefined} */
let clock;

/** @param {Event} event */
function dispatch(event) {
  const before = state;
  state = apply(state, event);
  if (state.exchanges !== before.exchanges && event.type !== 'loaded') keep(event.type === 'chunk');
  paint();
  countDown();
}

function paint() {
  if (paintDue) return;
  paintDue = true;
  const now = () => {
    paintDue = false;
    view?.render(state);
  };
  // A hidden page gets no frames, but must be up to date when it is looked at.
  if (document.hidden) setTimeout(now, 50);
  else requestAnimationFrame(now);
}

/** @param {boolean} later */
function keep(later) {
  if (later && keepDue !== undefined) return;
  clearTimeout(keepDue);
  const now = () => {
    keepDue = undefined;
    store.keepExchanges(state.exchanges);
  };
  keepDue = undefined;
  if (later) keepDue = setTimeout(now, KEEP_EVERY_MS);
  else now();
}

/** The clock runs only while the visitor has to wait for it. */
function countDown() {
  const due = (state.exchanges.at(-1)?.trouble?.until ?? 0) > Date.now();
  if (due && clock === undefined) {
    clock = setInterval(() => dispatch({ type: 'time', now: Date.now() }), 1000);
    dispatch({ type: 'time', now: Date.now() });
  } else if (!due && clock !== undefined && secondsToWait(state) === 0) {
    clearInterval(clock);
    clock = undefined;
  }
}

/** Sends the exchange, or goes on with it, until it is over. @param {string} id */
async function run(id) {
  const mine = new AbortController();
  delivery?.abort();
  delivery = mine;
  const exchange = () => state.exchanges.find((it) => it.id === id);
  try {
    await deliver({
      api,
      exchange,
      body: () => ({
        message: exchange()?.text ?? '',
        message_id: id,
        history: history(state.exchanges, id, store.session()?.limits?.history_max_messages),
        page: { url: page.url, title: page.title },
        signals: written.id === id ? { webdriver, form_ms: written.typedMs, honeypot: written.honeypot } : { webdriver },
      }),
      dispatch: (event) => {
        if (!mine.signal.aborted) dispatch(event);
      },
      pause,
      signal: mine.signal,
    });
  } catch (error) {
    console.error('frontdesk: the reply could not be read', error);
    dispatch({ type: 'failed', id, trouble: { code: 'error', retryable: true } });
  } finally {
    if (delivery === mine) delivery = null;
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}

const on = {
  /** @param {string} text @param {{typedMs?: number, honeypot?: string}} [how] @returns {boolean} whether it was taken: one message at a time */
  send(text, how) {
    if (running(state) || secondsToWait(state) > 0) return false;
    const id = randomId();
    written = { id, ...how };
    // Kept before anything is sent: if the page goes away now, the reload knows what to ask for.
    dispatch({ type: 'asked', id, text, at: Date.now() });
    run(id);
    return true;
  },

  async stop() {
    const exchange = running(state);
    if (!exchange) return;
    const { id, session } = exchange;
    dispatch({ type: 'stopping', id });
    const give = () => {
      const now = running(state);
      if (now?.id !== id) return;
      delivery?.abort();
      dispatch({ type: 'stopped', id });
    };
    // Not known to have arrived: nothing will tell its end. The call goes out all the same, it may have.
    if (exchange.phase === 'sending') give();
    else setTimeout(give, STOP_WITHIN_MS);
    try {
      if (store.session()) await api.cancel(id, session);
    } catch {
      give();
    }
  },

  retry() {
    const failed = state.exchanges.at(-1);
    if (!failed || failed.phase !== 'failed' || running(state)) return;
    const newId = randomId();
    dispatch({ type: 'retried', id: failed.id, newId, at: Date.now() });
    run(newId);
  },

  edit() {
    const failed = state.exchanges.at(-1);
    if (failed?.phase === 'failed') dispatch({ type: 'taken back', id: failed.id });
  },

  close() {
    tell('close');
  },

  /** @param {boolean} asking */
  ask(asking) {
    dispatch({ type: 'asking', asking });
  },

  async clear() {
    delivery?.abort();
    dispatch({ type: 'cleared' });
    try {
      await api.end();
    } catch {
      // Gone here in any case; without a network the session runs out by itself.
    }
  },
};

/** What was running when the page was left goes on, unless the edge has forgotten it by now. */
function resume() {
  for (const exchange of state.exchanges.filter(isRunning)) {
    const { id } = exchange;
    if (isForgotten(exchange, exchange.at)) dispatch({ type: 'failed', id, trouble: { code: 'interrupted', retryable: true } });
    else run(id);
  }
}

async function configuration() {
  /** @type {import('./view.js').Config} */
  const plain = { name: 'Chat', greeting: { title: 'Hi there, how can we help?' } };
  try {
    const response = await fetch(new URL('widget-config.json', location.href), { credentials: 'omit' });
    const config = { ...plain, ...(response.ok ? await response.json() : {}) };
    const colour = query.get('color');
    return colour ? { ...config, accent: { light: colour, dark: colour } } : config;
  } catch {
    // Better a chat without the shop's words than none.
    return plain;
  }
}

async function start() {
  // Heard from the first moment on, as the page around may speak before the settings are here.
  let focus = false;
  listen((said) => {
    if (said.frontdesk !== 'opened') return;
    if (said.page) page = asPage(said.page);
    focus = said.focus === true;
    if (focus) view?.focus();
  });
  addEventListener('online', () => dispatch({ type: 'online', online: true }));
  addEventListener('offline', () => dispatch({ type: 'online', online: false }));
  addEventListener('pagehide', () => store.keepExchanges(state.exchanges));
  store.onExchanges(() => {
    // While a reply runs here, this tab knows best.
    if (running(state) && delivery) return;
    dispatch({ type: 'loaded', exchanges: store.exchanges() });
    const other = running(state);
    // Not before the other tab's message has arrived: following would ask for something unknown.
    if (other && other.phase !== 'sending') run(other.id);
  });

  view = createView({ config: await configuration(), framed, maxChars: () => store.session()?.limits?.message_max_chars ?? 4000, on });
  dispatch({ type: 'loaded', exchanges: store.exchanges() });
  document.documentElement.classList.add('ready');
  resume();
  tell('ready');
  if (focus || !framed) view.focus();
}

start();
