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

const ENTITIES = /** @type {Record<string, string>} */ ({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', ndash: '–', mdash: '—', hellip: '…', euro: '€', '#39': "'" });

/** @param {Token} token a block @param {Say} t @returns {HTMLElement} */
export function render(token, t) {
  switch (token.type) {
    case 'heading':
      // The chat's own title is the h1, and models begin at any level: only one below it is never a step left out.
      return element('h2', (token.depth ?? 1) > 2 ? { class: 'minor' } : {}, ...spans(token.tokens, t));
    case 'code':
      return code(token, t);
    case 'hr':
      return element('hr');
    case 'blockquote':
      return element('blockquote', {}, ...parts(token.tokens, t));
    case 'list':
      return list(token, t);
    case 'table':
      return table(token, t);
    default:
      return element('p', {}, ...(token.tokens ? spans(token.tokens, t) : [token.text ?? token.raw]));
  }
}

/** @param {Token} token @param {Say} t */
function code({ text = '', lang = '' }, t) {
  const copy = element('button', { type: 'button', class: 'tool copy-code', 'aria-label': t('copy_code'), title: t('copy_code') }, icon('copy', COPY));
  const head = element('div', { class: 'code-head' }, element('span', {}, (lang.split(/\s/)[0] ?? '').slice(0, 20)), copy);
  // It scrolls sideways, and must do so by keyboard too.
  return element('div', { class: 'code', dir: 'ltr' }, head, element('pre', { tabindex: '0', role: 'group', 'aria-label': t('code') }, element('code', {}, text)));
}

/** @param {Token} token @param {Say} t */
function list(token, t) {
  const node = element(token.ordered ? 'ol' : 'ul', {}, ...(token.items ?? []).map((it) => item(it, t)));
  if (token.ordered && token.start !== 1) node.setAttribute('start', String(token.start));
  return node;
}

/** @param {Token} token @param {Say} t */
export function item(token, t) {
  // Its first paragraph stands beside the mark.
  const [first, ...rest] = token.tokens ?? [];
  const beside = first && (first.type === 'text' || first.type === 'paragraph' || first.type === 'checkbox');
  return element('li', {}, ...(beside ? [...spans(first.type === 'checkbox' ? [first] : first.tokens, t), ...parts(rest, t)] : parts(token.tokens, t)));
}

/** @param {Token} token @param {Say} t */
function table({ header = [], rows = [] }, t) {
  const row = (/** @type {'th' | 'td'} */ tag, /** @type {{tokens: Token[], align?: string | null}[]} */ cells) =>
    element('tr', {}, ...cells.map(({ tokens, align }) => element(tag, align === 'right' || align === 'center' ? { class: align } : {}, ...spans(tokens, t))));
  const grid = element('table', {}, element('thead', {}, row('th', header)), element('tbody', {}, ...rows.map((cells) => row('td', cells))));
  return element('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': t('table') }, grid);
}

/** What is inside a block: blocks, or text without a paragraph around it. @param {Token[] | undefined} tokens @param {Say} t @returns {Node[]} */
function parts(tokens = [], t) {
  return tokens.filter((it) => it.type !== 'space').flatMap((it) => (it.type === 'text' || it.type === 'checkbox' ? spans([it], t) : [render(it, t)]));
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
