/**
 * All the chat knows, as one object, and the one function that changes it. Pure: no DOM, no network, no clock. What is in
 * it stands in types.d.ts.
 *
 * Untouched exchanges stay the same objects, so the view can tell by `===` what to leave alone.
 *
 * @typedef {import('./types.js').Phase} Phase
 * @typedef {import('./types.js').Exchange} Exchange
 * @typedef {import('./types.js').How} How
 * @typedef {import('./types.js').Trouble} Trouble
 * @typedef {import('./types.js').Summary} Summary
 * @typedef {import('./types.js').Consent} Consent
 * @typedef {import('./types.js').State} State
 * @typedef {import('./types.js').Event} Event
 */
import { countOf, fit, merged, newestFirst, titleOf } from './keep.js';

/** @param {string} [conversation] @returns {State} */
export function initialState(conversation = '') {
  const shown = { conversation, exchanges: [], background: {}, conversations: [], unread: 0, attending: false };
  return { ...shown, consent: 'unasked', keeping: 'memory', sound: false, online: true, now: 0, delay: null, editing: '', undeleted: 0, draft: null };
}

/** @param {State} state @param {Event} event @returns {State} */
export function apply(state, event) {
  const next = step(state, event);
  if (next.exchanges === state.exchanges && next.background === state.background && next.conversations === state.conversations) return next;
  const conversations = summaries(next, event.type === 'end' && isNews(state, event.id) ? holder(state, event.id) : undefined);
  if (conversations === next.conversations && conversations === state.conversations) return next;
  return { ...next, conversations, unread: conversations.reduce((sum, it) => sum + it.unread, 0) };
}

/** @param {State} state @param {Event} event @returns {State} */
function step(state, event) {
  switch (event.type) {
    case 'loaded':
      return { ...leave(state), background: {}, conversation: event.conversation, exchanges: event.exchanges, conversations: event.conversations };
    case 'settings': {
      const { consent = state.consent, keeping = state.keeping, sound = state.sound } = event;
      return { ...state, consent, keeping, sound };
    }
    case 'unfinished':
      return event.id === state.conversation || state.background[event.id] || !isListed(state, event.id) ? state : { ...state, background: { ...state.background, [event.id]: event.exchanges } };
    case 'opened conversation': {
      // Read from the disk, it may be gone by now.
      if (event.id === state.conversation || !isListed(state, event.id)) return state;
      const { [event.id]: here, ...background } = left(state);
      return read({ ...leave(state), conversation: event.id, exchanges: here ?? event.exchanges, background });
    }
    case 'new conversation':
      return { ...leave(state), conversation: event.id, exchanges: [], background: left(state) };
    case 'deleted conversation': {
      const { [event.id]: _, ...background } = state.background;
      const rest = { ...state, background, conversations: state.conversations.filter((it) => it.id !== event.id) };
      return event.id === state.conversation ? { ...leave(rest), conversation: event.fresh, exchanges: [] } : rest;
    }
    case 'all deleted':
      return { ...leave(state), conversation: event.fresh, exchanges: [], background: {}, conversations: [] };
    case 'attention':
      return read({ ...state, attending: event.here });
    case 'synced': {
      const other = state.background[event.conversation];
      if (event.conversation === state.conversation) return { ...state, exchanges: merged(state.exchanges, event.changed, event.gone) };
      return other ? { ...state, background: { ...state.background, [event.conversation]: merged(other, event.changed, event.gone) } } : state;
    }
    case 'summaries': {
      const news = new Set(event.summaries.map((it) => it.id));
      return read({ ...state, conversations: newestFirst([...state.conversations.filter((it) => !news.has(it.id)), ...event.summaries]) });
    }
    case 'asked': {
      // A quick reply or the page around replaces nothing.
      const others = state.exchanges.filter((it) => !event.how || it.id !== state.editing);
      const asked = { ...fresh(event.id, event.text, after(others, event.at)), ...(event.how ? { how: event.how } : {}) };
      return { ...state, draft: null, editing: '', exchanges: fit([...others, asked]) };
    }
    case 'retried': {
      const failed = state.exchanges.find((it) => it.id === event.id);
      if (!failed) return state;
      // Asked again at the end, where the visitor looks; the failed try makes room.
      const others = state.exchanges.filter((it) => it !== failed);
      return { ...state, editing: '', exchanges: [...others, fresh(event.newId, failed.text, after(others, event.at))] };
    }
    case 'pushed': {
      const list = event.conversation === state.conversation ? state.exchanges : state.background[event.conversation];
      if (!list || list.some((it) => it.id === event.id)) return state;
      /** @type {Exchange} */
      const pushed = { ...fresh(event.id, '', after(list, event.at)), kind: 'push', phase: 'streaming', session: event.session, lastEventId: event.eventId ?? '' };
      const longer = fit([...list, pushed]);
      return event.conversation === state.conversation ? { ...state, exchanges: longer } : { ...state, background: { ...state.background, [event.conversation]: longer } };
    }
    case 'trying':
      return change(state, event.id, (it) => ({ ...it, tried: true }));
    case 'accepted':
      return change({ ...state, delay: null }, event.id, ({ how: _, ...it }) => ({ ...it, session: event.session, phase: it.phase === 'sending' ? 'waiting' : it.phase }));
    case 'queued':
      return change(state, event.id, (it) => ({ ...it, phase: 'queued' }));
    case 'will follow':
      return change(state, event.id, (it) => ({ ...it, late: true, until: event.until }));
    case 'begin':
      return change(state, event.id, (it) => ({ ...it, phase: 'streaming', lastEventId: event.eventId || it.lastEventId }));
    case 'chunk':
      return change(state, event.id, (it) => {
        const lastEventId = event.eventId || it.lastEventId;
        if (event.index < it.next) return { ...it, lastEventId };
        const lost = it.lost || event.index > it.next;
        return { ...it, phase: 'streaming', answer: it.answer + event.content, next: event.index + 1, lost, lastEventId };
      });
    case 'end': {
      const phase = event.finishReason === 'cancelled' ? 'stopped' : 'done';
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase, stopping: false, lastEventId: event.eventId || it.lastEventId }));
    }
    case 'failed':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase: 'failed', stopping: false, trouble: event.trouble, lastEventId: event.eventId || it.lastEventId }));
    case 'gap':
      return change(state, event.id, (it) => ({ ...it, lost: true }));
    case 'stopping':
      return change(state, event.id, (it) => ({ ...it, stopping: true }));
    case 'stopped':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase: 'stopped', stopping: false }));
    case 'taken back': {
      const taken = state.exchanges.find((it) => it.id === event.id);
      if (!taken) return state;
      return { ...state, editing: '', exchanges: state.exchanges.filter((it) => it !== taken), draft: { text: taken.text } };
    }
    case 'editing':
      return { ...state, editing: event.id, draft: { text: state.exchanges.find((it) => it.id === event.id)?.text ?? '' } };
    case 'prefilled':
      return { ...state, editing: '', draft: { text: event.text } };
    case 'rated':
      return { ...state, exchanges: state.exchanges.map((it) => (it.id === event.id ? { ...it, rating: event.rating, commented: event.commented } : it)) };
    case 'delayed':
      return { ...state, delay: event.why && { why: event.why } };
    case 'undeleted':
      return event.left === state.undeleted ? state : { ...state, undeleted: event.left };
    case 'online':
      return { ...state, online: event.online };
    case 'time':
      return { ...state, now: event.now };
    default:
      return state;
  }
}

/** @param {string} id @param {string} text @param {number} at @returns {Exchange} */
function fresh(id, text, at) {
  return { id, text, at, phase: 'sending', answer: '', next: 0, lastEventId: '', session: '' };
}

/** Clocks jump and some events share a millisecond, but the order is by time. @param {Exchange[]} exchanges @param {number} at */
function after(exchanges, at) {
  return Math.max(at, (exchanges.at(-1)?.at ?? 0) + 1);
}

/** @param {State} state @param {string} id */
const isListed = (state, id) => state.conversations.some((it) => it.id === id);

/** What belongs to the conversation that is no longer shown. @param {State} state @returns {State} */
function leave(state) {
  return { ...state, delay: null, editing: '', draft: state.editing ? { text: '' } : null };
}

/** The background with the conversation that is left, if something goes on in it. @param {State} state */
function left({ background, conversation, exchanges }) {
  return exchanges.some(isRunning) ? { ...background, [conversation]: exchanges } : background;
}

/** What is before the visitor's eyes is not unread. @param {State} state @returns {State} */
function read(state) {
  const unread = state.attending && state.conversations.some((it) => it.id === state.conversation && it.unread > 0);
  return unread ? { ...state, conversations: state.conversations.map((it) => (it.id === state.conversation ? { ...it, unread: 0 } : it)) } : state;
}

/** What is over stays as it is, whatever a late or repeated event says. @param {State} state @param {string} id @param {(it: Exchange) => Exchange} how @returns {State} */
function change(state, id, how) {
  const changed = (/** @type {Exchange[]} */ list) => (list.some((it) => it.id === id && isRunning(it)) ? list.map((it) => (it.id === id ? how(it) : it)) : list);
  const exchanges = changed(state.exchanges);
  if (exchanges !== state.exchanges) return { ...state, exchanges };
  const other = Object.keys(state.background).find((it) => changed(state.background[it]) !== state.background[it]);
  return other === undefined ? state : { ...state, background: { ...state.background, [other]: changed(state.background[other]) } };
}

/** The conversation an exchange is in. @param {State} state @param {string} id */
function holder(state, id) {
  if (state.exchanges.some((it) => it.id === id)) return state.conversation;
  return Object.keys(state.background).find((it) => state.background[it].some((exchange) => exchange.id === id));
}

/** Whether the end of this reply is something the visitor has not seen. @param {State} state @param {string} id */
function isNews(state, id) {
  const conversation = holder(state, id);
  const list = conversation === state.conversation ? state.exchanges : state.background[conversation ?? ''];
  return !(state.attending && conversation === state.conversation) && (list ?? []).some((it) => it.id === id && isRunning(it) && it.answer !== '');
}

/** The list brought up to date with what is held of its conversations; the same one if nothing is new. @param {State} state @param {string} [news] a conversation with one more unread answer */
function summaries(state, news) {
  let list = state.conversations;
  for (const [id, exchanges] of [...Object.entries(state.background), /** @type {const} */ ([state.conversation, state.exchanges])]) {
    const known = list.find((it) => it.id === id);
    const last = exchanges.at(-1);
    if (!last) {
      if (known) list = list.filter((it) => it !== known);
      continue;
    }
    const now = { id, title: known?.title || titleOf(exchanges), at: last.at, count: countOf(exchanges), unread: (known?.unread ?? 0) + (news === id ? 1 : 0) };
    if (known && known.title === now.title && known.at === now.at && known.count === now.count && known.unread === now.unread) continue;
    list = [...list.filter((it) => it !== known), now];
  }
  return list === state.conversations ? list : newestFirst(list);
}

/** @param {Exchange} exchange */
export function isRunning(exchange) {
  return exchange.phase !== 'done' && exchange.phase !== 'stopped' && exchange.phase !== 'failed';
}

/** @param {State} state @returns {Exchange | undefined} */
export function running(state) {
  return state.exchanges.find(isRunning);
}

/** What the visitor has to wait for before the next message. Without a network messages queue up. @param {State} state @returns {Exchange | undefined} */
export function busy(state) {
  return state.exchanges.find((it) => isRunning(it) && (state.online || it.phase !== 'sending'));
}

/** Whether nothing more can be said in the conversation that is shown: the edge let it in no longer. @param {State} state */
export function isClosed(state) {
  return state.exchanges.at(-1)?.trouble?.code === 'session_over';
}

/** Seconds until the visitor may send again, 0 when there is nothing to wait for. @param {State} state */
export function secondsToWait(state) {
  const until = state.exchanges.at(-1)?.trouble?.until ?? 0;
  return Math.max(0, Math.ceil((until - state.now) / 1000));
}
