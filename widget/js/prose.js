/**
 * What was read of a reply, made into DOM nodes.
 *
 * Nothing here ever parses HTML: text becomes text nodes, and the only attributes are those written below. So whatever a
 * reply contains, it can only be read, not run. Images are never loaded (an address written by a model would leak what it
 * likes without a click), their description is shown instead.
 *
 * @typedef {import('./markdown.js').Token} Token
 * @typedef {(key: string, values?: Record<string, string | number>) => string} Say
 */
import { element } from './dom.js';
import { icon } from './icons.js';
import { safeHref } from './links.js';
import { COPY } from './talk-icons.js';

/** A list or table of more is laid out in groups: of so many items, or rows. */
export const MANY = 24;
const ITEMS = 16;
const ROWS = 12;

/** How many are in one group. @param {unknown[]} items */
export const listSize = (items) => (items.length > MANY ? ITEMS : MANY);
/** @param {unknown[]} rows */
export const tableSize = (rows) => (rows.length > MANY ? ROWS : MANY);
/** So many lines of code, which are all as high: to lay them out is cheap. */
const LINES = 40;
/** So many characters of a paragraph, at least. */
const LONG_CHARS = 1500;
const ENDED = /[.!?。！？…:;]["'”’)»]?\s*$|\n$/u;

const ENTITIES = /** @type {Record<string, string>} */ ({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', ndash: '–', mdash: '—', hellip: '…', euro: '€', '#39': "'" });

/** So many of the last groups of a long block are in view while it grows. */
const SEEN = 3;

/** Of the groups of a long block, what nobody sees of those with `data-past` need not be painted. @template {Element[]} T @param {T} groups @returns {T} */
export function settle(groups) {
  groups.forEach((it, at) => it.toggleAttribute('data-past', at > 0 && at < groups.length - SEEN));
  return groups;
}

/**
 * The nodes of a block. One of thousands of words is several, so that the browser need not lay out all of it at each word:
 * those after the first are of the class `more`.
 *
 * @param {Token} token a block @param {Say} t @returns {HTMLElement[]}
 */
export function render(token, t) {
  switch (token.type) {
    case 'heading':
      // The chat's own title is the h1, and models begin at any level: only one below it is never a step left out.
      return [element('h2', (token.depth ?? 1) > 2 ? { class: 'minor' } : {}, ...spans(token.tokens, t))];
    case 'code':
      return [code(token, t)];
    case 'hr':
      return [element('hr')];
    case 'blockquote':
      return [element('blockquote', {}, ...parts(token.tokens, t))];
    case 'list':
      return settle(lists(token, t, 0));
    case 'table':
      return [table(token, t)];
    default:
      return token.tokens ? settle(paragraphs(token.tokens, t)) : [element('p', {}, token.text ?? token.raw)];
  }
}

/** @param {Token} token @param {Say} t */
function code({ text = '', lang = '' }, t) {
  const copy = element('button', { type: 'button', class: 'tool copy-code', 'aria-label': t('copy_code'), title: t('copy_code') }, icon('copy', COPY));
  const head = element('div', { class: 'code-head' }, element('span', {}, (lang.split(/\s/)[0] ?? '').slice(0, 20)), copy);
  // It scrolls sideways, and must do so by keyboard too.
  return element('div', { class: 'code', dir: 'ltr' }, head, element('pre', { tabindex: '0', role: 'group', 'aria-label': t('code') }, element('code', {}, ...lines(text))));
}

/** @param {string} text of code @returns {(Node | string)[]} */
export function lines(text) {
  return grouped(text.split(/(?<=\n)/), LINES).map((it, at) => (at === 0 ? it.join('') : element('span', { class: 'more' }, it.join(''))));
}

/** There is always one, be it empty. @param {unknown[]} list @param {number} size */
export const groupsOf = (list, size) => Math.max(1, Math.ceil(list.length / size));

/** @template T @param {T[]} list @param {number} size @returns {T[][]} of that size each, but for the last */
function grouped(list, size) {
  return Array.from({ length: groupsOf(list, size) }, (_, at) => list.slice(at * size, (at + 1) * size));
}

/** @param {Token} token @param {Say} t @param {number} from which item on, the first of its group @returns {HTMLElement[]} */
export function lists(token, t, from) {
  const { items = [] } = token;
  const size = listSize(items);
  return grouped(items.slice(from), size).map((group, index) => {
    const at = from + index * size;
    const node = element(token.ordered ? 'ol' : 'ul', at > 0 ? { class: 'more' } : {}, ...group.map((it) => item(it, t)));
    const start = Number(token.start) + at;
    if (token.ordered && start !== 1) node.setAttribute('start', String(start));
    return node;
  });
}

/** How many nodes were made of what is in a paragraph. @type {WeakMap<Token, number>} */
const counts = new WeakMap();

/** @param {Token[]} tokens of which all have nodes */
export const nodesOf = (tokens) => tokens.reduce((sum, it) => sum + (counts.get(it) ?? 0), 0);

/** @param {Token[]} tokens @param {Say} t @returns {Node[]} */
export function counted(tokens, t) {
  return tokens.flatMap((token) => {
    const made = span(token, t);
    counts.set(token, made.length);
    return made;
  });
}

/** Where the paragraphs begin that a long one is shown as: only where a sentence has ended. @param {Token[]} tokens @returns {number[]} */
export function beginnings(tokens) {
  const found = [0];
  let chars = 0;
  tokens.forEach((token, at) => {
    if (token.begins && chars >= LONG_CHARS && ENDED.test(tokens[at - 1].raw)) {
      found.push(at);
      chars = 0;
    }
    chars += token.raw.length;
  });
  return found;
}

/** @param {Token[]} tokens @param {Say} t @param {number} [from] which of them on, where one begins @returns {HTMLElement[]} */
export function paragraphs(tokens, t, from = 0) {
  const starts = beginnings(tokens).filter((at) => at >= from);
  return starts.map((at, index) => element('p', at > 0 ? { class: 'more' } : {}, ...counted(tokens.slice(at, starts[index + 1]), t)));
}

/** @param {Token} token @param {Say} t */
export function item(token, t) {
  // Its first paragraph stands beside the mark.
  const [first, ...rest] = token.tokens ?? [];
  const beside = first && (first.type === 'text' || first.type === 'paragraph' || first.type === 'checkbox');
  return element('li', {}, ...(beside ? [...spans(first.type === 'checkbox' ? [first] : first.tokens, t), ...parts(rest, t)] : parts(token.tokens, t)));
}

/** @param {Token} token @param {Say} t */
function table(token, t) {
  return element('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': t('table') }, ...settle(grids(token, t, 0)));
}

/**
 * One table, or of many rows several under one another, each with the head: it is shown once, and heard in each.
 *
 * @param {Token} token @param {Say} t @param {number} from which row on, the first of its group @returns {HTMLElement[]}
 */
export function grids({ header = [], rows = [] }, t, from) {
  return grouped(rows.slice(from), tableSize(rows)).map((group, index) => {
    const kind = [rows.length > MANY ? 'long' : '', from + index > 0 ? 'more' : ''].filter(Boolean).join(' ');
    const columns = element('colgroup', {}, ...header.map(() => element('col')));
    const grid = element('table', {}, columns, element('thead', {}, row('th', header, t)), element('tbody', {}, ...group.map((cells) => row('td', cells, t))));
    return kind ? element('div', { class: kind }, grid) : grid;
  });
}

/** @param {'th' | 'td'} tag @param {import('./markdown.js').Cell[]} cells @param {Say} t */
export function row(tag, cells, t) {
  return element('tr', {}, ...cells.map(({ tokens, align }) => element(tag, align === 'right' || align === 'center' ? { class: align } : {}, ...spans(tokens, t))));
}

/** What is inside a block: blocks, or text without a paragraph around it. @param {Token[] | undefined} tokens @param {Say} t @returns {Node[]} */
function parts(tokens = [], t) {
  return tokens.filter((it) => it.type !== 'space').flatMap((it) => (it.type === 'text' || it.type === 'checkbox' ? spans([it], t) : render(it, t)));
}

/** @param {Token[] | undefined} tokens @param {Say} t @returns {Node[]} */
function spans(tokens = [], t) {
  return tokens.flatMap((it) => span(it, t));
}

/** @param {Token} token @param {Say} t @returns {Node[]} */
function span(token, t) {
  const { type, raw, text = raw, tokens } = token;
  switch (type) {
    case 'strong':
    case 'em':
      return [element(type, {}, ...spans(tokens, t))];
    case 'del':
      return [element('s', {}, ...spans(tokens, t))];
    case 'codespan':
      return [element('code', {}, text)];
    case 'br':
      return [element('br')];
    case 'html':
      // The one tag models do write, in the cells of tables.
      return [/^<br\s*\/?>$/i.test(raw) ? element('br') : document.createTextNode(raw)];
    case 'link':
      return link(token, t);
    case 'checkbox': {
      const state = token.checked ? 'done' : 'open';
      return [element('span', { class: `task ${state}`, role: 'img', 'aria-label': t(`task_${state}`) })];
    }
    case 'image':
      return [document.createTextNode(decode(text))];
    case 'escape':
      return [document.createTextNode(text)];
    default:
      return tokens ? spans(tokens, t) : [document.createTextNode(decode(text))];
  }
}

/** @param {Token} token @param {Say} t @returns {Node[]} */
function link({ href: target = '', autolink, tokens }, t) {
  const href = safeHref(autolink ? target : decode(target));
  const inside = spans(tokens, t);
  if (href === undefined) return inside;
  return [element('a', { href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...(inside.length > 0 ? inside : [href]))];
}

/** The few character references that models write. @param {string} text */
function decode(text) {
  return text.includes('&') ? text.replace(/&(#?\w{1,8});/g, (all, name) => ENTITIES[name] ?? all) : text;
}
