import assert from 'node:assert/strict';
import { test } from 'node:test';
import { next } from '../js/arrows.js';

/** @param {string} key @param {number} at @param {number} count @param {number | undefined} expected */
function check(key, at, count, expected) {
  test(`${key} at ${at} of ${count}`, () => assert.equal(next(key, at, count), expected));
}

check('ArrowDown', 0, 3, 1);
check('ArrowDown', 2, 3, 0);
check('ArrowDown', -1, 3, 0);
check('ArrowUp', 1, 3, 0);
check('ArrowUp', 0, 3, 2);
check('ArrowUp', -1, 3, 2);
check('Home', 2, 3, 0);
check('End', 0, 3, 2);
check('ArrowDown', -1, 0, undefined);
check('ArrowRight', 0, 3, undefined);
check('a', 0, 3, undefined);
