/**
 * The edge's HTTP contract for one conversation: its session, and the calls of the chat. No DOM, no state but the session.
 *
 * A token that is about to expire is refreshed, a session that is over is replaced once, and a challenge is answered, without the
 * caller noticing; everything else that goes wrong is a `Problem` (the edge said no) or `Unreachable` (nobody said anything).
 *
 * @typedef {object} Session
 * @property {string} session_id
 * @property {string} token
 * @property {string} [token_type] `DPoP`: bound to this browser's key, which signs every call
 * @property {string} fingerprint the one it was made with: every later call must send the same
 * @property {number} [expires_in] seconds that the token was good for when it came
 * @property {number} [expires_at] until when that is, in milliseconds by this browser's own clock
 * @property {{message_max_chars?: number, history_max_messages?: number, comment_max_chars?: number}} [limits]
 *
 * @typedef {object} Slot where the session is kept
 * @property {() => Session | null} session
 * @property {(session: Session | null) => void} keepSession
 * @property {() => Promise<Session | null>} [latest] as another tab may have changed it
 */
import { randomId } from './ids.js';

export class Problem extends Error {
  /** @param {number} status @param {string} code @param {{retryAfter?: number, maxChars?: number, serverTime?: string, challenge?: import('./challenge.js').Challenge}} [more] */
  constructor(status, code, more = {}) {
    super(`${status} ${code}`);
    this.status = status;
    this.code = code;
    this.retryAfter = more.retryAfter;
    this.maxChars = more.maxChars;
    this.challenge = more.challenge;
    this.serverTime = more.serverTime;
  }
}

export class Unreachable extends Error {}

/** The session a running message belongs to is gone, and the reply with it. */
export const SESSION_LOST = 'session_lost';

/** The session was replaced, and the new one was refused as well: there is nothing more to try. */
export const CLOSED = 'session_over';

/** Codes that mean: this session is over or not ours, make another. */
const OVER = new Set(['unauthorized', 'token_invalid', 'token_expired', 'fingerprint_mismatch', 'session_ended', 'proof_required', 'proof_invalid', 'session_mismatch']);

/** Work first, then a captcha; who is asked for more is not wanted. */
const MAX_ANSWERS = 2;

/** A token is refreshed when it is good for less than this, or half its time where that is shorter: longer than the edge keeps a stream open. */
const REFRESH_BEFORE_MS = 900_000;

/** A call that answers with a header at once takes far less; streams are watched by their heartbeats instead. */
const HEADERS_WITHIN_MS = 20_000;

/**
 * @param {object} options
 * @param {URL} options.base ends in a slash; paths of the contract are appended
 * @param {Slot} options.store
 * @param {() => Promise<string>} options.fingerprint
 * @param {ReturnType<typeof import('./proof.js').createSigner>} options.signer
 * @param {() => object} options.describe what create says about the page besides the fingerprint
 */
export function createApi({ base, store, fingerprint, signer, describe }) {
  /** @type {Promise<Session> | null} */
  let creating = null;
  /** @type {Promise<Session> | null} */
  let refreshing = null;

  /** @returns {Promise<Session>} */
  function ensureSession() {
    const kept = store.session();
    if (kept) return Promise.resolve(kept);
    creating ??= create().finally(() => (creating = null));
    return creating;
  }

  async function create() {
    const [print, key] = await Promise.all([fingerprint(), signer.publicKey()]);
    const body = { fingerprint: print, ...(key ? { public_key: key } : {}), ...describe() };
    const response = await send('api/v1/session/create', { method: 'POST', body });
    const session = understood(await response.json(), print);
    store.keepSession(session);
    return session;
  }

  /** @param {any} made @param {string} print @returns {Session} */
  function understood(made, print) {
    if (typeof made?.session_id !== 'string' || typeof made.token !== 'string') throw new Problem(502, 'bad_answer');
    const { session_id, token, token_type, expires_in, limits } = made;
    const expires = Number.isFinite(expires_in) ? { expires_in, expires_at: Date.now() + expires_in * 1000 } : {};
    return { session_id, token, token_type, fingerprint: print, ...expires, limits };
  }

  /** The session with a token that lasts for a while, if the edge gives one. @param {Session} session @returns {Promise<Session>} */
  function lasting(session) {
    const { expires_in = 0, expires_at = 0 } = session;
    const left = expires_at - Date.now();
    // The edge takes no expired token, not even for a new one.
    if (left <= 0 || left >= Math.min(REFRESH_BEFORE_MS, expires_in * 500)) return Promise.resolve(session);
    refreshing ??= refresh(session).finally(() => (refreshing = null));
    return refreshing;
  }

  /** @param {Session} old @returns {Promise<Session>} */
  async function refresh(old) {
    try {
      const response = await sendAnew('api/v1/session/refresh', { method: 'POST', body: {}, session: old });
      const session = understood(await response.json(), old.fingerprint);
      // Ended meanwhile, or refreshed by another tab: then that is what counts.
      if (store.session()?.token === old.token) store.keepSession(session);
      return session;
    } catch {
      // The old token is still good, and another call may have more luck.
      return old;
    }
  }

  /** @param {Session} old @returns {Promise<Session>} */
  async function renew(old) {
    const kept = (await store.latest?.()) ?? store.session();
    // Another call, or another tab, was faster.
    if (kept && kept.token !== old.token) return kept;
    store.keepSession(null);
    try {
      return await ensureSession();
    } catch (error) {
      throw error instanceof Problem && isOver(error) ? new Problem(401, CLOSED) : error;
    }
  }

  /**
   * @param {(session: Session) => {path: string, init: Request}} request
   * @param {string} [pinned] only this session will do
   * @param {boolean} [renewing] whether a session that is over is replaced
   * @typedef {{method: string, body?: object, session?: Session, headers?: Record<string, string>, signal?: AbortSignal, keepalive?: boolean}} Request
   */
  async function call(request, pinned, renewing = true) {
    let session = await lasting(await ensureSession());
    let renewed = false;
    for (let attempt = 0; ; attempt += 1) {
      if (pinned && session.session_id !== pinned) throw new Problem(410, SESSION_LOST);
      const { path, init } = request(session);
      try {
        return { response: await send(path, { ...init, session }), session };
      } catch (error) {
        if (!(error instanceof Problem) || attempt === 2) throw error;
        if (wantsAnew(error)) continue;
        if (!OVER.has(error.code) || !renewing) throw error;
        if (renewed) throw isOver(error) ? new Problem(401, CLOSED) : error;
        session = await renew(session);
        renewed = true;
      }
    }
  }

  /** Once more, signed anew, where that is what was wrong. @param {string} path @param {Request} init @returns {Promise<Response>} */
  async function sendAnew(path, init) {
    try {
      return await send(path, init);
    } catch (error) {
      if (!wantsAnew(error)) throw error;
      return send(path, init);
    }
  }

  /** Again with the answer, if the edge asks for one. @param {string} path @param {Request} init @returns {Promise<Response>} only good ones */
  async function send(path, init) {
    let { headers } = init;
    for (let answers = 0; ; answers += 1) {
      try {
        return await sendOnce(path, { ...init, headers });
      } catch (error) {
        const challenge = error instanceof Problem && answers < MAX_ANSWERS && error.challenge;
        // Most visitors are never asked.
        const response = challenge && (await (await import('./challenge.js')).answer(challenge, init.signal));
        if (!response) throw error;
        headers = { ...init.headers, 'X-Challenge-Response': response };
      }
    }
  }

  /** @param {string} path @param {Request} init @returns {Promise<Response>} */
  async function sendOnce(path, { method, body, session, headers = {}, signal, keepalive = false }) {
    const abort = new AbortController();
    const forward = () => abort.abort(signal?.reason);
    if (signal?.aborted) forward();
    signal?.addEventListener('abort', forward, { once: true });
    const timer = setTimeout(() => abort.abort(), HEADERS_WITHIN_MS);
    /** @type {Response} */
    let response;
    const url = new URL(path, base);
    const text = body && JSON.stringify(body);
    const signed = session ? await credentials(session, method, url, text) : {};
    try {
      response = await fetch(url, {
        method,
        headers: { ...(body ? { 'Content-Type': 'application/json' } : {}), ...signed, ...headers },
        body: text,
        signal: abort.signal,
        keepalive,
        // No cookies are set, and none of another application on this host are wanted.
        credentials: 'omit',
        cache: 'no-store',
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable('no answer', { cause: error });
    } finally {
      clearTimeout(timer);
    }
    if (!response.ok) {
      const refused = await problem(response);
      if (refused.serverTime) signer.correct(refused.serverTime);
      throw refused;
    }
    return response;
  }

  /** What shows that a call is this session's. @param {Session} session @param {string} method @param {URL} url @param {string | undefined} body */
  async function credentials({ token, token_type, fingerprint }, method, url, body) {
    const bound = token_type === 'DPoP';
    const proof = bound && (await signer.sign({ method, url, token, body }));
    return { Authorization: `${bound ? 'DPoP' : 'Bearer'} ${token}`, 'X-Fingerprint': fingerprint, ...(proof ? { DPoP: proof } : {}) };
  }

  return {
    ensureSession,

    /**
     * Sends a message; the reply's events are in the body.
     * @param {{message: string, message_id: string, history?: object[], page?: object, signals?: object}} body
     * @param {AbortSignal} signal
     */
    postMessage(body, signal) {
      const headers = () => ({ Accept: 'text/event-stream', ...traced(body.message_id) });
      return call(() => ({ path: 'api/v1/chat/message', init: { method: 'POST', body, headers: headers(), signal } }));
    },

    /**
     * Follows a reply that was asked for earlier.
     * @param {string} messageId @param {string} sessionId @param {string} lastEventId @param {AbortSignal} signal
     */
    follow(messageId, sessionId, lastEventId, signal) {
      /** @type {Record<string, string>} */
      const headers = { Accept: 'text/event-stream' };
      if (lastEventId) headers['Last-Event-ID'] = lastEventId;
      const path = `api/v1/chat/stream/${encodeURIComponent(sessionId)}?message_id=${encodeURIComponent(messageId)}`;
      return call(() => ({ path, init: { method: 'GET', headers: { ...headers, ...traced(messageId) }, signal } }), sessionId);
    },

    /**
     * All that is said in the session from an event on. Only for who has a session, and it is not replaced for this.
     * @param {string} lastEventId @param {AbortSignal} signal
     */
    async listen(lastEventId, signal) {
      const session = store.session();
      if (!session) throw new Problem(401, 'unauthorized');
      /** @type {Record<string, string>} */
      const headers = { Accept: 'text/event-stream' };
      if (lastEventId) headers['Last-Event-ID'] = lastEventId;
      const path = `api/v1/chat/stream/${encodeURIComponent(session.session_id)}`;
      return call(() => ({ path, init: { method: 'GET', headers, signal } }), session.session_id, false);
    },

    /** What a reply was worth. @param {string} messageId @param {'up' | 'down'} rating @param {string} sessionId @param {string} [comment] for the shop */
    async rate(messageId, rating, sessionId, comment) {
      await call(() => ({ path: 'api/v1/chat/feedback', init: { method: 'POST', body: { message_id: messageId, rating, comment } } }), sessionId);
    },

    /** Stops a reply, even if the page is left now. @param {string} messageId @param {string} [sessionId] */
    async cancel(messageId, sessionId) {
      await call(() => ({ path: 'api/v1/chat/cancel', init: { method: 'POST', body: { message_id: messageId }, headers: traced(messageId), keepalive: true } }), sessionId || undefined);
    },

    /** Ends the session on the server too, even if the page is left now. Forgotten here at once, whatever comes of that. */
    async end() {
      const session = store.session();
      store.keepSession(null);
      if (session) await sendAnew('api/v1/session', { method: 'DELETE', session, keepalive: true });
    },
  };
}

/**
 * All that is done about a message, here and on later visits, is one trace: the message's id is the trace's.
 * @param {string} messageId @returns {Record<string, string>}
 */
function traced(messageId) {
  return /^[0-9a-f]{32}$/.test(messageId) ? { traceparent: `00-${messageId}-${randomId().slice(16)}-01` } : {};
}

/** Not for want of a key, which another session would not bring either. @param {Problem} error */
function isOver({ code }) {
  return OVER.has(code) && code !== 'proof_required';
}

/** By a wrong clock, which is right now, or sent twice by the browser itself: the next one is good. @param {unknown} error */
function wantsAnew(error) {
  return error instanceof Problem && (error.code === 'proof_replayed' || (error.code === 'proof_invalid' && error.serverTime !== undefined));
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problem(response) {
  /** @type {any} */
  let said = {};
  try {
    said = (await response.json()) ?? {};
  } catch {
    // A proxy in between answers with HTML; the status has to do.
  }
  const header = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
  const retryAfter = [header, said.retry_after].find((it) => Number.isFinite(it) && it >= 0);
  const code = typeof said.code === 'string' ? said.code : { 401: 'unauthorized', 413: 'payload_too_large', 429: 'rate_limited' }[response.status];
  return new Problem(response.status, code ?? (response.status >= 500 ? 'overloaded' : 'refused'), {
    retryAfter,
    maxChars: typeof said.max_chars === 'number' ? said.max_chars : undefined,
    challenge: code === 'challenge_required' && typeof said.challenge === 'object' ? (said.challenge ?? undefined) : undefined,
    serverTime: typeof said.server_time === 'string' ? said.server_time : undefined,
  });
}
