/** Nodes without markup: what comes over the network is only ever text. */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @param {string} tag with classes: `div.card.wide`
 * @param {Record<string, any>} [props] `onclick` and the like are listeners, `true` an attribute without a value
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const node = document.createElement(name);
  if (classes.length > 0) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, String(value));
  }
  node.append(...only(children));
  return node;
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function only(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...SVGElement} children @returns {SVGElement} */
export function svg(tag, attributes, ...children) {
  const node = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** Changes text only where it differs: screen readers and selections are left alone. @param {Node} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @type {WeakMap<HTMLElement, Map<string, {node: HTMLElement, update: (item: any) => void}>>} */
const standing = new WeakMap();

/**
 * Rows by key: those that stay keep their node, and with it the focus and what is unfolded.
 *
 * @template T
 * @param {HTMLElement} parent
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => {node: HTMLElement, update: (item: T) => void}} make
 */
export function keyed(parent, items, key, make) {
  const rows = standing.get(parent) ?? new Map();
  const kept = new Map();
  let place = /** @type {ChildNode | null} */ (parent.firstChild);
  for (const item of items) {
    const row = rows.get(key(item)) ?? make(item);
    kept.set(key(item), row);
    row.update(item);
    if (place && row.node === place) place = place.nextSibling;
    else parent.insertBefore(row.node, place);
  }
  for (const [name, row] of rows) if (!kept.has(name)) row.node.remove();
  standing.set(parent, kept);
}

/** Paths on a 24 × 24 grid, stroked. */
const ICONS = {
  sun: ['M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z', 'M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4'],
  moon: ['M20 14.2A8.2 8.2 0 1 1 9.8 4a6.6 6.6 0 0 0 10.2 10.2Z'],
  refresh: ['M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9', 'M19.5 4.5V9H15'],
  out: ['M14 4.5H6.5v15H14', 'M10.5 12H20', 'm16.5 8.5 3.5 3.5-3.5 3.5'],
  table: ['M4 5.5h16v13H4Z', 'M4 10h16M4 14.2h16M10 10v8.5'],
  chart: ['M4.5 4.5v15h15', 'm8 14.5 3.5-4 3 2.5 4.5-6'],
  save: ['M12 4v10.5', 'm7.5 10.5 4.5 4.5 4.5-4.5', 'M5 19.5h14'],
  up: ['M12 19V5.5', 'm6.5 11 5.5-5.5 5.5 5.5'],
  down: ['M12 5v13.5', 'm6.5 13 5.5 5.5 5.5-5.5'],
  same: ['M5 12h14'],
  close: ['m6 6 12 12M18 6 6 18'],
  warn: ['M12 8v4.8', 'M12 16.3h.01', 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z'],
  copy: ['M11 9h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z', 'M5 15a2 2 0 0 1-1-1.7V6a2 2 0 0 1 2-2h7.3A2 2 0 0 1 15 5'],
  check: ['m5 12.5 4.5 4.5L19 7.5'],
  go: ['m9 6 6 6-6 6'],
  chat: ['M20 11.5a7.5 7.5 0 0 1-11 6.6l-5 1.4 1.4-4.6A7.5 7.5 0 1 1 20 11.5Z'],
  people: ['M9 5a3.2 3.2 0 1 1 0 6.4A3.2 3.2 0 0 1 9 5Z', 'M3 19.5c0-3.2 2.6-5.2 6-5.2s6 2 6 5.2', 'M15.5 5.3a3.2 3.2 0 0 1 0 5.9', 'M17.5 14.6c2.2.7 3.5 2.4 3.5 4.9'],
  bolt: ['M13 3 5 13.5h6L10.5 21 19 10.5h-6.2Z'],
  thumb: ['M7.5 10.5v9H4v-9Z', 'M7.5 10.5 11.5 4c1.6 0 2.4 1.2 2 2.8L12.8 10H18a2 2 0 0 1 2 2.4l-1.2 5.5a2 2 0 0 1-2 1.6H7.5'],
  down_thumb: ['M7.5 13.5v-9H4v9Z', 'm7.5 13.5 4 6.5c1.6 0 2.4-1.2 2-2.8l-.7-3.2H18a2 2 0 0 0 2-2.4l-1.2-5.5a2 2 0 0 0-2-1.6H7.5'],
  pulse: ['M3 12h4l3-7 4.5 14 3-7H21'],
  key: ['M14.5 4.5a5 5 0 1 1-3.6 8.5L4.5 19.5', 'm7 17 2 2', 'M15.5 8.5h.01'],
  spark: ['M12 3.5 14 10l6.5 2-6.5 2-2 6.5-2-6.5-6.5-2L10 10Z'],
  stop: ['M7 7h10v10H7Z'],
  send: ['m4 12 16-7.5L13.5 20 11 13Z'],
};

/** @param {keyof typeof ICONS} name */
export const icon = (name) => svg('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true', class: `icon icon-${name}` }, ...ICONS[name].map((d) => svg('path', { d })));
