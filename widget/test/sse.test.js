import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createParser, readEvents } from '../js/sse.js';

/** @param {Uint8Array[]} pieces */
async function read(pieces, onBytes) {
  const body = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });
  const events = [];
  for await (const event of readEvents(body, onBytes)) events.push(event);
  return events;
}

const bytes = (text) => new TextEncoder().encode(text);
const STREAM = [
  'retry: 2000',
  '',
  'event: ready',
  'data: {"session_id":"sess_1"}',
  '',
  ': hb',
  'id: a.0',
  'event: chunk',
  'data: {"content":"Grüße, 日本語 👩‍🚀"}',
  '',
  'id: a.1',
  'data: one',
  'data:two',
  'data:  three',
  '',
  'event: end',
  'id: a.2',
  'data',
  '',
  '',
];
const EXPECTED = [
  { event: 'ready', data: '{"session_id":"sess_1"}', id: '', retry: 2000 },
  { event: 'chunk', data: '{"content":"Grüße, 日本語 👩‍🚀"}', id: 'a.0', retry: 2000 },
  { event: 'message', data: 'one\ntwo\n three', id: 'a.1', retry: 2000 },
  { event: 'end', data: '', id: 'a.2', retry: 2000 },
];

for (const [name, newline] of Object.entries({ LF: '\n', CRLF: '\r\n', CR: '\r' })) {
  test(`with ${name}, cut in two at every byte`, async () => {
    const all = bytes(STREAM.join(newline));
    for (let cut = 0; cut <= all.length; cut += 1) {
      assert.deepEqual(await read([all.subarray(0, cut), all.subarray(cut)]), EXPECTED, `cut at byte ${cut}`);
    }
  });

  test(`with ${name}, byte by byte and in threes`, async () => {
    const all = bytes(STREAM.join(newline));
    for (const size of [1, 3]) {
      const pieces = [];
      for (let at = 0; at < all.length; at += size) pieces.push(all.subarray(at, at + size));
      assert.deepEqual(await read(pieces), EXPECTED);
    }
  });
}

function check(stream, expected) {
  assert.deepEqual(createParser().feed(stream).map(({ event, data, id }) => [event, data, id]), expected);
}

test('comments alone are no events, but they are life', async () => {
  let alive = 0;
  assert.deepEqual(await read([bytes(': hb\n\n'), bytes(':\n\n')], () => (alive += 1)), []);
  assert.equal(alive, 2);
});

test('an event that is not closed is dropped', () => check('data: a\n\ndata: cut', [['message', 'a', '']]));
test('an event without data is dropped and its name forgotten', () => check('event: x\n\ndata: a\n\n', [['message', 'a', '']]));
test('an id stays until another comes', () => check('id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n', [['message', 'a', '1'], ['message', 'b', '1'], ['message', 'c', '']]));
test('an id with NUL is ignored', () => check('id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n', [['message', 'a', '1'], ['message', 'b', '1']]));
test('unknown fields are ignored', () => check('color: red\ndata: a\n\n', [['message', 'a', '']]));
test('a colon in the data is data', () => check('data: a: b\n\n', [['message', 'a: b', '']]));
test('mixed line ends', () => check('data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r', [['message', 'a\nb\nc', ''], ['message', 'd', '']]));

test('a byte order mark before the first field is skipped', async () => {
  const [event] = await read([new Uint8Array([0xef]), new Uint8Array([0xbb, 0xbf]), bytes('data: a\n\n')]);
  assert.equal(event.data, 'a');
});

test('only digits are a retry', () => {
  const retries = createParser()
    .feed('retry: soon\ndata: a\n\nretry: 5\ndata: b\n\nretry: -1\ndata: c\n\n')
    .map((event) => event.retry);
  assert.deepEqual(retries, [undefined, 5, 5]);
});

test('a line without an end stops the reading instead of filling the memory', () => {
  const parser = createParser();
  assert.throws(() => {
    for (let i = 0; i < 100; i += 1) parser.feed(i === 0 ? 'data: ' : 'x'.repeat(100_000));
  }, RangeError);
});

test('so does an event without an end', () => {
  const parser = createParser();
  assert.throws(() => {
    for (let i = 0; i < 100; i += 1) parser.feed(`data: ${'x'.repeat(100_000)}\n`);
  }, RangeError);
});

test('a line that is no field of an event is not even kept', () => {
  const parser = createParser();
  for (let i = 0; i < 100; i += 1) parser.feed('x'.repeat(100_000));
  assert.deepEqual(parser.feed('\ndata: a\n\n').map(({ data }) => data), ['a']);
});

test('who stops listening closes the connection', async () => {
  let cancelled = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(bytes('data: a\n\n')),
    cancel: () => void (cancelled = true),
  });
  for await (const _ of readEvents(body)) break;
  assert.ok(cancelled);
});
