/**
 * A few words to the shop about an answer, after its thumbs: a small form below it, loaded when it is first wanted. They are
 * not part of the conversation: the assistant never sees them, the shop reads them in its analytics.
 */
import { element, set } from './dom.js';

/** The session of the reply is over. Another one's word about it would count as another visitor's. */
const LATE = 'comment_late';

/** The text stays in its field, whatever it was. @param {any} error */
export function sentenceFor({ status }) {
  return status === undefined ? 'unreachable' : ({ 400: 'rejected', 401: LATE, 410: LATE, 429: 'limited_title' }[/** @type {number} */ (status)] ?? 'error');
}

/**
 * Shows the form, or shows it anew for the other thumb, with what was written so far.
 * @param {object} options
 * @param {HTMLElement} options.below
 * @param {HTMLElement} options.thumb where the focus goes afterwards, if it is still there
 * @param {(key: string) => string} options.t
 * @param {string} options.id of the exchange
 * @param {'up' | 'down'} options.rating
 * @param {number} options.max characters
 * @param {import('./types.js').Actions} options.on
 */
export function askForComment({ below, thumb, t, id, rating, max, on }) {
  const before = below.nextElementSibling;
  const written = before?.querySelector('textarea')?.value ?? '';
  if (before?.classList.contains('comment')) before.remove();

  // With the space, style sheets can tell whether something is written.
  const field = element('textarea', { id: `comment-${id}`, rows: '2', maxlength: String(max), placeholder: ' ', dir: 'auto', 'aria-describedby': `comment-note-${id}` });
  const skip = element('button', { type: 'button' }, t('comment_skip'));
  const go = element('button', { type: 'submit', class: 'main' }, t('send'));
  const form = element(
    'form',
    {},
    element('label', { for: field.id }, t('comment_ask')),
    field,
    element('small', { id: `comment-note-${id}` }, t('comment_note')),
    element('span', { class: 'actions' }, go, skip),
  );
  // There before it says something, or nobody hears it.
  const status = element('p', { role: 'status' });
  const root = element('div', { class: 'comment' }, form, status);
  field.value = written;

  const touch = matchMedia('(pointer: coarse)').matches;
  /** The thumb is gone where a later answer has come. On touch screens the field would raise the keyboard. */
  const back = () => {
    thumb.focus();
    if (document.activeElement !== thumb) document.getElementById(touch ? 'panel' : 'field')?.focus({ preventScroll: true });
  };
  const look = () => (go.disabled = field.readOnly || field.value.trim() === '');
  const leave = () => {
    if (root.contains(document.activeElement)) back();
    form.remove();
  };
  skip.addEventListener('click', () => {
    leave();
    root.remove();
  });
  field.addEventListener('input', look);
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.isComposing) return;
    // It closes the form, and not the whole chat.
    event.preventDefault();
    skip.click();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (field.readOnly || text === '') return;
    // A disabled button loses the focus.
    const held = root.contains(document.activeElement);
    field.readOnly = true;
    look();
    set(status, '');
    const wrong = await on.rate?.(id, rating, text);
    const sentence = wrong ? sentenceFor(wrong) : 'comment_thanks';
    if (!wrong) form.remove();
    // No try will be better than this one. What is written can be read, and copied.
    field.readOnly = sentence === LATE;
    look();
    if (held && document.activeElement === document.body) {
      if (wrong) (go.disabled ? skip : go).focus();
      else back();
    }
    set(status, t(sentence));
    status.classList.toggle('wrong', wrong !== undefined);
  });

  look();
  below.after(root);
  root.scrollIntoView({ block: 'nearest' });
  // On touch screens that would raise the keyboard over the answer.
  if (!touch) field.focus({ preventScroll: true });
}
