/** The six figures at the top, each with its change against the time before. */
import { h, icon, say, svg } from './dom.js';
import { answered, drift, growth, helpful, over, rated, shift } from './figures.js';
import { finished } from './range.js';
import { texts } from './texts.js';

/** Under this, a change is called none. */
const STILL = 0.005;

/** @param {import('./format.js').Format} format */
export function tiles(format) {
  const words = texts.tiles;
  const all = {
    live: tile('pulse', words.live.title, 'live'),
    sessions: tile('people', words.sessions.title),
    messages: tile('chat', words.messages.title),
    answered: tile('check', words.answered.title, 'share'),
    first: tile('bolt', words.first.title),
    helpful: tile('thumb', words.helpful.title),
  };

  return {
    node: h('ul.tiles', {}, Object.values(all).map(({ node }) => node)),
    /** @param {import('./main.js').Data} data */
    show({ choice, now, bucket, summary, before, series: { t, series } }) {
      const steps = finished(t, bucket, now);
      const points = (/** @type {(number | null)[]} */ values) => values.slice(0, steps);
      const against = texts.ranges[choice].before;
      const part_of = (/** @type {number | undefined} */ share) => (share === undefined ? words.none : format.percent(share));
      /** @param {number | undefined} change @param {boolean} better whether more is @param {boolean} [points] */
      const told = (change, better, points = false) => {
        if (change === undefined) return { kind: 'none', text: words.noBefore, long: words.noBefore };
        const size = Math.abs(change);
        if (size < STILL) return { kind: 'same', text: words.same, long: words.same };
        const shown = points ? words.points(format.small(size * 100)) : format.percent(size);
        const sign = change > 0 ? '+' : '−';
        return { kind: change > 0 === better ? 'good' : 'bad', up: change > 0, text: `${sign}${shown}`, long: words.change(`${sign}${shown}`, against) };
      };
      const known = format.number(summary.identified);
      all.live.show(format.compact(summary.live_sessions), words.live.hint);
      all.sessions.show(format.compact(summary.sessions), words.sessions.hint(known), told(growth(summary.sessions, before.sessions), true), points(series.sessions), format.number(summary.sessions));
      all.messages.show(format.compact(summary.messages), words.messages.hint(format.small(summary.sessions > 0 ? summary.messages / summary.sessions : 0)), told(growth(summary.messages, before.messages), true), points(series.messages), format.number(summary.messages));
      all.answered.show(part_of(answered(summary)), words.answered.hint(format.compact(summary.ended), format.compact(over(summary))), told(shift(answered, over, summary, before), true, true), points(shares(series)));
      const { p50 } = summary.first_chunk_ms;
      all.first.show(p50 === null ? words.none : format.time(p50), words.first.hint, told(drift(summary.first_chunk_ms, before.first_chunk_ms), false), points(series.first_chunk_ms_p50));
      const ratings = rated(summary);
      all.helpful.show(part_of(helpful(summary)), ratings > 0 ? words.helpful.hint(format.number(ratings), ratings) : words.helpful.none, told(shift(helpful, rated, summary, before), true, true));
      all.live.node.classList.toggle('on', summary.live_sessions > 0);
    },
  };
}

/** Answered of all replies, step by step. @param {Record<string, (number | null)[]>} series */
function shares({ ended, cancelled, failed }) {
  return ended.map((count, step) => {
    const all = (count ?? 0) + (cancelled[step] ?? 0) + (failed[step] ?? 0);
    return all > 0 ? (count ?? 0) / all : null;
  });
}

/** @param {Parameters<typeof icon>[0]} name @param {string} title @param {string} [kind] */
function tile(name, title, kind = '') {
  const figure = h('b');
  const hint = h('small');
  const change = h('span.change');
  const arrow = h('i');
  const short = h('span', { 'aria-hidden': 'true' });
  const long = h('span.quiet');
  change.append(arrow, short, long);
  const line = svg('path', { class: 'line' });
  const area = svg('path', { class: 'area' });
  const spark = svg('svg', { class: 'spark', viewBox: '0 0 100 28', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, line);
  const node = h(`li.tile${kind && `.${kind}`}`, {}, h('h2', {}, icon(name), title), figure, hint, h('div.foot', {}, change), spark);
  let pointing = '';
  return {
    node,
    /** @param {string} value @param {string} about @param {{kind: string, up?: boolean, text: string, long: string}} [told] @param {(number | null)[]} [points] @param {string} [exact] where the value is shortened */
    show(value, about, told, points, exact = value) {
      say(figure, value);
      figure.title = exact;
      say(hint, about);
      change.hidden = !told;
      if (told) {
        change.className = `change ${told.kind}`;
        change.title = told.long;
        say(short, told.text);
        say(long, told.long);
        const now = told.up === undefined ? 'same' : told.up ? 'up' : 'down';
        if (now !== pointing) arrow.replaceChildren(icon(now));
        pointing = now;
        arrow.hidden = told.up === undefined;
      }
      const path = points && drawn(points, kind !== 'share');
      spark.toggleAttribute('hidden', !path);
      if (path) {
        line.setAttribute('d', path.line);
        area.setAttribute('d', path.area);
      }
    },
  };
}

/** A small line of some thirty steps; more would be noise at this size. @param {(number | null)[]} points @param {boolean} fromZero */
function drawn(points, fromZero) {
  const size = Math.ceil(points.length / 32);
  const steps = [];
  for (let at = 0; at < points.length; at += size) {
    const some = points.slice(at, at + size).filter((value) => value !== null);
    steps.push(some.length > 0 ? some.reduce((all, value) => all + value, 0) / some.length : null);
  }
  const known = steps.filter((value) => value !== null);
  if (known.length < 3) return undefined;
  const max = Math.max(...known);
  const min = fromZero ? 0 : Math.min(...known);
  const place = steps.flatMap((value, step) => (value === null ? [] : [`${((step / (steps.length - 1)) * 100).toFixed(1)} ${(26 - ((value - min) / (max - min || 1)) * 23).toFixed(1)}`]));
  const first = place[0].split(' ')[0];
  const last = place[place.length - 1].split(' ')[0];
  return { line: `M${place.join('L')}`, area: `M${first} 28L${place.join('L')}L${last} 28Z` };
}
