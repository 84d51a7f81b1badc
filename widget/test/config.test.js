import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import { defaults, loadConfig, readConfig, withOptions } from '../js/config.js';
import { FONTS } from '../js/theme.js';
import { mistakes } from './schema.js';

const json = (/** @type {string} */ name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const schema = json('../widget-config.schema.json');
const cases = json('widget-configs.json');

// The edge reads the same schema by a reader of its own, and the same cases: services/edge/src/widget/tests.rs.
test('the schema says what is good', () => {
  for (const { why, config } of cases.good) assert.deepEqual(mistakes(schema, config), [], why);
  assert.deepEqual(mistakes(schema, json('../widget-config.json')), []);
});

test('the schema says what is bad, and where', () => {
  for (const { why, config, at, beyond_the_schema: beyond } of cases.bad) assert.deepEqual(mistakes(schema, config).sort(), beyond ? [] : at, why);
});

test('the widget knows every key of the schema, and no other', () => {
  for (const { why, config } of cases.good) {
    const read = readConfig(config);
    assert.deepEqual(read.problems, [], why);
    for (const [key, value] of Object.entries(config)) if (key !== 'features' && key !== '$schema') assert.deepEqual(read.config[key], value, why);
  }
  const keys = Object.keys(schema.properties).filter((key) => key !== '$schema');
  for (const key of keys) assert.deepEqual(readConfig({ [key]: 7 }).problems, [key]);
  assert.deepEqual(Object.keys(schema.properties.features.properties).sort(), Object.keys(defaults().features).sort());
  assert.deepEqual(schema.properties.theme.properties.font.enum.sort(), [...FONTS].sort());
});

test('what is wrong is left out, and the rest holds', () => {
  const { config, problems } = readConfig({ name: 'Lamps', tagline: 7, topics: [{ label: 'a' }, {}], features: { copy: false }, side: 'left', odd: 1, __proto__: {} });
  assert.deepEqual(problems, ['tagline', 'topics', 'side', 'odd']);
  assert.deepEqual(config, { ...defaults(), name: 'Lamps', features: { ...defaults().features, copy: false } });
  for (const bad of [null, [], 'x', 7]) assert.deepEqual(readConfig(bad).problems, ['*']);
});

test('the tag wins over the file, where it says something sensible', () => {
  const config = { ...defaults(), locale: 'de', theme: { accent: '#111111', radius: 4 } };
  const said = withOptions(config, { color: '#222222', theme: 'dark', locale: 'fr', consent: 'ask' });
  assert.deepEqual([said.theme, said.locale, said.consent], [{ accent: '#222222', radius: 4, mode: 'dark' }, 'fr', 'ask']);
  assert.deepEqual(withOptions(config, { color: undefined, theme: 'pink', locale: 7, consent: 'maybe' }), config);
  assert.equal(config.theme.accent, '#111111');
});

const { fetch, location } = globalThis;
const { warn } = console;
afterEach(() => Object.assign(globalThis, { fetch, location }) && (console.warn = warn));

test('the file is asked for by the site, and without it there is a chat all the same', async () => {
  /** @type {string[]} */
  const asked = [];
  /** @type {string[]} */
  const warned = [];
  globalThis.location = /** @type {any} */ ({ href: 'https://chat.shop.example/desk/widget/modern-widget.html?site=a%26b' });
  console.warn = (/** @type {string} */ text) => warned.push(text);
  /** @param {() => Promise<Response>} answer */
  const answered = (answer) => {
    globalThis.fetch = /** @type {any} */ ((/** @type {URL} */ url) => asked.push(url.href) && answer());
  };
  answered(async () => new Response('{"name":"Lamps"}'));
  assert.equal((await loadConfig('a&b')).config.name, 'Lamps');
  assert.equal((await loadConfig('default')).config.name, 'Lamps');
  assert.deepEqual(asked, ['https://chat.shop.example/desk/widget/widget-config.json?site=a%26b', 'https://chat.shop.example/desk/widget/widget-config.json']);
  for (const bad of [async () => new Response('', { status: 503 }), async () => new Response('<html>'), async () => Promise.reject(new TypeError('no network'))]) {
    answered(bad);
    const { config, problems } = await loadConfig('default');
    assert.deepEqual([config, problems], [defaults(), ['*']]);
  }
  assert.equal(warned.length, 3);
});
