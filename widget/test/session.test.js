import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import { CLOSED, createApi } from '../js/api.js';
import { createSigner } from '../js/proof.js';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const newKeys = () => crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
const noKeys = () => Promise.reject(new Error('none'));
const MINUTE = 60_000;

afterEach(() => mock.restoreAll());

/** An api and its store, by a clock that stands. `answer` gets path and token of each call, and gives status and body. */
function desk(answer, keys = noKeys) {
  const clock = { now: 1_800_000_000_000 };
  mock.method(Date, 'now', () => clock.now);
  const asked = [];
  mock.method(globalThis, 'fetch', async (url, init) => {
    const token = init.headers.Authorization?.split(' ')[1];
    asked.push({ did: `${init.method} ${url.pathname.replace('/api/v1/', '')}${token ? ` ${token}` : ''}`, ...init });
    const [status, body] = await answer(asked.at(-1).did, asked.length);
    return new Response(status === 204 ? null : JSON.stringify(body), { status });
  });
  let session = null;
  const store = { session: () => session, keepSession: (it) => (session = it) };
  const options = { base: new URL('https://chat.example/'), store, fingerprint: async () => 'f'.repeat(32), describe: () => ({}) };
  return { api: createApi({ ...options, signer: createSigner(keys) }), clock, store, asked, did: () => asked.map((it) => it.did) };
}

/** An edge whose tokens are `t1`, `t2` and so on, each good for `expires_in`; `refuse` gives other answers. */
function edge(expires_in, refuse = () => undefined) {
  let tokens = 0;
  return async (did) => {
    const refused = await refuse(did);
    if (refused) return refused;
    const makes = did.includes('session/create') || did.includes('session/refresh');
    return makes ? [200, { session_id: 'sess_1_1', token: `t${(tokens += 1)}`, token_type: 'Bearer', expires_in }] : [202, {}];
  };
}

test('a token is refreshed ahead of the call that would be among its last', async () => {
  const check = async (expires_in, afterMs, expected) => {
    const { api, clock, did } = desk(edge(expires_in));
    await api.ensureSession();
    clock.now += afterMs;
    await api.cancel('message-1');
    assert.deepEqual(did().slice(1), expected, `${expires_in} s, after ${afterMs} ms`);
    mock.restoreAll();
  };
  const kept = ['POST chat/cancel t1'];
  const refreshed = ['POST session/refresh t1', 'POST chat/cancel t2'];
  // A quarter of an hour before the end of a long one: the edge ends a stream after ten minutes. At half the time of a short one.
  await check(3600, 45 * MINUTE, kept);
  await check(3600, 45 * MINUTE + 1, refreshed);
  await check(600, 5 * MINUTE, kept);
  await check(600, 5 * MINUTE + 1, refreshed);
  // Too late: the edge says what is to be done.
  await check(600, 10 * MINUTE, kept);
  await check(undefined, 0, kept);
});

test('what was refreshed is kept, and lasts again', async () => {
  const { api, clock, store, did } = desk(edge(600));
  await api.ensureSession();
  clock.now += 9.5 * MINUTE;
  await api.cancel('message-1');
  assert.deepEqual([store.session().token, store.session().expires_at], ['t2', clock.now + 10 * MINUTE]);
  clock.now += 4 * MINUTE;
  await api.cancel('message-2');
  assert.equal(did().at(-1), 'POST chat/cancel t2');
  assert.equal(did().length, 4);
});

test('calls at the same time share one refresh', async () => {
  const { api, clock, did } = desk(edge(600));
  await api.ensureSession();
  clock.now += 9.5 * MINUTE;
  await Promise.all([api.cancel('message-1'), api.cancel('message-2'), api.cancel('message-3')]);
  assert.deepEqual(did().slice(1), ['POST session/refresh t1', ...Array(3).fill('POST chat/cancel t2')]);
});

test('a refresh that fails breaks nothing, and the next call tries again', async () => {
  const failures = [
    () => [503, { code: 'overloaded' }],
    () => [429, { code: 'rate_limited', retry_after: 5 }],
    () => [200, {}],
    () => Promise.reject(new TypeError('no network')),
  ];
  for (const fail of failures) {
    let failing = true;
    const { api, clock, did } = desk(edge(600, (said) => (failing && said.includes('refresh') ? fail() : undefined)));
    await api.ensureSession();
    clock.now += 9.5 * MINUTE;
    await api.cancel('message-1');
    assert.deepEqual(did().slice(1), ['POST session/refresh t1', 'POST chat/cancel t1']);
    failing = false;
    await api.cancel('message-2');
    assert.deepEqual(did().slice(3), ['POST session/refresh t1', 'POST chat/cancel t2']);
    mock.restoreAll();
  }
});

test('an expired token is not worth a refresh: the session is replaced', async () => {
  const { api, clock, did } = desk(edge(600, (said) => (said.endsWith(' t1') ? [401, { code: 'token_expired' }] : undefined)));
  await api.ensureSession();
  clock.now += 11 * MINUTE;
  await api.cancel('message-1');
  assert.deepEqual(did().slice(1), ['POST chat/cancel t1', 'POST session/create', 'POST chat/cancel t2']);
});

test('a session that is over is replaced once; refused again, the chat is closed', async () => {
  for (const code of ['token_invalid', 'session_ended', 'fingerprint_mismatch']) {
    const { api, did } = desk(edge(600, (said) => (said.startsWith('POST chat/message') ? [401, { code }] : undefined)));
    await assert.rejects(api.postMessage({ message: 'Hi', message_id: 'message-1' }), { code: CLOSED });
    assert.deepEqual(did(), ['POST session/create', 'POST chat/message t1', 'POST session/create', 'POST chat/message t2']);
    mock.restoreAll();
  }
  // There is no other session to be had either.
  let made = 0;
  const { api } = desk(edge(600, (said) => (said.startsWith('POST chat/message') || (made += 1) > 1 ? [401, { code: 'unauthorized' }] : undefined)));
  await assert.rejects(api.postMessage({ message: 'Hi', message_id: 'message-1' }), { code: CLOSED });
});

test('the session that another tab has made meanwhile is taken, not replaced', async () => {
  const { api, did, store } = desk(edge(600, (said) => (said.endsWith('cancel t1') ? [401, { code: 'token_expired' }] : undefined)));
  await api.ensureSession();
  store.latest = async () => ({ ...store.session(), token: 'other' });
  await api.cancel('message-1');
  assert.deepEqual(did().slice(1), ['POST chat/cancel t1', 'POST chat/cancel other']);
});

test('nobody gets a session only to listen', async () => {
  const none = desk(edge(600));
  await assert.rejects(none.api.listen('', new AbortController().signal), { code: 'unauthorized' });
  assert.deepEqual(none.did(), []);
  mock.restoreAll();
  const over = desk(edge(600, (said) => (said.includes('chat/stream') ? [410, { code: 'session_ended' }] : undefined)));
  await over.api.ensureSession();
  await assert.rejects(over.api.listen('m1:z', new AbortController().signal), { code: 'session_ended' });
  assert.deepEqual([over.did(), over.asked[1].headers['Last-Event-ID'], over.store.session().token], [['POST session/create', 'GET chat/stream/sess_1_1 t1'], 'm1:z', 't1']);
});

test('a session that ends while it is refreshed is not brought back', async () => {
  let answer;
  const ended = new Promise((resolve) => (answer = resolve));
  const { api, clock, store } = desk(edge(600, async (said) => {
    if (said.includes('refresh')) await ended;
  }));
  await api.ensureSession();
  clock.now += 9.5 * MINUTE;
  const call = api.cancel('message-1');
  await api.end();
  answer();
  await call;
  assert.equal(store.session(), null);
});

test('the end of a session is told even by a wrong clock, or when it was sent twice, and by a page that is left', async () => {
  const serverTime = new Date(1_800_000_000_000 + 3_600_000).toISOString();
  for (const refusal of [{ code: 'proof_invalid', server_time: serverTime }, { code: 'proof_replayed' }]) {
    const answers = [[200, { session_id: 'sess_1_1', token: 't1', token_type: 'DPoP' }], [401, refusal], [204]];
    const { api, asked, did } = desk(() => answers.shift(), newKeys);
    await api.ensureSession();
    await api.end();
    assert.deepEqual(did().slice(1), ['DELETE session t1', 'DELETE session t1']);
    assert.deepEqual(asked.map((it) => it.keepalive), [false, true, true]);
    const [first, second] = asked.slice(1).map((it) => JSON.parse(Buffer.from(it.headers.DPoP.split('.')[1], 'base64url')));
    assert.notEqual(first.jti, second.jti);
    assert.equal(second.iat - first.iat, refusal.server_time ? 3600 : 0);
    mock.restoreAll();
  }
});

test('the end of a session is not repeated for ever', async () => {
  const answers = [[200, { session_id: 'sess_1_1', token: 't1', token_type: 'DPoP' }], ...Array(3).fill([401, { code: 'proof_replayed' }])];
  const { api, store, asked } = desk(() => answers.shift(), newKeys);
  await api.ensureSession();
  await assert.rejects(api.end(), { code: 'proof_replayed' });
  assert.deepEqual([asked.length, store.session()], [3, null]);
});

test('all that is done about a message is one trace, and no call is another', async () => {
  const { api, asked } = desk(edge(3600));
  const id = '0af7651916cd43dd8448eb211c80319c';
  const { signal } = new AbortController();
  await api.postMessage({ message: 'hi', message_id: id }, signal);
  await api.follow(id, 'sess_1_1', `${id}:0`, signal);
  await api.cancel(id, 'sess_1_1');
  const parents = asked.slice(1).map((it) => it.headers.traceparent);
  for (const parent of parents) assert.match(parent, new RegExp(`^00-${id}-[0-9a-f]{16}-01$`));
  assert.equal(new Set(parents).size, 3);
  // What a workflow sent by itself has an id that is no trace's.
  await api.follow(`push_${id.slice(8)}`, 'sess_1_1', '', signal);
  assert.equal(asked.at(-1).headers.traceparent, undefined);
  assert.equal(asked.at(-1).headers.Accept, 'text/event-stream');
});
