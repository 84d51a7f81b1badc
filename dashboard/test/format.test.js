import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFormat } from '../js/format.js';

const english = createFormat('en-GB', 'UTC', 'en-GB');
const german = createFormat('de-DE', 'Europe/Berlin', 'en');

/** Intl's spaces are of several kinds. */
const plain = (text) => text.replaceAll(/\s/g, ' ');

test('times are told in two digits, and in minutes from one on', () => {
  const check = (ms, expected, format = english) => assert.equal(plain(format.time(ms)), expected, String(ms));
  check(0, '0 s');
  check(84, '0.084 s');
  check(820, '0.82 s');
  check(1180, '1.2 s');
  check(9_940, '9.9 s');
  check(9_960, '10 s');
  check(12_400, '12 s');
  check(59_499, '59 s');
  check(59_500, '1 min');
  check(77_000, '1 min 17 s');
  check(3_599_400, '59 min 59 s');
  check(3_600_000, '1 h');
  check(5_400_000, '1 h 30 min');
  check(1180, '1,2 s', german);
});

test('numbers are in the language of the browser', () => {
  assert.equal(english.number(12345), '12,345');
  assert.equal(german.number(12345), '12.345');
  assert.equal(english.compact(9_999), '9,999');
  assert.match(english.compact(12_345), /^12\.3k$/i);
});

test('100 % is all, and 0 % is none', () => {
  const check = (share, expected) => assert.equal(english.percent(share), expected, String(share));
  check(1, '100%');
  check(0, '0%');
  check(0.9999, '99.9%');
  check(0.9941, '99.4%');
  check(0.00001, '0.1%');
  check(0.936, '94%');
});

test('moments are in the time zone of the visitor', () => {
  const ms = Date.parse('2026-01-04T23:30:00Z');
  assert.match(english.moment(ms), /Sun.*4 Jan.*23:30/);
  assert.match(german.moment(ms), /Mo.*5\. Jan.*0:30/);
  assert.match(german.inUtc().day(ms), /4\. Jan/);
  assert.equal(german.timeZone(), 'Europe/Berlin');
});

test('the week begins with Monday, wherever one is', () => {
  for (const zone of ['UTC', 'America/Los_Angeles', 'Pacific/Auckland']) {
    const format = createFormat('de-DE', zone, 'en-GB');
    assert.deepEqual([format.weekday(0), format.longWeekday(6)], ['Mon', 'Sunday'], zone);
    assert.equal(format.fullHour(20), '20:00', zone);
  }
});

test('how long ago something was', () => {
  const check = (ms, expected) => assert.equal(english.ago(0, ms), expected, String(ms));
  check(0, 'now');
  check(12_000, '12 seconds ago');
  check(90_000, '2 minutes ago');
  check(7_200_000, '2 hours ago');
  // Clocks differ.
  check(-5_000, 'now');
  assert.equal(german.ago(0, 12_000), '12 seconds ago', 'words stay in the language of the page');
});

test('what no browser knows stays as it is', () => {
  assert.equal(english.country('DE'), 'Germany');
  assert.equal(english.language('de-AT'), 'German');
  assert.equal(english.country('not a code'), 'not a code');
});
