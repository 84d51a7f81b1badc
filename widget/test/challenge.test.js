import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, mock, test } from 'node:test';
import { createApi, Problem } from '../js/api.js';
import { answer } from '../js/challenge.js';
import { search, sha256 } from '../js/pow.js';

const hex = (words) => Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
const hash = (text) => createHash('sha256').update(text).digest();

afterEach(() => mock.restoreAll());

test('the hash is SHA-256, for every length around a block', () => {
  for (let length = 0; length < 200; length += 1) {
    const text = 'aB3-_'.repeat(40).slice(0, length);
    assert.equal(hex(sha256(text)), hash(text).toString('hex'), `${length} characters`);
  }
});

test('the first good counter is found', () => {
  for (const difficulty of [0, 1, 7, 8, 9, 12]) {
    const found = search('a-challenge', difficulty, 0, Infinity);
    const zeros = (text) => {
      const bits = BigInt(`0x${hash(text).toString('hex')}`).toString(2);
      return 256 - bits.length;
    };
    assert.ok(zeros(found) >= difficulty, found);
    const counter = Number(found.split(':')[1]);
    for (let before = 0; before < counter; before += 1) assert.ok(zeros(`a-challenge:${before}`) < difficulty, `${before} was good, too`);
    assert.equal(search('a-challenge', difficulty, 0, counter), undefined);
  }
});

test('without a worker the page does the work, and can be stopped', async () => {
  // There is no Worker in Node: this is what a browser without them does.
  assert.equal(globalThis.Worker, undefined);
  const challenge = { type: 'pow', algorithm: 'sha-256', challenge: 'x', difficulty: 12 };
  assert.equal(await answer(challenge), search('x', 12, 0, Infinity));
  const stop = new AbortController();
  const endless = answer({ ...challenge, difficulty: 30 }, stop.signal);
  stop.abort();
  await assert.rejects(endless, { name: 'AbortError' });
});

test('what it does not know it does not answer', async () => {
  const good = { type: 'pow', algorithm: 'sha-256', challenge: 'x', difficulty: 1 };
  const check = async (with_) => assert.equal(await answer({ ...good, ...with_ }), undefined, JSON.stringify(with_));
  await check({ type: 'turnstile' });
  await check({ type: 'riddle', site_key: 'x' });
  await check({ algorithm: 'scrypt' });
  await check({ challenge: undefined });
  await check({ difficulty: 31 });
  await check({ difficulty: '1' });
});

/** An edge that asks for work as long as `asks` says so, and notes what it gets. */
function edge(asks) {
  const got = [];
  mock.method(globalThis, 'fetch', async (url, init) => {
    const response = init.headers['X-Challenge-Response'];
    got.push(response);
    if (asks(got.length, response)) {
      const challenge = { type: 'pow', algorithm: 'sha-256', challenge: `c${got.length}`, difficulty: 4 };
      return Response.json({ code: 'challenge_required', challenge }, { status: 403 });
    }
    return Response.json({ session_id: 's1', token: 't1' });
  });
  let session = null;
  const store = { session: () => session, keepSession: (it) => (session = it) };
  const api = createApi({ base: new URL('http://127.0.0.1/'), store, fingerprint: async () => 'f'.repeat(32), signer: { publicKey: async () => null, sign: async () => '', correct() {} }, describe: () => ({}) });
  return { api, got };
}

test('a challenged request is sent again with its answer', async () => {
  const { api, got } = edge((count) => count === 1);
  assert.equal((await api.ensureSession()).session_id, 's1');
  assert.deepEqual(got, [undefined, search('c1', 4, 0, Infinity)]);
});

test('an edge that is never content is not asked for ever', async () => {
  const { api, got } = edge(() => true);
  await assert.rejects(api.ensureSession(), (error) => error instanceof Problem && error.code === 'challenge_required');
  assert.equal(got.length, 3);
});
