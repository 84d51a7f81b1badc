/**
 * Where the visitor writes: the field, the button that sends and stops, and what is wrong with a message before it is sent.
 *
 * @typedef {import('./state.js').State} State
 */
import { element, name, set } from './dom.js';
import { icon } from './icons.js';
import { loadReading, loadTalk } from './later.js';
import { busy, isClosed, secondsToWait } from './state.js';

/** Safari ends composing before the Enter that ended it, which has this code. */
const COMPOSING = 229;

/**
 * @param {object} options
 * @param {import('./prose.js').Say} options.t
 * @param {(id: string) => HTMLElement} options.find
 * @param {() => number} options.maxChars
 * @param {boolean} options.attach
 * @param {import('./types.js').Actions} options.on
 */
export function createComposer({ t, find, maxChars, attach, on }) {
  const field = /** @type {HTMLTextAreaElement} */ (find('field'));
  const button = /** @type {HTMLButtonElement} */ (find('send'));
  const clip = /** @type {HTMLButtonElement} */ (find('attach'));
  const trap = /** @type {HTMLInputElement} */ (find('topic'));
  const warning = find('too-long');
  const counter = element('span', { 'aria-hidden': 'true' });
  const warned = element('span', { class: 'quiet', role: 'status' });
  warning.replaceChildren(counter, warned);
  let wasLong = false;
  const sizedByScript = !CSS.supports('field-sizing', 'content');
  /** @type {State | undefined} */
  let state;
  /** When the message in the field was begun. */
  let begunAt = 0;

  field.setAttribute('aria-label', t('message'));
  name(clip, t('attach'), icon('clip'));
  clip.hidden = !attach || !on.attach;
  clip.addEventListener('click', () => on.attach?.());
  field.addEventListener('input', () => {
    begunAt ||= performance.now();
    if (field.value === '') begunAt = 0;
    // A conversation is not far away now.
    loadTalk();
    loadReading();
    paint();
  });
  field.addEventListener('keydown', (event) => {
    // While an input method composes, Enter chooses a word.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === COMPOSING) return;
    event.preventDefault();
    submit();
  });
  find('composer').addEventListener('submit', (event) => event.preventDefault());
  button.addEventListener('click', (event) => {
    if (!state || !busy(state)) submit();
    // By the second half of a double click the button has turned, but nobody meant to stop what the first half sent.
    else if (event.detail < 2) on.stop();
    field.focus();
  });

  function submit() {
    if (button.disabled || field.value.trim() === '') return;
    // What shows it should be here first. Where it can't be had the message is taken all the same: it is kept, and the
    // page says so.
    const talk = loadTalk();
    if (talk instanceof Promise) void talk.then(take, take);
    else take();
  }

  function take() {
    const text = field.value.trim();
    if (button.disabled || text === '') return;
    // What is shown may be a frame behind what is: only a message that was taken leaves the field.
    // What the visitor takes back to edit was not typed now.
    const typedMs = begunAt ? Math.round(performance.now() - begunAt) : undefined;
    if (!on.send(text, { typedMs, honeypot: trap.value })) return;
    field.value = '';
    begunAt = 0;
  }

  function paint() {
    if (!state) return;
    if (sizedByScript) {
      field.style.height = 'auto';
      // What is not shown has no height.
      if (field.scrollHeight > 0) field.style.height = `${field.scrollHeight}px`;
    }
    const now = busy(state);
    const closed = isClosed(state);
    // To write the same again would lay it out again.
    const hint = t(closed ? 'closed' : 'placeholder');
    if (field.placeholder !== hint) field.placeholder = hint;
    field.disabled = clip.disabled = closed;
    const count = [...field.value.trim()].length;
    const long = count > maxChars();
    warning.hidden = !long;
    const words = long ? t('too_long', { count, max: maxChars() }) : '';
    set(counter, words);
    // Said when it begins, not at each key.
    if (long !== wasLong) set(warned, words);
    wasLong = long;
    field.setAttribute('aria-invalid', String(long));
    const kind = now ? 'stop' : 'send';
    if (button.dataset.kind !== kind) {
      button.dataset.kind = kind;
      name(button, t(kind), icon(kind));
    }
    button.disabled = now ? now.stopping === true : closed || count === 0 || long || secondsToWait(state) > 0;
  }

  return {
    field,
    /** @param {State} next @param {State} [before] */
    render(next, before) {
      state = next;
      if (next.draft && next.draft !== before?.draft) {
        field.value = next.draft.text;
        field.focus();
      }
      paint();
    },
  };
}
