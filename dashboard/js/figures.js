/**
 * What the figures say: shares, changes, and what is worth a look. No texts and no DOM.
 *
 * @typedef {{count: number, p50: number | null, p90: number | null, p95: number | null, p99: number | null}} Times
 * @typedef {object} Summary
 * @property {boolean} demo
 * @property {number} live_sessions
 * @property {number} sessions
 * @property {number} identified
 * @property {number} messages
 * @property {number} ended
 * @property {number} cancelled
 * @property {Record<string, number>} failed
 * @property {number} pushed
 * @property {number} rated_up
 * @property {number} rated_down
 * @property {Record<string, number>} refused
 * @property {Times} first_chunk_ms
 * @property {Times} duration_ms
 */

/** @param {Record<string, number>} counts */
export const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

/** Most first; a tie by name, so that rows do not change places. @param {Record<string, number>} counts @returns {[string, number][]} */
export const ranked = (counts) =>
  Object.entries(counts)
    .filter(([, count]) => count > 0)
    .sort(([a, x], [b, y]) => y - x || a.localeCompare(b));

/** Replies that are over. @param {Summary} it */
export const over = (it) => it.ended + it.cancelled + sum(it.failed);

/** `undefined` where there is nothing to be a part of. @param {number} part @param {number} whole */
export const share = (part, whole) => (whole > 0 ? part / whole : undefined);

/** @param {Summary} it */
export const answered = (it) => share(it.ended, over(it));

/** @param {Summary} it */
export const rated = (it) => it.rated_up + it.rated_down;

/** @param {Summary} it */
export const helpful = (it) => share(it.rated_up, rated(it));

/** Under this many of something, its change is chance. */
const ENOUGH = 5;

/** How much more than before, of a count: 0.5 is half as much again. @param {number} now @param {number} before */
export const growth = (now, before) => (before < ENOUGH ? undefined : now / before - 1);

/**
 * In points, of a share.
 *
 * @param {(it: Summary) => number | undefined} part
 * @param {(it: Summary) => number} whole of how many it is a part
 * @param {Summary} now
 * @param {Summary} before
 */
export function shift(part, whole, now, before) {
  const [is, was] = [part(now), part(before)];
  if (is === undefined || was === undefined || Math.min(whole(now), whole(before)) < ENOUGH) return undefined;
  return is - was;
}

/** In parts, of a time. @param {Times} now @param {Times} before */
export function drift(now, before) {
  if (now.p50 === null || !before.p50 || Math.min(now.count, before.count) < ENOUGH) return undefined;
  return now.p50 / before.p50 - 1;
}

/**
 * What a shop owner should look at, the most pressing first.
 *
 * @typedef {{kind: 'failing', code: string, count: number, share: number}
 *   | {kind: 'slow', ms: number}
 *   | {kind: 'unhelpful', share: number, count: number}
 *   | {kind: 'limited', count: number}} Notice
 * @param {Summary} it
 * @returns {Notice[]}
 */
export function notices(it) {
  /** @type {Notice[]} */
  const found = [];
  const replies = over(it);
  const failed = sum(it.failed);
  const failing = share(failed, replies) ?? 0;
  if (failed >= ENOUGH && failing >= 0.03) found.push({ kind: 'failing', code: ranked(it.failed)[0][0], count: failed, share: failing });
  const { p95, count } = it.first_chunk_ms;
  if (p95 !== null && count >= 20 && p95 >= 10_000) found.push({ kind: 'slow', ms: p95 });
  const ratings = rated(it);
  if (ratings >= 10 && it.rated_down / ratings >= 0.4) found.push({ kind: 'unhelpful', share: it.rated_down / ratings, count: ratings });
  const limited = sum(Object.fromEntries(Object.entries(it.refused).filter(([reason]) => reason.startsWith('limit_site'))));
  if (limited > 0) found.push({ kind: 'limited', count: limited });
  return found;
}
