/** One visit, from its beginning on. */
import { Problem } from './api.js';
import { h, icon } from './dom.js';
import { texts } from './texts.js';

/**
 * @typedef {import('./sessions.js').Row} Row
 * @typedef {object} Happening
 * @property {number} at
 * @property {string} kind
 * @property {string} [outcome]
 * @property {number} [first_chunk_ms]
 * @property {number} [duration_ms]
 * @property {number} [chars]
 * @property {string} [comment] the visitor's own words
 */

/**
 * @param {object} options
 * @param {import('./api.js').Api} options.api
 * @param {import('./format.js').Format} options.format
 */
export function sessionSheet({ api, format }) {
  const words = texts.session;
  const body = h('div.inside');
  const close = h('button.round', { type: 'button', 'aria-label': words.close, title: words.close, onclick: () => node.close() }, icon('close'));
  const node = h('dialog.sheet', { 'aria-labelledby': 'sheet-title' }, h('header', {}, h('h2', { id: 'sheet-title' }, words.title), close), body);
  // A click beside it: the dialog's own box is all covered by its children.
  node.addEventListener('click', (/** @type {MouseEvent} */ event) => event.target === node && node.close());
  let asked = '';

  /** @param {Row & {timeline: Happening[], timeline_cut: boolean}} it */
  function fill(it) {
    const names = texts.sessions;
    /** @type {[string, string | null | undefined | false][]} */
    const facts = [
      [words.page, it.page_path],
      [words.device, it.device && names.devices[it.device]],
      [words.country, it.country && format.country(it.country)],
      [words.language, it.locale && format.language(it.locale)],
      [words.customer, it.identified ? words.signedIn : words.anonymous],
      [words.program, it.bot && words.programs[it.bot]],
      [words.lasted, it.last_seen > it.started && format.time(it.last_seen - it.started)],
      [words.site, it.site],
      [words.id, it.id],
    ];
    body.replaceChildren(
      h('p.date', {}, format.exactMoment(it.started)),
      h('ol.timeline', {}, it.timeline.map((happening) => entry(happening, it))),
      it.timeline_cut ? h('p.faint', {}, words.cut) : '',
      h('dl', {}, facts.flatMap(([name, value]) => (value ? [h('div', {}, h('dt', {}, name), h('dd', {}, value))] : []))),
      h('p.privacy', {}, words.privacy),
    );
  }

  /** @param {Happening} happening @param {Row} row */
  function entry(happening, row) {
    const { kind, sign, title, more } = told(happening, row);
    const since = happening.at - row.started;
    return h('li', { class: kind }, h('i', {}, icon(sign)), h('div', {}, h('b', {}, title), more ? h('small', {}, more) : ''), h('time', { datetime: new Date(happening.at).toISOString(), title: format.exactClock(happening.at) }, since < 1000 ? format.clock(happening.at) : words.later(format.time(since))));
  }

  /** @param {Happening} it @param {Row} row @returns {{kind: string, sign: Parameters<typeof icon>[0], title: string, more?: string}} */
  function told(it, row) {
    const first = it.first_chunk_ms === undefined ? undefined : words.first(format.time(it.first_chunk_ms));
    switch (it.kind) {
      case 'session_started':
        return { kind: 'start', sign: 'people', title: words.started, more: row.page_path ?? undefined };
      case 'message_accepted':
        return { kind: 'message', sign: 'chat', title: it.chars === undefined ? words.askedPlain : words.asked(format.number(it.chars), it.chars) };
      case 'reply_ended':
        if (it.outcome === 'cancelled') return { kind: 'cancelled', sign: 'stop', title: words.cancelled, more: first };
        return { kind: 'ended', sign: 'check', title: words.ended(format.time(it.duration_ms ?? 0)), more: first };
      case 'reply_failed': {
        const { title, todo } = texts.outcomes.failure(it.outcome ?? '');
        return { kind: 'failed', sign: 'warn', title: words.failure(title), more: todo };
      }
      case 'message_pushed':
        return { kind: 'pushed', sign: 'send', title: words.pushed };
      case 'reply_rated':
        return it.outcome === 'down' ? { kind: 'down', sign: 'down_thumb', title: words.down, more: it.comment } : { kind: 'up', sign: 'thumb', title: words.up, more: it.comment };
      default:
        return { kind: 'other', sign: 'spark', title: words.other(it.kind) };
    }
  }

  return {
    node,
    /** @param {{site: string, id: string}} row */
    async open(row) {
      asked = row.id;
      body.replaceChildren(h('p.nothing', {}, words.loading));
      node.showModal();
      try {
        const detail = await api.session(row.site, row.id);
        if (asked === row.id) fill(detail);
      } catch (error) {
        if (asked !== row.id) return;
        body.replaceChildren(h('p.nothing', { role: 'alert' }, error instanceof Problem && error.status === 404 ? words.gone : words.failed));
      }
    },
  };
}
