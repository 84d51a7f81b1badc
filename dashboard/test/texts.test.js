/** What the page has words for is what Frontdesk says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { texts } from '../js/texts.js';

const repository = new URL('../../', import.meta.url);
const read = (path) => readFileSync(new URL(path, repository), 'utf8');

test('each failure has words, and no word is left over', () => {
  const source = read('shared/protocol/src/event.rs');
  const codes = [...source.slice(source.indexOf('impl FailureCode')).matchAll(/Self::\w+ => "(\w+)"/g)].map(([, code]) => code);
  assert.ok(codes.length >= 10, 'found in the source');
  assert.deepEqual(Object.keys(texts.outcomes.failures).sort(), codes.sort());
});

test('each reason of a refusal has words, and no word is left over', () => {
  const list = /const REASONS: \[&str; \d+\] = \[([^\]]+)\]/.exec(read('services/edge/src/refusals.rs'));
  assert.ok(list, 'found in the source');
  assert.deepEqual(Object.keys(texts.refusals.reasons).sort(), [...list[1].matchAll(/"(\w+)"/g)].map(([, reason]) => reason).sort());
});

test('settings that are named exist', () => {
  const settings = read('README.md');
  const words = JSON.stringify(texts, (_, it) => (typeof it === 'function' ? it.toString() : it));
  for (const [name] of words.matchAll(/\b[A-Z][A-Z0-9]+_[A-Z0-9_]*[A-Z0-9]\b/g)) assert.ok(settings.includes(`\`${name}\``) || settings.includes(name), name);
});

test('a word that nobody foresaw is readable', () => {
  assert.equal(texts.outcomes.failure('disk_full').title, 'Disk full');
  assert.deepEqual(texts.refusals.reason('new_rule'), { title: 'New rule', why: '' });
});
