/** What stands in the place of figures: nobody came yet, or not in this time, or something is in the way. */
import { h, icon, say } from './dom.js';
import { texts } from './texts.js';

/** In a file of its own: all-in-one keeps its facts in memory, and made-up ones do not go into a real file. */
export const DEMO = ['ANALYTICS_DB_PATH=demo.redb frontdesk analytics demo --days 30', 'ANALYTICS_DB_PATH=demo.redb frontdesk'];

/** Where the chat probably is. Analytics does not know the edge's address. @param {Location} location */
export function guess({ protocol, hostname }) {
  const here = hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
  return here ? `${protocol}//${hostname}:8000` : `https://${hostname}`;
}

/** The line for a shop's pages. @param {string} address @param {string | null} site */
export function snippet(address, site) {
  // What was typed goes into markup that is copied, so it is an address or nothing.
  const written = /^https?:\/\//.test(address.trim()) ? address.trim() : `https://${address.trim()}`;
  let origin = 'https://chat.shop.example';
  try {
    origin = new URL(written).origin;
  } catch {
    // Half typed.
  }
  const attribute = site && site !== 'default' ? ` data-site="${site.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}"` : '';
  return `<script src="${origin}/widget/embed.js"${attribute} async></script>`;
}

/** @param {string | null} site */
export function nobodyYet(site) {
  const words = texts.empty;
  const code = h('code');
  const address = h('input', { id: 'address', type: 'url', value: guess(location), autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'address-hint' });
  const status = h('span.quiet', { role: 'status' });
  const label = h('span', {}, words.copy);
  const copy = h('button.primary', { type: 'button' }, icon('copy'), label);
  const write = () => {
    say(code, snippet(address.value, site));
    say(label, words.copy);
  };
  address.addEventListener('input', write);
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say(label, words.copied);
    } catch {
      // No clipboard without TLS.
      getSelection()?.selectAllChildren(code);
      say(label, words.byHand);
    }
    say(status, label.textContent);
  });
  write();
  return h(
    'section.empty',
    { 'aria-labelledby': 'empty-title' },
    h('div.bubbles', { 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
    h('h2', { id: 'empty-title' }, words.title),
    h('p.lead', {}, words.lead),
    h('div.snippet', {}, h('pre', { tabindex: 0 }, code), copy, status),
    h('div.where', {}, h('label', { for: 'address' }, words.where), address, h('p.small', { id: 'address-hint' }, words.whereHint)),
    h('ol.steps', {}, words.steps.map(([first, rest]) => h('li', {}, h('b', {}, first), rest))),
    h('p.small', {}, words.demo),
    h('pre.lines', {}, h('code', {}, DEMO.join('\n'))),
  );
}

/** @param {() => void} onYear */
export const nobodyNow = (onYear) =>
  h('section.empty.brief', { 'aria-labelledby': 'empty-title' }, h('div.bubbles', { 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), h('h2', { id: 'empty-title' }, texts.empty.rangeTitle), h('p.lead', {}, texts.empty.range), h('button.primary', { type: 'button', onclick: onYear }, texts.empty.showYear));

/** @param {string} title @param {string} text @param {() => void} [onAgain] */
export const trouble = (title, text, onAgain) =>
  h('section.empty.brief', { role: 'alert' }, h('div.broken', { 'aria-hidden': 'true' }, icon('warn')), h('h2', {}, title), h('p.lead', {}, text), onAgain ? h('button.primary', { type: 'button', onclick: onAgain }, texts.banner.again) : '');

/** Grey shapes where figures will be. */
export const waiting = () =>
  h('div.waiting', { role: 'status' }, h('span.quiet', {}, texts.loading), h('i.line'), h('i.line.half'), h('div.tiles', {}, Array.from({ length: 6 }, () => h('i'))), h('div.row', {}, h('i'), h('i')));
