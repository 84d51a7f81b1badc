import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { deliver } from '../js/reply.js';
import { apply, initialState } from '../js/state.js';

/** Follows a reply of which `events` come on one connection that then stays open, and lets `seconds` pass. */
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
