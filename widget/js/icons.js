/** The few pictures of the chat, drawn as nodes: no files to load, and no markup parsed. */

const SVG = 'http://www.w3.org/2000/svg';

/** Paths on a 24 × 24 grid, stroked. */
const PATHS = {
  more: ['M4.8 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z', 'M11.3 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z', 'M17.8 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z'],
  search: ['M11 4.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Z', 'm19.5 19.5-3.8-3.8'],
  down: ['m6 9 6 6 6-6'],
  send: ['M12 19V5', 'm6 11 6-6 6 6'],
  arrow: ['M12 5v14', 'm6 13 6 6 6-6'],
  go: ['m9 6 6 6-6 6'],
  pen: ['M12 20h8', 'M16.5 4.6a2 2 0 0 1 2.9 2.9L8 19l-4 1 1-4L16.5 4.6Z'],
  copy: ['M11 9h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z', 'M5 15a2 2 0 0 1-1-1.7V6a2 2 0 0 1 2-2h7.3A2 2 0 0 1 15 5'],
  check: ['m5 12.5 4.5 4.5L19 7.5'],
  warn: ['M12 8v4.8', 'M12 16.3h.01', 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z'],
  offline: ['M3 3l18 18', 'M8.5 16a5 5 0 0 1 7 0', 'M5 12.5a10 10 0 0 1 4-2.4', 'M19 12.5a10 10 0 0 0-6-2.9', 'M12 20h.01'],
  trash: ['M4.5 7h15', 'M9.5 7V5a1 1 0 0 1 1-1h3a1 1 0 0 1 1 1v2', 'm6.5 7 .8 11.2A2 2 0 0 0 9.3 20h5.4a2 2 0 0 0 2-1.8L17.5 7'],
  box: ['M3.5 8 12 3.5 20.5 8v8L12 20.5 3.5 16Z', 'M3.5 8 12 12.5 20.5 8', 'M12 12.5v8'],
  return: ['M4 9h10.5a5.5 5.5 0 0 1 0 11H8', 'm8 5-4 4 4 4'],
  spark: ['M12 3.5 14 10l6.5 2-6.5 2-2 6.5-2-6.5-6.5-2L10 10Z'],
  new: ['M20 11.5a7.5 7.5 0 0 1-11 6.6l-5 1.4 1.4-4.6A7.5 7.5 0 1 1 20 11.5Z', 'M12.5 8.5v6', 'M9.5 11.5h6'],
  lock: ['M7.5 10.5h9a2.5 2.5 0 0 1 2.5 2.5v4.5a2.5 2.5 0 0 1-2.5 2.5h-9A2.5 2.5 0 0 1 5 17.5V13a2.5 2.5 0 0 1 2.5-2.5Z', 'M8 10.5V8a4 4 0 0 1 8 0v2.5'],
  clip: ['m20 11-8.3 8.3a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8L9.6 17a1.7 1.7 0 0 1-2.4-2.4l7.5-7.5'],
  up: ['M7 11v9H4v-9h3Zm0 0 4-7.5a2 2 0 0 1 2.6 2.3L13 9h5.2a2 2 0 0 1 2 2.4l-1.3 7A2 2 0 0 1 17 20H7'],
  thumb: ['M17 13V4h3v9h-3Zm0 0-4 7.5a2 2 0 0 1-2.6-2.3L11 15H5.8a2 2 0 0 1-2-2.4l1.3-7A2 2 0 0 1 7 4h10'],
  cart: ['M3 4h2l2.3 11h10.2l2-8H6', 'M9 19.5h.01', 'M16 19.5h.01'],
  chat: ['M20 11.5a7.5 7.5 0 0 1-11 6.6l-5 1.4 1.4-4.6A7.5 7.5 0 1 1 20 11.5Z'],
};

/** @param {string} name @param {readonly string[]} [paths] of a picture that is not among these, from who alone needs it @returns {SVGElement} */
export function icon(name, paths = PATHS[/** @type {keyof typeof PATHS} */ (name)] ?? PATHS.chat) {
  const svg = shape('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: `icon icon-${name}` });
  if (name === 'stop') {
    svg.append(shape('rect', { x: 5, y: 5, width: 14, height: 14, rx: 3.5, fill: 'currentColor' }));
    return svg;
  }
  svg.append(...paths.map((d) => shape('path', { d })));
  return svg;
}

/** Seconds left, as a ring that empties. @param {number} seconds @param {number} of @returns {SVGElement} */
export function ring(seconds, of) {
  const round = 2 * Math.PI * 15;
  const circle = { cx: 18, cy: 18, r: 15 };
  const left = shape('circle', {
    ...circle,
    class: 'ring-left',
    transform: 'rotate(-90 18 18)',
    'stroke-dasharray': round.toFixed(1),
    'stroke-dashoffset': (round * (1 - Math.min(1, seconds / Math.max(1, of)))).toFixed(1),
  });
  const number = shape('text', { x: 18, y: 18.5 });
  number.textContent = seconds < 100 ? String(seconds) : '';
  const svg = shape('svg', { viewBox: '0 0 36 36', 'aria-hidden': 'true', class: 'ring' });
  svg.append(shape('circle', { ...circle, class: 'ring-all' }), left, number);
  return svg;
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return /** @type {SVGElement} */ (node);
}
