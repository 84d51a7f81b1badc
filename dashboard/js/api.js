/**
 * The HTTP API of analytics. What goes wrong is a `Problem` (it said no) or `Away` (nobody said anything of use).
 *
 * @typedef {import('./range.js').Span} Span
 */

const BASE = '/api/v1/analytics/';
/** The slowest answer is a list of sessions, and that reads a bounded number of rows. */
const ANSWER_WITHIN_MS = 30_000;

export class Problem extends Error {
  /** @param {number} status @param {string} code @param {string} detail */
  constructor(status, code, detail) {
    super(detail || `${status} ${code}`);
    this.status = status;
    this.code = code;
  }
}

export class Away extends Error {}

/** @param {string} token */
export function createApi(token) {
  const left = new AbortController();

  /**
   * @param {string} path
   * @param {Record<string, string | number | boolean | null | undefined>} params what is null or empty is left out
   * @param {AbortSignal} [signal] of who does not want it any more
   * @param {AbortSignal} [patience] of who waits for it
   */
  async function ask(path, params, signal, patience = AbortSignal.timeout(ANSWER_WITHIN_MS)) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) if (value !== null && value !== undefined && value !== '') query.set(name, String(value));
    /** @type {Response} */
    let response;
    try {
      response = await fetch(`${BASE}${path}?${query}`, {
        headers: { Authorization: `Bearer ${token}` },
        signal: signal ? AbortSignal.any([signal, patience]) : patience,
        cache: 'no-store',
        credentials: 'omit',
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Away('no answer', { cause: error });
    }
    if (response.ok) return response;
    const problem = /problem\+json/.test(response.headers.get('Content-Type') ?? '') ? await response.json().catch(() => ({})) : {};
    if (response.status >= 500 || typeof problem.code !== 'string') throw new Away(`status ${response.status}`);
    throw new Problem(response.status, problem.code, problem.detail ?? '');
  }

  /** @param {Parameters<typeof ask>} call */
  async function read(...call) {
    const response = await ask(...call);
    try {
      return await response.json();
    } catch (error) {
      if (call[2]?.aborted) throw error;
      throw new Away('an answer that is no JSON', { cause: error });
    }
  }

  /** @param {Span} span */
  const within = ({ from, until }) => ({ from: new Date(from).toISOString(), until: new Date(until).toISOString() });

  return {
    /** @param {AbortSignal} [signal] @returns {Promise<string[]>} */
    sites: async (signal) => (await read('sites', {}, signal)).sites,
    /** @param {string | null} site @param {Span} span @param {AbortSignal} signal @returns {Promise<import('./figures.js').Summary>} */
    summary: (site, span, signal) => read('summary', { site, ...within(span) }, signal),
    /** @param {string | null} site @param {Span} span @param {import('./range.js').Bucket} bucket @param {string[]} metrics @param {AbortSignal} signal @returns {Promise<import('./plot.js').Series & {bucket: import('./range.js').Bucket}>} in longer steps where these are not kept any more */
    series: (site, span, bucket, metrics, signal) => read('timeseries', { site, ...within(span), bucket, metric: metrics.join(',') }, signal),
    /** @param {string | null} site @param {Span} span @param {number} offset minutes @param {AbortSignal} signal @returns {Promise<{messages: number[][]}>} */
    busy: (site, span, offset, signal) => read('busy-hours', { site, ...within(span), tz_offset: offset }, signal),
    /** @param {string | null} site @param {Span} span @param {AbortSignal} signal */
    pages: (site, span, signal) => read('pages', { site, ...within(span), limit: 8 }, signal),
    /** @param {string | null} site @param {Span} span @param {Record<string, string>} filter @param {{cursor?: string, limit: number}} place @param {AbortSignal} [signal] */
    sessions: (site, span, filter, place, signal) => read('sessions', { site, ...within(span), ...filter, ...place }, signal),
    /** @param {string | null} site @param {Span} span @param {number} limit @param {AbortSignal} [signal] @returns {Promise<{comments: import('./comments.js').Comment[], next: string | null}>} */
    comments: (site, span, limit, signal) => read('comments', { site, ...within(span), limit }, signal),
    /** @param {string} site @param {string} id */
    session: (site, id) => read(`sessions/${encodeURIComponent(id)}`, { site }),
    /** A file to keep. @param {string | null} site @param {Span} span @param {Record<string, string>} what @param {AbortSignal} signal @returns {Promise<Blob>} */
    export: async (site, span, what, signal) => {
      // Only until it begins: a large one on a slow line takes its minutes, and who waits for it can stop it.
      const patience = new AbortController();
      const timer = setTimeout(() => patience.abort(), ANSWER_WITHIN_MS);
      const response = await ask('export', { site, ...within(span), format: 'csv', ...what }, AbortSignal.any([signal, left.signal]), patience.signal).finally(() => clearTimeout(timer));
      return response.blob();
    },
    /** Nobody is there any more to take a file. */
    leave: () => left.abort(),
  };
}

/** @typedef {ReturnType<typeof createApi>} Api */
