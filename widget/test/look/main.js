/** Stands in for js/main.js: the chat in one of the studio's states, or one of below, without an edge. Served by stage.js in its place. */
import { createExtras } from './extras.js';
import { loadTexts } from './i18n.js';
import { loadBlocks, loadReading, loadTalk } from './later.js';
import { studioStates } from './studio-states.js';
import { createView } from './view.js';

const query = new URLSearchParams(location.search);
const name = query.get('state') ?? 'welcome';
const now = Date.now();
const found = await (await fetch('widget-config.json')).json();
const config = { ...found, image_hosts: ['images.shop.example'], features: { attach: true }, theme: { ...found.theme, mode: query.get('theme') ?? 'light' }, privacy: { label: 'Privacy', href: '/privacy' }, consent: name === 'consent' ? 'ask' : 'none' };
const texts = await loadTexts([query.get('locale') ?? 'en']);
const root = document.documentElement;
const framed = query.has('framed');

globalThis.done = [];
const on = new Proxy({}, { get: (_, action) => (...values) => void globalThis.done.push([action, ...values]) });
const view = createView({ config, texts, framed, maxChars: () => 4000, on });
const extras = createExtras({ config, texts, framed, focusChat() {}, on });

const states = studioStates(now);
const earlier = [
  { id: 'a', title: 'Thanks! Something similar for a reading corner?', at: now, count: 4, unread: 0 },
  { id: 'b', title: 'Can I return an opened bulb?', at: now - 3 * 86_400_000, count: 12, unread: 1 },
  { id: 'c', title: 'Delivery to an island', at: now - 9 * 86_400_000, count: 2, unread: 0 },
];
const talked = { ...states.answered, conversation: 'a', conversations: earlier, unread: 1 };
const state = { menu: talked, conversations: talked, consent: states.answered }[name] ?? states[name];
// Here, so that nothing changes any more once it is shown.
await Promise.all([loadTalk(), loadReading(), loadBlocks()]);
view.render(state);
extras.render(state);
Object.assign(globalThis, { view, state });

/** @param {string} selector */
async function press(selector) {
  const node = () => document.querySelector(selector);
  while (!node()) await new Promise(requestAnimationFrame);
  node().click();
}

if (name === 'menu' || name === 'conversations') {
  await press('#more');
  while (!document.querySelector('#sheet .item')?.getClientRects().length) await new Promise(requestAnimationFrame);
}
if (name === 'conversations') await press('#sheet .item:nth-of-type(2), #sheet li:nth-of-type(2) .item');
if (name === 'consent') while (!document.querySelector('.consent')) await new Promise(requestAnimationFrame);
root.classList.add('ready');
