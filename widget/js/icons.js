/** The few pictures of the chat, drawn as nodes: no files to load, and no markup parsed. */

const SVG = 'http://www.w3.org/2000/svg';

/** Paths on a 24 × 24 grid, stroked. */
const PATHS = {
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
  chat: ['M20 11.5a7.5 7.5 0 0 1-11 6.6l-5 1.4 1.4-4.6A7.5 7.5 0 1 1 20 11.5Z'],
};

/** @param {string} name @returns {SVGElement} */
export function icon(name) {
  const svg = shape('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: `icon icon-${name}` });
  if (name === 'stop') {
    svg.append(shape('rect', { x: 5, y: 5, width: 14, height: 14, rx: 3.5, fill: 'currentColor' }));
    return svg;
  }
  const paths = PATHS[/** @type {keyof typeof PATHS} */ (name)] ?? PATHS.chat;
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
