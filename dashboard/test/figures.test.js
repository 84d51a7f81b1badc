import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, drift, growth, helpful, notices, over, ranked, rated, share, shift, sum } from '../js/figures.js';

const NOTHING = { count: 0, p50: null, p90: null, p95: null, p99: null };
const summary = (more) => ({
  demo: false, live_sessions: 0, sessions: 0, identified: 0, messages: 0, ended: 0, cancelled: 0, failed: {}, pushed: 0, rated_up: 0, rated_down: 0, refused: {}, first_chunk_ms: NOTHING, duration_ms: NOTHING, ...more,
});

test('counts are added and ranked, and ties keep their places', () => {
  assert.equal(sum({}), 0);
  assert.equal(sum({ a: 1, b: 2 }), 3);
  assert.deepEqual(ranked({ b: 2, c: 5, a: 2, none: 0 }), [['c', 5], ['a', 2], ['b', 2]]);
});

test('a share of nothing is no share', () => {
  const check = (part, whole, expected) => assert.equal(share(part, whole), expected);
  check(1, 4, 0.25);
  check(0, 4, 0);
  check(0, 0, undefined);
});

test('answered are the replies that came to their end, of all that are over', () => {
  const it = summary({ ended: 6, cancelled: 2, failed: { upstream_timeout: 1, interrupted: 1 }, rated_up: 3, rated_down: 1 });
  assert.equal(over(it), 10);
  assert.equal(answered(it), 0.6);
  assert.equal(helpful(it), 0.75);
  assert.equal(answered(summary({})), undefined);
  assert.equal(helpful(summary({})), undefined);
});

test('growth is how much more than before', () => {
  const check = (now, before, expected) => assert.equal(growth(now, before), expected, `${now} ${before}`);
  check(150, 100, 0.5);
  check(100, 100, 0);
  check(0, 100, -1);
  // Of few, any change is chance; of none it has no size.
  check(10, 5, 1);
  check(9, 4, undefined);
  check(9, 0, undefined);
});

test('shares shift by points, times drift by parts', () => {
  const points = (now, before, expected) => {
    const of = ([up, down]) => summary({ ended: up, cancelled: down, rated_up: up, rated_down: down });
    assert.equal(shift(answered, over, of(now), of(before)), expected, `${now} ${before}`);
    assert.equal(shift(helpful, rated, of(now), of(before)), expected, `${now} ${before}`);
  };
  points([6, 2], [4, 4], 0.25);
  points([0, 5], [5, 0], -1);
  // Of few, now or before, any change is chance.
  points([1, 0], [4, 4], undefined);
  points([6, 2], [0, 4], undefined);
  points([0, 0], [4, 4], undefined);
  points([6, 2], [0, 0], undefined);
  const times = (p50, count = 50) => ({ ...NOTHING, p50, count });
  assert.equal(drift(times(500), times(1000)), -0.5);
  assert.equal(drift(times(500), times(1000, 4)), undefined);
  assert.equal(drift(times(500, 4), times(1000)), undefined);
  assert.equal(drift(NOTHING, times(1000)), undefined);
  assert.equal(drift(times(500), NOTHING), undefined);
});

test('only what needs somebody is worth a look', () => {
  const check = (more, ...expected) => assert.deepEqual(notices(summary(more)).map(({ kind }) => kind), expected, JSON.stringify(more));
  check({});
  check({ ended: 100, failed: { interrupted: 2 } });
  check({ ended: 1000, failed: { interrupted: 20 } });
  check({ ended: 100, failed: { upstream_error: 3, upstream_timeout: 9 } }, 'failing');
  check({ first_chunk_ms: { ...NOTHING, count: 30, p50: 900, p95: 12_000 } }, 'slow');
  check({ first_chunk_ms: { ...NOTHING, count: 3, p50: 900, p95: 12_000 } });
  check({ rated_up: 5, rated_down: 5 }, 'unhelpful');
  check({ rated_up: 1, rated_down: 2 });
  check({ refused: { limit_session_minute: 9, bot_refuse: 90 } });
  check({ refused: { limit_site_day: 1 } }, 'limited');
});

test('a failing workflow is told by its most frequent failure', () => {
  const [notice] = notices(summary({ ended: 90, failed: { upstream_error: 3, upstream_timeout: 7 } }));
  assert.deepEqual(notice, { kind: 'failing', code: 'upstream_timeout', count: 10, share: 0.1 });
});
