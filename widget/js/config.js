/**
 * How this site's chat shall be: `widget-config.json`, which the edge checked when it started. What it doesn't say is as
 * below. Looked over once more, lightly: a file that was changed on its way must not keep anybody from writing.
 *
 * @typedef {import('./types.js').Config} Config
 */

/** A chat without the shop's words is better than one that waits. */
const WITHIN_MS = 5000;

const FEATURES = { feedback: true, comments: true, copy: true, history: true, search: true, export: true, sound: true, attach: false };

/** @returns {Config} */
export const defaults = () => ({ greeting: {}, topics: [], texts: {}, theme: {}, side: 'end', size: 'normal', features: { ...FEATURES }, consent: 'none', image_hosts: [] });

const isText = (/** @type {unknown} */ value) => typeof value === 'string';
const isObject = (/** @type {unknown} */ value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isOneOf = (/** @type {string[]} */ ...words) => (/** @type {unknown} */ value) => words.includes(/** @type {string} */ (value));
/** @param {(value: any) => boolean} fine */
const isListOf = (fine) => (/** @type {unknown} */ value) => Array.isArray(value) && value.every(fine);

/** @type {Record<string, (value: any) => boolean>} */
const FORMS = {
  name: isText,
  tagline: isText,
  logo: isText,
  greeting: isObject,
  topics: isListOf((topic) => isText(topic?.label) && (topic.message === undefined || isText(topic.message))),
  texts: (texts) => isObject(texts) && Object.values(texts).every((it) => isText(it) || isObject(it)),
  footnote: isText,
  privacy: (it) => isText(it?.label) && isText(it?.href),
  locale: isText,
  theme: isObject,
  side: isOneOf('start', 'end'),
  size: isOneOf('compact', 'normal', 'large'),
  features: (it) => isObject(it) && Object.values(it).every((on) => typeof on === 'boolean'),
  consent: isOneOf('none', 'ask'),
  image_hosts: isListOf(isText),
  proactive: (it) => isText(it?.text),
};

/** What is not of its form is as if it were not there. @param {unknown} said @returns {{config: Config, problems: string[]}} with the keys that were left out */
export function readConfig(said) {
  /** @type {Record<string, any>} */
  const config = defaults();
  if (!isObject(said)) return { config: defaults(), problems: ['*'] };
  const problems = [];
  for (const [key, value] of Object.entries(/** @type {object} */ (said))) {
    if (key === '$schema') continue;
    if (!Object.hasOwn(FORMS, key) || !FORMS[key](value)) problems.push(key);
    else config[key] = key === 'features' ? { ...FEATURES, ...value } : value;
  }
  return { config: /** @type {Config} */ (config), problems };
}

/** What the shop's tag says of its own wins. @param {Config} config @param {Record<string, unknown>} options @returns {Config} */
export function withOptions(config, { color, theme, locale, consent }) {
  const said = { ...config, theme: { ...config.theme } };
  if (isText(color)) said.theme.accent = String(color);
  if (isOneOf('auto', 'light', 'dark')(theme)) said.theme.mode = /** @type {'auto'} */ (theme);
  if (isText(locale)) said.locale = String(locale);
  if (FORMS.consent(consent)) said.consent = /** @type {'ask'} */ (consent);
  return said;
}

/** @param {string} site @returns {Promise<{config: Config, problems: string[]}>} `*` is left out where there is nothing to be had */
export async function loadConfig(site) {
  const address = new URL('widget-config.json', location.href);
  if (site !== 'default') address.searchParams.set('site', site);
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(WITHIN_MS) });
    if (!response.ok) throw new Error(String(response.status));
    const read = readConfig(await response.json());
    if (read.problems.length > 0) console.warn('frontdesk: left out of widget-config.json', read.problems);
    return read;
  } catch (error) {
    console.warn('frontdesk: widget-config.json could not be read', error);
    return { config: defaults(), problems: ['*'] };
  }
}
