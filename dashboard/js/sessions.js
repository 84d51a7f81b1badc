/** The latest visitors: filters, a list that goes on, and one of them in detail. */
import { card, keep } from './card.js';
import { h, icon, keyed, say } from './dom.js';
import { ranked, sum } from './figures.js';
import { texts } from './texts.js';

const PAGE = 25;
/** Also the API's own limit for one answer. */
const MOST = 500;
/** An answer may be short because the store looked at many rows in vain: the page asks on so often by itself. */
const TRIES = 4;

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} site
 * @property {number} started
 * @property {number} last_seen
 * @property {string | null} page_path
 * @property {string | null} locale
 * @property {'phone' | 'tablet' | 'desktop' | 'other' | null} device
 * @property {string | null} country
 * @property {boolean} identified
 * @property {'clear' | 'doubtful' | 'likely' | null} bot
 * @property {number} messages
 * @property {number} ended
 * @property {number} cancelled
 * @property {Record<string, number>} failed
 * @property {number} rated_up
 * @property {number} rated_down
 * @property {number | null} first_chunk_ms
 * @property {number | null} duration_ms
 */

/**
 * @param {object} options
 * @param {import('./api.js').Api} options.api
 * @param {import('./format.js').Format} options.format
 * @param {() => {site: string | null, span: import('./range.js').Span}} options.query
 * @param {(row: Row) => void} options.onOpen
 * @param {(error: unknown) => void} options.onError
 */
export function sessions({ api, format, query, onOpen, onError }) {
  const words = texts.sessions;
  const it = card(words.title, {
    hint: words.hint,
    area: 'sessions',
    onSave: async (signal) => {
      const { site, span } = query();
      keep(await api.export(site, span, { what: 'sessions', ...filters.value() }, signal), `${words.file}.csv`);
    },
  });
  const filters = filterBar(() => void reload());
  const none = h('p.nothing', { hidden: true });
  const body = h('tbody');
  const column = (/** @type {string} */ label, kind = '') => h('th', { scope: 'col', class: kind }, label);
  const table = h(
    'table.latest',
    {},
    h('caption.quiet', {}, words.title),
    h('thead', {}, h('tr', {}, column(words.began), column(words.page), column(words.visitor, 'wide'), column(words.messages, 'number'), column(words.replies), column(words.first, 'number wide'), column(words.rating, 'wide'))),
    body,
  );
  const more = h('button.secondary', { type: 'button', onclick: () => void grow() }, words.more);
  it.body.append(filters.node, none, table, h('div.more', {}, more));

  /** @type {Row[]} */
  let rows = [];
  /** @type {string | null} */
  let next = null;
  /** @type {AbortController | undefined} */
  let running;

  /** Rows until there are enough, or no more. @param {number} wanted @param {string | undefined} cursor @param {AbortSignal} signal */
  async function read(wanted, cursor, signal) {
    const { site, span } = query();
    const filter = filters.value();
    /** @type {Row[]} */
    const found = [];
    let place = cursor;
    for (let tries = 0; tries < TRIES && found.length < wanted; tries += 1) {
      const page = await api.sessions(site, span, filter, { cursor: place, limit: Math.min(MOST, wanted - found.length) }, signal);
      found.push(...page.sessions);
      place = page.next ?? undefined;
      if (!place) break;
    }
    return { found, next: place ?? null };
  }

  function show() {
    table.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
    say(none, filters.any() ? words.noneFiltered : words.none);
    more.hidden = next === null;
    say(more, rows.length > 0 && rows.length % PAGE === 0 ? words.more : words.further);
    keyed(body, rows, ({ site, id }) => `${site} ${id}`, (row) => line(row));
  }

  /** What is shown, anew: as many rows as there are, so that nothing jumps. @param {AbortSignal} [outer] */
  async function load(outer) {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const signal = outer ? AbortSignal.any([outer, mine.signal]) : mine.signal;
    table.setAttribute('aria-busy', 'true');
    try {
      const page = await read(Math.min(MOST, Math.max(PAGE, rows.length)), undefined, signal);
      rows = page.found;
      next = page.next;
      show();
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    } finally {
      if (running === mine) table.removeAttribute('aria-busy');
    }
  }

  /** Other rows are wanted. */
  async function reload() {
    rows = rows.slice(0, PAGE);
    await load().catch(onError);
  }

  async function grow() {
    if (next === null || more.getAttribute('aria-busy') === 'true') return;
    running?.abort();
    const mine = new AbortController();
    running = mine;
    more.setAttribute('aria-busy', 'true');
    try {
      const page = await read(PAGE, next, mine.signal);
      rows = [...rows, ...page.found];
      next = page.next;
      show();
    } catch (error) {
      if (!mine.signal.aborted) onError(error);
    } finally {
      more.removeAttribute('aria-busy');
    }
  }

  /** @param {Row} first */
  function line(first) {
    let row = first;
    const day = h('span');
    const clock = h('span');
    const open = h('button', { type: 'button', onclick: () => onOpen(row) }, day, ' ', clock);
    const page = h('td.path');
    const who = h('td.wide');
    const messages = h('td.number');
    const replies = h('td.pills');
    const wait = h('td.number.wide');
    const rating = h('td.wide.pills');
    let told = '';
    return {
      node: h('tr', {}, h('th', { scope: 'row' }, open), page, who, messages, replies, wait, rating),
      /** @param {Row} now */
      update(now) {
        row = now;
        const all = JSON.stringify(now);
        if (all === told) return;
        told = all;
        say(day, format.weekdayAndDay(now.started));
        say(clock, format.clock(now.started));
        open.setAttribute('aria-label', words.open(format.moment(now.started)));
        open.title = format.exactMoment(now.started);
        say(page, now.page_path ?? texts.pages.unknown);
        page.title = now.page_path ?? '';
        const about = [now.device && words.devices[now.device], now.country && format.country(now.country), now.locale && format.language(now.locale)].filter(Boolean);
        who.replaceChildren(h('span', {}, about.join(' · ') || words.unknown), now.identified ? h('span.pill', {}, words.signedIn) : '', now.bot === 'likely' ? h('span.pill.doubt', {}, words.likelyBot) : '');
        say(messages, format.number(now.messages));
        const failed = sum(now.failed);
        const pills = [
          now.ended > 0 && h('span.pill.ended', {}, words.answered(format.number(now.ended))),
          now.cancelled > 0 && h('span.pill.cancelled', {}, words.stopped(format.number(now.cancelled))),
          failed > 0 && h('span.pill.failed', { title: ranked(now.failed).map(([code]) => texts.outcomes.failure(code).title).join(', ') }, words.failed(format.number(failed))),
        ].filter((pill) => pill !== false);
        replies.replaceChildren(...(pills.length > 0 ? pills : [h('span.faint', {}, now.messages > 0 ? words.waiting : words.silent)]));
        say(wait, now.first_chunk_ms === null ? texts.tiles.none : format.time(now.first_chunk_ms));
        rating.replaceChildren(
          ...[now.rated_up > 0 && h('span.rated', {}, icon('thumb'), words.up(format.number(now.rated_up))), now.rated_down > 0 && h('span.rated', {}, icon('down_thumb'), words.down(format.number(now.rated_down)))].filter((mark) => mark !== false),
        );
      },
    };
  }

  return {
    node: it.node,
    load,
    /** Back to one page: another time, another site. */
    restart() {
      rows = rows.slice(0, PAGE);
    },
    /** @param {Record<string, string>} filter */
    filter(filter) {
      filters.set(filter);
      it.node.scrollIntoView({ block: 'start' });
      it.node.focus({ preventScroll: true });
      void reload();
    },
  };
}

/** @param {() => void} onChange */
function filterBar(onChange) {
  const words = texts.filters;
  /** @param {Record<string, string>} options */
  const choices = (options) => Object.entries(options).map(([value, label]) => h('option', { value }, label));
  /** @param {string} name @param {string} label @param {...(Node | Node[])} options */
  const select = (name, label, ...options) => h('label', {}, h('span', {}, label), h('select', { name, autocomplete: 'off' }, ...options));
  const codes = h('optgroup', { label: words.codes }, Object.entries(texts.outcomes.failures).map(([code, { title }]) => h('option', { value: code }, title)));
  const clear = h('button.link', { type: 'reset', hidden: true }, words.clear);
  const form = h(
    'form.filters',
    { 'aria-label': words.title },
    select('outcome', words.outcome, choices(words.outcomes), codes),
    select('identified', words.identified, choices({ '': words.identifieds[''], true: words.identifieds.true, false: words.identifieds.false })),
    select('device', words.device, choices({ '': words.anyDevice, ...texts.sessions.devices })),
    select('rating', words.rating, choices(words.ratings)),
    h('label', {}, h('span', {}, words.page), h('input', { name: 'page', type: 'text', placeholder: '/', autocomplete: 'off', spellcheck: 'false' })),
    h('label.short', {}, h('span', {}, words.country), h('input', { name: 'country', type: 'text', maxlength: 2, placeholder: 'DE', autocomplete: 'off', autocapitalize: 'characters' })),
    clear,
  );

  function value() {
    /** @type {Record<string, string>} */
    const filter = {};
    for (const [name, it] of new FormData(form)) if (it) filter[name] = String(it).trim();
    if (filter.country) filter.country = filter.country.toUpperCase();
    if (filter.page && !filter.page.startsWith('/')) filter.page = `/${filter.page}`;
    // Half a code is none yet.
    if (filter.country && !/^[A-Z]{2}$/.test(filter.country)) delete filter.country;
    return filter;
  }
  let last = '{}';
  /** @type {number | undefined} */
  let typing;
  function changed() {
    clearTimeout(typing);
    const now = JSON.stringify(value());
    clear.hidden = now === '{}';
    if (now === last) return;
    last = now;
    onChange();
  }
  form.addEventListener('change', changed);
  form.addEventListener('input', (/** @type {InputEvent} */ event) => {
    clearTimeout(typing);
    if (event.target instanceof HTMLInputElement) typing = setTimeout(changed, 300);
  });
  form.addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    changed();
  });
  form.addEventListener('reset', () => queueMicrotask(() => {
    changed();
    form.elements.namedItem('outcome').focus();
  }));

  return {
    node: form,
    value,
    any: () => Object.keys(value()).length > 0,
    /** @param {Record<string, string>} filter */
    set(filter) {
      for (const field of form.elements) if (field.name) field.value = filter[field.name] ?? '';
      last = JSON.stringify(value());
      clear.hidden = last === '{}';
    },
  };
}
