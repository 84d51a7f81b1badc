/**
 * The nodes of one exchange: the day where it changes, what the visitor said and what became of it, and the reply.
 *
 * @typedef {import('./state.js').Exchange & {kind?: 'push', rating?: 'up' | 'down', commented?: boolean}} Exchange
 * @typedef {import('./blocks.js').Tools & {features: Partial<import('./config.js').Config['features']>, maxComment?: (session: string) => number}} Tools
 * @typedef {object} Place where it stands among the others
 * @property {boolean} last
 * @property {boolean} tools it is the newest reply that is over
 * @property {boolean} online
 * @property {boolean} editable
 * @property {boolean} editing what is sent next takes its place
 * @property {string} day '' where it is that of the one before
 */
import { confirmCopy, copy, createAnswer } from './answer.js';
import { element, name, set } from './dom.js';
import { sayClock } from './i18n.js';
import { icon } from './icons.js';
import { loadComment } from './later.js';
import { isRunning } from './state.js';
import { COPY, DOWN, PEN, UP } from './talk-icons.js';

/** @param {Exchange} first @param {Tools} tools */
export function createTurn(first, tools) {
  const { t, on, texts, features, maxComment = () => 0 } = tools;
  const push = first.kind === 'push';
  const answer = createAnswer(tools, () => painted && paintState(painted));
  const { body } = answer;
  const day = element('div', { class: 'day' });
  const fate = element('span', {});
  const edit = element('button', { type: 'button', class: 'tool rewrite' });
  const said = element('div', { class: 'turn visitor' }, element('span', { class: 'quiet' }, t('you')), element('div', { class: 'bubble', dir: 'auto' }, first.text), edit, element('div', { class: 'meta' }, fate));
  const skeleton = element('div', { class: 'bubble skeleton', 'aria-hidden': 'true' }, element('i'), element('i'));
  const dots = element('div', { class: 'bubble dots' }, element('i'), element('i'), element('i'), element('span'));
  const copyAll = element('button', { type: 'button', class: 'tool' });
  const thumbs = { up: element('button', { type: 'button', class: 'tool' }), down: element('button', { type: 'button', class: 'tool' }) };
  const clock = element('time');
  const remark = element('span', { class: 'remark' });
  const bar = element('div', { class: 'bar' }, clock, copyAll, thumbs.up, thumbs.down);
  const meta = element('div', { class: 'meta' }, bar, remark);
  const reply = element('div', { class: 'turn assistant' }, element('span', { class: 'quiet' }, t('assistant')), body, skeleton, dots, meta);
  const root = element('div', { class: push ? 'exchange push' : 'exchange', 'data-id': first.id }, day, ...(push ? [] : [said]), reply);
  /** @type {Exchange | undefined} */
  let painted;
  /** @type {Place} */
  let place;

  name(edit, t('edit_again'), icon('pen', PEN));
  name(copyAll, t('copy'), icon('copy', COPY));
  name(thumbs.up, t('helpful'), icon('up', UP));
  name(thumbs.down, t('unhelpful'), icon('thumb', DOWN));
  clock.dateTime = new Date(first.at).toISOString();
  clock.textContent = sayClock(texts, first.at);
  edit.addEventListener('click', () => on.edit(first.id));
  copyAll.addEventListener('click', async () => {
    if (await copy({ 'text/plain': answer.text(), 'text/html': answer.html() })) confirmCopy(copyAll, t('copy'), t('copied'));
  });
  for (const rating of /** @type {const} */ (['up', 'down'])) {
    thumbs[rating].addEventListener('click', () => {
      const said = painted?.commented && painted.rating === rating;
      on.rate?.(first.id, rating);
      // Without a network there is nobody to tell more.
      const max = said || features.comments === false ? 0 : maxComment(painted?.session ?? '');
      if (max > 0) Promise.resolve(loadComment()).then((ask) => ask({ below: meta, thumb: thumbs[rating], t, on, id: first.id, rating, max }), () => {});
    });
  }

  /** @param {Exchange} it */
  function paintState(it) {
    const runs = isRunning(it);
    set(day, place.day);
    day.hidden = place.day === '';
    const unsent = it.phase === 'sending' && !place.online;
    set(fate, unsent ? t('waits_for_network') : it.phase === 'failed' && it.answer === '' && !place.last ? t('unanswered') : '');
    edit.hidden = !place.editable;
    edit.setAttribute('aria-pressed', String(place.editing));
    root.classList.toggle('editing', place.editing);

    body.hidden = answer.isEmpty();
    body.classList.toggle('growing', runs);
    skeleton.hidden = !body.hidden || it.phase !== 'sending' || unsent;
    dots.hidden = !body.hidden || (!runs && it.answer === '') || it.phase === 'sending';
    set(/** @type {HTMLElement} */ (dots.lastElementChild), it.late ? t('late') : it.phase === 'queued' ? t('queued') : '');

    const remarks = [it.lost && it.phase !== 'failed' ? t('lost') : '', it.phase === 'stopped' ? t('stopped') : '', it.stopping && runs ? t('stopping') : '', it.late && runs && it.answer !== '' ? t('late') : ''].filter(Boolean);
    set(remark, remarks.join(' · '));
    bar.hidden = !place.tools;
    copyAll.hidden = features.copy === false || !navigator.clipboard;
    for (const rating of /** @type {const} */ (['up', 'down'])) {
      thumbs[rating].hidden = features.feedback === false || !on.rate;
      thumbs[rating].setAttribute('aria-pressed', String(it.rating === rating));
    }
    meta.hidden = !place.tools && remarks.length === 0;
    reply.hidden = body.hidden && skeleton.hidden && dots.hidden && meta.hidden;
  }

  return {
    root,
    spoken: answer.spoken,
    /** @param {Exchange} it @param {Place} where */
    paint(it, where) {
      if (it === painted && JSON.stringify(where) === JSON.stringify(place)) return;
      const runs = isRunning(it);
      if (it.answer !== painted?.answer || runs !== (painted && isRunning(painted))) answer.paint(it.answer, runs);
      painted = it;
      place = where;
      paintState(it);
    },
  };
}
