/**
 * Markdown as chat models write it, made into DOM nodes.
 *
 * Nothing here ever parses HTML: text becomes text nodes, and the only attributes are those written below. So whatever an
 * answer contains, it can only be read, not run. Links go to http, https and mailto; images are never loaded (an address
 * written by a model would leak what it likes without a click), their description is shown instead.
 *
 * `parse` gives blocks, each with the source it was made from: a view that keeps the nodes of unchanged sources repaints
 * only the last block while an answer grows.
 *
 * @typedef {{kind: 'paragraph', source: string, text: string}} Paragraph
 * @typedef {{kind: 'heading', source: string, text: string, level: number}} Heading
 * @typedef {{kind: 'code', source: string, text: string}} Code
 * @typedef {{kind: 'rule', source: string}} Rule
 * @typedef {{kind: 'quote', source: string, blocks: Block[]}} Quote
 * @typedef {{kind: 'list', source: string, start: number | null, items: Block[][]}} List
 * @typedef {{kind: 'table', source: string, head: string[], rows: string[][]}} Table
 * @typedef {Paragraph | Heading | Code | Rule | Quote | List | Table} Block
 */

/** Deeper nesting is shown as plain text: a reply must not be able to exhaust the stack. */
const MAX_DEPTH = 6;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const TABLE_LINE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** @param {string} text @returns {Block[]} */
export function parse(text) {
  return blocks(text.replace(/\r\n?/g, '\n').split('\n'), 0);
}

/** @param {string[]} lines @param {number} depth @returns {Block[]} */
function blocks(lines, depth) {
  /** @type {Block[]} */
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === '') {
      at += 1;
      continue;
    }
    const [block, next] = depth < MAX_DEPTH ? blockAt(lines, at, depth) : paragraph(lines, at, lines.length);
    found.push(block);
    at = next;
  }
  return found;
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {[Block, number]} the block and the line after it */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence[1]);
  const heading = HEADING.exec(line);
  if (heading) {
    const text = heading[2].replace(/[ \t]+#+[ \t]*$/, '').trim();
    return [{ kind: 'heading', source: line, text, level: heading[1].length }, at + 1];
  }
  if (RULE.test(line)) return [{ kind: 'rule', source: line }, at + 1];
  if (QUOTE.test(line)) {
    let end = at;
    while (end < lines.length && QUOTE.test(lines[end])) end += 1;
    const inside = lines.slice(at, end).map((quoted) => quoted.replace(QUOTE, ''));
    return [{ kind: 'quote', source: source(lines, at, end), blocks: blocks(inside, depth + 1) }, end];
  }
  if (ITEM.test(line)) return list(lines, at, depth);
  if (startsTable(lines, at)) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && !endsParagraph(lines, end)) end += 1;
  return paragraph(lines, at, end);
}

/** @param {string[]} lines @param {number} at @param {number} end @returns {[Block, number]} */
function paragraph(lines, at, end) {
  const text = source(lines, at, end);
  return [{ kind: 'paragraph', source: text, text: text.trim() }, end];
}

/** @param {string[]} lines @param {number} at */
function endsParagraph(lines, at) {
  const line = lines[at];
  if (line.trim() === '' || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  // Only "1." may break into a paragraph: "in 2019. …" at the start of a line is prose.
  const item = ITEM.exec(line);
  return (item !== null && (/^[-*+]$/.test(item[2]) || /^1[.)]$/.test(item[2]))) || startsTable(lines, at);
}

/** @param {string[]} lines @param {number} at @param {string} fence @returns {[Block, number]} */
function code(lines, at, fence) {
  let end = at + 1;
  const closes = (/** @type {string} */ line) => line.trim().length >= fence.length && line.trim().replaceAll(fence[0], '') === '';
  while (end < lines.length && !closes(lines[end])) end += 1;
  // Without a closing fence the rest is code: that is how a streaming answer looks for a while.
  const next = Math.min(end + 1, lines.length);
  return [{ kind: 'code', source: source(lines, at, next), text: lines.slice(at + 1, end).join('\n') }, next];
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {[Block, number]} */
function list(lines, at, depth) {
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(lines[at]));
  const outer = first[1].length;
  const ordered = /\d/.test(first[2]);
  /** @type {string[][]} */
  const items = [];
  let content = 0;
  let end = at;
  for (let next = at; next < lines.length; next += 1) {
    const line = lines[next];
    const blank = line.trim() === '';
    const indent = line.length - line.trimStart().length;
    const item = ITEM.exec(line);
    if (item && indent <= outer + 1 && indent >= outer - 1 && !RULE.test(line)) {
      if (/\d/.test(item[2]) !== ordered) break;
      content = item[0].length;
      items.push([line.slice(content)]);
    } else if (blank) {
      items[items.length - 1].push('');
      continue;
    } else if (indent > outer + 1) {
      items[items.length - 1].push(line.slice(Math.min(indent, content)));
    } else if (lines[next - 1].trim() === '' || endsParagraph(lines, next)) {
      break;
    } else {
      items[items.length - 1].push(line.trimStart());
    }
    end = next + 1;
  }
  const start = ordered ? Number.parseInt(first[2], 10) : null;
  return [{ kind: 'list', source: source(lines, at, end), start, items: items.map((inside) => blocks(inside, depth + 1)) }, end];
}

/** @param {string[]} lines @param {number} at */
function startsTable(lines, at) {
  const next = lines[at + 1];
  return lines[at].includes('|') && next !== undefined && next.includes('|') && TABLE_LINE.test(next);
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function table(lines, at) {
  const head = cells(lines[at]);
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|') && lines[end].trim() !== '') end += 1;
  const rows = lines.slice(at + 2, end).map((line) => head.map((_, column) => cells(line)[column] ?? ''));
  return [{ kind: 'table', source: source(lines, at, end), head, rows }, end];
}

/** @param {string} line */
function cells(line) {
  const inside = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** @param {string[]} lines @param {number} at @param {number} end */
function source(lines, at, end) {
  return lines.slice(at, end).join('\n');
}

/**
 * @param {Block} block
 * @param {Document} document
 * @param {boolean} [growing] the answer goes on: half-written marks are shown as what they are about to become
 * @returns {HTMLElement}
 */
export function render(block, document, growing = false) {
  const make = (/** @type {string} */ name, /** @type {Node[]} */ ...children) => {
    const node = document.createElement(name);
    node.append(...children);
    return node;
  };
  const words = (/** @type {string} */ text) => inline(text, document, growing);
  switch (block.kind) {
    case 'heading':
      // The chat's own title is the h1, so an answer's headings begin below it.
      return make(`h${Math.min(6, block.level + 2)}`, ...words(block.text));
    case 'code':
      return make('pre', make('code', document.createTextNode(block.text)));
    case 'rule':
      return make('hr');
    case 'quote':
      return make('blockquote', ...block.blocks.map((inner) => render(inner, document, growing)));
    case 'list': {
      const items = block.items.map((inner) => {
        const [first, ...rest] = inner;
        if (first?.kind !== 'paragraph') return make('li', ...inner.map((part) => render(part, document, growing)));
        return make('li', ...words(first.text), ...rest.map((part) => render(part, document, growing)));
      });
      const node = make(block.start === null ? 'ul' : 'ol', ...items);
      if (block.start !== null && block.start !== 1) node.setAttribute('start', String(block.start));
      return node;
    }
    case 'table': {
      const row = (/** @type {string} */ cell, /** @type {string[]} */ texts) => make('tr', ...texts.map((text) => make(cell, ...words(text))));
      const grid = make('table', make('thead', row('th', block.head)), make('tbody', ...block.rows.map((texts) => row('td', texts))));
      const scroller = make('div', grid);
      scroller.setAttribute('class', 'table');
      return scroller;
    }
    default:
      return make('p', ...words(block.text));
  }
}

const CODE_SPAN = /(`{1,3})(?!`)([\s\S]*?[^`])\1(?!`)/y;
const STRONG_EM = /\*\*\*(?=[^\s*])([\s\S]*?\S)\*\*\*(?!\*)/y;
const STRONG = /\*\*(?=[^\s*])([\s\S]*?\S)\*\*/y;
const STRONG_LINE = /__(?=[^\s_])([\s\S]*?\S)__(?![\p{L}\p{N}_])/uy;
const EM = /\*(?=[^\s*])([\s\S]*?[^\s*])\*(?!\*)/y;
const EM_LINE = /_(?=[^\s_])([\s\S]*?[^\s_])_(?![\p{L}\p{N}_])/uy;
const STRIKE = /~~(?=[^\s~])([\s\S]*?\S)~~/y;
const LINK = /(!?)\[([^[\]\n]{0,500})\]\([ \t]*<?([^\s<>()]{0,2000}(?:\([^\s()]{0,500}\)[^\s<>()]{0,500}){0,4})>?(?:[ \t]+(?:"[^"\n]{0,300}"|'[^'\n]{0,300}'))?[ \t]*\)/y;
const HALF_LINK = /!?\[([^[\]\n]{0,500})(?:\](?:\([^\s()]{0,2000})?)?$/y;
const BARE_LINK = /https?:\/\/[^\s<>"'`*|\\]{1,2000}/y;
const WORD = /[\p{L}\p{N}_]/u;

/** Spans around text, tried in this order at each mark: the longer mark first. */
const SPANS = /** @type {const} */ ([
  [STRONG_EM, '***', ['strong', 'em']],
  [STRONG, '**', ['strong']],
  [STRONG_LINE, '__', ['strong']],
  [EM, '*', ['em']],
  [EM_LINE, '_', ['em']],
  [STRIKE, '~~', ['s']],
]);

/**
 * @param {string} text
 * @param {Document} document
 * @param {boolean} growing
 * @param {number} [depth]
 * @returns {Node[]}
 */
function inline(text, document, growing, depth = 0) {
  /** @type {Node[]} */
  const nodes = [];
  let plain = '';
  let at = 0;
  // A mark that found no partner will find none further on either. Without this, a reply of stars alone costs n².
  const hopeless = new Set();

  const flush = () => {
    if (plain !== '') nodes.push(document.createTextNode(plain));
    plain = '';
  };
  const push = (/** @type {Node} */ node) => {
    flush();
    nodes.push(node);
  };
  const match = (/** @type {RegExp} */ pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  const wrap = (/** @type {readonly string[]} */ names, /** @type {Node[]} */ children) => {
    let inside = children;
    for (const name of [...names].reverse()) {
      const node = document.createElement(name);
      node.append(...inside);
      inside = [node];
    }
    push(inside[0]);
  };

  /** @returns {boolean} whether something at `at` was more than plain text */
  const special = () => {
    const char = text[at];
    if (char === '\n') {
      plain = plain.replace(/[ \t]+$/, '');
      push(document.createElement('br'));
      at += 1;
      return true;
    }
    if (char === '\\' && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? '')) {
      plain += text[at + 1];
      at += 2;
      return true;
    }
    if (char === '`') {
      const run = /** @type {RegExpExecArray} */ (match(/`+/y))[0];
      const found = hopeless.has(run) ? null : match(CODE_SPAN);
      if (found || (growing && run.length === 1 && text.length > at + 1)) {
        const code = document.createElement('code');
        code.append(document.createTextNode((found ? found[2] : text.slice(at + 1)).replaceAll('\n', ' ')));
        push(code);
        at = found ? at + found[0].length : text.length;
      } else {
        hopeless.add(run);
        plain += run;
        at += run.length;
      }
      return true;
    }
    if (char === '[' || (char === '!' && text[at + 1] === '[')) {
      const found = match(LINK);
      const half = found || !growing ? null : match(HALF_LINK);
      if (found) {
        const [all, image, label, target] = found;
        const href = image ? undefined : safeHref(target);
        at += all.length;
        if (href === undefined) plain += label;
        else push(anchor(href, depth < MAX_DEPTH ? inlineLabel(label) : [document.createTextNode(label)]));
        return true;
      }
      if (half) {
        plain += half[1];
        at = text.length;
        return true;
      }
      return false;
    }
    if (char === 'h' && !WORD.test(text[at - 1] ?? '')) {
      const found = match(BARE_LINK);
      const address = found ? withoutTrailingPunctuation(found[0]) : '';
      const href = safeHref(address);
      if (href === undefined) return false;
      push(anchor(href, [document.createTextNode(address)]));
      at += address.length;
      return true;
    }
    if ((char === '*' || char === '_' || char === '~') && depth < MAX_DEPTH) {
      for (const [pattern, mark, names] of SPANS) {
        if (!text.startsWith(mark, at) || hopeless.has(mark)) continue;
        if (char === '_' && WORD.test(text[at - 1] ?? '')) continue;
        const found = match(pattern);
        if (found) {
          wrap(names, inline(found[1], document, growing, depth + 1));
          at += found[0].length;
          return true;
        }
        // Failing at a blank says nothing about the marks further on.
        if (/[^\s*_~]/.test(text[at + mark.length] ?? '')) {
          hopeless.add(mark);
          if (growing && mark === '**') {
            wrap(names, inline(text.slice(at + 2).replace(/\*+$/, ''), document, growing, depth + 1));
            at = text.length;
            return true;
          }
        }
      }
    }
    return false;
  };

  /** A label is text with marks, but links in links are not a thing. */
  const inlineLabel = (/** @type {string} */ label) => (/https?:/.test(label) ? [document.createTextNode(label)] : inline(label, document, false, depth + 1));
  const anchor = (/** @type {string} */ href, /** @type {Node[]} */ children) => {
    const node = document.createElement('a');
    node.setAttribute('href', href);
    node.setAttribute('title', href);
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
    node.append(...(children.length > 0 ? children : [document.createTextNode(href)]));
    return node;
  };

  while (at < text.length) {
    if (special()) continue;
    plain += text[at];
    at += 1;
  }
  flush();
  return nodes;
}

/** @param {string} address as written: "(see https://a.example/b)." must not take the bracket and the full stop along */
function withoutTrailingPunctuation(address) {
  let end = address.length;
  while (end > 0) {
    const last = address[end - 1];
    const opens = address.slice(0, end).split('(').length;
    const closes = address.slice(0, end).split(')').length;
    if (/[.,;:!?\]}_~]/.test(last) || (last === ')' && closes > opens)) end -= 1;
    else break;
  }
  return address.slice(0, end);
}

/**
 * The browser's own parser decides what an address is (it drops tabs, newlines and case before reading the scheme), and
 * what it made of it is what is linked, not what was written.
 *
 * @param {string} target
 * @returns {string | undefined}
 */
export function safeHref(target) {
  let url;
  try {
    url = new URL(target);
  } catch {
    return undefined;
  }
  if (url.protocol === 'mailto:') return url.href;
  // "https://bank.example@evil.example" is made to be misread.
  const plain = (url.protocol === 'https:' || url.protocol === 'http:') && url.username === '' && url.password === '';
  return plain ? url.href : undefined;
}
