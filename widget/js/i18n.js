/**
 * Every sentence of the chat, by language: `locales/<language>.json`. A shop may replace any of them under `texts` of its settings.
 *
 * A sentence is a string with `{names}`, or one for each plural category of `n` (CLDR, as `Intl.PluralRules` knows them). Numbers,
 * times and days need no sentences: the browser has the words for them.
 *
 * @typedef {Record<string, string | Partial<Record<Intl.LDMLPluralRule, string>>>} Sentences
 * @typedef {object} Texts
 * @property {string} locale the language of the sentences
 * @property {string} tag for numbers and times: the visitor's country may write them another way
 * @property {Sentences} sentences
 */

/** Those there is a file of. */
export const LOCALES = ['en', 'de', 'fr', 'es', 'it', 'nl', 'pl', 'pt', 'ru', 'uk', 'tr', 'ar', 'he', 'ja', 'zh'];

const RIGHT_TO_LEFT = ['ar', 'he'];

/** A chat in another language is better than one that waits. */
const SENTENCES_WITHIN_MS = 5000;

/** The best of our languages for who wants these, most wanted first. @param {readonly (string | undefined)[]} wanted @returns {{locale: string, tag: string}} */
export function pick(wanted) {
  for (const name of wanted) {
    const known = name && localeOf(name);
    if (!known || !LOCALES.includes(known.language)) continue;
    const locale = known.language;
    // Traditional characters are not written here: whoever reads them gets the simplified ones, and numbers and times to match.
    // Of the others only a script that is named can be another one. (The first `maximize` of a page takes long.)
    const other = (locale === 'zh' || known.script) && known.maximize().script !== new Intl.Locale(locale).maximize().script;
    return { locale, tag: other ? locale : known.baseName };
  }
  return { locale: 'en', tag: 'en' };
}

/** `he` for the old `iw`; `de-DE` also when it is written `de_DE`. @param {string} name */
function localeOf(name) {
  try {
    return new Intl.Locale(name.replaceAll('_', '-'));
  } catch {
    return undefined;
  }
}

/**
 * In the language that is wanted, else in English, and if there is nothing to be had, with what the keys say.
 *
 * @param {readonly (string | undefined)[]} wanted
 * @param {Sentences} [replaced] the shop's own words
 * @returns {Promise<Texts>}
 */
export async function loadTexts(wanted, replaced = {}) {
  const picked = pick(wanted);
  const found = await sentencesOf(picked.locale);
  if (found) return { ...picked, sentences: { ...found, ...replaced } };
  const english = picked.locale === 'en' ? undefined : await sentencesOf('en');
  return { locale: 'en', tag: 'en', sentences: { ...english, ...replaced } };
}

/** The edge has guessed which are wanted, and put them into the page. @param {string} locale @returns {Promise<Sentences | undefined>} */
async function sentencesOf(locale) {
  try {
    const given = globalThis.document?.getElementById?.('sentences');
    if (given?.lang === locale) return JSON.parse(given.textContent ?? '');
    const response = await fetch(new URL(`../locales/${locale}.json`, import.meta.url), { signal: AbortSignal.timeout(SENTENCES_WITHIN_MS) });
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/** @param {Texts} texts @returns {'ltr' | 'rtl'} */
export function directionOf({ locale }) {
  return RIGHT_TO_LEFT.includes(locale) ? 'rtl' : 'ltr';
}

/** @param {Texts} texts @param {string} key @param {Record<string, string | number>} [values] @returns {string} */
export function say(texts, key, values = {}) {
  const found = Object.hasOwn(texts.sentences, key) ? texts.sentences[key] : plain(key);
  const sentence = typeof found === 'string' ? found : (found[format(texts, 'plural').select(Number(values.n))] ?? found.other ?? '');
  return sentence.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name];
    return typeof value === 'number' ? format(texts, 'number').format(value) : (value ?? all);
  });
}

/** `try_again` still says what it means. @param {string} key */
function plain(key) {
  return capital(key.replaceAll('_', ' '), 'en');
}

/** `in 5 seconds`, with the case and the word order this needs. @param {Texts} texts @param {number} seconds */
export function sayWhen(texts, seconds) {
  const relative = format(texts, 'relative');
  return seconds > 90 ? relative.format(Math.ceil(seconds / 60), 'minute') : relative.format(seconds, 'second');
}

/** `Today`, `Yesterday`, `Thursday, January 1`. @param {Texts} texts @param {number} at @param {number} [now] */
export function sayDay(texts, at, now = Date.now()) {
  // Noon, as not every day has 24 hours.
  const noon = (/** @type {number} */ time) => new Date(time).setHours(12, 0, 0, 0);
  const days = Math.round((noon(at) - noon(now)) / 86_400_000);
  const words = days === 0 || days === -1 ? format(texts, 'relative').format(days, 'day') : format(texts, 'day').format(at);
  return capital(words, texts.tag);
}

/** `14:05`, or `2:05 PM`. @param {Texts} texts @param {number} at */
export function sayClock(texts, at) {
  return format(texts, 'clock').format(at);
}

/** @param {string} words @param {string} tag */
function capital(words, tag) {
  const [first = '', ...rest] = words;
  return first.toLocaleUpperCase(tag) + rest.join('');
}

const FORMATS = {
  number: (/** @type {string} */ tag) => new Intl.NumberFormat(tag),
  plural: (/** @type {string} */ tag) => new Intl.PluralRules(tag),
  // `auto`: yesterday, not 1 day ago.
  relative: (/** @type {string} */ tag) => new Intl.RelativeTimeFormat(tag, { numeric: 'auto' }),
  clock: (/** @type {string} */ tag) => new Intl.DateTimeFormat(tag, { timeStyle: 'short' }),
  day: (/** @type {string} */ tag) => new Intl.DateTimeFormat(tag, { weekday: 'long', day: 'numeric', month: 'long' }),
};

/** Making one takes fifty times as long as using it. @type {Map<string, any>} */
const made = new Map();

/**
 * @template {keyof typeof FORMATS} Kind
 * @param {Texts} texts @param {Kind} kind
 * @returns {ReturnType<typeof FORMATS[Kind]>}
 */
function format({ tag }, kind) {
  const key = `${kind} ${tag}`;
  if (!made.has(key)) made.set(key, FORMATS[kind](tag));
  return made.get(key);
}
