/**
 * The page: sign in, load, show. Nothing is kept but in memory: no storage, no cookie, and the token is in no address.
 *
 * @typedef {import('./texts.js').Choice} Choice
 * @typedef {object} Data
 * @property {Choice} choice
 * @property {import('./range.js').Span} span
 * @property {number} now when it was asked for
 * @property {import('./range.js').Bucket} bucket the steps of the series
 * @property {import('./figures.js').Summary} summary
 * @property {import('./figures.js').Summary} before of as much time before, as far as this one is over
 * @property {import('./plot.js').Series} series
 * @property {{messages: number[][], span: import('./range.js').Span | undefined}} busy of what is kept by hours
 * @property {{pages: {path: string, sessions: number}[], other: number}} pages
 */
import { Away, Problem, createApi } from './api.js';
import { busy } from './busy.js';
import { card, keep } from './card.js';
import { comments } from './comments.js';
import { h, icon, say } from './dom.js';
import { nobodyNow, nobodyYet, trouble, waiting } from './empty.js';
import { sum } from './figures.js';
import { createFormat } from './format.js';
import { glance } from './glance.js';
import { head } from './head.js';
import { added } from './heat.js';
import { pages, refusals } from './lists.js';
import { outcomes } from './outcomes.js';
import { plot } from './plot.js';
import { before as spanBefore, bucketOf, byHours, byOffset, latest } from './range.js';
import { createRefresh } from './refresh.js';
import { sessionSheet } from './session.js';
import { sessions } from './sessions.js';
import { signIn } from './signin.js';
import { texts } from './texts.js';
import { tiles } from './tiles.js';

const METRICS = ['sessions', 'messages', 'ended', 'cancelled', 'failed', 'first_chunk_ms_p50', 'first_chunk_ms_p95'];
const AGO_EVERY_MS = 5_000;

const app = /** @type {HTMLElement} */ (document.getElementById('app'));
// British to a Briton, but not German words in English sentences.
const format = createFormat(undefined, undefined, navigator.language.split('-')[0] === texts.language ? navigator.language : texts.language);
document.documentElement.lang = texts.language;
document.title = texts.title;

door();

/** @param {string} [message] */
function door(message) {
  const it = signIn({
    message,
    async enter(token) {
      const api = createApi(token);
      try {
        desk(api, await api.sites());
        return undefined;
      } catch (error) {
        return said(error);
      }
    },
  });
  app.replaceChildren(it.node);
  it.focus();
}

/** @param {unknown} error */
function said(error) {
  const words = texts.signIn;
  if (!(error instanceof Problem)) return words.away;
  if (error.status === 401) return words.wrong;
  if (error.code === 'api_disabled') return words.disabled;
  if (error.status === 429) return words.often;
  return error.status === 403 ? words.forbidden : words.other;
}

/** @param {import('./api.js').Api} api @param {string[]} sites what is known at first */
function desk(api, sites) {
  // No site is all that the token may see: its own one, or also those that are yet to come.
  /** @type {{site: string | null, choice: Choice, own: import('./range.js').Span | undefined, loaded: number | undefined, loading: boolean}} */
  const state = { site: null, choice: '7d', own: undefined, loaded: undefined, loading: false };
  const span = () => (state.choice === 'custom' && state.own ? state.own : latest(state.choice === 'custom' ? '7d' : state.choice, Date.now()));
  const query = () => ({ site: state.site, span: span() });

  const top = head({
    sites,
    choice: state.choice,
    onSite: (site) => change({ site }),
    onRange: (choice, own) => change({ choice, own }),
    onRefresh: () => void refresh.go(),
    onAuto: (on) => refresh.set(on),
    onTheme: toggleTheme,
    onOut: () => leave(),
  });
  const sheet = sessionSheet({ api, format });
  const list = sessions({ api, format, query, onOpen: (row) => void sheet.open(row), onError: (error) => failed(error) });
  const words = comments({ api, format, query, onOpen: (visit) => void sheet.open(visit), onError: (error) => failed(error) });
  const look = glance(format, (kind) => {
    const it = { failing: ends.node, slow: first.node, unhelpful: list.node, limited: turned.node }[kind];
    if (kind === 'unhelpful') return list.filter({ rating: 'down' });
    it.scrollIntoView({ block: 'center' });
    it.focus({ preventScroll: true });
    const reasons = /** @type {HTMLDetailsElement | null} */ (it.querySelector('details'));
    if (kind === 'failing' && reasons) reasons.open = true;
  });
  const figures = tiles(format);
  const ends = outcomes(format, (code) => list.filter({ outcome: code }));
  const places = pages(format, (path) => list.filter({ page: path }));
  const turned = refusals(format);
  const week = busy(format);
  const all = (/** @type {(number | null)[]} */ values) => format.number(sum(/** @type {any} */ (values)));
  const saveSeries = async (/** @type {AbortSignal} */ signal) => {
    const { site, span } = query();
    keep(await api.export(site, span, { what: 'timeseries', bucket: bucketOf(span.until - span.from), metric: METRICS.join(',') }, signal), `${texts.traffic.file}.csv`);
  };
  const crowd = plot({
    label: texts.traffic.title,
    format,
    value: (it) => format.compact(it),
    total: all,
    lines: [
      { key: 'messages', label: texts.traffic.messages, colour: 'messages', kind: 'bars' },
      { key: 'sessions', label: texts.traffic.sessions, colour: 'visitors', kind: 'line' },
    ],
  });
  const wait = plot({
    label: texts.first.title,
    format,
    value: (it) => (it === 0 ? '0' : format.time(it)),
    steps: [500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000],
    lines: [
      { key: 'first_chunk_ms_p50', label: texts.first.p50, colour: 'median', kind: 'area' },
      { key: 'first_chunk_ms_p95', label: texts.first.p95, colour: 'slowest', kind: 'dashed' },
    ],
  });
  const traffic = card(texts.traffic.title, { area: 'traffic', onTable: crowd.table, onSave: saveSeries });
  traffic.body.append(crowd.node);
  const first = card(texts.first.title, { area: 'first', hint: texts.first.hint, onTable: wait.table });
  first.body.append(wait.node);

  const demo = h('p.banner.demo', { hidden: true }, icon('spark'), h('b', {}, texts.banner.demo), ' ', texts.banner.demoWhy);
  const alarmText = h('span');
  const alarm = h('div.banner.alarm', { role: 'alert', hidden: true }, icon('warn'), alarmText, h('button', { type: 'button', onclick: () => void refresh.go() }, texts.banner.again));
  const grid = h('div.grid', {}, traffic.node, ends.node, first.node, turned.node, week.node, places.node, words.node, list.node);
  const inside = h('div.content', {}, look.node, figures.node, grid);
  const place = h('div.place', {}, waiting());
  const main = h('main', { id: 'figures', tabindex: -1 }, demo, alarm, place);
  app.replaceChildren(h('a.skip', { href: '#figures', onclick: (/** @type {Event} */ event) => { event.preventDefault(); main.focus(); } }, texts.head.skip), top.node, main, sheet.node);
  main.focus({ preventScroll: true });

  const refresh = createRefresh({ load, seen: () => document.visibilityState === 'visible' });
  const seen = () => document.visibilityState === 'visible' && refresh.look();
  document.addEventListener('visibilitychange', seen);
  const clock = setInterval(fresh, AGO_EVERY_MS);
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  const dark = /** @type {HTMLLinkElement} */ (document.getElementById('dark'));
  scheme.addEventListener('change', paint);
  paint();
  void refresh.go();

  /** @param {Partial<typeof state>} wanted */
  function change(wanted) {
    Object.assign(state, wanted);
    list.restart();
    words.restart();
    place.setAttribute('aria-busy', 'true');
    void refresh.go();
  }

  /** @param {AbortSignal} signal */
  async function load(signal) {
    const { site } = state;
    const choice = state.choice;
    const now = Date.now();
    const here = span();
    const hours = byHours(here, now);
    state.loading = true;
    fresh();
    try {
      const [known, summary, before, series, weeks, pages] = await Promise.all([
        api.sites(signal),
        api.summary(site, here, signal),
        api.summary(site, spanBefore(here, now), signal),
        api.series(site, here, bucketOf(here.until - here.from), METRICS, signal),
        Promise.all((hours ? byOffset(hours) : []).map(({ offset, ...piece }) => api.busy(site, piece, offset, signal))),
        api.pages(site, here, signal),
        list.load(signal),
        words.load(signal),
      ]);
      const nobody = summary.sessions === 0 && summary.messages === 0 && sum(summary.refused) === 0;
      const ever = nobody && choice !== '365d' ? await api.summary(site, latest('365d', now), signal) : summary;
      state.loaded = now;
      state.loading = false;
      alarm.hidden = true;
      demo.hidden = !summary.demo;
      place.removeAttribute('aria-busy');
      top.sites(known);
      const whose = site ?? (known.length === 1 ? known[0] : null);
      if (nobody && ever.sessions === 0) stand(`yet ${whose}`, () => nobodyYet(whose));
      else if (nobody) stand('now', () => nobodyNow(() => top.choose('365d')));
      else {
        stand('figures', () => inside);
        show({ choice, span: here, now, bucket: series.bucket, summary, before, series, busy: { messages: added(weeks.map(({ messages }) => messages)), span: hours }, pages });
      }
      fresh();
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      state.loading = false;
      failed(error);
      return false;
    }
  }

  let standing = '';
  /** What is there stays: a field that is being typed into, a place that was scrolled to. @param {string} name @param {() => Node} make */
  function stand(name, make) {
    if (name === standing) return;
    standing = name;
    place.replaceChildren(make());
  }

  /** @param {Data} data */
  function show(data) {
    look.show(data);
    figures.show(data);
    traffic.hint(texts.traffic.hint[data.bucket]);
    crowd.show(data.series, data.bucket, data.now);
    wait.show(data.series, data.bucket, data.now);
    ends.show(data);
    places.show(data);
    turned.show(data);
    week.show(data);
  }

  /** @param {unknown} error */
  function failed(error) {
    place.removeAttribute('aria-busy');
    fresh();
    const words = texts.trouble;
    if (error instanceof Problem) {
      if (error.status === 401) return leave(texts.signIn.ended);
      if (error.code === 'api_disabled') return stand('disabled', () => trouble(words.disabledTitle, words.disabled));
      if (error.status === 403) return stand('forbidden', () => trouble(words.forbiddenTitle, words.forbidden));
    }
    // A fault of the page itself looks the same to its reader, but must be found.
    if (!(error instanceof Problem || error instanceof Away)) console.error(error);
    const away = !(error instanceof Problem);
    const text = away ? words.away : error.message;
    if (state.loaded === undefined) return stand('away', () => trouble(away ? words.awayTitle : words.refusedTitle, text, () => void refresh.go()));
    say(alarmText, away ? `${texts.banner.away} ${texts.banner.awayKept}` : `${texts.banner.refused} ${error.message}`);
    alarm.hidden = false;
  }

  function fresh() {
    const { loaded, loading } = state;
    const ago = loaded === undefined ? '' : format.ago(loaded, Date.now());
    top.fresh(loaded === undefined ? (loading ? texts.loading : '') : alarm.hidden ? texts.updated(ago) : texts.stale(ago), loading);
  }

  /** @param {string} [message] */
  function leave(message) {
    refresh.stop();
    api.leave();
    clearInterval(clock);
    document.removeEventListener('visibilitychange', seen);
    scheme.removeEventListener('change', paint);
    door(message);
  }

  function toggleTheme() {
    dark.media = isDark() ? 'not all' : 'all';
    paint();
  }

  function isDark() {
    return matchMedia(dark.media).matches;
  }

  function paint() {
    top.theme(isDark());
    crowd.repaint();
    wait.repaint();
  }
}
