/** The few pictures of an empty chat, drawn as nodes: no files to load, and no markup parsed. Others come with who shows them. */

const SVG = 'http://www.w3.org/2000/svg';

/** Paths on a 24 × 24 grid, stroked. */
const PATHS = {
  more: ['M4.8 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z', 'M11.3 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z', 'M17.8 12a.7.7 0 1 0 1.4 0 .7.7 0 1 0-1.4 0Z'],
  down: ['m6 9 6 6 6-6'],
  send: ['M12 19V5', 'm6 11 6-6 6 6'],
  go: ['m9 6 6 6-6 6'],
  box: ['M3.5 8 12 3.5 20.5 8v8L12 20.5 3.5 16Z', 'M3.5 8 12 12.5 20.5 8', 'M12 12.5v8'],
  return: ['M4 9h10.5a5.5 5.5 0 0 1 0 11H8', 'm8 5-4 4 4 4'],
  spark: ['M12 3.5 14 10l6.5 2-6.5 2-2 6.5-2-6.5-6.5-2L10 10Z'],
  clip: ['m20 11-8.3 8.3a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8L9.6 17a1.7 1.7 0 0 1-2.4-2.4l7.5-7.5'],
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

/** @param {string} name @param {Record<string, string | number>} attributes */
export function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return /** @type {SVGElement} */ (node);
}
