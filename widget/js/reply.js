/**
 * The life of one message, from the first try to send it to its last event, over as many connections as it takes.
 *
 * As long as nothing shows that the message arrived it is posted again under the same id, which the edge runs once only.
 * Once it arrived, a lost connection is replaced by following the reply from the last event seen.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./state.js').Event} Event
 * @typedef {import('./state.js').Trouble} Trouble
 */
import { CLOSED, Problem, SESSION_LOST, Unreachable } from './api.js';
import { readEvents } from './sse.js';

const POST_TRIES = 5;
const BUSY_TRIES = 4;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
/** Three heartbeats missed: the connection is dead, even if nobody told us. */
const SILENT_LINE_MS = 50_000;
/** The line lives but nothing comes about this message: the edge no longer knows it. Longer than n8n may think. */
const SILENT_REPLY_MS = 150_000;
/** After a `gap` the edge does not know the reply we follow. One that only reaches it late is heard of within moments. */
const UNKNOWN_REPLY_MS = 3000;
/** As long as the edge keeps a reply for who comes back. */
const RESUME_WINDOW_MS = 15 * 60_000;
/** No reply waits longer for what its workflow says late, whatever the two clocks show. */
const LONGEST_WAIT_MS = 60 * 60_000;

/**
 * @param {object} options
 * @param {ReturnType<typeof import('./api.js').createApi>} options.api
 * @param {() => Exchange | undefined} options.exchange its state now
 * @param {() => {message: string, message_id: string, history?: object[], page?: object, signals?: object}} options.body
 * @param {(event: Event) => void} options.dispatch
 * @param {() => boolean} [options.others] whether more messages wait behind it
 * @param {(ms: number, signal: AbortSignal) => Promise<void>} options.pause cut short when the network is back
 * @param {AbortSignal} options.signal the visitor stopped it, or left
 */
export async function deliver({ api, exchange, body, dispatch, others = () => false, pause, signal }) {
  const first = exchange();
  if (!first) return;
  const { id } = first;
  let posts = 0;
  let refusals = 0;
  let losses = 0;
  let retryMs = FIRST_PAUSE_MS;
  let heardAt = Date.now();
  let asked = Date.now();
  /** When the edge is to be believed that it does not know this reply. */
  let unknownAt = Infinity;

  const fail = (/** @type {Trouble} */ trouble) => dispatch({ type: 'failed', id, trouble });
  const again = (/** @type {number} */ count) => Math.min(LONGEST_PAUSE_MS, retryMs * 2 ** (count - 1)) * (0.6 + Math.random() * 0.4);

  for (;;) {
    const it = exchange();
    if (!it || over(it) || signal.aborted) return;
    const arrived = it.phase !== 'sending';
    if (!arrived && isOffline()) {
      // Offline costs no tries: the message waits for the network as long as the visitor does.
      await pause(LONGEST_PAUSE_MS, signal);
      continue;
    }
    if (!arrived && !it.tried) dispatch({ type: 'trying', id });
    unknownAt = Infinity;
    const line = watch(signal, () => heardAt, (opened) => Math.min(Math.max(opened, asked, exchange()?.until ?? 0) + SILENT_REPLY_MS, unknownAt));
    try {
      const { response, session } = arrived ? await api.follow(id, it.session, it.lastEventId, line.signal) : await api.postMessage(body(), line.signal);
      if (!response.body) throw new Unreachable('no body');
      dispatch({ type: 'accepted', id, session: session.session_id });
      dispatch({ type: 'delayed', why: null });
      heardAt = asked = Date.now();
      for await (const event of readEvents(response.body, () => (heardAt = Date.now()))) {
        losses = refusals = 0;
        retryMs = event.retry ?? retryMs;
        const known = understand(event, id);
        if (!known) continue;
        asked = Date.now();
        unknownAt = known.type === 'gap' ? asked + UNKNOWN_REPLY_MS : Infinity;
        dispatch(known);
        if (known.type === 'end' || known.type === 'failed') return;
      }
      throw new Unreachable('the stream ended early');
    } catch (error) {
      if (signal.aborted) return;
      if (line.forgotten()) return fail({ code: 'interrupted', retryable: true });
      if (error instanceof Problem) {
        const seconds = error.retryAfter;
        // Those behind it would only be refused as well.
        const wait = error.status >= 500 || (error.status === 429 && (arrived || others()));
        refusals += 1;
        if (!wait || refusals > BUSY_TRIES) return fail(trouble(error));
        dispatch({ type: 'delayed', why: 'busy' });
        await pause(seconds === undefined ? again(refusals) : Math.min(60, seconds) * 1000 + Math.random() * 500, signal);
        continue;
      }
      if (exchange()?.phase !== 'sending') {
        losses += 1;
        if (isForgotten(exchange() ?? it, heardAt)) return fail({ code: 'interrupted', retryable: true });
        dispatch({ type: 'delayed', why: 'reconnecting' });
        await pause(again(losses), signal);
      } else {
        // What failed because the network went away is no try either.
        if (!isOffline()) posts += 1;
        if (posts >= POST_TRIES) return fail({ code: 'unreachable', retryable: true });
        dispatch({ type: 'delayed', why: 'reconnecting' });
        await pause(again(Math.max(1, posts)), signal);
      }
    } finally {
      line.close();
    }
  }
}

/** Whether the edge keeps nothing more of a reply that was last heard of at `heardAt`. @param {Exchange} it @param {number} heardAt */
export function isForgotten(it, heardAt) {
  return Date.now() > Math.max(heardAt + RESUME_WINDOW_MS, (it.until ?? 0) + SILENT_REPLY_MS);
}

const isOffline = () => globalThis.navigator?.onLine === false;

/** @param {Exchange} it */
function over(it) {
  return it.phase === 'done' || it.phase === 'stopped' || it.phase === 'failed';
}

/** Ends a connection that is silent for too long. @param {AbortSignal} outer @param {() => number} heard @param {(opened: number) => number} hopeless when to give the reply up */
export function watch(outer, heard, hopeless) {
  const abort = new AbortController();
  const forward = () => abort.abort();
  outer.addEventListener('abort', forward, { once: true });
  if (outer.aborted) forward();
  const opened = Date.now();
  let forgotten = false;
  const timer = setInterval(() => {
    const now = Date.now();
    // A page that was frozen cannot tell what it has missed.
    const silent = now - Math.max(opened, heard()) > SILENT_LINE_MS;
    forgotten = !silent && now > hopeless(opened);
    if (forgotten || silent) abort.abort();
  }, 1000);
  return {
    signal: abort.signal,
    forgotten: () => forgotten,
    close() {
      clearInterval(timer);
      outer.removeEventListener('abort', forward);
      abort.abort();
    },
  };
}

/** @param {Problem} problem @returns {Trouble} */
function trouble({ code, status, retryAfter, maxChars }) {
  const wait = status === 429 ? (retryAfter ?? 5) : status >= 500 ? retryAfter : undefined;
  // Where the browser gives no keys, the way to the page is not safe; that can be said more plainly.
  const unsafe = code === 'proof_required' && !globalThis.isSecureContext;
  return {
    code: code === SESSION_LOST ? 'interrupted' : unsafe ? 'insecure' : code,
    retryable: code !== CLOSED && !unsafe && (code === 'challenge_required' || status === 409 || status === 410 || status === 429 || status >= 500 || status === 401),
    until: wait === undefined ? undefined : Date.now() + wait * 1000,
    maxChars,
  };
}

/**
 * One event of the wire, or undefined when it is about another message or unknown.
 *
 * @param {import('./sse.js').ServerEvent} event
 * @param {string} id
 * @returns {Event | undefined}
 */
export function understand({ event, data, id: eventId }, id) {
  /** @type {any} */
  let said;
  try {
    said = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (event === 'gap') return { type: 'gap', id };
  if (said?.message_id !== id) return undefined;
  switch (event) {
    case 'queued':
      return { type: 'queued', id };
    case 'waiting':
      return { type: 'will follow', id, until: Math.min(Date.parse(said.until) || 0, Date.now() + LONGEST_WAIT_MS) };
    case 'begin':
      return { type: 'begin', id, eventId };
    case 'chunk':
      if (!Number.isInteger(said.index) || typeof said.content !== 'string') return undefined;
      return { type: 'chunk', id, index: said.index, content: said.content, eventId };
    case 'end':
      return { type: 'end', id, finishReason: String(said.finish_reason), eventId };
    case 'failed':
      return {
        type: 'failed',
        id,
        eventId,
        trouble: {
          code: String(said.code),
          sentence: typeof said.message === 'string' && said.message !== '' ? said.message : undefined,
          retryable: said.retryable === true,
          until: said.retryable === true && said.retry_after > 0 ? Date.now() + said.retry_after * 1000 : undefined,
        },
      };
    default:
      return undefined;
  }
}
