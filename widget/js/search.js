/**
 * Finds what was said, in all conversations that are kept here. The searching itself is `on.search`.
 *
 * @typedef {{conversation: string, exchange: string, title: string, at: number, before: string, match: string, after: string}} Found
 */
import { addArrows } from './arrows.js';
import { element, set } from './dom.js';
import { say } from './i18n.js';
import { icon } from './icons.js';
import { SEARCH } from './talk-icons.js';
import { when } from './when.js';

/** A pause in typing that is worth an answer. */
const PAUSE_MS = 150;

/**
 * @param {object} options
 * @param {import('./i18n.js').Texts} options.texts
 * @param {{search(query: string): Promise<Found[]>}} options.on
 * @param {(found: Found) => void} options.choose
 * @param {(text: string) => void} options.announce
 */
export function createSearch({ texts, on, choose, announce }) {
  const field = element('input', { type: 'search', class: 'search-field item', enterkeyhint: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: '100' });
  field.placeholder = say(texts, 'search');
  field.setAttribute('aria-label', say(texts, 'search'));
  const list = element('ul', { class: 'items found' });
  const count = element('p', { class: 'none', hidden: '' });
  const root = element('div', { class: 'search' }, element('div', { class: 'search-box' }, icon('search', SEARCH), field), count, list);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;
  let asked = '';
  addArrows(root, '.item');

  field.addEventListener('input', () => {
    clearTimeout(due);
    due = setTimeout(ask, PAUSE_MS);
  });
  field.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter') ask();
    // First it empties the field, as everywhere.
    if (event.key !== 'Escape' || field.value === '') return;
    event.stopPropagation();
    event.preventDefault();
    field.value = '';
    ask();
  });

  async function ask() {
    clearTimeout(due);
    const query = field.value.trim();
    if (query === asked) return;
    asked = query;
    const found = query === '' ? [] : await on.search(query).catch(() => /** @type {Found[]} */ ([]));
    // Typed on meanwhile: another answer is on its way.
    if (query !== asked) return;
    list.replaceChildren(...found.map(result));
    const said = query === '' ? '' : found.length > 0 ? say(texts, 'messages', { n: found.length }) : say(texts, 'search_none');
    set(count, said);
    count.hidden = said === '';
    announce(said);
  }

  /** @param {Found} found */
  function result(found) {
    const { title, at, before, match, after } = found;
    const time = element('time', { datetime: new Date(at).toISOString() }, when(texts, at, Date.now()));
    const button = element(
      'button',
      { type: 'button', class: 'item' },
      element('span', { class: 'chat-about' }, element('span', { class: 'found-title' }, element('bdi', {}, title || say(texts, 'new_chat'))), time),
      element('span', { class: 'found-text', dir: 'auto' }, before, element('mark', {}, match), after),
    );
    button.addEventListener('click', () => choose(found));
    return element('li', {}, button);
  }

  return {
    root,
    open() {
      field.focus();
      field.select();
    },
    /** What was found stays as it was found. */
    render() {},
  };
}
