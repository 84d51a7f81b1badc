import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { connect } from '../js/bridge.js';

const SHOP = 'https://shop.example';
const CHAT = 'https://chat.example';
const TYPES = ['opened', 'closed', 'page', 'context', 'identify', 'consent', 'locale', 'theme', 'send', 'prefill', 'reset'];
const tokenOf = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;
const same = (actual, expected, message) => assert.deepEqual(JSON.parse(JSON.stringify(actual)), expected, message);

/** A frame in a page, with what is told to that page and what the chat hears. */
function frame({ painted = true, query = `?site=default&origin=${encodeURIComponent(SHOP)}`, ancestors = [SHOP], referrer = `${SHOP}/`, framed = true } = {}) {
  const posted = [];
  const hearers = [];
  const waiting = [];
  const parent = { postMessage: (message, origin) => posted.push([message, origin]) };
  const self = {
    location: { search: query, href: `${CHAT}/widget/modern-widget.html${query}`, origin: CHAT, ...(ancestors ? { ancestorOrigins: ancestors } : {}) },
    document: { referrer, title: 'Chat' },
    addEventListener: (_, hearer) => hearers.push(hearer),
    requestAnimationFrame: (act) => (painted ? act() : waiting.push(act)),
    cancelAnimationFrame: () => waiting.splice(0),
  };
  self.parent = framed ? parent : self;
  const told = [];
  const port = { postMessage: (message) => told.push(message), onmessage: undefined };
  const bridge = connect(self);
  const heard = [];
  for (const type of TYPES) bridge.on(type, (said) => heard.push([type, said]));
  const say = (event) => hearers.forEach((hear) => hear({ source: parent, origin: SHOP, ports: [port], ...event }));
  const init = (more = {}, event = {}) => say({ data: { frontdesk: 'init', v: 1, open: false, options: {}, ...more }, ...event });
  return { bridge, posted, port, told, heard, say, init, paint: () => waiting.splice(0).forEach((act) => act()) };
}

test('hello goes to the declared origin alone, and the answer opens the port', async () => {
  const { bridge, posted, init, told, heard } = frame();
  assert.deepEqual(posted, [[{ frontdesk: 'hello', v: 1 }, SHOP]]);
  bridge.tell('unread', { n: 1 });
  const set = { focus: true, page: { url: `${SHOP}/lamps`, title: 7 }, theme: 'dark', color: 'red', locale: 'de-AT', context: { cart: 3 }, identify: tokenOf({ sub: 'Zoë' }), send: 'Hi', reset: true };
  init({ open: true, options: set });
  same(await bridge.ready, { page: { url: `${SHOP}/lamps` }, open: true, options: { locale: 'de-AT', theme: 'dark' } }, 'a bad colour is left out');
  assert.deepEqual(told, [['unread', { n: 1 }]], 'what was told before is not lost');
  // Forgetting comes first, so that nothing of the one before is left for the one who is there.
  same(heard, [['reset', {}], ['identify', { id: 'Zoë', token: set.identify }], ['context', { context: { cart: 3 } }], ['send', { text: 'Hi' }], ['opened', { focus: true }]]);
  assert.equal(bridge.origin(), SHOP);
});

test('forged and second answers are ignored', async () => {
  const { bridge, init, say, told, heard, port } = frame();
  init({}, { origin: 'https://evil.example' });
  init({}, { source: {} });
  init({ v: 2 });
  init({}, { ports: [] });
  say({ data: null });
  say({ data: { frontdesk: 'opened' } });
  assert.equal(port.onmessage, undefined);
  init({ options: { prefill: 'first' } });
  const other = { postMessage: () => assert.fail('told to the second') };
  init({ options: { prefill: 'second' } }, { ports: [other] });
  same(heard, [['prefill', { text: 'first' }]]);
  bridge.tell('close');
  assert.deepEqual([told, other.onmessage], [[['close', undefined]], undefined]);
});

test('a page that is not the declared one is refused, and hears nothing', async () => {
  const refused = async (options) => {
    const { bridge, posted } = frame(options);
    await assert.rejects(bridge.ready, { message: 'origin_not_allowed' });
    assert.deepEqual(posted, []);
  };
  await refused({ ancestors: ['https://evil.example'] });
  await refused({ ancestors: null, referrer: 'https://evil.example/' });
});

test('alone on its page, and in a plain frame, there is nobody to talk to', async () => {
  const check = async (options, expected) => {
    const { bridge, posted, heard } = frame(options);
    const { page, open, options: set } = await bridge.ready;
    bridge.tell('close');
    assert.deepEqual([bridge.framed, bridge.origin(), page.url, open, set, posted, heard], [...expected, [], []]);
  };
  const query = `?theme=dark&color=%23aa0000&identify=${tokenOf({ sub: 'x' })}&send=hi&reset=true&consent=granted`;
  await check({ framed: false, query }, [false, undefined, `${CHAT}/widget/modern-widget.html${query}`, true, { color: '#aa0000', theme: 'dark' }]);
  await check({ query: '' }, [true, SHOP, `${SHOP}/`, true, {}]);
  await check({ query: '', ancestors: null, referrer: '' }, [true, undefined, undefined, true, {}]);
  await check({ query: '', ancestors: [CHAT] }, [true, undefined, `${SHOP}/`, true, {}]);
  await check({ query: '?origin=null', ancestors: ['null'], referrer: '' }, [true, undefined, undefined, true, {}]);
});

test('without an answer it goes on alone, and still takes one that comes late', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { bridge, init, told, heard } = frame();
  bridge.tell('ready');
  mock.timers.tick(9000);
  assert.equal((await bridge.ready).open, true);
  init({ open: true, options: { theme: 'dark', page: { url: `${SHOP}/a` }, focus: true } });
  same(heard, [['opened', { focus: true }], ['page', { url: `${SHOP}/a` }], ['theme', { theme: 'dark' }]]);
  bridge.tell('close');
  assert.deepEqual(told, [['close', undefined]]);
  mock.timers.reset();
});

test('opened is heard when the frame is painted, and not after it was closed', () => {
  const { init, port, heard, paint } = frame({ painted: false });
  init({ open: true });
  assert.deepEqual(heard, []);
  paint();
  port.onmessage({ data: ['open', true] });
  port.onmessage({ data: ['close', true] });
  paint();
  same(heard, [['opened', { focus: false }], ['closed', {}]]);
});

test('what the page says is checked and bounded, and the rest is left', async () => {
  const { init, port, heard, told } = frame();
  init();
  const check = (said, expected, refused = expected === undefined ? 1 : 0) => {
    heard.length = told.length = 0;
    port.onmessage({ data: said });
    const type = { open: 'opened', close: 'closed' }[said[0]] ?? said[0];
    same(heard, expected === undefined ? [] : [[type, expected]], String(said[0]));
    assert.deepEqual(told, refused ? [['error', { code: `bad_${said[0]}` }]] : []);
  };
  check(['open', 'yes'], { focus: false });
  check(['open', true], { focus: true });
  check(['close'], {});
  check(['page', { url: 'u'.repeat(2000), title: 't' }], { url: 'u'.repeat(1000), title: 't' });
  check(['page', 'x'], {});
  check(['context', { cart: [1, { sku: 'a' }] }], { context: { cart: [1, { sku: 'a' }] } });
  check(['context', null], {});
  check(['context', 'text']);
  check(['context', ['a']]);
  check(['context', { much: 'x'.repeat(4096) }]);
  check(['identify', tokenOf({ sub: '17' })], { id: '17', token: tokenOf({ sub: '17' }) });
  check(['identify', { token: tokenOf({ sub: '17' }) }], { id: '17', token: tokenOf({ sub: '17' }) });
  check(['identify', null], { id: '', token: '' });
  check(['identify', { id: 7 }]);
  check(['identify', tokenOf({})]);
  check(['identify', tokenOf({ sub: 'x'.repeat(5000) })]);
  check(['identify', 'no token']);
  check(['consent', 'granted'], { answer: 'granted' });
  check(['consent', 'ask']);
  check(['consent', true]);
  check(['locale', 'pt-BR'], { locale: 'pt-BR' });
  check(['locale', '../../etc']);
  check(['locale', {}]);
  check(['theme', 'auto'], { theme: 'auto' });
  check(['theme', 'url(x)']);
  check(['send', 'hello'], { text: 'hello' });
  check(['send', '']);
  check(['send', { toString: 'x' }]);
  check(['send', 'ü'.repeat(5000)]);
  check(['prefill', 'x'.repeat(8192)], { text: 'x'.repeat(8192) });
  check(['reset', true], {});
  check(['reset', 'yes']);
  for (const name of ['color', 'opened', 'constructor', '__proto__', 'toString', undefined]) check([name, {}], undefined, 0);
  heard.length = told.length = 0;
  for (const data of [null, 'open', { type: 'open' }, 7]) port.onmessage({ data });
  assert.deepEqual([heard, told], [[], []]);
});
