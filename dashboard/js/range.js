/**
 * Which time is looked at, and in which steps.
 *
 * @typedef {{from: number, until: number}} Span Unix ms; `until` is not in it
 * @typedef {'minute' | 'hour' | 'day'} Bucket
 * @typedef {{from: string, until: string}} Days the first and the last day of a range of one's own, `2026-01-31`
 */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** What can be picked with one click. */
export const CHOICES = /** @type {const} */ (['24h', '7d', '30d', '90d', '365d']);
const LENGTHS = { '24h': DAY, '7d': 7 * DAY, '30d': 30 * DAY, '90d': 90 * DAY, '365d': 365 * DAY };

/** The API gives 10,000 points at once, and the page asks for seven series in steps of a day. */
export const MAX_DAYS = 1100;

/** How long figures are kept by hours. Older ones are there by days, as the API answers them whatever is asked. */
const HOURS_KEPT = 400 * DAY;

const STEPS = { minute: MINUTE, hour: HOUR, day: DAY };

/** @param {Bucket} bucket */
export const step = (bucket) => STEPS[bucket];

/**
 * How many steps are over. What is drawn of one that has only begun would seem to fall.
 *
 * @param {number[]} t seconds at which steps begin, in order
 * @param {Bucket} bucket
 * @param {number} now
 */
export const finished = (t, bucket, now) => t.filter((seconds) => seconds * 1000 + step(bucket) <= now).length;

/** Steps that give a plot between some tens and some hundreds of points. @param {number} length ms @returns {Bucket} */
export function bucketOf(length) {
  if (length <= 6 * HOUR) return 'minute';
  return length <= 8 * DAY ? 'hour' : 'day';
}

/**
 * The last so many hours or days. It ends with the step that is not over yet, so that a range and the one before it
 * share no step.
 *
 * @param {typeof CHOICES[number]} choice
 * @param {number} now
 * @returns {Span}
 */
export function latest(choice, now) {
  const length = LENGTHS[choice];
  const size = step(bucketOf(length));
  const until = Math.floor(now / size) * size + size;
  return { from: until - length, until };
}

/**
 * Whole days: as the visitor's calendar has them while the steps are hours, else days of UTC, as the steps are.
 *
 * @param {Days} days
 * @param {number} now
 * @returns {Span | 'order' | 'long' | 'missing'} or why it is no range
 */
export function between(days, now) {
  const first = parts(days.from);
  const last = parts(days.until);
  if (!first || !last) return 'missing';
  /** @param {(...parts: [number, number, number]) => number} at */
  // The day after, and not 24 hours later: a day may have 23 or 25.
  const span = (at) => ({ from: at(...first), until: at(last[0], last[1], last[2] + 1) });
  const utc = span(Date.UTC);
  const length = utc.until - utc.from;
  if (length <= 0) return 'order';
  if (length > MAX_DAYS * DAY) return 'long';
  return bucketOf(length) === 'day' || utc.from < now - HOURS_KEPT ? utc : span((...day) => new Date(...day).getTime());
}

/** @param {string} day @returns {[number, number, number] | undefined} the month from 0 on */
function parts(day) {
  const found = /^(\d{4})-(\d{2})-(\d{2})$/.exec(day);
  if (!found) return undefined;
  const [year, month, date] = found.slice(1).map(Number);
  return new Date(Date.UTC(year, month - 1, date)).getUTCMonth() === month - 1 ? [year, month - 1, date] : undefined;
}

/** As a date field wants it. @param {number} ms */
export function dayOf(ms) {
  const date = new Date(ms);
  return `${String(date.getFullYear()).padStart(4, '0')}-${String(date.getMonth() + 1).padStart(2, '0')}-${String(date.getDate()).padStart(2, '0')}`;
}

/**
 * As much time, just before; of a range that is not over yet, as much as is over. Half a day is like another morning,
 * and not like half of another day.
 *
 * @param {Span} span
 * @param {number} now
 * @returns {Span}
 */
export function before({ from, until }, now) {
  const length = until - from;
  // Of a range that has not begun a moment is asked for: the API takes no empty one.
  return { from: from - length, until: Math.max(from + 1, Math.min(until, now)) - length };
}

/** East of UTC, as the API wants it. @param {number} at */
export const offsetMinutes = (at) => -new Date(at).getTimezoneOffset();

/** What of it is kept by hours, if anything is. @param {Span} span @param {number} now @returns {Span | undefined} */
export function byHours({ from, until }, now) {
  const first = Math.max(from, Math.ceil((now - HOURS_KEPT) / HOUR) * HOUR);
  return first < until ? { from: first, until } : undefined;
}

/**
 * Cut where the clocks change: hours of the day are then the calendar's in each piece. Cut at whole hours of UTC, as the
 * API counts, so that no hour is in two pieces.
 *
 * @param {Span} span
 * @returns {(Span & {offset: number})[]}
 */
export function byOffset({ from, until }) {
  const pieces = [];
  let start = from;
  // Nowhere do the clocks change twice within a week.
  for (let at = from; at < until; at = Math.min(until, at + 7 * DAY)) {
    const next = Math.min(until - 1, at + 7 * DAY);
    const offset = offsetMinutes(at);
    if (offsetMinutes(next) === offset) continue;
    let [same, other] = [Math.floor(at / HOUR), Math.ceil(next / HOUR)];
    while (other - same > 1) {
      const middle = Math.floor((same + other) / 2);
      if (offsetMinutes(middle * HOUR) === offset) same = middle;
      else other = middle;
    }
    pieces.push({ from: start, until: other * HOUR, offset });
    start = other * HOUR;
  }
  return start < until ? [...pieces, { from: start, until, offset: offsetMinutes(until - 1) }] : pieces;
}
