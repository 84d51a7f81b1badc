/** What a workflow may ask to be shown, and what becomes of what it may not. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkBlock } from '../js/block-checks.js';
import { renderBlock } from '../js/blocks.js';
import { lex } from '../js/markdown.js';
import { studioStates } from '../js/studio-states.js';
import { document } from './fake-document.js';

globalThis.document = document;

const HOSTS = ['images.shop.example', '*.cdn.example'];
const check = (it) => checkBlock(JSON.stringify(it), HOSTS);
const schema = JSON.parse(readFileSync(new URL('../blocks.schema.json', import.meta.url), 'utf8'));
const examples = schema.oneOf.flatMap(({ $ref }) => schema.$defs[$ref.split('/').at(-1)].examples);

function tools(done = []) {
  return { t: (key, values) => (values ? `${key} ${Object.values(values)}` : key), texts: { locale: 'en', tag: 'en-GB', sentences: {} }, imageHosts: HOSTS, on: { send: (text) => done.push(['send', text]) > 0, hostEvent: (...all) => done.push(['event', ...all]), navigate: () => false } };
}

/** The first that fits. */
function find(node, wanted) {
  for (const it of node.all()) if (wanted(it)) return it;
  return undefined;
}

test('every example of the schema is shown, whole', () => {
  assert.equal(examples.length, 7);
  for (const example of examples) {
    assert.equal(check(example)?.type, example.type);
    const shown = renderBlock(JSON.stringify(example), tools()).print;
    const words = JSON.stringify(example).match(/"(?:title|label|status|eta|stock)":"[^"]+"/g) ?? [];
    for (const word of words) if (example.type !== 'carousel' || !word.includes('Lamps')) assert.ok(shown.includes(word.split('":"')[1].slice(0, -1)), `${word} in ${shown}`);
  }
});

test('the studio shows nothing that would not be shown', () => {
  const blocks = Object.values(studioStates(0)).flatMap(({ exchanges }) => exchanges.filter((it) => it.phase === 'done').flatMap((it) => lex(it.answer).filter((token) => token.lang === 'frontdesk')));
  assert.ok(blocks.length >= 7);
  for (const { text } of blocks) assert.ok(checkBlock(text, HOSTS), text);
});

test('what is none of ours is left to be shown as text', () => {
  for (const text of ['', 'x', '{', 'null', '[]', '"product"', '{}', '{"type":"script"}', '{"type":"__proto__"}', '{"type":"product"}', '{"type":"product","title":""}', '{"type":"product","title":{}}', '{"type":"carousel","items":[]}', '{"type":"carousel","items":{}}', '{"type":"carousel","items":[{}]}', '{"type":"order","number":"1"}', '{"type":"buttons","buttons":[{"label":"x"}]}', '{"type":"quick_replies","replies":[1e999,null,{}]}', '{"type":"form","fields":[{"label":"x","input":"password"}]}', '{"type":"form","fields":[{"label":"x","input":"select"}]}', '{"type":"add_to_cart","title":"x"}', '{"type":"add_to_cart","sku":"x"}', `{"type":"product","title":"${'x'.repeat(20_000)}"}`]) {
    assert.equal(checkBlock(text, HOSTS), null, text.slice(0, 80));
    assert.equal(renderBlock(text, tools()), null);
  }
});

test('texts are cut, lists are cut, numbers stay within bounds', () => {
  const { product } = check({ type: 'product', title: `  ${'a'.repeat(200)}`, badge: '😀'.repeat(50), cart: { sku: 's', quantity: 1e9 } });
  assert.deepEqual([[...product.title].length, [...product.badge].length, product.cart.quantity], [80, 20, 99]);
  assert.equal(check({ type: 'carousel', items: Array(50).fill({ title: 'x' }) }).items.length, 12);
  assert.equal(check({ type: 'quick_replies', replies: Array(50).fill('x') }).replies.length, 6);
  assert.equal(check({ type: 'order', number: 48213, status: 'a\n\n\u0000b' }).number, '48213');
  assert.deepEqual(check({ type: 'order', number: 1, status: 'x', items: [{ title: 'a', quantity: -4 }, { title: 'b', quantity: 1.5 }, 'c'] }).items.map((it) => it.quantity), [1, 1]);
});

test('a wrong part is left out, and the rest is shown', () => {
  assert.deepEqual(check({ type: 'carousel', items: [null, { title: 'a' }, { price: 'b' }, 3] }).items.map((it) => it.title), ['a']);
  assert.deepEqual(check({ type: 'product', title: 'a', price: { amount: NaN, currency: 'EUR' }, was: { amount: 1, currency: 'euro' } }).product.price, undefined);
});

test('pictures come from the hosts of the shop alone, by https', () => {
  const src = (image) => check({ type: 'product', title: 'x', image }).product.image?.src;
  assert.equal(src('https://images.shop.example/a.png'), 'https://images.shop.example/a.png');
  assert.equal(src({ src: 'https://eu.cdn.example/a.png', alt: 'a' }), 'https://eu.cdn.example/a.png');
  for (const bad of ['http://images.shop.example/a.png', 'https://evil.example/a.png', 'https://images.shop.example.evil.example/a.png', 'https://images.shop.example@evil.example/a.png', 'https://evilcdn.example/a.png', 'https://cdn.example/a.png', 'https://images.shop.example:8443/a.png', 'data:image/svg+xml,<svg onload=alert(1)>', 'javascript:alert(1)', '//images.shop.example/a.png', 'a.png', 7, {}, null]) assert.equal(src(bad), undefined, String(bad));
  assert.equal(checkBlock('{"type":"product","title":"x","image":"https://images.shop.example/a.png"}', []).product.image, undefined);
});

test('links go where links may go', () => {
  for (const url of ['javascript:alert(1)', 'data:text/html,x', 'https://bank.example@evil.example', '/cart', 7, {}]) {
    assert.equal(check({ type: 'product', title: 'x', url }).product.url, undefined, String(url));
    assert.equal(check({ type: 'buttons', buttons: [{ label: 'x', url }] }), null);
  }
});

test('what goes to the page is flat, short and named', () => {
  const detail = (it) => check({ type: 'buttons', buttons: [{ label: 'x', event: 'go', detail: it }] }).buttons[0].detail;
  assert.deepEqual(detail({ a: 1, b: 'x'.repeat(500), c: true, d: {}, e: null, 'f g': 1 }), { a: 1, b: 'x'.repeat(200), c: true });
  assert.equal(Object.keys(detail(Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`k${at}`, at])))).length, 10);
  for (const event of ['Go', 'a b', '', 'x'.repeat(41), 'frontdesk:open', 7]) assert.equal(check({ type: 'buttons', buttons: [{ label: 'x', event }] }), null, String(event));
});

test('clicks do what they say, and nothing happens before', () => {
  const done = [];
  const click = (block, wanted) => find(renderBlock(JSON.stringify(block), tools(done)), wanted).fire('click');
  click({ type: 'buttons', buttons: [{ label: 'Return', message: 'I return it.' }] }, (it) => it.name === 'button');
  click({ type: 'buttons', buttons: [{ label: 'Show', event: 'open-viewer', detail: { sku: 'A' } }] }, (it) => it.name === 'button');
  click({ type: 'quick_replies', replies: [{ label: 'Yes', message: 'Yes, please.' }] }, (it) => it.name === 'button');
  click({ type: 'add_to_cart', sku: 'A', title: 'Lamp', price: { amount: 9, currency: 'EUR' }, quantity: 2 }, (it) => it.name === 'button');
  assert.deepEqual(done, [['send', 'I return it.'], ['event', 'open-viewer', { sku: 'A' }], ['send', 'Yes, please.'], ['event', 'add_to_cart', { sku: 'A', quantity: 2, title: 'Lamp', price: '€9.00' }]]);
});

test('a form goes out as a message that can be read, once', () => {
  const done = [];
  const form = renderBlock(JSON.stringify({ type: 'form', fields: [{ name: 'Order', label: 'Order number', required: true }, { label: 'Why?', input: 'textarea' }, { label: 'Mail', input: 'email' }] }), tools(done));
  const inputs = [...form.all()].filter((it) => it.name === 'input' || it.name === 'textarea');
  form.fire('submit');
  assert.deepEqual(done, [], 'nothing filled in');
  inputs[0].value = ' 48213 ';
  inputs[1].value = 'Too dark';
  form.fire('submit');
  assert.deepEqual(done, [['send', 'Order: 48213\nWhy?: Too dark']]);
  assert.ok([...form.all()].filter((it) => ['input', 'textarea', 'button'].includes(it.name)).every((it) => it.disabled));
});

test('no element or attribute comes from the block', () => {
  const evil = '"><img src=x onerror=alert(1)>';
  const all = [...examples, { type: 'product', title: evil, badge: evil, stock: evil, price: evil, subtitle: evil, image: { src: 'https://images.shop.example/a.png', alt: evil }, onclick: evil, style: evil }, { type: 'form', fields: [{ name: evil, label: evil, placeholder: evil, onfocus: evil }] }];
  const attributes = new Set();
  const names = new Set();
  for (const block of all) {
    for (const node of renderBlock(JSON.stringify(block), tools()).all()) {
      names.add(node.name);
      for (const name of node.attributes.keys()) attributes.add(name);
    }
  }
  assert.deepEqual([...attributes].filter((name) => /^on|style|srcdoc|srcset|action/.test(name)), []);
  assert.deepEqual([...names].filter((name) => !/^(div|span|a|img|b|s|bdi|p|small|ol|ul|li|svg|path|button|form|label|input|select|option|textarea)$/.test(name)), []);
});
