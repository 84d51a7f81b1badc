/**
 * The form of the theme studio, and how its values get into a configuration.
 *
 * @typedef {object} Field
 * @property {string} path in the configuration, such as `theme.accent`
 * @property {string} label
 * @property {'text' | 'long' | 'colour' | 'number' | 'choice' | 'switch' | 'lines'} kind
 * @property {string[]} [choices]
 * @property {string} [hint]
 * @property {boolean} [on] what a switch is where the file doesn't say
 */

/** @type {{title: string, fields: Field[], open?: boolean}[]} */
export const SECTIONS = [
  {
    title: 'Shop',
    open: true,
    fields: [
      { path: 'name', label: 'Name', kind: 'text' },
      { path: 'tagline', label: 'Below the name', kind: 'text' },
      { path: 'logo', label: 'Logo', kind: 'text', hint: 'https://…, of a host that is named below' },
    ],
  },
  {
    title: 'Look',
    open: true,
    fields: [
      { path: 'theme.accent', label: 'Accent', kind: 'colour', hint: 'All other colours are computed from it.' },
      { path: 'theme.mode', label: 'Light or dark', kind: 'choice', choices: ['auto', 'light', 'dark'] },
      { path: 'theme.radius', label: 'Corners, in pixels', kind: 'number' },
      { path: 'theme.font', label: 'Font', kind: 'choice', choices: ['system', 'humanist', 'rounded', 'serif', 'mono'] },
      { path: 'side', label: 'Side of the page', kind: 'choice', choices: ['end', 'start'] },
      { path: 'size', label: 'Size', kind: 'choice', choices: ['compact', 'normal', 'large'] },
    ],
  },
  {
    title: 'Words',
    open: true,
    fields: [
      { path: 'greeting.title', label: 'Greeting', kind: 'text' },
      { path: 'greeting.text', label: 'Below the greeting', kind: 'long' },
      { path: 'texts.placeholder', label: 'In the empty field', kind: 'text' },
      { path: 'footnote', label: 'Footnote', kind: 'text', hint: 'By default: that answers are made by a machine.' },
      { path: 'privacy.label', label: 'Privacy link', kind: 'text' },
      { path: 'privacy.href', label: 'Its address', kind: 'text' },
      { path: 'locale', label: 'Language', kind: 'text', hint: 'Such as de. Left empty: the visitor’s.' },
    ],
  },
  {
    title: 'Beside the launcher',
    fields: [
      { path: 'proactive.text', label: 'Greeting', kind: 'text' },
      { path: 'proactive.after_seconds', label: 'After seconds', kind: 'number' },
      { path: 'proactive.pages', label: 'On these pages', kind: 'lines', hint: 'One path a line, such as /products/*' },
    ],
  },
  {
    title: 'Features',
    fields: [
      { path: 'features.feedback', label: 'Thumbs up and down', kind: 'switch', on: true },
      { path: 'features.comments', label: 'A comment after them', kind: 'switch', on: true },
      { path: 'features.copy', label: 'Copy an answer', kind: 'switch', on: true },
      { path: 'features.history', label: 'Earlier conversations', kind: 'switch', on: true },
      { path: 'features.search', label: 'Search', kind: 'switch', on: true },
      { path: 'features.export', label: 'Download', kind: 'switch', on: true },
      { path: 'features.sound', label: 'Sound, which visitors turn on', kind: 'switch', on: true },
      { path: 'features.attach', label: 'Attach files', kind: 'switch', on: false },
    ],
  },
  {
    title: 'Data and pictures',
    fields: [
      { path: 'consent', label: 'Before anything is kept', kind: 'choice', choices: ['none', 'ask'] },
      { path: 'image_hosts', label: 'Hosts of pictures', kind: 'lines', hint: 'One a line, such as cdn.shop.example' },
    ],
  },
];

/** @param {any} config @param {string} path @returns {any} */
export function valueAt(config, path) {
  return path.split('.').reduce((it, key) => (it !== null && typeof it === 'object' && Object.hasOwn(it, key) ? it[key] : undefined), config);
}

/** The same with another value; `undefined` takes it out, and what is empty then. @param {any} config @param {string} path @param {unknown} value @returns {any} */
export function withValue(config, path, value) {
  const [key, ...rest] = path.split('.');
  const inner = rest.length === 0 ? value : withValue(config?.[key] ?? {}, rest.join('.'), value);
  const { [key]: _, ...others } = config ?? {};
  const empty = inner === undefined || (rest.length > 0 && Object.keys(/** @type {object} */ (inner)).length === 0);
  return empty ? others : { ...config, [key]: inner };
}

/** What the schema says of a path. @param {any} schema @param {string} path @returns {any} */
export function rulesOf(schema, path) {
  return path.split('.').reduce((it, key) => it?.properties?.[key] ?? it?.additionalProperties, schema) ?? {};
}

/** A sentence for what is wrong with a text, or ''. @param {any} rules @param {string} text @returns {string} */
export function mistakeIn(rules, text) {
  if (text === '') return '';
  if ([...text].length > (rules.maxLength ?? Infinity)) return `has ${[...text].length} characters, and may have ${rules.maxLength}`;
  if (rules.pattern && !new RegExp(rules.pattern, 'u').test(text)) return rules.patternErrorMessage;
  if (rules.type !== 'integer') return '';
  const fits = /^\d+$/.test(text) && Number(text) >= rules.minimum && Number(text) <= rules.maximum;
  return fits ? '' : `must be a whole number from ${rules.minimum} to ${rules.maximum}`;
}

/** What the launcher says before anything is loaded, and which sentence it is. Its own words are the English ones. */
const SPOKEN = /** @type {const} */ ([
  ['label', 'chat', 'Chat'],
  ['dismiss', 'dismiss', 'Dismiss'],
  ['failed', 'not_loaded', 'The chat did not load.'],
]);

/**
 * The tag for a shop's pages, as `frontdesk widget snippet` writes it.
 * @param {any} config @param {string | null} site @param {string} base
 * @param {import('./i18n.js').Sentences} sentences of the shop's language, with its own among them
 * @returns {string}
 */
export function tagOf(config, site, base, sentences) {
  const { theme = {}, proactive = {} } = config;
  // A link follows what could not be loaded.
  const said = SPOKEN.map(([name, key, english]) => [name, sentences[key] === english ? undefined : `${sentences[key]}${name === 'failed' ? ' ' : ''}`]);
  const known = {
    site,
    color: theme.accent,
    theme: theme.mode === 'auto' ? undefined : theme.mode,
    side: config.side === 'end' ? undefined : config.side,
    locale: config.locale,
    consent: config.consent === 'none' ? undefined : config.consent,
    greeting: proactive.text,
    'greeting-delay': proactive.after_seconds,
    'greeting-pages': proactive.pages?.join(' '),
    ...Object.fromEntries(said),
  };
  const quoted = (/** @type {unknown} */ text) => String(text).replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
  const data = Object.entries(known).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return `<script src="${quoted(base.replace(/\/+$/, ''))}/widget/embed.js" async${data.map(([name, value]) => ` data-${name}="${quoted(value)}"`).join('')}></script>`;
}
