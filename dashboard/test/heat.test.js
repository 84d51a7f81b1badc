import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LEVELS, added, busiest, levels } from '../js/heat.js';

/** A week with these counts, by day and hour. */
function week(...counts) {
  const all = Array.from({ length: 7 }, () => Array(24).fill(0));
  for (const [day, hour, count] of counts) all[day][hour] = count;
  return all;
}

test('nothing is level 0, the least is 1, the most is the last', () => {
  const found = levels(week([0, 0, 1], [3, 12, 50], [6, 23, 100]));
  assert.equal(found[1][1], 0);
  assert.equal(found[0][0], 1);
  assert.equal(found[3][12], LEVELS / 2);
  assert.equal(found[6][23], LEVELS);
  assert.deepEqual([found.length, ...found.map((day) => day.length)], [7, 24, 24, 24, 24, 24, 24, 24]);
});

test('an empty week has no colour and no busiest hour', () => {
  assert.deepEqual(new Set(levels(week()).flat()), new Set([0]));
  assert.equal(busiest(week()), undefined);
});

test('the busiest hour is the earliest of several', () => {
  assert.deepEqual(busiest(week([2, 9, 7], [4, 20, 7], [5, 1, 3])), { day: 2, hour: 9, count: 7 });
});

test('weeks add up, and none is an empty one', () => {
  assert.deepEqual(added([week([0, 0, 1], [6, 23, 2]), week([0, 0, 4], [3, 5, 1])]), week([0, 0, 5], [3, 5, 1], [6, 23, 2]));
  assert.deepEqual(added([]), week());
});
