/** The frame round each part of the page: a headline, what it is about, and what can be done with it. */
import { h, icon, say } from './dom.js';
import { texts } from './texts.js';

let cards = 0;

/**
 * @param {string} title
 * @param {object} options
 * @param {string} [options.hint]
 * @param {string} [options.area] its place in the grid
 * @param {(asTable: boolean) => void} [options.onTable] there is a table behind it
 * @param {(signal: AbortSignal) => Promise<void>} [options.onSave] it can be had as a file
 */
export function card(title, { hint = '', area = '', onTable, onSave }) {
  const id = `card-${(cards += 1)}`;
  const about = h('p.hint', { hidden: !hint }, hint);
  const tools = h('div.tools');
  const body = h('div.body');
  const node = h(`section.card${area && `.${area}`}`, { 'aria-labelledby': id, tabindex: -1 }, h('header', {}, h('div', {}, h('h2', { id }, title), about), tools), body);
  if (onTable) tools.append(tableToggle(title, onTable));
  if (onSave) tools.append(saver(title, onSave));
  return {
    node,
    body,
    /** @param {string} text */
    hint(text) {
      say(about, text);
      about.hidden = !text;
    },
  };
}

/** @param {string} title @param {(asTable: boolean) => void} onTable */
function tableToggle(title, onTable) {
  const label = h('span', {}, texts.card.table);
  const button = h('button.tool', { type: 'button', 'aria-pressed': 'false', title: texts.card.table, 'aria-label': `${texts.card.table}: ${title}` }, icon('table'), label);
  button.addEventListener('click', () => {
    const asTable = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(asTable));
    onTable(asTable);
  });
  return button;
}

/** @param {string} title @param {(signal: AbortSignal) => Promise<void>} onSave */
function saver(title, onSave) {
  const words = texts.card;
  const label = h('span');
  const status = h('span.quiet', { role: 'status' });
  const button = h('button.tool', { type: 'button' });
  /** @param {Parameters<typeof icon>[0]} sign @param {string} text @param {string} does */
  const offer = (sign, text, does) => {
    say(label, text);
    button.title = does;
    button.setAttribute('aria-label', `${does}: ${title}`);
    button.replaceChildren(icon(sign), label);
  };
  /** @type {AbortController | undefined} */
  let running;
  button.addEventListener('click', async () => {
    // The same button, which keeps the focus: a large file takes long enough to change one's mind.
    if (running) return running.abort();
    running = new AbortController();
    const { signal } = running;
    button.classList.remove('bad');
    offer('close', words.stop, words.stopLong);
    say(status, words.saving);
    try {
      await onSave(signal);
      offer('save', 'CSV', words.csv);
      say(status, '');
    } catch {
      const bad = !signal.aborted;
      offer('save', bad ? words.failed : 'CSV', words.csv);
      say(status, bad ? words.failed : words.stopped);
      button.classList.toggle('bad', bad);
    }
    running = undefined;
  });
  offer('save', 'CSV', words.csv);
  return h('span.saver', {}, button, status);
}

/** Gives the browser a file to keep. @param {Blob} blob @param {string} name */
export function keep(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  // Later than the click, which only begins the download.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
