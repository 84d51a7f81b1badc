import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SECTIONS, mistakeIn, rulesOf, tagOf, valueAt, withValue } from '../js/studio-fields.js';

const json = (/** @type {string} */ name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const sentencesOf = (/** @type {string} */ locale) => json(`../locales/${locale}.json`);
const schema = json('../widget-config.schema.json');
const fields = SECTIONS.flatMap((section) => section.fields);

test('the studio writes the tag that `frontdesk widget snippet` does', () => {
  const { tags } = json('widget-configs.json');
  assert.ok(tags.length > 3);
  for (const { config, site, base, tag } of tags) assert.equal(tagOf(config, site ?? null, base, { ...sentencesOf(config.locale ?? 'en'), ...config.texts }), tag);
});

test('every key of the schema has a field, and no field another', () => {
  const top = new Set(fields.map(({ path }) => path.split('.')[0]).concat('topics', '$schema'));
  assert.deepEqual([...top].sort(), Object.keys(schema.properties).sort());
  for (const group of ['theme', 'features', 'proactive', 'privacy', 'greeting']) {
    const its = fields.filter(({ path }) => path.startsWith(`${group}.`)).map(({ path }) => path.split('.')[1]);
    assert.deepEqual(its.sort(), Object.keys(schema.properties[group].properties).sort(), group);
  }
  for (const { path, kind, choices } of fields) {
    const rules = rulesOf(schema, path);
    const type = { text: 'string', long: 'string', colour: 'string', number: 'integer', choice: undefined, switch: 'boolean', lines: 'array' }[kind];
    assert.equal([rules.type].flat()[0], type, path);
    if (choices) assert.deepEqual([...choices].sort(), [...rules.enum].sort(), path);
  }
});

test('a value is set, and what becomes empty goes away', () => {
  const config = { name: 'a', theme: { accent: '#111111' } };
  assert.deepEqual(withValue(config, 'theme.mode', 'dark'), { name: 'a', theme: { accent: '#111111', mode: 'dark' } });
  assert.deepEqual(withValue(config, 'theme.accent', undefined), { name: 'a' });
  assert.deepEqual(withValue({}, 'greeting.title', 'x'), { greeting: { title: 'x' } });
  assert.deepEqual(withValue({}, 'greeting.title', undefined), {});
  assert.deepEqual(withValue(config, 'topics', []), { ...config, topics: [] });
  assert.deepEqual(config, { name: 'a', theme: { accent: '#111111' } }, 'the old one stays');
  assert.equal(valueAt(config, 'theme.accent'), '#111111');
  assert.equal(valueAt(config, 'theme.accent.length'), undefined);
  assert.equal(valueAt(config, 'constructor'), undefined);
});

test('a mistake is told in a sentence', () => {
  const check = (/** @type {string} */ path, /** @type {string} */ text, /** @type {string} */ expected) => assert.equal(mistakeIn(rulesOf(schema, path), text), expected);
  check('name', 'x'.repeat(61), 'has 61 characters, and may have 60');
  check('name', '', '');
  check('theme.accent', 'green', 'must be a colour such as #0f6b5c');
  check('theme.accent', '#0af', '');
  check('theme.radius', '29', 'must be a whole number from 0 to 28');
  check('theme.radius', '1.5', 'must be a whole number from 0 to 28');
  check('theme.radius', '28', '');
  check('texts.placeholder', 'x'.repeat(301), 'has 301 characters, and may have 300');
});
