import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EVERY_MS, createRefresh, pause } from '../js/refresh.js';

/** A clock that is moved by hand, and loads that end when the story says so. */
function desk() {
  const timers = new Map();
  const loads = [];
  let clock = 0;
  let names = 0;
  const it = {
    seen: true,
    loads,
    /** Until all that was promised has happened. */
    settle: () => new Promise((resolve) => setImmediate(resolve)),
    async pass(ms) {
      clock += ms;
      for (const [name, { at, run }] of [...timers]) if (at <= clock && timers.delete(name)) run();
      await it.settle();
    },
    async end(well, which = loads.length - 1) {
      loads[which].end(well);
      await it.settle();
    },
  };
  it.refresh = createRefresh({
    load: (signal) => new Promise((end) => loads.push({ signal, end })),
    seen: () => it.seen,
    later: (run, ms) => (timers.set((names += 1), { at: clock + ms, run }), names),
    never: (name) => timers.delete(name),
    now: () => clock,
  });
  return it;
}

test('pauses grow with failures, up to five minutes', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7, 50].map(pause), [EVERY_MS, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
});

test('loads again half a minute after the last one ended', async () => {
  const it = desk();
  it.refresh.go();
  await it.pass(EVERY_MS * 3);
  assert.equal(it.loads.length, 1, 'never two at a time');
  await it.end(true);
  await it.pass(EVERY_MS - 1);
  assert.equal(it.loads.length, 1);
  await it.pass(1);
  assert.equal(it.loads.length, 2);
});

test('waits longer after each failure, and forgets them after a success', async () => {
  const it = desk();
  it.refresh.go();
  await it.end(false);
  assert.equal(it.refresh.left(), 5_000);
  await it.pass(5_000);
  await it.end(false);
  assert.equal(it.refresh.left(), 10_000);
  await it.pass(10_000);
  await it.end(true);
  assert.equal(it.refresh.left(), EVERY_MS);
});

test('a hidden tab asks nothing, and asks at once when it is shown', async () => {
  const it = desk();
  it.refresh.go();
  await it.end(true);
  it.seen = false;
  await it.pass(EVERY_MS * 20);
  assert.equal(it.loads.length, 1);
  it.seen = true;
  it.refresh.look();
  assert.equal(it.loads.length, 2);
  await it.end(true);
  it.refresh.look();
  assert.equal(it.loads.length, 2, 'shown again before it is due');
});

test('switched off it loads only when told to', async () => {
  const it = desk();
  it.refresh.go();
  await it.end(true);
  it.refresh.set(false);
  await it.pass(EVERY_MS * 20);
  assert.equal(it.loads.length, 1);
  it.refresh.go();
  assert.equal(it.loads.length, 2);
  await it.end(true);
  it.refresh.set(true);
  await it.pass(EVERY_MS);
  assert.equal(it.loads.length, 3);
});

test('what is told interrupts what runs, and only the last one counts', async () => {
  const it = desk();
  it.refresh.go();
  it.refresh.go();
  assert.deepEqual(it.loads.map(({ signal }) => signal.aborted), [true, false]);
  await it.end(false, 0);
  assert.equal(it.refresh.left(), undefined, 'the second is still running');
  await it.end(true, 1);
  assert.equal(it.refresh.left(), EVERY_MS);
});

test('stopped, nothing comes any more', async () => {
  const it = desk();
  it.refresh.go();
  it.refresh.stop();
  assert.equal(it.loads[0].signal.aborted, true);
  await it.end(true);
  await it.pass(EVERY_MS * 20);
  it.refresh.look();
  assert.equal(it.loads.length, 1);
});
