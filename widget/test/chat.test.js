import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { createActions } from '../js/actions.js';
import { createChat } from '../js/chat.js';
import { sentenceFor } from '../js/comment.js';
import { createIdentity } from '../js/identity.js';
import { running } from '../js/state.js';
import { install } from './fake-browser.js';
import { fakeDisk } from './fake-disk.js';

const NOW = Date.now();
/** So that it is not looked through at the start. */
const LONG_AGO = NOW - 5 * 24 * 3600_000;
const exchange = (id, more = {}) => ({ id, text: `q ${id}`, at: NOW, phase: 'done', answer: `a ${id}`, next: 1, lastEventId: '', session: '', ...more });
const summary = (id, more = {}) => ({ id, title: id, at: NOW, count: 2, unread: 0, session: null, ...more });
const session = (token) => ({ session_id: `sess_${token}`, token, token_type: 'Bearer', fingerprint: 'f'.repeat(32) });

/** Until what goes on in the background is done: keys are made, and nothing here takes longer. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 60));

/** Closed at the end of a test. */
let pages = [];
afterEach(() => {
  for (const page of pages) page.dispatchEvent(new Event('pagehide'));
  pages = [];
  mock.restoreAll();
});

/** A browser with one disk, and an edge that answers each message; `refuse` gives another answer to what was asked. */
function visitor(...kept) {
  const { page, flags } = install();
  pages.push(page);
  const disk = fakeDisk();
  for (const { exchanges = [], ...conversation } of kept) {
    disk.kept.conversations.set(conversation.id, conversation);
    for (const it of exchanges) disk.kept.exchanges.set(it.id, { ...it, conversation: conversation.id });
  }
  if (kept.length > 0) flags.set('frontdesk:shop:kept', '1');
  const desk = { asked: [], refuse: async () => undefined };
  let sessions = 0;
  mock.method(globalThis, 'fetch', async (url, { method, body, headers }) => {
    const said = body && JSON.parse(body);
    const it = { did: `${method} ${url.pathname.replace('/api/v1/', '')}`, said, token: headers.Authorization?.split(' ')[1] };
    desk.asked.push(it);
    const refused = await desk.refuse(it);
    if (refused) return refused;
    if (it.did.endsWith('session/create')) return Response.json({ ...session(`t${(sessions += 1)}`), expires_in: 3600 });
    if (method === 'DELETE') return new Response(null, { status: 204 });
    if (!it.did.endsWith('chat/message')) return new Response(null, { status: 404 });
    const events = [['begin', {}], ['chunk', { index: 0, content: `answer to ${said.message}` }], ['end', { finish_reason: 'stop' }]];
    return new Response(events.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify({ message_id: said.message_id, ...data })}\n\n`).join(''));
  });
  const tab = () => {
    const chat = createChat({ site: 'shop', base: new URL('https://chat.example/'), describe: () => ({ identity_token: identity.token() }), about: () => ({ signals: {} }), onChange() {}, openDisk: disk.open });
    const identity = createIdentity(chat);
    const on = createActions({ chat, bridge: { tell() {} }, words: () => ({}) });
    const ask = async (text) => {
      assert.ok(on.send(text), `${text} is taken`);
      // The first one makes a key, which takes as long as the machine needs for it.
      for (let turns = 0; running(chat.state()); turns += 1) {
        assert.ok(turns < 1000, `${text} has an answer`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await settled();
    };
    return { chat, identity, on, ask, texts: () => chat.state().exchanges.map((it) => it.text), titles: () => chat.state().conversations.map((it) => it.title) };
  };
  const open = async () => {
    const it = tab();
    await it.chat.start({ ask: false });
    await settled();
    return it;
  };
  return { page, flags, disk, desk, tab, open, did: (what) => desk.asked.filter((it) => it.did === what) };
}

test('what one person left unfinished is not sent in the name of the next', async () => {
  const unsent = [exchange('m2', { phase: 'sending', answer: '', next: 0, text: 'mine alone' })];
  const { disk, desk, tab } = visitor(summary('c1', { exchanges: [exchange('m1')] }), summary('c2', { at: NOW - 1, exchanges: unsent }));
  disk.kept.meta.set('person', 'ada');
  const it = tab();
  let go;
  await it.chat.start({ ask: false });
  disk.slow = new Promise((resolve) => (go = resolve));
  await it.identity.is({ id: 'eve', token: 'hers' });
  go();
  await settled();
  assert.deepEqual([it.chat.state().background, it.titles(), it.texts()], [{}, [], []]);
  assert.deepEqual(desk.asked, []);
});

test('a conversation that is deleted while it is read in is not opened', async () => {
  const { disk, open } = visitor(summary('c1', { exchanges: [exchange('m1')] }), summary('c2', { at: LONG_AGO, exchanges: [exchange('m2')] }));
  const it = await open();
  let go;
  disk.slow = new Promise((resolve) => (go = resolve));
  const opening = it.on.openConversation('c2');
  await settled();
  it.on.clear('c2');
  go();
  await opening;
  assert.deepEqual([it.chat.state().conversation, it.titles()], ['c1', ['c1']]);
});

test('who logs out is logged out in all tabs', async () => {
  const { open, did } = visitor();
  const [one, two] = [await open(), await open()];
  for (const it of [one, two]) await it.identity.is({ id: 'ada', token: 'signed' });
  await one.ask('of ada');
  assert.equal(did('POST session/create').at(-1).said.identity_token, 'signed');
  await one.identity.reset();
  await two.ask('of whom?');
  assert.deepEqual([did('POST session/create').length, did('POST session/create').at(-1).said.identity_token], [2, undefined]);
});

test('who signs in is known in all tabs, and the next person sees nothing of theirs', async () => {
  const { open, disk } = visitor();
  const [one, two] = [await open(), await open()];
  await one.identity.is({ id: 'ada', token: 'signed' });
  await one.ask('of ada');
  assert.deepEqual(two.texts(), ['of ada']);
  await two.identity.is({ id: 'eve', token: 'hers' });
  await settled();
  assert.deepEqual([one.texts(), two.texts(), one.identity.token(), disk.kept.exchanges.size], [[], [], undefined, 0]);
  // What ada's tab still had to say of her.
  await one.ask('of eve');
  assert.deepEqual([two.titles(), disk.kept.meta.get('person')], [['of eve'], 'eve']);
});

test('a limit that is over is over after a reload as well', async () => {
  const failed = exchange('m1', { phase: 'failed', answer: '', trouble: { code: 'rate_limited', retryable: true, until: NOW - 1000 } });
  const { open } = visitor(summary('c1', { exchanges: [failed] }));
  const it = await open();
  await it.ask('again');
  assert.equal(it.chat.state().exchanges.at(-1).answer, 'answer to again');
});

test('a limit of no time at all is none', async () => {
  const { open, desk } = visitor();
  const it = await open();
  desk.refuse = async ({ did }) => (did.endsWith('message') ? Response.json({ code: 'rate_limited', retry_after: 0 }, { status: 429 }) : undefined);
  await it.ask('too much');
  assert.equal(it.chat.state().exchanges[0].trouble.code, 'rate_limited');
  desk.refuse = async () => undefined;
  await it.ask('again');
});

test('what is said in another tab after everything was deleted is found again', async () => {
  const { open, flags } = visitor();
  const [one, two] = [await open(), await open()];
  await two.ask('before');
  await one.on.deleteAll();
  assert.equal(flags.get('frontdesk:shop:kept'), undefined);
  await two.ask('after');
  assert.deepEqual((await open()).texts(), ['after']);
});

test('the edge is told of what is deleted, once there is a network, even after a reload', async () => {
  const { open, desk, did, disk, page } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m1')] }));
  const it = await open();
  desk.refuse = () => Promise.reject(new TypeError('no network'));
  await it.on.deleteAll();
  await settled();
  assert.deepEqual([it.titles(), disk.kept.conversations.size, did('DELETE session').length], [[], 0, 1]);
  const next = await open();
  assert.equal(did('DELETE session').length, 2);
  desk.refuse = async () => undefined;
  page.dispatchEvent(new Event('online'));
  await settled();
  assert.ok(did('DELETE session').every(({ token }) => token === 't0'));
  const told = did('DELETE session').length;
  assert.deepEqual([next.chat.store.get('endings'), disk.kept.meta.get('endings')], [[], []]);
  page.dispatchEvent(new Event('online'));
  await settled();
  assert.equal(did('DELETE session').length, told, 'and no more once it has heard it');
});

test('nothing is kept once everything is deleted, however long the edge takes', async () => {
  const { open, desk, did, disk, flags } = visitor(...['c1', 'c2'].map((id) => summary(id, { session: session(id), exchanges: [exchange(id)] })));
  const it = await open();
  desk.refuse = ({ token }) => new Promise((resolve) => setTimeout(resolve, token === 'c1' ? 10 : 30));
  await it.on.deleteAll();
  await settled();
  assert.deepEqual([did('DELETE session').length, it.chat.store.get('endings')], [2, []]);
  assert.deepEqual([...Object.values(disk.kept).map((rows) => rows.size), flags.size], [0, 0, 0, 0]);
});

test('an ending that the edge refuses is not told again and again', async () => {
  const { open, desk, did, page } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m1')] }));
  const it = await open();
  desk.refuse = async ({ did }) => (did.startsWith('DELETE') ? Response.json({ code: 'token_expired' }, { status: 401 }) : undefined);
  it.on.clear('c1');
  await settled();
  page.dispatchEvent(new Event('online'));
  await settled();
  assert.deepEqual([did('DELETE session').length, it.chat.store.get('endings')], [1, []]);
});

/** What was anonymous is a visit of its own: the shop goes on counting it, and it goes when the chat is deleted. */
test('the session before a sign-in is kept for the figures, and deleted with the chat', async () => {
  const { open, did, disk } = visitor();
  const it = await open();
  await it.ask('of nobody');
  await it.identity.is({ id: 'ada', token: 'signed' });
  await settled();
  assert.deepEqual(did('DELETE session'), []);
  await it.ask('of ada');
  assert.equal(did('POST chat/message').at(-1).token, 't2');
  assert.deepEqual([...disk.kept.conversations.values()].map(({ session, past }) => [session.token, past.map((one) => one.token)]), [['t2', ['t1']]]);
  // Also after a reload.
  const next = await open();
  next.on.clear();
  await settled();
  assert.deepEqual(did('DELETE session').map(({ token }) => token).sort(), ['t1', 't2']);
});

test('a session that was replaced because it was over is deleted with the chat', async () => {
  const { open, desk, did } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m1')] }));
  const it = await open();
  desk.refuse = async ({ token, did }) => (token === 't0' && did.startsWith('POST') ? Response.json({ code: 'session_ended' }, { status: 410 }) : undefined);
  await it.ask('are you there?');
  it.on.clear();
  await settled();
  assert.deepEqual(did('DELETE session').map(({ token }) => token).sort(), ['t0', 't1']);
});

/** The sentence about it stays until it is done, and it is done without the visitor. */
test('a deletion that our side could not do is told, tried again, and told no more', async (t) => {
  const settle = async () => {
    for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  const { open, desk, did } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m1')] }));
  const it = await open();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  desk.refuse = async () => Response.json({ code: 'overloaded' }, { status: 503 });
  it.on.clear();
  await settle();
  assert.deepEqual([it.chat.state().undeleted, did('DELETE session').length], [1, 1]);
  t.mock.timers.tick(15_000);
  await settle();
  assert.deepEqual([it.chat.state().undeleted, did('DELETE session').length], [1, 2]);
  desk.refuse = async () => undefined;
  // Twice as long as before.
  t.mock.timers.tick(29_000);
  await settle();
  assert.equal(did('DELETE session').length, 2);
  t.mock.timers.tick(1_000);
  await settle();
  assert.deepEqual([it.chat.state().undeleted, did('DELETE session').length, it.chat.store.get('endings')], [0, 3, []]);
});

test('a comment is told with its rating, and what keeps it from arriving is said', async () => {
  const { open, desk, did } = visitor();
  const it = await open();
  await it.ask('hello');
  const { id } = it.chat.state().exchanges[0];
  desk.refuse = async ({ did }) => (did.endsWith('feedback') ? Response.json({}, { status: 202 }) : undefined);
  await it.on.rate(id, 'down');
  assert.equal(await it.on.rate(id, 'down', 'Half of it'), undefined);
  assert.deepEqual(did('POST chat/feedback').map(({ said }) => said), [{ message_id: id, rating: 'down' }, { message_id: id, rating: 'down', comment: 'Half of it' }]);
  assert.equal(it.chat.state().exchanges[0].commented, true);
  // Another rating is another word, of which nothing was written yet.
  await it.on.rate(id, 'up');
  assert.deepEqual([it.chat.state().exchanges[0].rating, it.chat.state().exchanges[0].commented], ['up', false]);
  for (const [status, sentence] of [[400, 'rejected'], [429, 'limited_title'], [403, 'error']]) {
    desk.refuse = async () => Response.json({ code: 'x' }, { status });
    assert.equal(sentenceFor(await it.on.rate(id, 'up', 'x')), sentence);
  }
  desk.refuse = () => Promise.reject(new TypeError('no network'));
  assert.equal(sentenceFor(await it.on.rate(id, 'up', 'x')), 'unreachable');
  assert.equal(it.chat.state().exchanges[0].commented, false);
});

test('one answer about keeping, for all tabs', async () => {
  const { disk, tab } = visitor();
  const [one, two] = [tab(), tab()];
  for (const it of [one, two]) await it.chat.start({ ask: true });
  await one.ask('first');
  await two.ask('second');
  assert.equal(disk.opened, 0);
  const [mine, theirs] = [one, two].map((it) => it.chat.store.get('keys'));
  assert.notEqual(mine, theirs);
  await one.on.consent('granted');
  await settled();
  assert.deepEqual([two.chat.state().consent, two.chat.store.keeping(), disk.kept.exchanges.size], ['granted', 'disk', 2]);
  assert.ok([mine, theirs].includes(disk.kept.meta.get('keys')));
  for (const it of [one, two]) assert.equal(it.chat.store.get('keys'), disk.kept.meta.get('keys'), 'and one key');
  await two.on.consent('denied');
  await settled();
  assert.deepEqual([one.chat.state().consent, one.chat.state().keeping, disk.kept.exchanges.size], ['denied', 'memory', 0]);
});

test('what is said while a tab starts is not lost', async () => {
  const { disk, tab, open } = visitor(summary('c1', { exchanges: [exchange('m1')] }));
  const one = await open();
  let go;
  disk.slow = new Promise((resolve) => (go = resolve));
  const two = tab();
  const starting = two.chat.start({ ask: false });
  await settled();
  await one.ask('there');
  assert.ok(two.on.send('here'));
  go();
  await starting;
  await settled();
  assert.deepEqual(two.texts(), ['q m1', 'there', 'here']);
  assert.deepEqual([two.chat.state().exchanges.at(-1).answer, disk.kept.exchanges.size], ['answer to here', 3]);
});

test('a disk that cannot be read shows no conversation as empty', async () => {
  const { disk, open } = visitor(summary('c1', { exchanges: [exchange('m1')] }), summary('c2', { at: LONG_AGO, exchanges: [exchange('m2')] }));
  const it = await open();
  disk.slow = Promise.reject(new Error('broken'));
  await it.on.openConversation('c2');
  assert.deepEqual([it.chat.state().conversation, it.titles()], ['c1', ['c1', 'c2']]);
  disk.slow = undefined;
  await it.on.openConversation('c2');
  assert.deepEqual(it.texts(), ['q m2']);
});

test('what another version of the chat says is not taken for what it is not', async () => {
  const { open } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m1')] }));
  const it = await open();
  const other = new BroadcastChannel();
  const by = '';
  other.postMessage({ type: 'changes', by, lists: [{ conversation: 'c1', changed: [exchange('m2', { phase: 'dreaming' })], gone: [] }], summaries: [] });
  other.postMessage({ type: 'session', by, conversation: 'c1', session: { id: 'of another kind' } });
  assert.deepEqual([it.texts(), it.chat.store.slot('c1').session()], [['q m1'], null]);
  other.postMessage({ type: 'changes', by, lists: [{ conversation: 'c1', changed: [exchange('m2', { at: NOW + 1 })], gone: [] }], summaries: [] });
  assert.deepEqual(it.texts(), ['q m1', 'q m2']);
});

test('what may have arrived is tried again under its own id, in all tabs', async () => {
  const failed = (code) => exchange('m1', { phase: 'failed', answer: '', next: 0, tried: true, trouble: { code, retryable: true } });
  for (const [code, same] of [['unreachable', true], ['error', true], ['upstream_timeout', false]]) {
    const { open, did, disk } = visitor(summary('c1', { exchanges: [failed(code)] }));
    const [one, two] = [await open(), await open()];
    one.on.retry();
    await settled();
    const [{ said }] = did('POST chat/message');
    assert.equal(said.message_id === 'm1', same, code);
    for (const { chat } of [one, two]) assert.deepEqual(chat.state().exchanges.map((it) => [it.id, it.answer]), [[said.message_id, 'answer to q m1']]);
    assert.equal((await one.chat.store.exchanges('c1'))[0].phase, 'done');
    assert.deepEqual([...disk.kept.exchanges.values()].map((it) => it.phase), ['done']);
    mock.restoreAll();
  }
});

test('what may have arrived and is taken back is cancelled once there is a network', async () => {
  const sending = exchange('m1', { at: NOW + 1, phase: 'sending', answer: '', next: 0, tried: true });
  const { open, did, desk, page } = visitor(summary('c1', { session: session('t0'), exchanges: [exchange('m0'), sending] }));
  navigator.onLine = false;
  desk.refuse = () => Promise.reject(new TypeError('no network'));
  const it = await open();
  it.on.edit();
  await settled();
  assert.deepEqual([it.chat.state().draft, did('POST chat/cancel').length], [{ text: 'q m1' }, 1]);
  navigator.onLine = true;
  desk.refuse = async ({ did }) => (did.endsWith('cancel') ? new Response(null, { status: 202 }) : undefined);
  page.dispatchEvent(new Event('online'));
  await settled();
  assert.deepEqual(did('POST chat/cancel').map(({ said }) => said.message_id), ['m1', 'm1']);
  assert.equal(did('POST chat/message').length, 0);
});
