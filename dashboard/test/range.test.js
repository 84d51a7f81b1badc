/** Days are days of the visitor's calendar, so the calendar is held still. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

process.env.TZ = 'Europe/Berlin';
const { CHOICES, DAY, HOUR, MAX_DAYS, before, between, bucketOf, byHours, byOffset, dayOf, finished, latest, offsetMinutes, step } = await import('../js/range.js');
const { texts } = await import('../js/texts.js');

const at = (text) => Date.parse(text);
const shown = ({ from, until }) => [from, until].map((ms) => new Date(ms).toISOString());

test('steps fit the length', () => {
  const check = (length, expected) => assert.equal(bucketOf(length), expected, `${length / HOUR} h`);
  check(HOUR / 4, 'minute');
  check(6 * HOUR, 'minute');
  check(6 * HOUR + 1, 'hour');
  check(DAY, 'hour');
  check(8 * DAY, 'hour');
  check(8 * DAY + 1, 'day');
  check(365 * DAY, 'day');
});

test('the latest range ends with the step that is not over yet', () => {
  const now = at('2026-03-10T14:25:10Z');
  const check = (choice, ...expected) => assert.deepEqual(shown(latest(choice, now)), expected, choice);
  check('24h', '2026-03-09T15:00:00.000Z', '2026-03-10T15:00:00.000Z');
  check('7d', '2026-03-03T15:00:00.000Z', '2026-03-10T15:00:00.000Z');
  check('30d', '2026-02-09T00:00:00.000Z', '2026-03-11T00:00:00.000Z');
  check('365d', '2025-03-11T00:00:00.000Z', '2026-03-11T00:00:00.000Z');
});

test('a range and the one before it share no step, also on the stroke of the hour', () => {
  for (const now of [at('2026-03-10T14:25:10Z'), at('2026-03-10T14:00:00Z'), at('2026-03-10T00:00:00Z')]) {
    for (const choice of CHOICES) {
      const span = latest(choice, now);
      const size = step(bucketOf(span.until - span.from));
      assert.equal(span.from % size, 0, choice);
      assert.ok(span.from < now && now < span.until, `${choice} has now in it`);
      assert.ok(before(span, now).until <= span.from, choice);
    }
  }
});

test('a step that has only begun is not over, nor one that has not', () => {
  const t = [0, 1, 2, 3].map((hour) => hour * 3600);
  const check = (now, expected) => assert.equal(finished(t, 'hour', now), expected, String(now));
  check(0, 0);
  check(HOUR - 1, 0);
  check(HOUR, 1);
  check(2.5 * HOUR, 2);
  check(9 * HOUR, 4);
});

test('days of one’s own are whole, also where the clocks change', () => {
  const now = at('2026-11-28T12:00:00Z');
  const check = (from, until, ...expected) => assert.deepEqual(shown(between({ from, until }, now)), expected, `${from} ${until}`);
  check('2026-01-05', '2026-01-05', '2026-01-04T23:00:00.000Z', '2026-01-05T23:00:00.000Z');
  check('2026-03-29', '2026-03-29', '2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z');
  check('2026-10-25', '2026-10-25', '2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z');
  // In steps of a day they are days of UTC, as the steps are.
  check('2026-03-01', '2026-03-31', '2026-03-01T00:00:00.000Z', '2026-04-01T00:00:00.000Z');
  // Also where hours are not kept any more.
  check('2025-10-01', '2025-10-01', '2025-10-01T00:00:00.000Z', '2025-10-02T00:00:00.000Z');
});

test('what is no range says why', () => {
  const check = (from, until, expected) => assert.equal(between({ from, until }, Date.now()), expected, `${from} ${until}`);
  check('', '2026-01-05', 'missing');
  check('2026-01-05', 'soon', 'missing');
  check('2026-02-30', '2026-03-05', 'missing');
  check('2026-01-06', '2026-01-05', 'order');
  check('2020-01-01', '2026-01-01', 'long');
});

test('the longest range fits into one answer of the API', () => {
  assert.ok((MAX_DAYS + 1) * 7 <= 10_000);
});

test('what is not over yet is held against the same part of the time before', () => {
  const check = (now, ...expected) => assert.deepEqual(before({ from: 100, until: 200 }, now), { from: 0, until: expected[0] }, String(now));
  check(900, 100);
  check(200, 100);
  check(125, 25);
  // One that has not begun has no part, but a question needs one.
  check(50, 1);
  const morning = at('2026-03-10T08:00:00Z');
  assert.deepEqual(shown(before(between({ from: '2026-03-10', until: '2026-03-10' }, morning), morning)), ['2026-03-08T23:00:00.000Z', '2026-03-09T08:00:00.000Z']);
});

test('the calendar and its offset are the visitor’s', () => {
  assert.equal(dayOf(at('2026-01-04T23:30:00Z')), '2026-01-05');
  assert.equal(offsetMinutes(at('2026-01-05T12:00:00Z')), 60);
  assert.equal(offsetMinutes(at('2026-07-05T12:00:00Z')), 120);
});

test('a range is cut where the clocks change, so that nine o’clock is nine in each piece', () => {
  const spring = '2026-03-29T01:00:00.000Z';
  const autumn = '2026-10-25T01:00:00.000Z';
  const check = (from, until, ...expected) => {
    const pieces = byOffset({ from: at(from), until: at(until) });
    assert.deepEqual(pieces.map(({ offset, ...span }) => [...shown(span), offset]), expected, `${from} ${until}`);
  };
  const [a, b] = ['2026-01-01T00:00:00.000Z', '2026-12-01T00:00:00.000Z'];
  check(a, '2026-01-01T12:00:00.000Z', [a, '2026-01-01T12:00:00.000Z', 60]);
  check(a, b, [a, spring, 60], [spring, autumn, 120], [autumn, b, 60]);
  check('2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z', ['2026-03-28T23:00:00.000Z', spring, 60], [spring, '2026-03-29T22:00:00.000Z', 120]);
  // Also where a change is the first moment, the last one, or begins a week of the search.
  check(spring, b, [spring, autumn, 120], [autumn, b, 60]);
  check(a, spring, [a, spring, 60]);
  check('2026-03-22T01:00:00.000Z', '2026-04-01T00:00:00.000Z', ['2026-03-22T01:00:00.000Z', spring, 60], [spring, '2026-04-01T00:00:00.000Z', 120]);
});

test('pieces touch each hour once, also where midnight is at half past', () => {
  const span = { from: at('2026-03-25T18:30:00Z'), until: at('2026-10-28T18:30:00Z') };
  const pieces = byOffset(span);
  assert.deepEqual([pieces[0].from, pieces[pieces.length - 1].until, pieces.length], [span.from, span.until, 3]);
  for (const { from } of pieces.slice(1)) assert.equal(from % HOUR, 0);
  pieces.slice(1).forEach(({ from }, which) => assert.equal(from, pieces[which].until));
});

test('hours are kept for 400 days', () => {
  const now = at('2026-11-28T12:34:00Z');
  const check = (from, until, expected) => assert.deepEqual(byHours({ from: at(from), until: at(until) }, now), expected && { from: at(expected), until: at(until) }, from);
  check('2026-11-01T00:00:00Z', '2026-11-29T00:00:00Z', '2026-11-01T00:00:00Z');
  check('2024-11-01T00:00:00Z', '2026-11-29T00:00:00Z', '2025-10-24T13:00:00Z');
  check('2024-11-01T00:00:00Z', '2025-10-24T13:00:00Z', undefined);
});

test('the page and the store agree on how long hours are kept', () => {
  const source = readFileSync(new URL('../../services/analytics/src/store/forget.rs', import.meta.url), 'utf8');
  const days = Number(/HOURS_KEPT: Duration = DAY\.saturating_mul\((\d+)\)/.exec(source)?.[1]);
  const now = at('2026-11-28T12:00:00Z');
  assert.equal(byHours({ from: 0, until: now }, now)?.from, now - days * DAY);
  assert.match(texts.busy.notKept, new RegExp(`\\b${days} days`));
  assert.match(texts.busy.hint('UTC', '1 Jan'), new RegExp(`\\b${days} days`));
});
