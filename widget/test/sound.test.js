import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNews } from '../js/sound.js';

const it = { id: 'e', text: 'hi', at: 0, phase: /** @type {import('../js/state.js').Phase} */ ('streaming'), answer: 'hel', next: 1, lastEventId: '', session: 's' };
const done = { ...it, phase: /** @type {const} */ ('done') };
const push = { ...done, id: 'p', text: '', kind: /** @type {const} */ ('push') };
const before = { conversation: 'a', exchanges: [it], unread: 0 };

/** @param {string} what @param {boolean} expected @param {object} now @param {object} [was] */
function check(what, expected, now, was = {}) {
  test(`${expected ? 'heard' : 'not heard'}: ${what}`, () => assert.equal(isNews({ ...before, ...was }, { ...before, ...now }), expected));
}

check('an answer that ended', true, { exchanges: [done] });
check('an answer that grew', false, { exchanges: [{ ...it, answer: 'hello' }] });
check('an answer that failed', false, { exchanges: [{ ...it, phase: 'failed' }] });
check('an answer that was stopped', false, { exchanges: [{ ...it, phase: 'stopped' }] });
check('nothing', false, {});
check('what was over already', false, { exchanges: [done] }, { exchanges: [done] });
check('what another tab asked, and had answered', false, { exchanges: [done, { ...done, id: 'f' }] }, { exchanges: [done] });
check('a message that came by itself', true, { exchanges: [it, push] });
check('a message that came by itself, and was known', false, { exchanges: [it, push] }, { exchanges: [it, push] });
check('another conversation that is shown', false, { conversation: 'b', exchanges: [push] });
check('an answer in another conversation', true, { unread: 1 });
check('another conversation that was read', false, { unread: 0 }, { unread: 2 });
