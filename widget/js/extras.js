/**
 * What the chat has beside the conversation: the menu, the question whether to keep anything, the sound of a new answer, the count
 * of unread ones. Only a button is here from the start; the rest is loaded when it is first needed.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {object} Actions
 * @property {() => void} newConversation
 * @property {(id: string) => void | Promise<void>} openConversation
 * @property {(id?: string) => void} clear this conversation, or the one of that id, here and on the edge
 * @property {() => void} deleteAll
 * @property {(query: string) => Promise<import('./search.js').Found[]>} search
 * @property {(form: 'text' | 'json') => Promise<void>} exportAs
 * @property {(sound: boolean) => void} setSound
 * @property {(answer: 'granted' | 'denied') => void} consent
 */
import { element, name, set } from './dom.js';
import { counted, entries } from './entries.js';
import { say } from './i18n.js';
import { icon } from './icons.js';

/** @type {Promise<void> | undefined} */
let styled;

/** The style sheet of all this. What needs it is not shown before it is there. @returns {Promise<void>} */
function styles() {
  styled ??= new Promise((resolve, reject) => {
    const link = element('link', { rel: 'stylesheet', href: new URL('../sheet.css', import.meta.url).href });
    link.addEventListener('load', () => resolve());
    link.addEventListener('error', () => {
      styled = undefined;
      link.remove();
      reject(new Error('sheet.css could not be loaded'));
    });
    document.head.append(link);
  });
  return styled;
}

/** @template T @param {() => Promise<T>} fetch @returns {() => Promise<T | undefined>} loads once, and again after it could not be loaded */
function loader(fetch) {
  /** @type {Promise<T | undefined> | undefined} */
  let loading;
  return () => {
    loading ??= fetch().catch(() => {
      // Without a network: the next click tries again.
      loading = undefined;
      return undefined;
    });
    return loading;
  };
}

/**
 * @param {object} options
 * @param {import('./entries.js').Offer & {name: string}} options.config
 * @param {import('./i18n.js').Texts} options.texts
 * @param {boolean} options.framed
 * @param {() => void} options.focusChat
 * @param {Actions} options.on
 */
export function createExtras({ config, texts, framed, focusChat, on }) {
  const panel = /** @type {HTMLElement} */ (document.getElementById('panel'));
  const button = element('button', { type: 'button', class: 'tool', id: 'more', 'aria-expanded': 'false', hidden: '' });
  const news = element('p', { class: 'quiet', role: 'status', id: 'news' });
  document.getElementById('close')?.before(button);
  panel.append(news);
  /** @type {State | undefined} */
  let state;
  let unread = -1;
  /** @type {ReturnType<typeof import('./menu.js').createMenu> | undefined} */
  let menu;
  /** @type {ReturnType<typeof import('./sound.js').createSound> | undefined} */
  let sound;
  /** @type {ReturnType<typeof import('./consent.js').createConsent> | undefined} */
  let consent;

  const announce = (/** @type {string} */ text) => set(news, text);

  const loadMenu = loader(async () => {
    const [{ createMenu }] = await Promise.all([import('./menu.js'), styles()]);
    menu = createMenu({ config, texts, panel, button, focusChat, announce, on: { ...on, setSound } });
    if (state) menu.render(state);
    return menu;
  });
  const loadSound = loader(async () => {
    const { createSound } = await import('./sound.js');
    sound = createSound();
    return sound;
  });
  const loadConsent = loader(async () => {
    const [{ createConsent }] = await Promise.all([import('./consent.js'), styles()]);
    const before = /** @type {HTMLElement} */ (document.getElementById('composer'));
    consent = createConsent({ texts, before, on, focusChat, announce });
    if (state) consent.render(state);
    return consent;
  });

  /** @param {boolean} wanted */
  async function setSound(wanted) {
    on.setSound(wanted);
    if (wanted) (await loadSound())?.sample();
  }

  button.addEventListener('click', async () => (await loadMenu())?.toggle());
  // Most who point at it press it.
  for (const near of ['pointerenter', 'focus']) button.addEventListener(near, loadMenu, { once: true });
  document.getElementById('close')?.addEventListener('click', () => menu?.close(false));

  /** @param {State} next */
  function countUnread(next) {
    if (next.unread === unread) return;
    unread = next.unread;
    name(button, counted(say(texts, 'menu'), unread), icon('more'));
    button.classList.toggle('has-news', unread > 0);
    // In a frame, the page around shows it on the launcher.
    if (!framed) document.title = counted(config.name, unread);
  }

  return {
    /** The chat was closed from outside: it shall not open with a menu over it. */
    leave: () => menu?.close(false),

    /** Of every state, also while nothing is painted: that is when there is something to hear. @param {State} next */
    render(next) {
      state = next;
      button.hidden = entries(next, config).length === 0;
      countUnread(next);
      menu?.render(next);
      if (sound) sound.render(next);
      else if (next.sound) loadSound();
      if (consent) consent.render(next);
      else if (config.consent === 'ask' && next.consent !== 'granted') loadConsent();
    },
  };
}
