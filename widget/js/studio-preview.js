/** The chat's own page with a made-up conversation, for the theme studio around it: the same view, and nothing is sent. */
import { readConfig } from './config.js';
import { directionOf, loadTexts } from './i18n.js';
import { studioStates } from './studio-states.js';
import { createView } from './view.js';

const nothing = () => {};
const on = {
  send: () => false,
  stop: nothing,
  retry: nothing,
  edit: nothing,
  close: nothing,
  ask: nothing,
  clear: nothing,
  newConversation: nothing,
  rate: nothing,
  hostEvent: nothing,
  navigate: () => true,
};

const page = document.documentElement;
const blank = /** @type {HTMLElement} */ (document.querySelector('main')).cloneNode(true);
/** Of two that are asked for, the later one is shown. */
let asked = 0;

/** @param {{config: unknown, state: string, light: string, locale: string, direction: string}} wanted */
async function show(wanted) {
  asked += 1;
  const mine = asked;
  const { config } = readConfig(wanted.config);
  if (wanted.light) config.theme = { ...config.theme, mode: /** @type {'light'} */ (wanted.light) };
  const texts = await loadTexts([wanted.locale || config.locale, ...navigator.languages], config.texts);
  if (mine !== asked) return;
  // A view has its page for good; another one gets another page.
  document.querySelector('main')?.replaceWith(blank.cloneNode(true));
  const view = createView({ config, texts, framed: true, maxChars: () => 4000, on });
  page.dir = wanted.direction || directionOf(texts);
  const states = studioStates(Date.now());
  view.render(states[wanted.state] ?? states.welcome);
  page.classList.add('ready');
}

addEventListener('message', (event) => {
  if (event.source === parent && event.origin === location.origin && event.data?.studio) void show(event.data.studio);
});
parent.postMessage({ studio: Object.keys(studioStates(Date.now())) }, location.origin);
