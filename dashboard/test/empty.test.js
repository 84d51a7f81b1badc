import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DEMO, guess, snippet } from '../js/empty.js';

test('the line to copy holds an origin, whatever was typed', () => {
  const check = (typed, expected) => assert.equal(snippet(typed, null), `<script src="${expected}/widget/embed.js" async></script>`, typed);
  check('https://chat.lamps.example', 'https://chat.lamps.example');
  check(' https://chat.lamps.example/some/where ', 'https://chat.lamps.example');
  check('chat.lamps.example', 'https://chat.lamps.example');
  check('http://127.0.0.1:8000', 'http://127.0.0.1:8000');
  check('', 'https://chat.shop.example');
  check('https://', 'https://chat.shop.example');
  check('"><script>alert(1)</script>', 'https://chat.shop.example');
  check('javascript:alert(1)', 'https://chat.shop.example');
});

test('a site other than the default one is named', () => {
  assert.match(snippet('https://c.example', 'lamps'), / data-site="lamps" async>/);
  assert.match(snippet('https://c.example', '"><b>'), / data-site="&quot;><b>" async>/);
  assert.doesNotMatch(snippet('https://c.example', 'default'), /data-site/);
});

test('the address of the chat is guessed from the page’s own', () => {
  const check = (href, expected) => assert.equal(guess(new URL(href)), expected);
  check('http://127.0.0.1:8002/', 'http://127.0.0.1:8000');
  check('http://localhost:8002/', 'http://localhost:8000');
  check('https://figures.shop.example/', 'https://figures.shop.example');
});

test('made-up visitors go into a file of their own, as the guide has it', () => {
  const guide = readFileSync(new URL('../../docs/analytics.md', import.meta.url), 'utf8');
  assert.ok(guide.includes(DEMO.join('\n')));
  for (const line of DEMO) assert.match(line, /^ANALYTICS_DB_PATH=demo\.redb frontdesk/);
});
