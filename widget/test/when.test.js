import assert from 'node:assert/strict';
import { test } from 'node:test';
import { when } from '../js/when.js';

const now = new Date(2026, 2, 10, 9, 30).getTime();

/** @param {string} tag @param {Date} at @param {string} expected */
function check(tag, at, expected) {
  test(`${at.toDateString()} in ${tag}`, () => assert.equal(when({ locale: 'en', tag, sentences: {} }, at.getTime(), now), expected));
}

check('en-GB', new Date(2026, 2, 10, 9, 5), '09:05');
check('en-GB', new Date(2026, 2, 10, 0, 0), '00:00');
check('en-GB', new Date(2026, 2, 9, 23, 59), 'Yesterday');
check('en-GB', new Date(2026, 2, 9, 0, 0), 'Yesterday');
check('en-GB', new Date(2026, 2, 8, 23, 59), '8 Mar');
check('en-GB', new Date(2026, 0, 1), '1 Jan');
check('en-GB', new Date(2025, 11, 31), '31 Dec 2025');
check('de', new Date(2026, 2, 9, 12), 'Gestern');
check('de', new Date(2026, 2, 8), '8. März');
