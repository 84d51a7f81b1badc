import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { MAX_AGE_MS, MAX_CONVERSATIONS, MAX_MESSAGES, countOf, fit } from '../js/keep.js';
import { oldExchanges } from '../js/migrate.js';
import { createStore } from '../js/store.js';
import { fakeDisk } from './fake-disk.js';

afterEach(() => mock.timers.reset());

const NOW = Date.now();
const exchange = (id, at = NOW, more = {}) => ({ id, text: `q ${id}`, at, phase: 'done', answer: `a ${id}`, next: 1, lastEventId: '', session: 's', ...more });
const summary = (id, at = NOW) => ({ id, title: `title ${id}`, at, count: 2, unread: 0 });
const asked = (conversation, ...changed) => ({ lists: [{ conversation, changed, gone: [] }], summaries: [summary(conversation)] });

function fakeFlags() {
  const kept = new Map();
  return { kept, get: (key) => kept.get(key) ?? null, set: (key, value) => kept.set(key, value), remove: (key) => kept.delete(key) };
}

/** A store, as it is after the page was loaded; `again` is the next load. */
async function visit(disk = fakeDisk(), flags = fakeFlags(), ask = false) {
  const keeping = [];
  const store = createStore('shop', { openDisk: disk.open, flags, onKeeping: (it) => keeping.push(it) });
  await store.open({ ask });
  return { store, disk, flags, keeping, again: () => visit(disk, flags, ask) };
}

test('nothing is opened or kept before the first message', async () => {
  const { store, disk, flags } = await visit();
  store.set('sound', true);
  await store.flush();
  assert.deepEqual([disk.opened, flags.kept.size], [0, 0]);
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  assert.deepEqual([disk.opened, disk.kept.exchanges.size, flags.get('kept'), disk.kept.meta.get('sound')], [1, 1, '1', true]);
});

test('a reload brings back conversations, their exchanges in order, and their sessions', async () => {
  const { store, again } = await visit();
  store.keep(asked('c1', exchange('m1', NOW - 2), exchange('m2', NOW - 1)), false);
  store.slot('c1').keepSession({ session_id: 's1', token: 't1', fingerprint: 'f' });
  store.keep({ ...asked('c2', exchange('m3')), summaries: [summary('c2', NOW + 5)] }, false);
  await store.flush();
  const { store: next } = await again();
  assert.deepEqual(next.summaries().map((it) => it.id), ['c2', 'c1']);
  assert.ok(!('session' in next.summaries()[1]), 'a list shows no tokens');
  assert.deepEqual((await next.exchanges('c1')).map((it) => it.id), ['m1', 'm2']);
  assert.deepEqual([next.slot('c1').session().token, next.slot('c2').session()], ['t1', null]);
  assert.deepEqual(next.withSession(), ['c1']);
});

test('a growing answer is written down now and then, and all of it in the end', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { store, disk } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  for (let i = 0; i < 20; i += 1) store.keep({ lists: [{ conversation: 'c1', changed: [exchange('m1', NOW, { answer: `${i}`, phase: 'streaming', next: i })], gone: [] }], summaries: [] }, true);
  assert.equal(disk.writes, 1);
  mock.timers.tick(400);
  await store.flush();
  assert.deepEqual([disk.writes, disk.kept.exchanges.get('m1').answer], [2, '19']);
});

test('what is taken back or deleted is gone', async () => {
  const { store, disk } = await visit();
  store.keep(asked('c1', exchange('m1'), exchange('m2')), false);
  store.keep(asked('c2', exchange('m3')), false);
  await store.flush();
  store.keep({ lists: [{ conversation: 'c1', changed: [], gone: ['m2'] }], summaries: [] }, false);
  store.remove('c2');
  await store.flush();
  assert.deepEqual([[...disk.kept.exchanges.keys()], [...disk.kept.conversations.keys()]], [['m1'], ['c1']]);
  store.keep({ lists: [{ conversation: 'c1', changed: [], gone: ['m1'] }], summaries: [] }, false);
  await store.flush();
  assert.equal(disk.kept.conversations.size, 0, 'a conversation of nothing');
});

test('two hundred messages of a conversation, and none that is older than thirty days', async () => {
  const many = Array.from({ length: 150 }, (_, i) => exchange(`m${i}`, NOW - 1000 + i));
  assert.deepEqual([countOf(fit(many)), fit(many).at(-1).id], [MAX_MESSAGES, 'm149']);
  const pushes = many.map((it) => ({ ...it, text: '', kind: 'push' }));
  assert.equal(fit(pushes), pushes, 'a pushed message is one message');
  const old = [exchange('old', NOW - MAX_AGE_MS - 1), exchange('new', NOW)];
  assert.deepEqual([fit(old).length, fit(old, NOW).map((it) => it.id)], [2, ['new']]);

  const { store, disk, again } = await visit();
  store.keep({ ...asked('c1', ...old), summaries: [summary('c1'), summary('c0', NOW - MAX_AGE_MS - 1)] }, false);
  await store.flush();
  const { store: next } = await again();
  assert.deepEqual((await next.exchanges('c1')).map((it) => it.id), ['new']);
  assert.deepEqual(next.summaries().map((it) => it.id), ['c1']);
  await next.flush();
  assert.deepEqual([[...disk.kept.exchanges.keys()], [...disk.kept.conversations.keys()]], [['new'], ['c1']], 'nor are they kept');
});

test('the oldest of very many conversations go', async () => {
  const { store } = await visit();
  for (let i = 0; i < MAX_CONVERSATIONS + 3; i += 1) store.keep({ ...asked(`c${i}`, exchange(`m${i}`)), summaries: [summary(`c${i}`, NOW + i)] }, false);
  const ids = store.summaries().map((it) => it.id);
  assert.deepEqual([ids.length, ids[0], ids.includes('c2')], [MAX_CONVERSATIONS, `c${MAX_CONVERSATIONS + 2}`, false]);
});

test('where there is no room the oldest go, as many as it takes', async () => {
  const { store, disk, keeping } = await visit();
  store.keep(asked('c1', ...Array.from({ length: 50 }, (_, i) => exchange(`m${i}`, NOW - 100 + i))), false);
  await store.flush();
  disk.fail = () => (disk.kept.exchanges.size > 15 ? 'QuotaExceededError' : undefined);
  store.keep(asked('c1', exchange('newest', NOW + 1)), false);
  await store.flush();
  assert.deepEqual([disk.kept.exchanges.size, disk.kept.exchanges.has('newest'), disk.kept.exchanges.has('m0')], [11, true, false]);
  assert.equal(keeping.at(-1), 'disk');
  disk.fail = () => 'QuotaExceededError';
  store.keep(asked('c1', exchange('too much', NOW + 2)), false);
  await store.flush();
  assert.equal(keeping.at(-1), 'memory', 'a disk without room for one message is none');
  assert.equal((await store.exchanges('c1')).at(-1).id, 'too much');
});

for (const refuse of ['SecurityError', 'UnknownError', 'InvalidStateError']) {
  test(`memory does where the browser denies storage (${refuse})`, async () => {
    const disk = fakeDisk();
    disk.refuse = refuse;
    const { store, keeping } = await visit(disk);
    store.keep(asked('c1', exchange('m1')), false);
    await store.flush();
    store.slot('c1').keepSession({ session_id: 's1', token: 't1', fingerprint: 'f' });
    assert.deepEqual([keeping.at(-1), store.slot('c1').session().token, (await store.exchanges('c1')).length], ['memory', 't1', 1]);
    assert.equal(await store.once('salt', async () => 'made'), 'made');
    const opened = disk.opened;
    store.keep(asked('c1', exchange('m2')), false);
    await store.flush();
    assert.equal(disk.opened, opened, 'it is not asked again and again');
  });
}

test('a connection that the browser closed is opened once more', async () => {
  const { store, disk, keeping } = await visit();
  let failures = 1;
  disk.fail = () => (failures-- > 0 ? 'InvalidStateError' : undefined);
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  assert.deepEqual([disk.opened, disk.kept.exchanges.size, keeping.at(-1)], [2, 1, 'disk']);
});

test('without an answer nothing is kept; with a yes everything, with a no nothing any more', async () => {
  const { store, disk, flags, keeping, again } = await visit(fakeDisk(), fakeFlags(), true);
  store.keep(asked('c1', exchange('m1')), false);
  const pair = await store.once('keys', async () => 'pair');
  await store.flush();
  assert.deepEqual([store.consent(), disk.opened, flags.kept.size, keeping.at(-1)], ['unasked', 0, 0, 'memory']);
  await store.setConsent('granted');
  await store.flush();
  assert.deepEqual([disk.kept.exchanges.size, disk.kept.meta.get('keys'), keeping.at(-1)], [1, pair, 'disk']);
  assert.equal((await again()).store.consent(), 'granted');
  await store.setConsent('denied');
  store.keep(asked('c1', exchange('m2')), false);
  await store.flush();
  assert.deepEqual([disk.kept.exchanges.size, disk.kept.meta.size, [...flags.kept], keeping.at(-1)], [0, 0, [['consent', 'denied']], 'memory']);
  assert.equal((await store.exchanges('c1')).length, 2, 'the chat goes on');
  const next = await again();
  assert.deepEqual([next.store.consent(), next.store.summaries()], ['denied', []]);
});

test('forgotten is forgotten, on the disk as well', async () => {
  const { store, disk, again } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  store.set('person', 'ada');
  await store.flush();
  store.keep(asked('c1', exchange('m2')), true);
  store.forget();
  await store.erase();
  assert.deepEqual([store.summaries(), await store.exchanges('c1'), store.get('person')], [[], null, undefined]);
  assert.deepEqual([disk.kept.exchanges.size, disk.kept.meta.size], [0, 0]);
  const opened = disk.opened;
  await again();
  assert.equal(disk.opened, opened, 'and nothing is opened');
});

test('the session that another tab refreshed is found', async () => {
  const { store, again } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  const old = { session_id: 's1', token: 't1', fingerprint: 'f' };
  store.slot('c1').keepSession(old);
  await store.flush();
  const { store: other } = await again();
  other.slot('c1').keepSession({ ...old, token: 't2' });
  await other.flush();
  assert.equal(store.slot('c1').session().token, 't1');
  assert.equal((await store.slot('c1').latest()).token, 't2');
});

test('one key pair for two tabs that make it at once', async () => {
  const disk = fakeDisk();
  const [one, two] = await Promise.all([visit(disk), visit(disk)]);
  for (const { store } of [one, two]) store.keep(asked('c1', exchange('m1')), false);
  assert.equal(await one.store.once('keys', async () => 'first'), 'first');
  assert.equal(await two.store.once('keys', async () => 'second'), 'first');
});

test('what cannot be made is no fault of the disk', async () => {
  const { store, disk, keeping } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  await assert.rejects(store.once('keys', async () => { throw new TypeError('no crypto.subtle'); }), TypeError);
  await store.flush();
  assert.deepEqual([keeping.at(-1), disk.kept.exchanges.size], ['disk', 1]);
});

test('what earlier versions kept comes along once', async () => {
  const flags = fakeFlags();
  flags.set('session', JSON.stringify({ session_id: 's1', token: 't1', token_type: 'Bearer', fingerprint: 'f' }));
  flags.set('exchanges', JSON.stringify([exchange('m1', NOW - 1), exchange('m2', NOW - 1), { broken: true }]));
  flags.set('fingerprint', 'f');
  const { store, disk } = await visit(fakeDisk(), flags);
  await store.flush();
  const [{ id, title, count }] = store.summaries();
  assert.deepEqual([title, count, store.slot(id).session().token], ['q m1', 4, 't1']);
  assert.deepEqual((await store.exchanges(id)).map((it) => it.id), ['m1', 'm2']);
  assert.deepEqual([disk.kept.exchanges.size, [...flags.kept.keys()]], [2, ['kept']]);
  assert.deepEqual(oldExchanges('nonsense'), []);
  assert.deepEqual(oldExchanges([exchange('a', NOW), exchange('b', NOW)]).map((it) => it.at), [NOW, NOW + 1]);
});

test('what is begun again half-way is one conversation, and nothing is lost before it is kept', async () => {
  const flags = fakeFlags();
  flags.set('session', JSON.stringify({ session_id: 's1', token: 1 }));
  flags.set('exchanges', JSON.stringify([exchange('m1')]));
  const disk = fakeDisk();
  const asks = await visit(disk, flags, true);
  assert.deepEqual([asks.store.summaries().map((it) => it.id), disk.opened], [['m1'], 0]);
  assert.ok(flags.get('exchanges'), 'without an answer nothing is written down, so it stays where it was');
  const one = await visit(disk, flags);
  assert.equal(one.store.slot('m1').session(), null, 'what is no session is none');
  flags.set('exchanges', JSON.stringify([exchange('m1')]));
  const two = await visit(disk, flags);
  assert.deepEqual([two.store.summaries().map((it) => it.id), disk.kept.exchanges.size, flags.get('exchanges')], [['m1'], 1, null]);
});

test('what could not be erased is erased before anything else is read or written', async () => {
  const { store, disk, again } = await visit();
  store.keep(asked('c1', exchange('m1', NOW, { text: 'of ada' })), false);
  await store.flush();
  disk.fail = () => 'UnknownError';
  store.keep(asked('c1', exchange('m2')), false);
  await store.flush();
  assert.equal(store.keeping(), 'memory', 'it was given up');
  store.forget();
  await store.erase();
  disk.fail = () => undefined;
  assert.equal(disk.kept.exchanges.size, 1);
  const { store: next } = await again();
  assert.deepEqual([next.summaries(), disk.kept.exchanges.size], [[], 0]);
  next.keep(asked('c2', exchange('m3')), false);
  await next.flush();
  assert.deepEqual((await again()).store.summaries().map((it) => it.id), ['c2']);
});

test('a disk that was given up is erased all the same', async () => {
  const { store, disk } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  disk.fail = () => 'UnknownError';
  store.keep(asked('c1', exchange('m2')), false);
  await store.flush();
  disk.fail = () => undefined;
  store.forget();
  await store.erase();
  assert.equal(disk.kept.exchanges.size, 0);
});

test('what a broken version left is not shown', async () => {
  const { store, disk, again } = await visit();
  store.keep(asked('c1', exchange('m1'), exchange('m2', NOW, { phase: 'dreaming' }), exchange('m3', NOW, { next: undefined })), false);
  await store.flush();
  disk.kept.conversations.get('c1').session = { token: 7 };
  const { store: next } = await again();
  assert.deepEqual([(await next.exchanges('c1')).map((it) => it.id), next.slot('c1').session()], [['m1'], null]);
});

test('a connection that the browser closed is opened anew for a read as well', async () => {
  const { store, disk, again, keeping } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  const { store: next } = await again();
  disk.hangUp();
  assert.deepEqual((await next.exchanges('c1')).map((it) => it.id), ['m1']);
  disk.hangUp();
  await next.reread();
  assert.deepEqual([next.summaries().length, keeping.at(-1)], [1, 'disk']);
});

test('memory is cleared only for what was read', async () => {
  const { store, disk } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  await store.flush();
  disk.hangUp();
  disk.refuse = 'UnknownError';
  await store.reread();
  assert.deepEqual([store.summaries().length, (await store.exchanges('c1')).length, store.keeping()], [1, 1, 'memory']);
});

test('a conversation knows all its sessions of the last month, and not of longer ago', async () => {
  const { store, disk } = await visit();
  store.keep(asked('c1', exchange('m1')), false);
  const day = 24 * 3600_000;
  const session = (n, expires_at) => ({ session_id: `s${n}`, token: `t${n}`, fingerprint: 'f', expires_at });
  const past = async () => {
    await store.flush();
    return disk.kept.conversations.get('c1').past.map((one) => one.session_id);
  };
  // Each is over when the next one comes.
  store.slot('c1').keepSession(session('old', NOW - 31 * day - 1));
  store.slot('c1').keepSession(session('month', NOW - 30 * day));
  store.slot('c1').keepSession({ session_id: 'unknown', token: 't', fingerprint: 'f' });
  for (let n = 0; n < 60; n += 1) store.slot('c1').keepSession(session(n, NOW));
  assert.deepEqual((await past()).slice(0, 3), ['smonth', 'unknown', 's0']);
  assert.equal((await past()).length, 61, 'many of one day are no reason to forget one');
  for (let n = 60; n < 400; n += 1) store.slot('c1').keepSession(session(n, NOW));
  assert.deepEqual([(await past()).length, (await past()).at(-1)], [300, 's398']);
});
