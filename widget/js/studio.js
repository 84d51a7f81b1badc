/** The theme studio: a form on the left, the chat as it becomes on the right, and below what to take along. Development only. */
import { LOCALES, loadTexts } from './i18n.js';
import { SECTIONS, mistakeIn, rulesOf, tagOf, valueAt, withValue } from './studio-fields.js';
import { createTopics } from './studio-topics.js';
import { createStage } from './studio-stage.js';

/** @typedef {import('./studio-fields.js').Field} Field */

const site = new URLSearchParams(location.search).get('site');
const base = new URL('../', location.href).href;
const find = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const schema = await (await fetch('widget-config.schema.json')).json();
/** @type {any} */
let config = await (await fetch(site ? `widget-config.json?site=${encodeURIComponent(site)}` : 'widget-config.json')).json();
/** Of the shop's language: what the launcher says stands on the tag. */
let texts = await loadTexts([config.locale], config.texts);
/** Brings a field's control up to date. @type {(() => void)[]} */
const refreshers = [];

/** @param {string} tag @param {Record<string, any>} [more] @param {(Node | string)[]} children @returns {any} */
function make(tag, more = {}, ...children) {
  const node = Object.assign(document.createElement(tag), more);
  node.append(...children);
  return node;
}

/** @param {string} path @param {unknown} value */
function change(path, value) {
  config = withValue(config, path, value);
  show();
  if (path === 'locale' || path.startsWith('texts')) void speak();
}

/** Reads the sentences of the language that stands in the form now. */
async function speak() {
  const { locale, texts: own } = config;
  const read = await loadTexts([locale], own);
  if (config.locale !== locale || config.texts !== own) return;
  texts = read;
  show();
}

/** @param {Field} field */
function control(field) {
  const { path, label, kind, choices = [], hint } = field;
  const rules = rulesOf(schema, path);
  const id = `field-${path.replaceAll('.', '-')}`;
  const wrong = make('p', { id: `${id}-wrong`, className: 'wrong', hidden: true });
  const tip = make('p', { id: `${id}-hint`, className: 'hint', hidden: !hint }, hint ?? '');
  const describe = (/** @type {HTMLElement} */ node) => node.setAttribute('aria-describedby', `${id}-hint ${id}-wrong`);

  if (kind === 'switch') {
    const input = make('input', { id, type: 'checkbox' });
    input.addEventListener('change', () => change(path, input.checked === field.on ? undefined : input.checked));
    refreshers.push(() => (input.checked = valueAt(config, path) ?? field.on));
    return make('label', { className: 'check' }, input, ` ${label}`);
  }
  if (kind === 'choice') {
    const select = make('select', { id }, ...choices.map((it) => make('option', { value: it }, it)));
    const usual = { 'theme.mode': 'auto', 'theme.font': 'system', side: 'end', size: 'normal', consent: 'none' }[path];
    select.addEventListener('change', () => change(path, select.value === usual ? undefined : select.value));
    refreshers.push(() => (select.value = valueAt(config, path) ?? usual));
    return make('div', { className: 'field' }, make('label', { htmlFor: id }, label), select);
  }
  const lines = kind === 'lines';
  const input = lines || kind === 'long' ? make('textarea', { id, rows: lines ? 3 : 2 }) : make('input', { id, type: 'text', spellcheck: kind === 'text', inputMode: kind === 'number' ? 'numeric' : 'text' });
  describe(input);
  const picker = kind === 'colour' ? make('input', { type: 'color', ariaLabel: `${label}: choose` }) : undefined;
  picker?.addEventListener('input', () => {
    input.value = picker.value;
    read();
  });
  const tell = (/** @type {string} */ mistake) => {
    wrong.hidden = mistake === '';
    wrong.textContent = mistake;
    input.setAttribute('aria-invalid', String(mistake !== ''));
  };
  function read() {
    const text = input.value.trim();
    if (lines) {
      const entries = text.split('\n').map((/** @type {string} */ it) => it.trim()).filter(Boolean);
      const mistake = entries.map((/** @type {string} */ it) => mistakeIn(rules.items, it)).find(Boolean) ?? (entries.length > rules.maxItems ? `may have ${rules.maxItems} lines` : '');
      tell(mistake);
      if (mistake === '') change(path, entries.length > 0 ? entries : undefined);
      return;
    }
    const mistake = mistakeIn(rules, text);
    tell(mistake);
    if (mistake !== '') return;
    if (picker && text.length === 7) picker.value = text;
    change(path, text === '' ? undefined : kind === 'number' ? Number(text) : text);
  }
  input.addEventListener('input', read);
  refreshers.push(() => {
    const value = valueAt(config, path);
    input.value = lines ? (value ?? []).join('\n') : typeof value === 'object' ? '' : (value ?? '');
    if (picker) picker.value = /^#[0-9a-f]{6}$/i.test(value ?? '') ? value : '#0f6b5c';
    tell('');
  });
  return make('div', { className: 'field' }, make('label', { htmlFor: id }, label), picker ? make('div', { className: 'pair' }, picker, input) : input, tip, wrong);
}

const topics = createTopics({ make, schema, get: () => config.topics ?? [], set: (list) => change('topics', list.length > 0 ? list : undefined) });
const sections = SECTIONS.map(({ title, fields, open }) => make('details', { open: open === true }, make('summary', {}, title), ...fields.map(control)));
sections.splice(3, 0, make('details', { open: true }, make('summary', {}, 'Topics'), topics.root));
find('form').append(...sections);
find('form').addEventListener('submit', (/** @type {Event} */ event) => event.preventDefault());
find('locale').append(...LOCALES.map((it) => make('option', {}, it)));

const stage = createStage({ make, shop: find('shop'), onStates: (names) => find('state').append(...names.map((it) => make('option', {}, it))) });

/** In the order of the schema, which is that of the chat from head to foot. @param {any} it */
const ordered = (it) => Object.fromEntries(Object.keys(schema.properties).filter((key) => Object.hasOwn(it, key)).map((key) => [key, it[key]]));

/** What a shop would have to complete before an edge takes the file. @param {any} it */
function whole(it) {
  const half = (it.privacy && !(it.privacy.label && it.privacy.href) ? ['privacy'] : []).concat(it.proactive && !it.proactive.text ? ['proactive'] : []);
  return half.reduce((all, key) => withValue(all, key, undefined), { ...it, topics: it.topics?.filter((/** @type {any} */ topic) => topic.label) });
}

const text = () => JSON.stringify(ordered(whole(config)), null, 2);

function show() {
  const value = (/** @type {string} */ id) => find(id).value;
  stage.show({ config: whole(config), state: value('state') || 'welcome', light: value('light'), locale: value('locale'), direction: value('direction') }, { phone: value('screen') === 'phone', all: find('all').checked });
  find('tag').textContent = tagOf(whole(config), site, base, texts.sentences);
  find('file').textContent = text();
}

function begin() {
  for (const refresh of refreshers) refresh();
  topics.refresh();
  show();
  void speak();
}

/** @param {string} sentence */
function tell(sentence) {
  find('told').textContent = sentence;
  setTimeout(() => find('told').textContent === sentence && (find('told').textContent = ''), 4000);
}

/** @param {string} what @param {string} name */
async function copy(what, name) {
  try {
    await navigator.clipboard.writeText(what);
    tell(`${name} is copied.`);
  } catch {
    tell('The browser forbids copying: select it and copy by hand.');
  }
}

for (const id of ['state', 'light', 'screen', 'locale', 'direction', 'all']) find(id).addEventListener('change', show);
for (const [id, step] of /** @type {const} */ ([['before', -1], ['after', 1]])) {
  find(id).addEventListener('click', () => {
    const select = find('state');
    select.selectedIndex = (select.selectedIndex + step + select.length) % select.length;
    show();
  });
}
find('copy-tag').addEventListener('click', () => copy(find('tag').textContent, 'The tag'));
find('copy-file').addEventListener('click', () => copy(text(), 'widget-config.json'));
find('save').addEventListener('click', () => {
  const link = make('a', { href: URL.createObjectURL(new Blob([`${text()}\n`], { type: 'application/json' })), download: `${site ?? 'default'}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  tell(`${link.download} is saved: it belongs into WIDGET_CONFIG_DIR.`);
});
find('empty').addEventListener('click', () => {
  config = {};
  begin();
});
find('open').addEventListener('change', async () => {
  const [file] = find('open').files;
  find('open').value = '';
  try {
    const read = JSON.parse(await file.text());
    if (typeof read !== 'object' || read === null || Array.isArray(read)) throw new Error('not an object');
    delete read.$schema;
    config = read;
    begin();
    tell(`${file.name} is open. \`frontdesk widget check\` looks at all of it.`);
  } catch (error) {
    tell(`${file?.name} can't be read: ${error instanceof Error ? error.message : error}`);
  }
});
begin();
