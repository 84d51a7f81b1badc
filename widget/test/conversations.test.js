import assert from 'node:assert/strict';
import { test } from 'node:test';
import { history } from '../js/history.js';
import { changesBetween } from '../js/keep.js';
import { notice } from '../js/notice.js';
import { apply, busy, initialState, isClosed, running } from '../js/state.js';
import { understandAny } from '../js/listen.js';

const ask = (id = 'm1', text = `text of ${id}`, at = 1000) => ({ type: 'asked', id, text, at });
const chunk = (content, id = 'm1', index = 0) => ({ type: 'chunk', id, index, content, eventId: `${id}:${index}` });
const end = (id = 'm1') => ({ type: 'end', id, finishReason: 'stop', eventId: `${id}:z` });
const whole = (id) => [ask(id), chunk(`answer to ${id}`, id), end(id)];
const opened = (id, exchanges = []) => ({ type: 'opened conversation', id, exchanges });
const after = (...events) => events.flat().reduce(apply, initialState('c1'));

test('a conversation is in the list from its first message on, named by it', () => {
  assert.deepEqual(after().conversations, []);
  const [it] = after({ type: 'attention', here: true }, ask('m1', '  Where is\n my order? ')).conversations;
  assert.deepEqual(it, { id: 'c1', title: 'Where is my order?', at: 1000, count: 1, unread: 0 });
  assert.equal(after(ask('m1', 'x'.repeat(100))).conversations[0].title.length, 60);
  assert.equal(after(whole('m1')).conversations[0].count, 2);
});

test('the newest conversation comes first, and another one keeps its own exchanges', () => {
  const state = after(whole('m1'), { type: 'new conversation', id: 'c2' }, ask('m2', 'second', 5000));
  assert.deepEqual(state.conversations.map((it) => it.id), ['c2', 'c1']);
  assert.deepEqual(state.exchanges.map((it) => it.id), ['m2']);
  assert.deepEqual(history(state.exchanges, 'm2'), [], 'nothing of the other is told');
  const back = apply(state, opened('c1', after(whole('m1')).exchanges));
  assert.deepEqual([back.conversation, back.exchanges.map((it) => it.id)], ['c1', ['m1']]);
  assert.deepEqual(Object.keys(back.background), ['c2'], 'what runs goes on behind');
});

test('what ends behind is unread until it is opened', () => {
  const here = { type: 'attention', here: true };
  const left = after(here, ask('m1'), { type: 'new conversation', id: 'c2' }, chunk('Hi'), end());
  assert.deepEqual([left.unread, left.conversations[0].unread, left.background.c1[0].phase], [1, 1, 'done']);
  const back = apply(left, opened('c1'));
  assert.deepEqual([back.unread, back.exchanges[0].answer], [0, 'Hi']);
});

test('what ends while nobody looks is unread until somebody does', () => {
  const away = after(whole('m1'));
  assert.equal(away.unread, 1);
  assert.equal(apply(away, { type: 'attention', here: true }).unread, 0);
  assert.equal(after({ type: 'attention', here: true }, whole('m1')).unread, 0);
  assert.equal(apply(away, end()).unread, 1, 'told twice, counted once');
});

test('deleting the one that is shown makes room for a new one, deleting another changes nothing here', () => {
  const two = after(whole('m1'), { type: 'new conversation', id: 'c2' }, ask('m2', 'second', 5000));
  const shown = apply(two, { type: 'deleted conversation', id: 'c2', fresh: 'c3' });
  assert.deepEqual([shown.conversation, shown.exchanges, shown.conversations.map((it) => it.id)], ['c3', [], ['c1']]);
  const other = apply(two, { type: 'deleted conversation', id: 'c1', fresh: 'c3' });
  assert.deepEqual([other.conversation, other.exchanges.length, other.conversations.map((it) => it.id)], ['c2', 1, ['c2']]);
  const none = apply(two, { type: 'all deleted', fresh: 'c3' });
  assert.deepEqual([none.conversation, none.exchanges, none.conversations, none.background], ['c3', [], [], {}]);
});

test('a pushed message is an exchange without a question, once', () => {
  const pushed = { type: 'pushed', conversation: 'c1', id: 'push_1', at: 900, session: 's', eventId: 'push_1:b' };
  const state = after(whole('m1'), pushed, pushed, chunk('By the way', 'push_1'), end('push_1'));
  const it = state.exchanges[1];
  assert.deepEqual([state.exchanges.length, it.kind, it.text, it.answer, it.phase, it.session, it.lastEventId], [2, 'push', '', 'By the way', 'done', 's', 'push_1:z']);
  assert.ok(it.at > state.exchanges[0].at, 'the order is by time, whatever the clocks say');
  assert.deepEqual([state.unread, state.conversations[0].count], [2, 3]);
  const turns = history([...state.exchanges, after(ask('m3')).exchanges[0]], 'm3');
  assert.deepEqual(turns.map(({ role, content }) => [role, content]), [['user', 'text of m1'], ['assistant', 'answer to m1'], ['assistant', 'By the way']]);
});

test('events of a session: only a push makes something of its own', () => {
  const wire = (event, data) => understandAny({ event, data: JSON.stringify(data), id: 'e', retry: undefined }, 'c1', 's');
  const begin = wire('begin', { message_id: 'push_1', kind: 'push', in_reply_to: 'm1', at: '2026-01-01T00:00:00.000Z' });
  assert.deepEqual([begin.type, begin.id, begin.conversation, begin.session, begin.eventId], ['pushed', 'push_1', 'c1', 's', 'e']);
  assert.equal(wire('begin', { message_id: 'm9', at: '' }).type, 'begin');
  assert.equal(wire('chunk', { message_id: 'push_1', index: 0, content: 'a' }).id, 'push_1');
  assert.equal(wire('ready', { session_id: 's' }), undefined);
  assert.equal(wire('gap', { after: 'x' }), undefined);
  assert.equal(after({ type: 'begin', id: 'm9' }, chunk('foreign', 'm9')).exchanges.length, 0);
});

test('the resent message takes the place of the one that was edited', () => {
  const editing = after(whole('m1'), whole('m2'), { type: 'editing', id: 'm2' });
  assert.deepEqual([editing.draft, editing.exchanges.length], [{ text: 'text of m2' }, 2]);
  assert.equal(apply(editing, ask('m3', 'a quick reply', 3000)).exchanges.length, 3, 'only what was written takes its place');
  const sent = apply(editing, { ...ask('m3', 'better', 3000), how: {} });
  assert.deepEqual([sent.exchanges.map((it) => it.id), sent.editing], [['m1', 'm3'], '']);
  assert.equal(apply(editing, { type: 'editing', id: '' }).draft.text, '');
  assert.equal(apply(editing, { type: 'new conversation', id: 'c9' }).editing, '');
  assert.equal(apply(editing, opened('c9')), editing, 'one that is gone is not opened');
});

test('without a network messages wait in line, with one the line is one long', () => {
  const offline = after({ type: 'online', online: false }, ask('m1'), ask('m2'));
  assert.equal(busy(offline), undefined);
  assert.deepEqual(offline.exchanges.map((it) => it.at), [1000, 1001]);
  assert.equal(busy(apply(offline, { type: 'online', online: true })).id, 'm1');
  assert.equal(busy(apply(offline, { type: 'accepted', id: 'm1', session: 's' })).id, 'm1', 'an answer that stands still is waited for');
});

test('what was not finished when the page was left goes on behind, unless it is shown', () => {
  const waits = after(ask('m1')).exchanges;
  const loaded = apply(initialState(), { type: 'loaded', conversation: 'c2', exchanges: [], conversations: after(ask('m1')).conversations });
  const found = ['c1', 'c2'].reduce((state, id) => apply(state, { type: 'unfinished', id, exchanges: waits }), loaded);
  assert.deepEqual([Object.keys(found.background), found.exchanges, found.conversations.map((it) => it.id)], [['c1'], [], ['c1']]);
  const told = [chunk('Hi'), end()].reduce(apply, found);
  assert.deepEqual([told.background.c1[0].answer, told.unread], ['Hi', 1]);
  assert.equal(apply(told, { type: 'unfinished', id: 'c1', exchanges: waits }), told);
  assert.equal(apply(initialState('c2'), { type: 'unfinished', id: 'c1', exchanges: waits }).background.c1, undefined, 'nor what was forgotten while it was read');
});

test('a closed conversation says so, and offers a new one', () => {
  const state = after(ask(), { type: 'failed', id: 'm1', trouble: { code: 'session_over', retryable: false } });
  assert.ok(isClosed(state));
  const told = notice(state, { locale: 'en', sentences: { closed_title: 'Closed.', closed_text: 'Kept.', new_chat: 'New' } });
  assert.deepEqual([told.icon, told.title, told.actions], ['lock', 'Closed.', [['new', 'New']]]);
  assert.ok(!isClosed(apply(state, { type: 'new conversation', id: 'c2' })));
});

test('what another tab tells is taken over, and what is further here stays', () => {
  const mine = after(ask(), chunk('One ', 'm1', 0), chunk('two ', 'm1', 1));
  const older = after(ask(), chunk('One ', 'm1', 0)).exchanges[0];
  const synced = (changed, gone = []) => ({ type: 'synced', conversation: 'c1', changed, gone });
  assert.equal(apply(mine, synced([older])).exchanges[0].answer, 'One two ');
  const over = after(ask(), chunk('One two three', 'm1', 0), end()).exchanges[0];
  const done = apply(mine, synced([over]));
  assert.deepEqual([done.exchanges[0].phase, running(done)], ['done', undefined]);
  assert.equal(apply(done, synced([older])).exchanges[0].phase, 'done', 'late news');
  const asked = { ...older, id: 'm0', at: 500 };
  assert.deepEqual(apply(mine, synced([asked], ['m1'])).exchanges.map((it) => it.id), ['m0']);
  assert.equal(apply(mine, { ...synced([asked]), conversation: 'elsewhere' }), mine);
  const unread = { id: 'c1', title: 'x', at: 1, count: 1, unread: 3 };
  assert.equal(apply(mine, { type: 'summaries', summaries: [unread] }).unread, 3);
  assert.equal(after({ type: 'attention', here: true }, ask(), { type: 'summaries', summaries: [unread] }).unread, 0);
});

test('only what changed is to be written down, and nothing that was only read in', () => {
  const before = after(whole('m1'), ask('m2', 'second', 5000));
  const grown = apply(before, chunk('a', 'm2'));
  const { lists, summaries } = changesBetween(before, grown);
  assert.deepEqual(lists.map(({ conversation, changed, gone }) => [conversation, changed.map((it) => it.id), gone]), [['c1', ['m2'], []]]);
  assert.deepEqual(summaries.map((it) => it.count), [4]);
  assert.deepEqual(changesBetween(before, apply(before, { type: 'taken back', id: 'm2' })).lists[0].gone, ['m2']);
  const other = apply(before, opened('c7', after(whole('m9')).exchanges));
  assert.deepEqual(changesBetween(before, other).lists, []);
  assert.deepEqual(changesBetween(grown, apply(grown, chunk('b', 'm2', 1))).summaries, [], 'a growing answer is no news to the list');
});
