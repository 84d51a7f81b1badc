/** Stands in for js/main.js: the chat in one of the studio's states, without an edge. Served by shots.js in its place. */
import { loadTexts } from './i18n.js';
import { studioStates } from './studio-states.js';
import { createView } from './view.js';

const query = new URLSearchParams(location.search);
const name = query.get('state') ?? 'welcome';
const now = Date.now();
const config = { ...(await (await fetch('widget-config.json')).json()), image_hosts: ['images.shop.example'], features: { attach: true } };
const texts = await loadTexts(['en']);
const root = document.documentElement;
root.dir = query.get('dir') ?? 'ltr';
if (query.has('theme')) root.dataset.theme = query.get('theme');

globalThis.done = [];
const on = new Proxy({}, { get: (_, action) => (...values) => void globalThis.done.push([action, ...values]) });
const view = createView({ config: { ...config, privacy: { label: 'Privacy', href: '/privacy' } }, texts, framed: query.has('framed'), maxChars: () => 4000, on });
const state = studioStates(now)[name];
view.render(state);
root.classList.add('ready');
Object.assign(globalThis, { view, state });
