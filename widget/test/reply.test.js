import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Problem } from '../js/api.js';
import { deliver, isForgotten } from '../js/reply.js';
import { apply, initialState } from '../js/state.js';

/** Follows a reply of which `events` come on each connection, which then stays open with a heartbeat each second, and lets `seconds` pass. */
async function follow(events, seconds) {
  mock.timers.enable({ apis: ['setInterval', 'setTimeout', 'Date'] });
  const asked = [{ type: 'asked', id: 'm1', text: 'Hi', at: 0 }, { type: 'accepted', id: 'm1', session: 's1' }, { type: 'chunk', id: 'm1', index: 0, content: 'One ', eventId: 'm1:0' }];
  let state = asked.reduce(apply, initialState());
  const over = new AbortController();
  let connections = 0;
  const api = {
    async follow(id, session, lastEventId, signal) {
      connections += 1;
      assert.deepEqual([id, session, lastEventId], ['m1', 's1', 'm1:0']);
      const body = new ReadableStream({
        start(controller) {
          const beat = setInterval(() => controller.enqueue(new TextEncoder().encode(': hb\n\n')), 1000);
          signal.addEventListener('abort', () => clearInterval(beat));
          for (const [event, data] of events) controller.enqueue(new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
          signal.addEventListener('abort', () => controller.error(new DOMException('aborted', 'AbortError')));
        },
      });
      return { response: { body }, session: { session_id: 's1' } };
    },
  };
  const delivery = deliver({ api, exchange: () => state.exchanges[0], body: () => ({}), dispatch: (event) => (state = apply(state, event)), pause: async () => {}, signal: over.signal });
  try {
    for (let second = 0; second < seconds; second += 1) {
      // What waits for the stream gets its turn between the ticks.
      await new Promise((resolve) => setImmediate(resolve));
      mock.timers.tick(1000);
    }
    await new Promise((resolve) => setImmediate(resolve));
    return { ...state.exchanges[0], connections };
  } finally {
    over.abort();
    await delivery;
    mock.timers.reset();
  }
}

const ready = ['ready', { session_id: 's1', resumed: false }];

test('a reply that the edge no longer knows is given up within seconds', async () => {
  const it = await follow([ready, ['gap', { after: 'm1:0' }]], 6);
  assert.deepEqual([it.phase, it.trouble?.code, it.trouble?.retryable, it.answer, it.connections], ['failed', 'interrupted', true, 'One ', 1]);
});

test('after a gap what still comes live is shown', async () => {
  const it = await follow([ready, ['gap', { after: 'm1:0' }], ['chunk', { message_id: 'm1', index: 4, content: 'five' }]], 6);
  assert.deepEqual([it.phase, it.answer, it.lost], ['streaming', 'One five', true]);
});

test('an assistant that thinks for a minute is waited for', async () => {
  const it = await follow([ready], 45);
  assert.deepEqual([it.phase, it.connections], ['streaming', 1]);
});

test('a reply that waits for its workflow is waited for until then, and a while longer', async () => {
  const check = async (until, seconds, expected) => {
    const it = await follow([ready, ['waiting', { message_id: 'm1', until }]], seconds);
    assert.deepEqual([it.phase, it.trouble?.code], expected, `${until}, after ${seconds} s`);
  };
  const waits = ['streaming', undefined];
  const interrupted = ['failed', 'interrupted'];
  // The mocked clock starts at 0.
  await check('1970-01-01T00:10:00.000Z', 745, waits);
  await check('1970-01-01T00:10:00.000Z', 760, interrupted);
  // Said wrongly, or past by this browser's clock: as long as for any other.
  for (const until of ['soon', null, '1960-01-01T00:00:00.000Z']) {
    await check(until, 145, waits);
    await check(until, 160, interrupted);
  }
  // No wait is endless.
  await check('2999-01-01T00:00:00.000Z', 3745, waits);
  await check('2999-01-01T00:00:00.000Z', 3760, interrupted);
});

test('a page that is not secure is told plainly that it has no keys', async () => {
  const check = async (secure, expected) => {
    let state = apply(initialState(), { type: 'asked', id: 'm1', text: 'Hi', at: 0 });
    globalThis.isSecureContext = secure;
    const api = { postMessage: async () => Promise.reject(new Problem(401, 'proof_required')) };
    await deliver({ api, exchange: () => state.exchanges[0], body: () => ({}), dispatch: (event) => (state = apply(state, event)), pause: async () => {}, signal: new AbortController().signal });
    const { tried, trouble } = state.exchanges[0];
    assert.deepEqual([tried, trouble.code, trouble.retryable], [true, ...expected]);
  };
  try {
    await check(false, ['insecure', false]);
    await check(true, ['proof_required', true]);
  } finally {
    delete globalThis.isSecureContext;
  }
});

test('after a reload a reply is gone on with for as long as the edge may keep it', () => {
  mock.timers.enable({ apis: ['Date'] });
  const minutes = 60_000;
  const check = (until, afterMinutes, expected) => {
    mock.timers.setTime(afterMinutes * minutes);
    assert.equal(isForgotten({ until }, 0), expected, `until ${until}, after ${afterMinutes} minutes`);
  };
  try {
    check(undefined, 12, false);
    check(undefined, 16, true);
    check(20 * minutes, 21, false);
    check(20 * minutes, 23, true);
    // A short wait makes nothing shorter.
    check(2 * minutes, 12, false);
  } finally {
    mock.timers.reset();
  }
});

test('a page that was frozen follows the reply again when it is back', async () => {
  mock.timers.enable({ apis: ['setInterval', 'Date'] });
  const over = new AbortController();
  try {
    let state = [{ type: 'asked', id: 'm1', text: 'Hi', at: 0 }, { type: 'accepted', id: 'm1', session: 's1' }].reduce(apply, initialState());
    let connections = 0;
    const api = {
      async follow(id, session, lastEventId, signal) {
        connections += 1;
        const end = 'event: end\ndata: {"message_id":"m1","finish_reason":"stop"}\n\n';
        const body = new ReadableStream({
          start(controller) {
            if (connections > 1) controller.enqueue(new TextEncoder().encode(end));
            signal.addEventListener('abort', () => controller.error(new DOMException('aborted', 'AbortError')));
          },
        });
        return { response: { body }, session: { session_id: 's1' } };
      },
    };
    const delivery = deliver({ api, exchange: () => state.exchanges[0], body: () => ({}), dispatch: (event) => (state = apply(state, event)), pause: async () => {}, signal: over.signal });
    await new Promise((resolve) => setImmediate(resolve));
    // No timer ran meanwhile.
    mock.timers.setTime(200_000);
    mock.timers.tick(1000);
    await delivery;
    assert.deepEqual([state.exchanges[0].phase, connections], ['done', 2]);
  } finally {
    over.abort();
    mock.timers.reset();
  }
});

test('a limit is waited for while more messages wait behind, told where none do', async () => {
  for (const others of [true, false]) {
    let state = apply(initialState(), { type: 'asked', id: 'm1', text: 'Hi', at: 0 });
    let posts = 0;
    const waits = [];
    const api = {
      async postMessage() {
        posts += 1;
        if (posts === 1) throw new Problem(429, 'rate_limited', { retryAfter: 7 });
        const body = new Blob(['event: end\ndata: {"message_id":"m1","finish_reason":"stop"}\n\n']).stream();
        return { response: { body }, session: { session_id: 's1' } };
      },
    };
    await deliver({ api, exchange: () => state.exchanges[0], body: () => ({}), dispatch: (event) => (state = apply(state, event)), others: () => others, pause: async (ms) => waits.push(Math.floor(ms / 1000)), signal: new AbortController().signal });
    assert.deepEqual([state.exchanges[0].phase, waits], others ? ['done', [7]] : ['failed', []]);
  }
});
