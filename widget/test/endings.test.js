/** What the edge is still to be told of sessions that are over, and how many of them are said to be left. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { createEndings } from '../js/endings.js';

const BASE = new URL('https://desk.example/');
const ending = (token) => ({ session: { session_id: `s-${token}`, token, token_type: 'Bearer', fingerprint: 'f' } });

/** @type {Map<string, () => void>} */
let page;
/** By token, what the edge answers. @type {Record<string, () => Promise<Response> | Response>} */
let edge;
/** @type {string[]} */
let told;

beforeEach(() => {
  [page, edge, told] = [new Map(), {}, []];
  mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.addEventListener = (name, act) => page.set(name, act);
  mock.method(globalThis, 'fetch', async (_, { headers }) => {
    const token = headers.Authorization.split(' ')[1];
    told.push(token);
    return edge[token]?.() ?? new Response(null, { status: 204 });
  });
});

afterEach(() => {
  delete globalThis.addEventListener;
  mock.restoreAll();
  mock.timers.reset();
});

function visitor(...tokens) {
  const kept = new Map([['endings', tokens.map(ending)]]);
  const left = [];
  const store = { get: (key) => kept.get(key), set: (key, value) => void kept.set(key, value) };
  const endings = createEndings({ base: BASE, store, onLeft: (n) => left.push(n) });
  return { endings, left, end: (token) => kept.set('endings', [...kept.get('endings'), ending(token)]), waiting: () => kept.get('endings').map(({ session }) => session.token), none: () => kept.set('endings', []) };
}

const settled = async () => {
  for (let i = 0; i < 50; i += 1) await null;
  await new Promise((resolve) => setImmediate(resolve));
};
const busy = () => new Response('{"code":"overloaded"}', { status: 503 });

test('what is under way is not said to be left', async () => {
  let answer;
  edge.slow = () => new Promise((resolve) => (answer = resolve));
  const it = visitor('slow');
  it.endings.update();
  await settled();
  it.end('quick');
  it.endings.update();
  await settled();
  assert.deepEqual([told, it.left, it.waiting()], [['slow', 'quick'], [0], ['slow']]);
  // Nor is it told twice.
  page.get('online')();
  await settled();
  assert.deepEqual(told, ['slow', 'quick']);
  answer(new Response(null, { status: 204 }));
  await settled();
  assert.deepEqual([it.left, it.waiting()], [[0, 0], []]);
});

test('what failed is said to be left, with those behind it, and told again', async () => {
  edge.t1 = busy;
  const tokens = Array.from({ length: 10 }, (_, n) => `t${n}`);
  const it = visitor(...tokens);
  it.endings.update();
  await settled();
  assert.deepEqual([it.left, it.waiting()], [[3], ['t1', 't8', 't9']], 'eight at once, and after one failed no more');
  delete edge.t1;
  mock.timers.tick(15_000);
  await settled();
  assert.deepEqual([it.left, it.waiting()], [[3, 0], []]);
});

test('what another tab could delete is left no more', async () => {
  edge.t1 = busy;
  const it = visitor('t1');
  it.endings.update();
  await settled();
  assert.deepEqual(it.left, [1]);
  it.none();
  page.get('online')();
  await settled();
  assert.deepEqual([it.left, told], [[1, 0], ['t1']]);
});
