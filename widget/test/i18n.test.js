/** Which language, in which way, and what if there is none. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import { directionOf, loadTexts, pick, say, sayClock, sayDay, sayWhen } from '../js/i18n.js';

const texts = (locale, tag = locale) => ({ locale, tag, sentences: JSON.parse(readFileSync(new URL(`../locales/${locale}.json`, import.meta.url), 'utf8')) });
const picked = (...wanted) => Object.values(pick(wanted)).join(' ');

test('the first language that is wanted and spoken', () => {
  assert.equal(picked('de-AT', 'en'), 'de de-AT');
  assert.equal(picked(undefined, '', 'fi', 'sv-SE', 'fr-CA', 'en'), 'fr fr-CA');
  assert.equal(picked('fi'), 'en en');
  assert.equal(picked(), 'en en');
});

test('what was asked for goes before what the browser wants', () => {
  assert.equal(picked('ja', 'de', 'en-GB'), 'ja ja');
  assert.equal(picked(undefined, 'de', 'en-GB'), 'de de');
});

test('old, odd and wrong names', () => {
  assert.equal(picked('iw-IL'), 'he he-IL');
  assert.equal(picked('pt_BR'), 'pt pt-BR');
  assert.equal(picked('PT-br'), 'pt pt-BR');
  assert.equal(picked('de-DE-u-co-phonebk'), 'de de-DE');
  assert.equal(picked('not a language', '*', 'x', 'nl'), 'nl nl');
});

test('another script is read by most, but nothing of it is mixed in', () => {
  assert.equal(picked('zh-Hant-TW', 'en'), 'zh zh');
  assert.equal(picked('zh-HK'), 'zh zh');
  assert.equal(picked('zh-CN'), 'zh zh-CN');
  assert.equal(picked('zh-SG'), 'zh zh-SG');
});

test('two are written from right to left', () => {
  assert.deepEqual(['en', 'ar', 'he', 'ja'].map((locale) => directionOf(texts(locale))), ['ltr', 'rtl', 'rtl', 'ltr']);
});

test('places are filled, numbers in the way of the country', () => {
  assert.equal(say(texts('en'), 'too_long', { count: 4100, max: 4000 }), '4,100 of 4,000 characters: please shorten it.');
  assert.equal(say(texts('de'), 'too_long', { count: 4100, max: 4000 }), '4.100 von 4.000 Zeichen: bitte kürzen.');
  assert.equal(say(texts('de', 'de-CH'), 'too_long', { count: 4100, max: 4000 }).replaceAll("'", '’'), '4’100 von 4’000 Zeichen: bitte kürzen.');
  assert.equal(say(texts('en'), 'order', { number: '$& {number} 7' }), 'Order $& {number} 7');
  assert.equal(say(texts('en'), 'order'), 'Order {number}');
});

test('plurals by the rules of the language', () => {
  const counted = (locale, ...numbers) => numbers.map((n) => say(texts(locale), 'unread', { n }));
  assert.deepEqual(counted('en', 0, 1, 2), ['0 new messages', '1 new message', '2 new messages']);
  assert.deepEqual(counted('fr', 0, 1, 2), ['0 nouveau message', '1 nouveau message', '2 nouveaux messages']);
  assert.deepEqual(counted('ru', 1, 2, 5, 21), ['1 новое сообщение', '2 новых сообщения', '5 новых сообщений', '21 новое сообщение']);
  assert.deepEqual(counted('pl', 1, 2, 5, 22), ['1 nowa wiadomość', '2 nowe wiadomości', '5 nowych wiadomości', '22 nowe wiadomości']);
  assert.deepEqual(counted('he', 1, 2), ['הודעה חדשה אחת', '2 הודעות חדשות']);
  assert.equal(new Set(counted('ar', 0, 1, 2)).size, 3);
  assert.deepEqual(counted('ja', 1, 2), ['新着メッセージ1件', '新着メッセージ2件']);
  // A million has a form of its own in French, Spanish, Italian and Portuguese, and no file has it.
  assert.match(counted('es', 1_000_000)[0], /mensajes nuevos$/);
});

test('a wait is said with the case and the order of the language', () => {
  const wait = (locale, seconds) => say(texts(locale), 'try_again_in', { when: sayWhen(texts(locale), seconds) });
  assert.equal(wait('en', 1), 'Try again in 1 second');
  assert.equal(wait('en', 90), 'Try again in 90 seconds');
  assert.equal(wait('en', 91), 'Try again in 2 minutes');
  assert.equal(wait('de', 5), 'Erneut versuchen in 5 Sekunden');
  assert.equal(wait('ru', 21), 'Повторить через 21 секунду');
  assert.match(wait('ja', 5), /^5 ?秒後に再試行$/);
});

test('days by name, near ones by their own', () => {
  const day = (locale, at, tag = locale) => sayDay(texts(locale, tag), at, new Date(2025, 2, 30, 23, 30).getTime());
  assert.equal(day('en', new Date(2025, 2, 30, 0, 0).getTime()), 'Today');
  assert.equal(day('en', new Date(2025, 2, 29, 23, 59).getTime()), 'Yesterday');
  assert.equal(day('en', new Date(2025, 2, 28, 23, 59).getTime()), 'Friday, March 28');
  assert.equal(day('en', new Date(2025, 2, 28).getTime(), 'en-GB').replace(',', ''), 'Friday 28 March');
  assert.equal(day('de', new Date(2025, 2, 29).getTime()), 'Gestern');
  assert.equal(day('tr', new Date(2025, 2, 30).getTime()), 'Bugün');
  assert.equal(day('fr', new Date(2025, 2, 28).getTime()), 'Vendredi 28 mars');
});

test('the clock of the country', () => {
  const at = new Date(2025, 0, 1, 14, 5).getTime();
  assert.equal(sayClock(texts('de'), at), '14:05');
  assert.match(sayClock(texts('en', 'en-US'), at), /^2:05\sPM$/);
});

const { fetch } = globalThis;
afterEach(() => {
  globalThis.fetch = fetch;
});

/** @param {Record<string, object>} files what there is */
function serve(files) {
  const asked = [];
  globalThis.fetch = async (url) => {
    const name = /(\w+)\.json$/.exec(String(url))?.[1] ?? '';
    asked.push(name);
    if (!files[name]) throw new TypeError('no network');
    return files[name] === 404 ? new Response('', { status: 404 }) : Response.json(files[name]);
  };
  return asked;
}

test('only what is wanted is loaded, and a shop has the last word', async () => {
  const asked = serve({ de: { send: 'Senden', stop: 'Halt' } });
  const { locale, tag, sentences } = await loadTexts(['de-AT', 'en'], { stop: 'Stopp' });
  assert.deepEqual([locale, tag, sentences, asked], ['de', 'de-AT', { send: 'Senden', stop: 'Stopp' }, ['de']]);
});

test('what the page has is not asked for, and what is wanted instead is', async () => {
  const asked = serve({ en: { send: 'Send' }, it: { send: 'Invia' } });
  const page = { lang: 'fr', textContent: '{"send":"Envoyer"}' };
  globalThis.document = { getElementById: (id) => (id === 'sentences' ? page : null) };
  try {
    assert.deepEqual([(await loadTexts(['fr-CH', 'it'])).sentences.send, asked], ['Envoyer', []]);
    assert.deepEqual([(await loadTexts(['it', 'fr'])).sentences.send, asked], ['Invia', ['it']]);
    page.textContent = '{"send":';
    assert.deepEqual([(await loadTexts(['fr'])).sentences.send, asked], ['Send', ['it', 'en']]);
  } finally {
    delete globalThis.document;
  }
});

test('English where the language cannot be had', async () => {
  const asked = serve({ de: 404, en: { send: 'Send' } });
  const loaded = await loadTexts(['de']);
  assert.deepEqual([loaded, asked], [{ locale: 'en', tag: 'en', sentences: { send: 'Send' } }, ['de', 'en']]);
});

test('without any file the chat still says what it means', async () => {
  const asked = serve({});
  const loaded = await loadTexts(['en-GB'], { send: 'Go' });
  assert.deepEqual(asked, ['en'], 'asked once');
  assert.deepEqual([say(loaded, 'send'), say(loaded, 'try_again'), say(loaded, 'constructor')], ['Go', 'Try again', 'Constructor']);
});
