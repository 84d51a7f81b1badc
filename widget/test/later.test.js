/** What is loaded later: once, and after a failure neither at each key nor never again. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { AGAIN_MS, once } from '../js/later.js';

let online;
/** @type {(() => void)[]} */
let waiting;

beforeEach(() => {
  [online, waiting] = [true, []];
  mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.addEventListener = (_, act) => waiting.push(act);
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { get onLine() { return online; } } });
});

afterEach(() => {
  delete globalThis.addEventListener;
  delete globalThis.navigator;
  mock.timers.reset();
});

/** Fails as often as said, and then is there. */
function thing(failures) {
  const it = { loads: 0 };
  it.get = once(async () => {
    it.loads += 1;
    if (it.loads <= failures) throw new Error('no network');
    return 'it';
  });
  return it;
}

test('it is loaded once, and then there without waiting', async () => {
  const it = thing(0);
  assert.deepEqual(await Promise.all([it.get(), it.get()]), ['it', 'it']);
  assert.deepEqual([it.get(), it.loads], ['it', 1]);
});

test('after a failure it is tried again in a while, not at each key', async () => {
  const it = thing(1);
  for (let key = 0; key < 5; key += 1) await assert.rejects(Promise.resolve(it.get()));
  assert.equal(it.loads, 1);
  mock.timers.tick(AGAIN_MS);
  assert.deepEqual([await it.get(), it.loads], ['it', 2]);
});

test('without a network it is tried again when there is one', async () => {
  const it = thing(1);
  online = false;
  await assert.rejects(Promise.resolve(it.get()));
  mock.timers.tick(10 * AGAIN_MS);
  await assert.rejects(Promise.resolve(it.get()));
  assert.equal(it.loads, 1);
  online = true;
  for (const act of waiting) act();
  assert.deepEqual([await it.get(), it.loads], ['it', 2]);
});
