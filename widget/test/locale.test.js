/** Every language is whole, and every word that a visitor sees is in one of these files. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { LOCALES } from '../js/i18n.js';
import { SENTENCES } from '../js/notice.js';
import { literalsOf, shownAs, wordsOf } from './literals.js';

const widget = new URL('../', import.meta.url);
const read = (/** @type {string} */ path) => readFileSync(new URL(path, widget), 'utf8');
/** @returns {import('../js/i18n.js').Sentences} */
const sentencesOf = (/** @type {string} */ locale) => JSON.parse(read(`locales/${locale}.json`));
const english = sentencesOf('en');
// The studio is for who sets up the chat, in development alone.
const scripts = ['embed.js', ...readdirSync(new URL('js/', widget)).map((name) => `js/${name}`)].filter((name) => name.endsWith('.js') && !name.startsWith('js/studio'));

/** What a tag before the first open must have words for: nothing else is loaded by then. */
const OF_THE_TAG = ['Chat', 'Dismiss', 'The chat did not load. '];
/** On the tag that `frontdesk widget snippet` and the studio write. */
const FOR_THE_TAG = ['dismiss', 'not_loaded'];
/** Read by programs, though they look like words. */
const NOT_SHOWN = ['Bearer', 'no touch', 'noopener noreferrer', 'noopener noreferrer nofollow', 'allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads'];
/** The same in English and in another language. */
const COMMON_WORDS = ['Chat', 'Code', 'Conversation', 'Conversations', 'Message', 'Menu', 'No', 'optional', 'Total', '{n} ×'];

/** @param {string} sentence */
const placeholders = (sentence) => (sentence.match(/\{\w+\}/g) ?? []).sort();

/** Categories that some number of things can have, and how many numbers do. @param {string} locale */
function categoriesOf(locale) {
  const rules = new Intl.PluralRules(locale);
  /** @type {Map<string, number>} */
  const found = new Map([['other', 0]]);
  for (let n = 0; n < 10_000; n += 1) found.set(rules.select(n), (found.get(rules.select(n)) ?? 0) + 1);
  return found;
}

test('there is a file for each language, and no other', () => {
  assert.deepEqual(readdirSync(new URL('locales/', widget)).sort(), LOCALES.map((locale) => `${locale}.json`).sort());
});

for (const locale of LOCALES) {
  const sentences = sentencesOf(locale);
  const forms = Object.entries(sentences).flatMap(([key, it]) => (typeof it === 'string' ? [it] : Object.values(it)).map((form) => /** @type {const} */ ([key, form])));

  test(`${locale}: the same sentences in the same order as in English`, () => {
    assert.deepEqual(Object.keys(sentences), Object.keys(english));
    for (const [key, form] of forms) assert.ok(typeof form === 'string' && form !== '', key);
  });

  test(`${locale}: the same places for names and numbers`, () => {
    const categories = categoriesOf(locale);
    for (const [key, it] of Object.entries(sentences)) {
      const same = english[key];
      assert.equal(typeof it, typeof same, key);
      if (typeof it === 'string') {
        assert.deepEqual(placeholders(it), placeholders(String(same)), key);
        continue;
      }
      assert.deepEqual(Object.keys(it).sort(), [...categories.keys()].sort(), `${key}: plural categories`);
      for (const [category, form] of Object.entries(it)) {
        // "Two messages" needs no number if no other number is said that way.
        const named = placeholders(form).length === 0 && categories.get(category) === 1;
        assert.ok(named || placeholders(form).join() === '{n}', `${key}, ${category}: ${form}`);
      }
    }
  });

  test(`${locale}: set as that language is`, () => {
    for (const [key, form] of forms) {
      assert.doesNotMatch(form, /["'`]|\.\.\.|^\s|\s$| {2}|\s…/, `${key}: ${form}`);
      if (locale === 'fr') assert.doesNotMatch(form, /[^\u202f][?!;]|[^\u00a0]:/, `${key}: ${form}`);
      if (locale === 'zh' || locale === 'ja') assert.doesNotMatch(form, /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}][,.?!:;()]/u, `${key}: ${form}`);
    }
  });

  if (locale !== 'en') test(`${locale}: no English is left over`, () => {
    for (const [key, form] of forms) {
      if (form === english[key]) assert.ok(COMMON_WORDS.includes(form), `${key}: ${form}`);
      if (!['ru', 'uk', 'ar', 'he', 'ja', 'zh'].includes(locale)) continue;
      const foreign = form.replace(/\{\w+\}|\b(?:JSON|https|AI)\b|JSON|AI/g, '');
      assert.doesNotMatch(foreign, /\p{Script=Latin}/u, `${key}: ${form}`);
    }
  });

  test(`${locale}: at most 2 KB to load`, () => {
    const bytes = gzipSync(read(`locales/${locale}.json`), { level: 9 }).length;
    assert.ok(bytes <= 2048, `${bytes} bytes`);
  });
}

/** Keys that a script says, and those it may say where it works them out. @param {string} path */
function saidBy(path) {
  const literals = literalsOf(read(path));
  const said = literals.filter(({ around, before }) => {
    const call = around.at(-1);
    const key = call?.open === '(' && ((call.name === 't' && call.argument === 0) || (call.name === 'say' && call.argument === 1));
    return key && !/[!=]==?\s*$/.test(before);
  });
  const worksOut = /\bt\((?!['"])|\bsay\(texts, (?!['"])/.test(read(path));
  // `task_${state}` may be any that begins so.
  const keys = said.flatMap(({ text }) => (text.includes('{}') ? Object.keys(english).filter((key) => key.startsWith(text.split('{}')[0])) : [text]));
  return { said: keys, maybe: worksOut ? literals.map(({ text }) => text) : [] };
}

test('every sentence that is said exists', () => {
  for (const path of scripts) {
    for (const key of saidBy(path).said) assert.ok(Object.hasOwn(english, key), `${path}: ${key}`);
  }
  for (const [code, key] of Object.entries(SENTENCES)) assert.ok(Object.hasOwn(english, key), `${code}: ${key}`);
});

test('every sentence that exists is said', () => {
  const used = new Set(scripts.flatMap((path) => Object.values(saidBy(path)).flat()).concat(Object.values(SENTENCES), FOR_THE_TAG));
  assert.deepEqual(Object.keys(english).filter((key) => !used.has(key)), []);
});

test('each failure of an answer has a sentence', () => {
  const source = readFileSync(new URL('../shared/protocol/src/event.rs', widget), 'utf8');
  const codes = [...source.slice(source.indexOf('impl FailureCode')).matchAll(/Self::\w+ => "(\w+)"/g)].map(([, code]) => code);
  assert.ok(codes.length >= 10, 'found in the source');
  assert.deepEqual(codes.filter((code) => !Object.hasOwn(SENTENCES, code)), []);
});

test('no script has words of its own for visitors', () => {
  for (const path of scripts) {
    const own = literalsOf(read(path)).filter((it) => {
      const as = shownAs(it);
      if (as === undefined || NOT_SHOWN.includes(it.text)) return false;
      return !(path === 'embed.js' && OF_THE_TAG.includes(it.text));
    });
    assert.deepEqual(own.map((it) => `${path}:${it.line} ${shownAs(it)}: ${it.text}`), [], 'put these into locales/*.json; what nobody is shown may go into NOT_SHOWN');
  }
});

test('no page and no style sheet has words of its own', () => {
  assert.deepEqual(['modern-widget.html', 'captcha.html'].flatMap((page) => wordsOf(read(page))), []);
  for (const sheet of ['widget.css', 'talk.css', 'blocks.css', 'sheet.css', 'comment.css']) assert.doesNotMatch(read(sheet).replace(/attr\(.*?\)/g, ''), /\bcontent:[^;\n]*(["'])[^"'\n]*\p{L}[^"'\n]*\1/u);
});

const FOUND = [
  "button.textContent = 'send';",
  "field.placeholder = open ? 'reply' : t('message');",
  "node.title ??= 'close';",
  "button.setAttribute('aria-label', 'close');",
  "element('button', { type: 'button', 'aria-label': 'close' })",
  "element('span', {}, 'new')",
  "element('span', { class: 'x' }, icon('go'), open ? 'less' : t('more'))",
  "root.append(icon('arrow'), 'new')",
  'root.replaceChildren(document.createTextNode(`${n} new`))',
  "name(close, 'close', icon('down'))",
  "set(status, busy ? 'busy' : '')",
  "const PLAIN = { greeting: 'Hi there, how can we help?' };",
  "const label = 'Delete';",
  'const label = `Open ${name}`;',
  "const text = sentence ?? 'try again later';",
  'x = /[\'"]/.test(y) ? \'Nothing found\' : "";',
  '// it\'s a comment\nreturn "Waiting…";',
  'const a = `${b ? `in${c}` : "Really?"}`;',
];
const NOT_FOUND = [
  "name(close, t('close'), icon('down'));",
  "element('button', { type: 'button', class: 'tool new' }, t('new_chat'))",
  "find('tagline').textContent = next.online ? t('connecting') : say(texts, 'status_offline');",
  "// Says 'Hello there' to nobody.\nconst a = 1;",
  "throw new Error('no body came');",
  "console.error('frontdesk: the reply could not be read', error);",
  "if (event.key === 'Enter') go();",
  "strip.className = `notice ${tone}`;",
  "matchMedia('(prefers-reduced-motion: reduce) and (pointer: coarse)');",
  "const PATHS = { down: ['m6 9 6 6 6-6'] };",
  "root.append(a, ' · ', b);",
  "const quoted = /it's \"Here we are\"/.test(x);",
];

test('planted words are found, and only these', () => {
  const shown = (/** @type {string} */ source) => literalsOf(source).filter((it) => shownAs(it) !== undefined);
  for (const source of FOUND) assert.equal(shown(source).length, 1, source);
  for (const source of NOT_FOUND) assert.deepEqual(shown(source).map(({ text }) => text), [], source);
  assert.deepEqual(wordsOf('<!-- no --><button aria-label="Close">×</button><p>Hello <b>you</b></p><title>x</title>'), ['Close', 'Hello', 'you']);
});
