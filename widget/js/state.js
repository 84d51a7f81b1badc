/**
 * All the chat knows, as one object, and the one function that changes it. Pure: no DOM, no network, no clock.
 *
 * A conversation is a list of exchanges, each a message of the visitor with the reply to it. Untouched exchanges stay the
 * same objects, so the view can tell by `===` what to leave alone.
 *
 * @typedef {'sending' | 'waiting' | 'queued' | 'streaming' | 'done' | 'stopped' | 'failed'} Phase
 *   `sending`: not known to have arrived. `waiting`: arrived, nothing heard yet. `queued`: no assistant is free.
 *
 * @typedef {object} Exchange
 * @property {string} id the message_id, made here before anything is sent
 * @property {string} text what the visitor said
 * @property {number} at when, in milliseconds
 * @property {Phase} phase
 * @property {string} answer
 * @property {number} next index of the chunk expected next: a replay brings old ones again
 * @property {string} lastEventId where to resume
 * @property {string} session the session it was sent in
 * @property {boolean} [late] the rest may take minutes
 * @property {number} [until] the rest comes by then, in milliseconds
 * @property {boolean} [lost] part of the answer is gone for good
 * @property {boolean} [stopping] the visitor pressed stop
 * @property {Trouble} [trouble] why it failed
 *
 * @typedef {object} Trouble
 * @property {string} code of problem+json, of a `failed` event, or one of ours
 * @property {string} [sentence] written for the visitor by the server
 * @property {boolean} retryable
 * @property {number} [until] not before then, in milliseconds
 * @property {number} [maxChars]
 *
 * @typedef {object} State
 * @property {Exchange[]} exchanges
 * @property {boolean} online
 * @property {number} now moves only while something is counted down
 * @property {{why: 'reconnecting' | 'busy'} | null} delay what keeps the running exchange waiting
 * @property {boolean} asking whether the visitor is being asked to confirm deleting the conversation
 * @property {{text: string} | null} draft text to put back into the field
 *
 * @typedef {{type: 'loaded', exchanges: Exchange[]}
 *   | {type: 'asked', id: string, text: string, at: number}
 *   | {type: 'retried', id: string, newId: string, at: number}
 *   | {type: 'accepted', id: string, session: string}
 *   | {type: 'queued', id: string}
 *   | {type: 'will follow', id: string, until: number}
 *   | {type: 'begin', id: string, eventId?: string}
 *   | {type: 'chunk', id: string, index: number, content: string, eventId?: string}
 *   | {type: 'end', id: string, finishReason: string, eventId?: string}
 *   | {type: 'failed', id: string, trouble: Trouble}
 *   | {type: 'gap', id: string}
 *   | {type: 'delayed', why: 'reconnecting' | 'busy' | null}
 *   | {type: 'stopping', id: string}
 *   | {type: 'stopped', id: string}
 *   | {type: 'taken back', id: string}
 *   | {type: 'online', online: boolean}
 *   | {type: 'time', now: number}
 *   | {type: 'asking', asking: boolean}
 *   | {type: 'cleared'}} Event
 */

/** @returns {State} */
export function initialState() {
  return { exchanges: [], online: true, now: 0, delay: null, asking: false, draft: null };
}

/** @param {State} state @param {Event} event @returns {State} */
export function apply(state, event) {
  switch (event.type) {
    case 'loaded':
      return { ...state, exchanges: event.exchanges };
    case 'asked':
      return { ...state, asking: false, draft: null, exchanges: [...state.exchanges, fresh(event.id, event.text, event.at)] };
    case 'retried': {
      const failed = state.exchanges.find((it) => it.id === event.id);
      if (!failed) return state;
      // Asked again at the end, where the visitor looks; the failed try makes room.
      const others = state.exchanges.filter((it) => it !== failed);
      return { ...state, exchanges: [...others, fresh(event.newId, failed.text, event.at)] };
    }
    case 'accepted':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, session: event.session, phase: it.phase === 'sending' ? 'waiting' : it.phase }));
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
    case 'end':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase: event.finishReason === 'cancelled' ? 'stopped' : 'done', stopping: false }));
    case 'failed':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase: 'failed', stopping: false, trouble: event.trouble }));
    case 'gap':
      return change(state, event.id, (it) => ({ ...it, lost: true }));
    case 'stopping':
      return change(state, event.id, (it) => ({ ...it, stopping: true }));
    case 'stopped':
      return change({ ...state, delay: null }, event.id, (it) => ({ ...it, phase: 'stopped', stopping: false }));
    case 'taken back': {
      const taken = state.exchanges.find((it) => it.id === event.id);
      if (!taken) return state;
      return { ...state, exchanges: state.exchanges.filter((it) => it !== taken), draft: { text: taken.text } };
    }
    case 'delayed':
      return { ...state, delay: event.why && { why: event.why } };
    case 'online':
      return { ...state, online: event.online };
    case 'time':
      return { ...state, now: event.now };
    case 'asking':
      return { ...state, asking: event.asking };
    case 'cleared':
      return { ...state, exchanges: [], delay: null, asking: false, draft: null };
    default:
      return state;
  }
}

/** @param {string} id @param {string} text @param {number} at @returns {Exchange} */
function fresh(id, text, at) {
  return { id, text, at, phase: 'sending', answer: '', next: 0, lastEventId: '', session: '' };
}

/** What is over stays as it is, whatever a late or repeated event says. @param {State} state @param {string} id @param {(it: Exchange) => Exchange} how @returns {State} */
function change(state, id, how) {
  const exchanges = state.exchanges.map((it) => (it.id === id && isRunning(it) ? how(it) : it));
  return { ...state, exchanges };
}

/** @param {Exchange} exchange */
export function isRunning(exchange) {
  return exchange.phase !== 'done' && exchange.phase !== 'stopped' && exchange.phase !== 'failed';
}

/** @param {State} state @returns {Exchange | undefined} */
export function running(state) {
  return state.exchanges.find(isRunning);
}

/** Seconds until the visitor may send again, 0 when there is nothing to wait for. @param {State} state */
export function secondsToWait(state) {
  const until = state.exchanges.at(-1)?.trouble?.until ?? 0;
  return Math.max(0, Math.ceil((until - state.now) / 1000));
}

/** Half of what a request may weigh, so that message and page fit beside it. */
const HISTORY_BYTES = 32 * 1024;

/**
 * What was said before, for the assistant: newest last, at most `maxTurns`, and not more than a request can carry.
 *
 * @param {Exchange[]} exchanges
 * @param {string} before the exchange that is being sent
 * @param {number} [maxTurns]
 * @returns {{role: 'user' | 'assistant', content: string}[]}
 */
export function history(exchanges, before, maxTurns = 20) {
  /** @type {{role: 'user' | 'assistant', content: string}[]} */
  const turns = [];
  let bytes = 0;
  const earlier = exchanges.slice(0, exchanges.findIndex((it) => it.id === before));
  for (const { text, answer } of earlier.reverse()) {
    if (answer === '') continue;
    bytes += new TextEncoder().encode(JSON.stringify(text + answer)).length + 64;
    if (turns.length + 2 > maxTurns || bytes > HISTORY_BYTES) break;
    turns.unshift({ role: 'user', content: text }, { role: 'assistant', content: answer });
  }
  return turns;
}
