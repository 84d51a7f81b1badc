import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { find } from '../js/find.js';
import { transcript } from '../js/transcript.js';

const exchange = (id, text, answer, at = 1000) => ({ id, text, answer, at });
const conversations = [
  { id: 'c1', title: 'Lamps', exchanges: [exchange('m1', 'Wie groß ist die Straße?', 'Nobody knows.'), exchange('m2', 'Where is İstanbul Lamp?', '', 3000)] },
  { id: 'c2', title: 'Other', exchanges: [exchange('m3', 'hello', `${'long '.repeat(40)}a Lamp\nfor you${' and more'.repeat(20)}`, 2000)] },
];
const found = (query) => find(query, conversations);

test('words are found whatever their case, newest first', () => {
  assert.deepEqual(found('lAMP').map((it) => [it.conversation, it.exchange, it.title]), [['c1', 'm2', 'Lamps'], ['c2', 'm3', 'Other']]);
  assert.deepEqual(found('STRASSE'), [], 'plain: no other spelling');
  assert.equal(found('STRAßE')[0].match, 'Straße');
  assert.deepEqual(found('  '), []);
  assert.deepEqual(found('nothing like it'), []);
});

test('a place is shown with what is around it', () => {
  const [istanbul] = found('lamp');
  assert.deepEqual([istanbul.before, istanbul.match, istanbul.after], ['Where is İstanbul ', 'Lamp', '?']);
  const { before, match, after } = found('lamp for you')[0] ?? found('lamp\nfor you')[0];
  assert.equal(match, 'Lamp for you');
  assert.ok(before.startsWith('…') && before.endsWith(' a ') && after.startsWith(' and more') && after.endsWith('…'));
});

const words = { name: 'Maren & Oak', texts: { locale: 'en', sentences: JSON.parse(readFileSync(new URL('../locales/en.json', import.meta.url), 'utf8')) } };

test('a transcript for people, and one for programs', () => {
  const said = [exchange('m1', 'Hi', 'Hello\nyou'), { ...exchange('push', '', 'News', 90_000), rating: 'up' }, exchange('m2', 'Unanswered', '', 95_000)];
  const text = transcript(said, 'text', words);
  assert.match(text, /^Maren & Oak\n\n.+1970.+\nYou said: Hi\n\n.+\nAssistant: Hello\nyou\n\n.+\nAssistant: News\n\n.+\nYou said: Unanswered\n$/);
  assert.deepEqual(JSON.parse(transcript(said, 'json', words)), {
    name: 'Maren & Oak',
    messages: [
      { role: 'user', at: '1970-01-01T00:00:01.000Z', content: 'Hi' },
      { role: 'assistant', at: '1970-01-01T00:00:01.000Z', content: 'Hello\nyou' },
      { role: 'assistant', at: '1970-01-01T00:01:30.000Z', content: 'News', rating: 'up' },
      { role: 'user', at: '1970-01-01T00:01:35.000Z', content: 'Unanswered' },
    ],
  });
});
