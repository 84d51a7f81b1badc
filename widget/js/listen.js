/**
 * Holds a conversation's stream open while nothing is being answered, for what the assistant says by itself.
 *
 * A reply is read on a connection of its own. What comes behind it waits in the edge's record: asked for from the last
 * event on, nothing is missed and nothing comes twice.
 */
import { Problem, Unreachable } from './api.js';
import { understand, watch } from './reply.js';
import { readEvents } from './sse.js';

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;

/**
 * @param {object} options
 * @param {string} options.conversation
 * @param {ReturnType<typeof import('./api.js').createApi>} options.api
 * @param {() => string} options.lastEventId
 * @param {(event: import('./state.js').Event) => void} options.dispatch
 * @param {(ms: number, signal: AbortSignal) => Promise<void>} options.pause cut short when the network is back
 * @param {AbortSignal} options.signal
 */
export async function listen({ conversation, api, lastEventId, dispatch, pause, signal }) {
  let losses = 0;
  let retryMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let heardAt = Date.now();
    const line = watch(signal, () => heardAt, () => Infinity);
    try {
      const { response, session } = await api.listen(lastEventId(), line.signal);
      if (!response.body) throw new Unreachable('no body');
      heardAt = Date.now();
      for await (const event of readEvents(response.body, () => (heardAt = Date.now()))) {
        losses = 0;
        retryMs = event.retry ?? retryMs;
        const known = understandAny(event, conversation, session.session_id);
        if (known) dispatch(known);
      }
      // The edge ends a stream that is old, and means it to be opened again.
      losses = 0;
    } catch (error) {
      if (signal.aborted) return;
      // Over, or not wanted: the next message finds out, and makes a new session where that helps.
      if (error instanceof Problem && error.status !== 429 && error.status < 500) return;
      losses += 1;
    } finally {
      line.close();
    }
    await pause(Math.min(LONGEST_PAUSE_MS, retryMs * 2 ** losses) * (0.6 + Math.random() * 0.4), signal);
  }
}

/** @param {import('./sse.js').ServerEvent} event @param {string} conversation @param {string} session @returns {import('./state.js').Event | undefined} */
export function understandAny(event, conversation, session) {
  /** @type {any} */
  let said;
  try {
    said = JSON.parse(event.data);
  } catch {
    return undefined;
  }
  const id = said?.message_id;
  if (typeof id !== 'string') return undefined;
  if (event.event === 'begin' && said.kind === 'push') return { type: 'pushed', conversation, id, at: Date.now(), session, eventId: event.id };
  return understand(event, id);
}
