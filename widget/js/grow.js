/**
 * A block that has grown: what has not changed of its nodes stays as it is, so that nothing there loses a selection, is read
 * aloud again, or has to be laid out anew.
 *
 * @typedef {import('./markdown.js').Token} Token
 * @typedef {import('./prose.js').Say} Say
 */
import { MANY, beginnings, counted, grids as gridsOf, groupsOf, item, lines, listSize, lists, nodesOf, paragraphs, row, settle, tableSize } from './prose.js';

/**
 * Makes a block's nodes those that `render` would make of the block as it has become.
 *
 * @param {HTMLElement[]} nodes what `render` made of `before`; they change @param {Token} before @param {Token} now @param {Say} t
 * @returns {boolean} whether it could be; else nothing has changed
 */
export function extend(nodes, before, now, t) {
  if (before.type !== now.type) return false;
  switch (now.type) {
    case 'list': {
      if (before.ordered !== now.ordered || before.start !== now.start || before.loose !== now.loose) return false;
      const [old = [], items = []] = [before.items, now.items];
      if (items.length > MANY !== old.length > MANY) return false;
      const size = listSize(items);
      const same = alike(items, (it, at) => it.raw === old[at]?.raw);
      const group = Math.floor(same / size);
      keep(nodes, Math.min(groupsOf(items, size), group + 1));
      if (nodes.length > group) {
        shorten(nodes[group], same % size);
        nodes[group].append(...items.slice(same, (group + 1) * size).map((it) => item(it, t)));
      }
      if (items.length > nodes.length * size) add(nodes, lists(now, t, nodes.length * size));
      settle(nodes);
      return true;
    }
    case 'table': {
      const [old = [], rows = []] = [before.rows, now.rows];
      const whole = nodes[0];
      const head = (/** @type {Token} */ { raw }) => raw.split('\n', 2).join();
      if (head(before) !== head(now) || rows.length > MANY !== old.length > MANY) return false;
      const size = tableSize(rows);
      const same = alike(rows, (cells, at) => cells.length === old[at]?.length && cells.every(({ text }, column) => text === old[at][column].text));
      const group = Math.floor(same / size);
      const grids = [...whole.children];
      keep(grids, Math.min(groupsOf(rows, size), group + 1));
      const grid = rows.length > MANY ? grids[group]?.lastElementChild : grids[group];
      const body = grid?.lastElementChild;
      if (body) {
        shorten(body, same % size);
        body.append(...rows.slice(same, (group + 1) * size).map((cells) => row('td', cells, t)));
      }
      if (rows.length > grids.length * size) whole.append(...gridsOf(now, t, grids.length * size));
      settle([...whole.children]);
      return true;
    }
    case 'code': {
      const [old = '', text = ''] = [before.text, now.text];
      const inside = nodes[0].lastElementChild?.lastElementChild;
      const last = inside?.lastChild;
      if (!inside || !last || before.lang !== now.lang || !text.startsWith(old)) return false;
      const shown = last.textContent ?? '';
      const [first, ...more] = lines(text.slice(old.length - shown.length));
      const added = String(first).slice(shown.length);
      if ('appendData' in last) /** @type {Text} */ (last).appendData(added);
      else /** @type {Element} */ (last).append(added);
      inside.append(...more);
      return true;
    }
    case 'paragraph': {
      const [old, tokens] = [before.tokens, now.tokens];
      if (!old || !tokens) return false;
      const same = alike(tokens, (it, at) => it.raw === old[at]?.raw && it.type === old[at].type && it.begins === old[at].begins);
      // Of these it is known how many nodes they have.
      for (let at = 0; at < same; at += 1) tokens[at] = old[at];
      const starts = beginnings(tokens);
      const group = starts.findLastIndex((at) => at < Math.max(1, same));
      keep(nodes, group + 1);
      shorten(nodes[group], nodesOf(tokens.slice(starts[group], same)));
      nodes[group].append(...counted(tokens.slice(same, starts[group + 1]), t));
      if (starts.length > group + 1) add(nodes, paragraphs(tokens, t, starts[group + 1]));
      settle(nodes);
      return true;
    }
  }
  return false;
}

/** How many of them, from the first on. @template T @param {T[]} list @param {(it: T, at: number) => boolean} is */
function alike(list, is) {
  const other = list.findIndex((it, at) => !is(it, at));
  return other < 0 ? list.length : other;
}

/** @param {Element} node @param {number} count of nodes that it keeps */
function shorten(node, count) {
  while (node.childNodes.length > count) node.lastChild?.remove();
}

/** @param {Element[]} nodes @param {number} count */
function keep(nodes, count) {
  for (const node of nodes.splice(count)) node.remove();
}

/** @param {HTMLElement[]} nodes @param {HTMLElement[]} more */
function add(nodes, more) {
  nodes[nodes.length - 1].after(...more);
  nodes.push(...more);
}
