/** Wires the parts together: the page around, the chat, and what the visitor sees of it. */
import { createActions } from './actions.js';
import { asPage, connect } from './bridge.js';
import { createChat } from './chat.js';
import { loadConfig, withOptions } from './config.js';
import { createExtras } from './extras.js';
import { loadTexts, pick, say } from './i18n.js';
import { createIdentity } from './identity.js';
import { commentMax } from './keep.js';
import { loadReading, loadTalk } from './later.js';
import { paintTheme } from './theme.js';
import { createView } from './view.js';

/** A program that drives the browser says so here. */
const webdriver = navigator.webdriver === true;
const root = document.documentElement;
const query = new URLSearchParams(location.search);
const site = query.get('site') ?? 'default';
const bridge = connect();
let page = asPage(bridge.framed ? { url: document.referrer } : { url: location.href, title: document.title, referrer: document.referrer });
/** What the page around tells of itself: its product, its cart. @type {object | undefined} */
let context;
/** @type {ReturnType<typeof createView> | undefined} */
let view;
/** @type {ReturnType<typeof createExtras> | undefined} */
let extras;
/** Known once the chat is there. @type {{name: string, texts: import('./i18n.js').Texts, theme: import('./theme.js').Theme}} */
let words;
let paintDue = false;
let isOpen = false;

/** What is seen to become a chat is laid out twice. Who has not seen it yet sees nothing until it is one, but for no longer than this. */
const UNSEEN_MS = 150;

/** By the settings' `size`; without one, as the page around makes the panel. @type {Record<string, string>} */
const WIDTHS = { compact: '360px', large: '480px' };

const chat = createChat({
  site,
  // The page is at <base>/widget/…, wherever a proxy has put that.
  base: new URL('../', location.href),
  describe: () => ({
    site,
    parent_origin: bridge.origin(),
    page,
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    identity_token: identity.token(),
    signals: { webdriver },
  }),
  about: () => ({ page: { url: page.url, title: page.title }, context, signals: { webdriver } }),
  onChange(now, before, event) {
    if (event) report(event);
    if (now.unread !== before.unread) bridge.tell('unread', { n: now.unread, text: now.unread > 0 && words ? say(words.texts, 'unread', { n: now.unread }) : '' });
    extras?.render(now);
    paint();
  },
});
const on = createActions({ chat, bridge, words: () => words });
const identity = createIdentity(chat);

const maxChars = () => chat.store.slot(chat.state().conversation).session()?.limits?.message_max_chars ?? 4000;
/** @param {string} session of the reply */
const maxComment = (session) => commentMax(chat.store.slot(chat.state().conversation).session(), session);

function paint() {
  if (paintDue) return;
  paintDue = true;
  const now = () => {
    paintDue = false;
    view?.render(chat.state());
  };
  // A hidden page gets no frames, but must be up to date when it is looked at. Else once a frame, and after it: what changes
  // is a task of its own, and what the browser makes of it is the next.
  if (document.hidden) setTimeout(now, 50);
  else requestAnimationFrame(() => setTimeout(now));
}

/** What shows and sends a message is there before the network goes, and takes nothing from what opens the chat. */
const prepare = () =>
  (window.requestIdleCallback ?? setTimeout)(() => {
    loadTalk();
    chat.warm();
  });

/** An open chat in a hidden tab is read by nobody. */
const attend = () => chat.dispatch({ type: 'attention', here: isOpen && !document.hidden });

/** What the page around may know: that somebody said something, not what. @param {import('./state.js').Event} event */
function report(event) {
  const n = chat.state().exchanges.length;
  if (event.type === 'asked') bridge.tell('message', { from: 'visitor', n });
  if (event.type === 'end') bridge.tell('message', { from: 'assistant', n });
  if (event.type === 'failed') bridge.tell('error', { code: event.trouble.code });
}

/** What the page around says. What needs the chat waits for it, and for what was said before. @param {Promise<void>} started */
function hearPage(started) {
  /** @type {Promise<unknown>} */
  let last = started;
  const then = (/** @type {(said: any) => unknown} */ act) => (/** @type {any} */ said) => {
    last = last.then(() => act(said)).catch((error) => console.error('frontdesk: what the page said failed', error));
  };
  bridge.on('opened', (said) => {
    isOpen = true;
    started.then(() => {
      attend();
      prepare();
      chat.wantLead();
      if (said.focus === true) view?.focus();
    });
  });
  bridge.on('closed', then(() => {
    isOpen = false;
    extras?.leave();
    attend();
  }));
  bridge.on('page', (said) => (page = asPage(said)));
  bridge.on('context', (said) => (context = said.context));
  bridge.on('consent', then(({ answer }) => on.consent(answer)));
  bridge.on('send', then(({ text }) => {
    const said = text.trim();
    const fits = said !== '' && [...said].length <= maxChars();
    if (!fits || !on.send(said)) bridge.tell('error', { code: 'not_sent' });
  }));
  bridge.on('prefill', then(({ text }) => chat.dispatch({ type: 'prefilled', text })));
  bridge.on('theme', then(({ theme }) => paintTheme(root, { ...words.theme, mode: theme })));
  // Begun anew in the other language; the page says it again, and everything else is kept.
  bridge.on('locale', then(({ locale }) => pick([locale, ...navigator.languages]).locale !== words.texts.locale && location.reload()));
  bridge.on('identify', then((said) => identity.is(said)));
  bridge.on('reset', then(() => {
    context = undefined;
    return identity.reset();
  }));
}

/** Instead of the chat. @param {string} code why */
async function refuse(code) {
  const { sentenceFor } = await import('./notice.js');
  const sentence = document.createElement('p');
  sentence.className = 'no-script';
  sentence.textContent = say(await loadTexts(navigator.languages), sentenceFor(code) ?? 'error');
  document.body.replaceChildren(sentence);
}

/** @param {import('./bridge.js').Around} told */
async function start(told) {
  const { consent } = told.options;
  const config = withOptions((await settings).config, told.options);
  page = told.page;
  const texts = await loadTexts([config.locale, ...navigator.languages], config.texts);
  words = { name: config.name ?? say(texts, 'chat'), texts, theme: config.theme };
  view = createView({ config, texts, framed: bridge.framed, maxChars, maxComment, on });
  extras = createExtras({ config: { ...config, name: words.name }, texts, framed: bridge.framed, focusChat: view.focus, on });
  const talk = wasTalking ? view.bringTalk() : undefined;
  await chat.start({ ask: config.consent === 'ask' });
  if ((consent === 'granted' || consent === 'denied') && consent !== chat.state().consent) await on.consent(consent);
  // It may have been opened while all this was being fetched.
  isOpen ||= told.open;
  document.addEventListener('visibilitychange', attend);
  attend();
  extras.render(chat.state());
  view.render(chat.state());
  if (chat.state().exchanges.length > 0) await (talk ?? view.bringTalk());
  root.classList.remove('unseen');
  root.classList.add('ready');
  started();
  if (WIDTHS[config.size]) bridge.tell('resize', WIDTHS[config.size]);
  bridge.tell('ready');
  if (isOpen || !bridge.framed) prepare();
  if (!bridge.framed) view.focus();
}

// This need not wait for what the page around says.
const settings = loadConfig(site);
/** Where there was a conversation there most likely still is one. */
const wasTalking = chat.store.flags.get('current') !== null;
// A conversation is shown at its end, which only something that is shown has.
if (innerWidth === 0 && !wasTalking) {
  root.classList.add('unseen');
  setTimeout(() => root.classList.remove('unseen'), UNSEEN_MS);
}
if (wasTalking) for (const load of [loadTalk, loadReading, () => import('./shelf.js')]) Promise.resolve(load()).catch(() => {});

/** @type {() => void} */
let started = () => {};
hearPage(new Promise((resolve) => (started = () => resolve(undefined))));
bridge.ready.then(start, (refused) => refuse(refused.message));
