import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { notice } from '../js/notice.js';
import { understand } from '../js/reply.js';
import { history } from '../js/history.js';
import { apply, initialState, running, secondsToWait } from '../js/state.js';

const TEXTS = { locale: 'en', tag: 'en', sentences: JSON.parse(readFileSync(new URL('../locales/en.json', import.meta.url), 'utf8')) };

const ask = (id = 'm1', text = 'hello') => ({ type: 'asked', id, text, at: 1000 });
const chunk = (index, content, id = 'm1') => ({ type: 'chunk', id, index, content, eventId: `${id}.${index}` });
const end = (finishReason = 'stop', id = 'm1') => ({ type: 'end', id, finishReason });
const after = (...events) => events.reduce(apply, initialState());

test('a message from asking to the end', () => {
  const state = after(ask(), { type: 'accepted', id: 'm1', session: 's' }, { type: 'begin', id: 'm1' }, chunk(0, 'a'), chunk(1, 'b'), end());
  const [it] = state.exchanges;
  assert.deepEqual([it.phase, it.answer, it.session, it.lastEventId], ['done', 'ab', 's', 'm1.1']);
  assert.equal(running(state), undefined);
});

test('an answer that will follow is said to, while it runs', () => {
  const until = '2025-12-31T08:15:09.500Z';
  const event = understand({ event: 'waiting', data: JSON.stringify({ message_id: 'm1', until }), id: undefined }, 'm1');
  const [it] = after(ask(), chunk(0, 'a'), event).exchanges;
  assert.deepEqual([it.late, it.until, it.phase, it.answer], [true, Date.parse(until), 'streaming', 'a']);
  assert.ok(running(after(ask(), event)));
});

test('a replay brings nothing twice', () => {
  assert.equal(after(ask(), chunk(0, 'a'), chunk(1, 'b'), chunk(0, 'a'), chunk(1, 'b'), chunk(2, 'c')).exchanges[0].answer, 'abc');
});

test('a missing chunk is told, and what is there stays', () => {
  const [it] = after(ask(), chunk(0, 'a'), chunk(3, 'd')).exchanges;
  assert.deepEqual([it.answer, it.lost], ['ad', true]);
});

test('what is over stays over', () => {
  const [it] = after(ask(), chunk(0, 'a'), end('cancelled'), chunk(1, 'b'), { type: 'failed', id: 'm1', trouble: { code: 'interrupted', retryable: true } }).exchanges;
  assert.deepEqual([it.phase, it.answer], ['stopped', 'a']);
});

test('a retry takes the place of the failed try, under its new id', () => {
  const state = after(ask(), { type: 'failed', id: 'm1', trouble: { code: 'x', retryable: true } }, { type: 'retried', id: 'm1', newId: 'm2', at: 2000 });
  assert.deepEqual(state.exchanges.map((it) => [it.id, it.text, it.phase]), [['m2', 'hello', 'sending']]);
});

test('untouched exchanges stay the same objects', () => {
  const before = after(ask('m1'), chunk(0, 'a'), end(), ask('m2'));
  assert.equal(apply(before, chunk(0, 'b', 'm2')).exchanges[0], before.exchanges[0]);
});

test('history is newest last, answered only, and no longer than allowed', () => {
  let state = initialState();
  for (let i = 0; i < 15; i += 1) state = [ask(`m${i}`, `q${i}`), ...(i === 3 ? [] : [chunk(0, `a${i}`, `m${i}`)]), end('stop', `m${i}`)].reduce(apply, state);
  state = apply(state, ask('now', 'q'));
  const turns = history(state.exchanges, 'now');
  assert.equal(turns.length, 20);
  assert.deepEqual(turns.at(-1), { role: 'assistant', content: 'a14' });
  assert.deepEqual(turns[0], { role: 'user', content: 'q5' });
  assert.ok(!history(state.exchanges, 'now', 40).some((turn) => turn.content === 'q3'));
});

test('history fits into a request, whatever the answers weigh', () => {
  let state = initialState();
  for (let i = 0; i < 5; i += 1) state = [ask(`m${i}`), chunk(0, '語'.repeat(4000), `m${i}`), end('stop', `m${i}`)].reduce(apply, state);
  const turns = history(apply(state, ask('now')).exchanges, 'now');
  assert.equal(turns.length, 4);
});

test('waiting counts down to a retry', () => {
  const limited = after({ type: 'time', now: 10_000 }, ask(), { type: 'failed', id: 'm1', trouble: { code: 'rate_limited', retryable: true, until: 15_000 } });
  assert.equal(secondsToWait(limited), 5);
  const early = notice(limited, TEXTS);
  assert.deepEqual([early?.icon, early?.text, early?.actions], ['ring', 'Try again in 5 seconds', []]);
  const late = notice(apply(limited, { type: 'time', now: 15_000 }), TEXTS);
  assert.deepEqual(late?.actions, [['retry', 'Try again']]);
});

test("a known code is told in the visitor's language, the server's sentence is for codes we have none for", () => {
  const failed = (trouble, text) => notice(after(ask('m1', text), { type: 'failed', id: 'm1', trouble }), TEXTS)?.text;
  assert.equal(failed({ code: 'upstream_timeout', sentence: 'Sorry.', retryable: true }), TEXTS.sentences.slow);
  assert.equal(failed({ code: 'never_heard_of', sentence: 'Sorry.', retryable: true }), 'Sorry.');
  assert.equal(failed({ code: 'never_heard_of', retryable: false }), TEXTS.sentences.error);
  assert.equal(failed({ code: 'toString', retryable: false }), TEXTS.sentences.error);
  assert.equal(failed({ code: 'message_rejected', maxChars: 4, retryable: false }, 'Hello'), '5 of 4 characters: please shorten it.');
  assert.equal(failed({ code: 'message_rejected', maxChars: 4000, retryable: false }, 'Hello'), TEXTS.sentences.rejected);
});

const wire = (event, data) => understand({ event, data: JSON.stringify(data), id: 'e', retry: undefined }, 'm1');
test('events of the wire', () => {
  assert.deepEqual(wire('chunk', { message_id: 'm1', index: 0, content: 'a' }), { type: 'chunk', id: 'm1', index: 0, content: 'a', eventId: 'e' });
  assert.deepEqual(wire('end', { message_id: 'm1', chunks: 1, finish_reason: 'cancelled', duration_ms: 1 }), { type: 'end', id: 'm1', finishReason: 'cancelled', eventId: 'e' });
  assert.deepEqual(wire('gap', { after: 'x' }), { type: 'gap', id: 'm1' });
  assert.equal(wire('chunk', { message_id: 'other', index: 0, content: 'a' }), undefined);
  assert.equal(wire('chunk', { message_id: 'm1', index: '0', content: 'a' }), undefined);
  assert.equal(wire('ready', { session_id: 's' }), undefined);
  assert.equal(wire('something_new', { message_id: 'm1' }), undefined);
  assert.equal(understand({ event: 'chunk', data: '{', id: '', retry: undefined }, 'm1'), undefined);
});

test('a deletion that is still to be done is told where nothing is of more weight', () => {
  const left = after({ type: 'undeleted', left: 2 });
  assert.deepEqual([notice(left, TEXTS).title, notice(left, TEXTS).text], ['Deleted', 'On this device. Our side could not do it yet, and tries again by itself.']);
  assert.equal(notice(apply(left, { type: 'undeleted', left: 0 }), TEXTS), null);
  assert.equal(notice(apply(left, { type: 'online', online: false }), TEXTS).icon, 'offline');
  assert.equal(apply(left, { type: 'undeleted', left: 2 }), left);
});
