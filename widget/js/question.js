/** Asks before something is deleted, in the place of what was pressed. */
import { element } from './dom.js';
import { say } from './i18n.js';

let count = 0;

/**
 * @param {object} options
 * @param {import('./i18n.js').Texts} options.texts
 * @param {string} options.title @param {string} options.text
 * @param {() => void} options.yes @param {() => void} options.no also by Escape
 */
export function createQuestion({ texts, title, text, yes, no }) {
  count += 1;
  const ids = [`question-${count}`, `question-text-${count}`];
  const sure = element('button', { type: 'button', class: 'delete' }, say(texts, 'delete_yes'));
  const keep = element('button', { type: 'button' }, say(texts, 'delete_no'));
  const root = element(
    'div',
    { class: 'question', role: 'group', 'aria-labelledby': ids[0], 'aria-describedby': ids[1] },
    element('b', { id: ids[0] }, element('bdi', {}, title)),
    element('p', { id: ids[1] }, text),
    element('div', { class: 'actions' }, sure, keep),
  );
  sure.addEventListener('click', yes);
  keep.addEventListener('click', no);
  root.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    no();
  });
  return {
    root,
    /** On the answer that harms nothing: Enter pressed twice must not delete. */
    focus: () => keep.focus(),
  };
}
