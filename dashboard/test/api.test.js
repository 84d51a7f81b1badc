import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Away, Problem, createApi } from '../js/api.js';

const WEEK = { from: 0, until: 7 * 86_400_000 };
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A server that is played by hand; `asked` are its calls. */
function server(t) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked = [];
  t.mock.method(globalThis, 'fetch', (url, { signal, headers }) => new Promise((resolve, reject) => {
    /** @type {ReadableStreamDefaultController} */
    let stream;
    const body = new ReadableStream({ start: (it) => void (stream = it) });
    signal.addEventListener('abort', () => {
      reject(signal.reason);
      stream.error(signal.reason);
    });
    asked.push({
      url,
      headers,
      begin: (init) => resolve(new Response(body, init)),
      say: (text) => stream.enqueue(new TextEncoder().encode(text)),
      end: () => stream.close(),
    });
  }));
  return asked;
}

test('a file takes as long as it takes, once it has begun', async (t) => {
  const asked = server(t);
  const file = createApi('secret').export('shoes', WEEK, { what: 'sessions' }, new AbortController().signal);
  t.mock.timers.tick(29_000);
  asked[0].begin();
  await settle();
  asked[0].say('id\n');
  t.mock.timers.tick(600_000);
  asked[0].say('1\n');
  asked[0].end();
  assert.equal(await (await file).text(), 'id\n1\n');
  assert.equal(asked[0].url, '/api/v1/analytics/export?site=shoes&from=1970-01-01T00%3A00%3A00.000Z&until=1970-01-08T00%3A00%3A00.000Z&format=csv&what=sessions');
  assert.deepEqual(asked[0].headers, { Authorization: 'Bearer secret' });
});

test('a file that does not begin is not waited for', async (t) => {
  server(t);
  const file = createApi('secret').export(null, WEEK, { what: 'sessions' }, new AbortController().signal);
  t.mock.timers.tick(30_000);
  await assert.rejects(file, Away);
});

test('a file can be stopped, by who asked and by who leaves', async (t) => {
  const asked = server(t);
  for (const stop of ['ask', 'leave']) {
    const [api, mine] = [createApi('secret'), new AbortController()];
    const file = api.export(null, WEEK, { what: 'sessions' }, mine.signal);
    asked[asked.length - 1].begin();
    await settle();
    if (stop === 'ask') mine.abort();
    else api.leave();
    await assert.rejects(file, { name: 'AbortError' }, stop);
  }
});

test('a refusal is a problem, and all else that is no answer is away', async (t) => {
  const asked = server(t);
  const check = async (status, type, body, expected) => {
    const sites = createApi('secret').sites();
    const call = asked[asked.length - 1];
    call.begin({ status, headers: { 'Content-Type': type } });
    call.say(body);
    call.end();
    await assert.rejects(sites, expected, `${status} ${body}`);
  };
  await check(401, 'application/problem+json', '{"code":"unauthorized","detail":"No."}', (error) => error instanceof Problem && error.status === 401 && error.message === 'No.');
  await check(404, 'text/html', '<h1>nginx</h1>', Away);
  await check(503, 'application/problem+json', '{"code":"overloaded"}', Away);
  await check(200, 'text/html', '<h1>captive portal</h1>', Away);
});
