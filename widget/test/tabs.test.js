import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { createIdentity } from '../js/identity.js';
import { createRelay } from '../js/relay.js';
import { createRunner } from '../js/runner.js';
import { apply, initialState } from '../js/state.js';
import { createTabs } from '../js/tabs.js';
import { browser } from './fake-browser.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('one tab leads, and the next one when it is gone', async () => {
  const shared = browser();
  const order = [];
  const [one, two] = [createTabs('t', () => {}, shared), createTabs('t', () => {}, shared)];
  const give = one.lead('c1', () => order.push('one'));
  const never = two.lead('c1', () => order.push('two, who gave up'));
  two.lead('c1', () => order.push('two'));
  two.lead('c2', () => order.push('two in another conversation'));
  await turn();
  assert.deepEqual(order, ['one', 'two in another conversation']);
  never();
  give();
  await turn();
  assert.deepEqual(order, ['one', 'two in another conversation', 'two']);
  assert.ok(one.exclusive());
});

test('where there are no locks, or they are refused, each tab leads', async () => {
  for (const locks of [undefined, { request: () => Promise.reject(new DOMException('no', 'SecurityError')) }, { request: () => { throw new DOMException('no', 'InvalidStateError'); } }]) {
    let led = 0;
    const tabs = createTabs('t', () => {}, { locks });
    tabs.lead('c1', () => (led += 1));
    tabs.tell({ type: 'x' });
    await turn();
    assert.deepEqual([led, tabs.exclusive()], [1, false]);
  }
});

test('tabs hear each other, and nothing that is not theirs', () => {
  const shared = browser();
  const heard = [];
  createTabs('t', (said) => heard.push(said.type), shared);
  const other = createTabs('t', () => assert.fail('not oneself'), shared);
  other.tell({ type: 'hello' });
  new shared.Channel().postMessage('noise');
  assert.deepEqual(heard, ['hello']);
});

test('changes are told at once, a flood of them now and then, and nothing is left out', () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  try {
    const told = [];
    const relay = createRelay(100, ({ lists }) => told.push(lists.map(({ changed, gone }) => [changed.map((it) => it.answer), gone])));
    const change = (answer, gone = []) => ({ lists: [{ conversation: 'c1', changed: answer ? [{ id: 'm1', answer }] : [], gone }], summaries: [] });
    relay.add(change('a'), false);
    for (const answer of ['ab', 'abc', 'abcd']) relay.add(change(answer), false);
    assert.deepEqual(told, [[[['a'], []]]]);
    mock.timers.tick(100);
    assert.deepEqual(told[1], [[['abcd'], []]]);
    relay.add(change('abcde'), false);
    relay.add(change('', ['m1']), true);
    assert.deepEqual(told[2], [[[], ['m1']]], 'urgent, and what is gone is not told to be there');
    mock.timers.tick(1000);
    assert.equal(told.length, 3);
  } finally {
    mock.timers.reset();
  }
});

const encode = (events) => new TextEncoder().encode(events.map(([event, data, id]) => `${id ? `id: ${id}\n` : ''}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join(''));

const runners = new Set();
afterEach(() => {
  for (const runner of runners) runner.close();
  runners.clear();
});

/** A tab with a runner, and an edge that answers as it is told to. */
function tab(shared, { open = true } = {}) {
  const it = { asked: [], state: initialState('c1'), session: undefined, open, answers: {} };
  const stream = (events, signal) => ({
    response: {
      body: new ReadableStream({
        start(controller) {
          controller.enqueue(encode(events));
          signal.addEventListener('abort', () => controller.error(new DOMException('aborted', 'AbortError')));
        },
      }),
    },
    session: { session_id: (it.session = 's1') },
  });
  const reply = (id) => [['begin', { message_id: id }, `${id}:b`], ['chunk', { message_id: id, index: 0, content: `re ${id}` }, `${id}:0`], ['end', { message_id: id, chunks: 1, finish_reason: 'stop' }, `${id}:z`]];
  const api = {
    postMessage: async ({ message_id: id }, signal) => (it.asked.push(`post ${id}`), stream(it.answers[id] ?? reply(id), signal)),
    follow: async (id, session, last, signal) => (it.asked.push(`follow ${id} ${last}`), stream(reply(id), signal)),
    listen: async (last, signal) => (it.asked.push(`listen ${last}`), stream(it.pushed ?? [['ready', {}]], signal)),
  };
  const update = (event) => {
    it.state = apply(it.state, event);
    it.runner.update();
  };
  it.update = update;
  it.runner = createRunner({
    conversation: 'c1',
    api,
    tabs: createTabs('t', () => {}, shared),
    exchanges: () => it.state.exchanges,
    isOurs: (one) => !it.theirs?.includes(one.id),
    isOpen: () => it.open,
    session: () => it.session,
    body: ({ id, text }) => ({ message: text, message_id: id }),
    dispatch: update,
    pause: async () => {},
  });
  runners.add(it.runner);
  return it;
}
const ask = (id, at = Date.now()) => ({ type: 'asked', id, text: id, at });
const settled = async () => {
  for (let i = 0; i < 20; i += 1) await turn();
};

test('what waits is sent in order, one after the other, and then it listens from the last event on', async () => {
  const one = tab(browser());
  for (const id of ['m1', 'm2']) one.update(ask(id));
  await settled();
  assert.deepEqual(one.asked, ['post m1', 'post m2', 'listen m2:z']);
  assert.deepEqual(one.state.exchanges.map((it) => it.answer), ['re m1', 're m2']);
});

test('a message that is pushed is heard, and nothing more while the panel is closed', async () => {
  const one = tab(browser());
  one.pushed = [['begin', { message_id: 'push_1', kind: 'push' }, 'push_1:b'], ['chunk', { message_id: 'push_1', index: 0, content: 'News' }, 'push_1:0'], ['end', { message_id: 'push_1', finish_reason: 'stop' }, 'push_1:z']];
  one.update(ask('m1'));
  await settled();
  const { kind, answer, phase } = one.state.exchanges[1];
  assert.deepEqual([kind, answer, phase], ['push', 'News', 'done']);
  const closed = tab(browser(), { open: false });
  closed.update(ask('m1'));
  await settled();
  assert.deepEqual(closed.asked, ['post m1']);
});

test('only the tab that leads sends; the next one goes on where it was', async () => {
  const shared = browser();
  const [one, two] = [tab(shared), tab(shared)];
  one.answers.m1 = [['begin', { message_id: 'm1' }, 'm1:b'], ['chunk', { message_id: 'm1', index: 0, content: 're' }, 'm1:0']];
  const asked = ask('m1');
  for (const it of [one, two]) it.update(asked);
  await settled();
  assert.deepEqual([one.asked, two.asked, two.runner.waits()], [['post m1'], [], true]);
  two.update({ type: 'synced', conversation: 'c1', changed: one.state.exchanges, gone: [] });
  one.runner.handOver();
  await settled();
  assert.deepEqual(two.asked, ['follow m1 m1:0', 'listen m1:z']);
  assert.deepEqual([two.state.exchanges[0].phase, one.asked, one.runner.waits()], ['done', ['post m1'], true]);
});

test('without locks a tab leaves alone what another one began', async () => {
  const one = tab({});
  one.update(ask('m0'));
  await settled();
  one.theirs = ['m1'];
  one.update(ask('m1'));
  await settled();
  assert.ok(!one.asked.includes('post m1'));
});

test('after a reload, old messages that may have arrived are given up, those that never left are sent', async () => {
  const one = tab(browser());
  const yesterday = Date.now() - 24 * 3600_000;
  const exchanges = [ask('m1', yesterday), { type: 'trying', id: 'm1' }, ask('m2', yesterday + 5)].reduce(apply, initialState('c1')).exchanges;
  one.update({ type: 'loaded', conversation: 'c1', exchanges, conversations: [] });
  await settled();
  assert.deepEqual([one.asked[0], one.state.exchanges.map((it) => it.trouble?.code)], ['post m2', ['interrupted', undefined]]);
});

test('another person at the browser does not see what the first one wrote', async () => {
  const kept = new Map();
  const did = [];
  let there;
  const store = { get: (key) => kept.get(key), set: (key, value) => kept.set(key, value), fresh: async () => there };
  const who = { token: '' };
  const forget = async () => {
    did.push('forget');
    kept.clear();
    who.token = '';
  };
  const identity = createIdentity({ store, who, forget, tell: ({ type }) => did.push(type), renew: () => did.push('renew') });
  const check = async (who, expected) => {
    did.length = 0;
    await identity.is(who);
    assert.deepEqual([did, kept.get('person') ?? '', identity.token() ?? ''], [expected, who.id, who.token]);
  };
  await check({ id: '', token: '' }, []);
  await check({ id: 'ada', token: 'signed' }, ['person', 'renew']);
  await check({ id: 'ada', token: 'anew' }, []);
  await check({ id: 'eve', token: 'hers' }, ['forget', 'person']);
  await check({ id: '', token: '' }, ['forget', 'person']);
  await check({ id: 'ada', token: 'signed' }, ['person', 'renew']);
  did.length = 0;
  await identity.reset();
  assert.deepEqual([did, kept.size, identity.token()], [['forget'], 0, undefined]);
  // Another tab has said so, and this one has not heard it.
  there = 'ada';
  await check({ id: 'ada', token: 'signed' }, ['person']);
  kept.clear();
  await check({ id: 'eve', token: 'hers' }, ['forget', 'person']);
});
