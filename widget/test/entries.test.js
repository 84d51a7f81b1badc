import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counted, entries } from '../js/entries.js';

const one = { id: 'e', text: 'hi', at: 0, phase: /** @type {const} */ ('done'), answer: 'hello', next: 1, lastEventId: '', session: 's' };
const summary = (/** @type {string} */ id) => ({ id, title: id, at: 0, count: 2, unread: 0 });
const talking = { exchanges: [one], conversation: 'a', conversations: [summary('a')], consent: /** @type {const} */ ('granted') };
const busy = { ...talking, conversations: [summary('b'), summary('a')] };
const fresh = { ...talking, exchanges: [], conversation: 'c', conversations: [] };

/** @param {string} what @param {typeof talking} state @param {import('../js/entries.js').Offer} offer @param {string} expected */
function check(what, state, offer, expected) {
  test(`the menu of ${what}`, () => assert.equal(entries(state, offer).join(' '), expected));
}

check('an empty chat', fresh, {}, 'sound');
check('the first conversation', talking, {}, 'new search text json sound erase');
check('one of several conversations', busy, {}, 'new chats search text json sound erase erase_all');
check('a new one beside others', { ...busy, conversation: 'c', exchanges: [] }, {}, 'chats search sound erase_all');
check('a shop that wants none of it', busy, { features: { history: false, search: false, export: false, sound: false } }, 'new erase erase_all');
check('a shop that only says yes', busy, { features: { history: true, search: true, export: true, sound: true } }, 'new chats search text json sound erase erase_all');
check('a shop that asks, before the answer', { ...fresh, consent: /** @type {any} */ ('unasked') }, { consent: 'ask' }, 'sound');
check('a shop that asks, after yes', fresh, { consent: 'ask' }, 'sound keep');
check('a shop that asks, after no', { ...fresh, consent: /** @type {any} */ ('denied') }, { consent: 'ask' }, 'sound keep');
check('nothing at all', fresh, { features: { sound: false } }, '');

test('unread messages are counted in front of a name', () => {
  assert.equal(counted('Maren & Oak', 0), 'Maren & Oak');
  assert.equal(counted('Maren & Oak', 3), '(3) Maren & Oak');
});
