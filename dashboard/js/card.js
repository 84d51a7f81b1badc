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
 * @param {() => Promise<void>} [options.onSave] it can be had as a file
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

/** @param {string} title @param {() => Promise<void>} onSave */
function saver(title, onSave) {
  const label = h('span', {}, 'CSV');
  const status = h('span.quiet', { role: 'status' });
  const button = h('button.tool', { type: 'button', title: texts.card.csv, 'aria-label': `${texts.card.csv}: ${title}` }, icon('save'), label);
  let busy = false;
  button.addEventListener('click', async () => {
    // Not `disabled`, which would take the focus away.
    if (busy) return;
    busy = true;
    button.classList.add('busy');
    say(status, texts.card.saving);
    try {
      await onSave();
      say(status, '');
      say(label, 'CSV');
      button.classList.remove('bad');
    } catch {
      say(status, texts.card.failed);
      say(label, texts.card.failed);
      button.classList.add('bad');
    }
    button.classList.remove('busy');
    busy = false;
  });
  return h('span.saver', {}, button, status);
}

/** Gives the browser a file to keep. @param {Blob} blob @param {string} name */
export function keep(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  // Later than the click, which only begins the download.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
