/**
 * A plot over time: uPlot in the look of the page, with a readout instead of a legend, the arrow keys, and a table
 * behind it.
 */
import library from '../vendor/uPlot/uPlot.esm.js';
import { h, say } from './dom.js';
import { finished, step } from './range.js';
import { texts } from './texts.js';

/** Its own types are not vendored. */
const uPlot = /** @type {any} */ (library);

/**
 * @typedef {object} Line
 * @property {string} key
 * @property {string} label
 * @property {string} colour the name of a token
 * @property {'bars' | 'line' | 'area' | 'dashed'} kind
 * @typedef {{t: number[], series: Record<string, (number | null)[]>}} Series
 */

/**
 * @param {object} options
 * @param {string} options.label what it shows, for who does not see it
 * @param {Line[]} options.lines
 * @param {(value: number) => string} options.value
 * @param {number[]} [options.steps] between which lines across it are chosen
 * @param {(values: (number | null)[]) => string} [options.total] what the readout says of all of it
 * @param {import('./format.js').Format} options.format
 */
export function plot({ label, lines, value, steps, total, format }) {
  const when = h('span.when');
  const figures = lines.map(({ colour, kind, label }) => {
    const figure = h('b');
    return { figure, node: h('span.key', {}, h(`i.swatch.${kind}.${colour}`), h('span', {}, label), ' ', figure) };
  });
  const readout = h('div.readout', {}, figures.map(({ node }) => node), when);
  // Filled by the arrow keys alone: a mouse that passes by is not to be talked about.
  const spoken = h('p.quiet', { role: 'status' });
  const canvas = h('div.plot', { tabindex: 0, role: 'group', 'aria-label': `${label}. ${texts.plot.keys}` });
  const table = h('div.scroll', { hidden: true, tabindex: 0, role: 'region', 'aria-label': texts.card.inside(label) });
  const node = h('div.plotted', {}, readout, canvas, spoken, table);
  const utc = format.inUtc();
  // A line over bars has the background round it, or it would drown in them.
  const drawn = lines.flatMap((line) => (line.kind === 'line' ? [{ ...line, kind: /** @type {const} */ ('halo') }, line] : [line]));

  /** @type {Series} */
  let data = { t: [], series: {} };
  /** @type {import('./range.js').Bucket} */
  let bucket = 'day';
  let now = 0;
  let asTable = false;
  /** @type {any} */
  let chart;
  let shape = '';

  const valuesOf = (/** @type {string} */ key) => data.series[key] ?? [];

  /** Days of the store are days of UTC. @param {number} t */
  const name = (t) => (bucket === 'day' ? utc.weekdayAndDay(t * 1000) : bucket === 'hour' ? `${format.weekdayAndDay(t * 1000)}, ${format.clock(t * 1000)}` : format.clock(t * 1000));

  /** @param {number | null | undefined} at */
  function read(at) {
    const chosen = at !== null && at !== undefined && data.t[at] !== undefined;
    lines.forEach(({ key }, which) => {
      const it = valuesOf(key);
      const shown = chosen ? it[at] : undefined;
      say(figures[which].figure, chosen ? (shown === null || shown === undefined ? texts.tiles.none : value(shown)) : total ? total(it) : '');
    });
    say(when, chosen ? name(data.t[at]) : total ? texts.plot.inAll : '');
  }

  function options() {
    const { clientWidth } = canvas;
    const size = step(bucket) / 1000;
    const half = lines.some(({ kind }) => kind === 'bars') ? size / 2 : 0;
    const grid = { stroke: () => token('--grid'), width: 1 };
    const axis = { stroke: () => token('--ink-3'), font: `12px ${token('--font', 'fontFamily')}`, ticks: { show: false } };
    return {
      width: clientWidth,
      height: canvas.clientHeight,
      legend: { show: false },
      tzDate: bucket === 'day' ? (/** @type {number} */ t) => uPlot.tzDate(new Date(t * 1000), 'Etc/UTC') : undefined,
      cursor: { y: false, drag: { x: false, y: false }, points: { size: (/** @type {any} */ _, /** @type {number} */ which) => (drawn[which - 1].kind === 'halo' ? 0 : 9), width: 2, fill: () => token('--surface'), stroke: (/** @type {any} */ _, /** @type {number} */ which) => token(`--${drawn[which - 1].colour}`) } },
      padding: [10, 16, 0, 0],
      scales: {
        x: { time: true, range: (/** @type {any} */ _, /** @type {number} */ min, /** @type {number} */ max) => [min - half, max + half] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ max) => [0, Math.max(max * 1.06, steps?.[0] ?? 4)] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 64, size: 26, gap: 8, values: (/** @type {any} */ _, /** @type {number[]} */ at, /** @type {number} */ __, /** @type {number} */ ___, /** @type {number} */ apart) => at.map((t, which) => tick(t, apart, which === 0)) },
        { ...axis, grid, size: 46, gap: 8, space: 38, incrs: steps ?? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6], values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((it) => value(it)) },
      ],
      series: [{}, ...drawn.map(drawing)],
      hooks: { setCursor: [(/** @type {any} */ it) => read(it.cursor.left >= 0 ? it.cursor.idx : null)] },
    };
  }

  /** @param {number} t @param {number} apart seconds between two ticks */
  function tick(t, apart, first = false) {
    const ms = t * 1000;
    if (bucket === 'day') return apart >= 300 * 86_400 ? utc.fullDay(ms) : utc.day(ms);
    const at = new Date(ms);
    const midnight = at.getHours() === 0 && at.getMinutes() === 0;
    return apart >= 86_400 || midnight || (first && apart >= 43_200) ? format.day(ms) : format.clock(ms);
  }

  /** @param {typeof drawn[number]} line */
  function drawing({ kind, colour, label }) {
    const stroke = () => token(`--${colour}`);
    if (kind === 'bars') return { label, stroke, fill: stroke, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.72, 28, 1], radius: 0.22 }) };
    if (kind === 'halo') return { label, stroke: () => token('--surface'), width: 6, paths: uPlot.paths.spline(), points: { show: false } };
    return {
      label,
      stroke,
      width: 2.5,
      dash: kind === 'dashed' ? [5, 4] : undefined,
      fill: kind === 'area' ? () => token(`--${colour}-wash`) : undefined,
      paths: uPlot.paths.spline(),
      points: { show: true, size: 5, width: 0, fill: stroke, filter: (/** @type {any} */ it, /** @type {number} */ which) => alone(it.data[which]) },
    };
  }

  function draw() {
    if (asTable || canvas.clientWidth === 0) return;
    const wanted = `${bucket} ${data.t.length > 0 ? data.t[1] - data.t[0] : 0}`;
    const over = finished(data.t, bucket, now);
    // A bar may be short; a line would fall.
    const columns = [data.t, ...drawn.map(({ key, kind }) => (kind === 'bars' ? valuesOf(key) : valuesOf(key).map((value, at) => (at < over ? value : null))))];
    if (chart && shape === wanted) chart.setData(columns);
    else {
      chart?.destroy();
      chart = new uPlot(options(), columns, canvas);
      shape = wanted;
    }
    // The pointer rests where it is, on new figures.
    read(chart.cursor.left >= 0 ? chart.cursor.idx : null);
  }

  function tabulate() {
    if (!asTable) return;
    const rows = data.t.map((t, at) =>
      h('tr', {}, h('th', { scope: 'row' }, name(t)), lines.map(({ key }) => {
        const it = valuesOf(key)[at];
        return h('td', {}, it === null || it === undefined ? texts.tiles.none : value(it));
      })),
    );
    // The newest first, as everywhere.
    table.replaceChildren(h('table', {}, h('caption.quiet', {}, label), h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, texts.traffic.time), lines.map((line) => h('th', { scope: 'col' }, line.label)))), h('tbody', {}, rows.reverse())));
  }

  canvas.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (!chart || data.t.length === 0) return;
    const here = chart.cursor.left >= 0 ? (chart.cursor.idx ?? data.t.length - 1) : undefined;
    const last = data.t.length - 1;
    const forward = here === undefined ? 0 : Math.min(last, here + 1);
    const back = here === undefined ? last : Math.max(0, here - 1);
    const to = { ArrowRight: forward, ArrowLeft: back, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') chart.setCursor({ left: -10, top: -10 });
    if (to === undefined) return;
    event.preventDefault();
    chart.setCursor({ left: chart.valToPos(data.t[to], 'x'), top: 0 });
    say(spoken, `${name(data.t[to])}: ${lines.map(({ key, label }, which) => `${label} ${figures[which].figure.textContent}`).join(', ')}`);
  });
  canvas.addEventListener('blur', () => chart?.setCursor({ left: -10, top: -10 }));

  new ResizeObserver(() => {
    if (asTable || canvas.clientWidth === 0) return;
    if (!chart) draw();
    else if (chart.width !== canvas.clientWidth || chart.height !== canvas.clientHeight) chart.setSize({ width: canvas.clientWidth, height: canvas.clientHeight });
  }).observe(canvas);

  return {
    node,
    /** @param {Series} series @param {import('./range.js').Bucket} steps @param {number} at when it was asked for */
    show(series, steps, at) {
      data = series;
      bucket = steps;
      now = at;
      draw();
      tabulate();
    },
    /** @param {boolean} wanted */
    table(wanted) {
      asTable = wanted;
      table.hidden = !wanted;
      canvas.hidden = wanted;
      readout.hidden = wanted;
      tabulate();
      draw();
    },
    /** The colours have changed. */
    repaint: () => chart?.redraw(false, true),
  };
}

/** Where a value has no neighbour a line would show nothing. @param {(number | null)[]} values */
function alone(values) {
  const found = [];
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

/** @type {HTMLElement | undefined} */
let probe;

/**
 * A token as the canvas needs it: what `color-mix()` comes to.
 *
 * @param {string} name
 * @param {'color' | 'fontFamily'} [as]
 */
function token(name, as = 'color') {
  if (!probe) {
    probe = h('span', { hidden: true });
    document.body.append(/** @type {HTMLElement} */ (probe));
  }
  const { style } = /** @type {HTMLElement} */ (probe);
  style[as] = `var(${name})`;
  return getComputedStyle(/** @type {HTMLElement} */ (probe))[as];
}
