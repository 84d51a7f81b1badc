/**
 * One block of thousands of words, read while it grows: a list, a table, code or a paragraph. Its beginning is settled and not read
 * again, so that each word costs the same however long the block has become.
 *
 * A block is cut only where its kind says that what comes later can't change what came before, and where the rest, read by
 * itself, is the same as read with all before it. What is not as it should be then is `undefined`: the whole is to be read.
 *
 * @typedef {import('./markdown.js').Token} Token
 * @typedef {object} Long
 * @property {Token} settled the beginning of the block
 * @property {string} context what the rest needs before it to be of the same kind
 */

/** A block is worth it from here on. */
export const LONG_CHARS = 3000;
/** So much of its end is read again each time, or a little more. */
const REST_CHARS = 1200;

/** Of a line in a paragraph, they may make something else of the line before. */
const UNDERLINE = /(?:^|\n)[ \t]{0,3}[-=|:][-=|: \t]*(?:\n|$)/;
/** A word, for a rest that begins in the middle of a line. */
const WORD = 'x';
const FENCE = /^(?:`{3,}|~{3,})[^\n]*\n/;

/**
 * What of a block need not be read again.
 *
 * @param {Token} token the block, or what was read of the context and the rest of one
 * @param {string} context
 * @param {(text: string, at: number) => number} endOfPiece
 * @returns {{part: Token, context: string} | undefined} the part with its context, and what the rest needs from now on
 */
export function cut(token, context, endOfPiece) {
  const most = token.raw.length - REST_CHARS;
  if (token.raw.length < LONG_CHARS) return undefined;
  switch (token.type) {
    case 'list': {
      const items = token.items ?? [];
      let [raw, count] = ['', 0];
      // The last few tell together whether there is air between them.
      while (count < items.length - 3 && raw.length + items[count].raw.length <= most) raw += items[count++].raw;
      return count === 0 ? undefined : { part: { ...token, raw, items: items.slice(0, count) }, context: '' };
    }
    case 'table': {
      const lines = token.raw.split('\n');
      const rows = token.rows ?? [];
      const head = `${lines[0]}\n${lines[1]}\n`;
      let [raw, count] = [head, 0];
      while (count < rows.length - 3 && raw.length + lines[count + 2].length < most) raw += `${lines[2 + count++]}\n`;
      return count === 0 ? undefined : { part: { ...token, raw, rows: rows.slice(0, count) }, context: head };
    }
    case 'code': {
      const head = FENCE.exec(token.raw)?.[0];
      if (!head) return undefined;
      // Not beside an empty line: at its end and its beginning, code loses some of them.
      let end = token.raw.lastIndexOf('\n', most) + 1;
      while (end > head.length && (token.raw[end] === '\n' || token.raw[end - 2] === '\n')) end = token.raw.lastIndexOf('\n', end - 2) + 1;
      return end <= head.length ? undefined : { part: { ...token, raw: token.raw.slice(0, end), text: token.raw.slice(head.length, end - 1) }, context: head };
    }
    case 'paragraph': {
      const text = token.raw.slice(context.length);
      if (token.text === undefined || !token.raw.startsWith(token.text)) return undefined;
      let end = 0;
      for (let next = endOfPiece(text, 0); next <= text.length - REST_CHARS; next = endOfPiece(text, end)) end = next;
      return end === 0 ? undefined : { part: { ...token, raw: context + text.slice(0, end), text: context + text.slice(0, end) }, context: WORD };
    }
  }
  return undefined;
}

/**
 * @param {Long | undefined} long
 * @param {Token} rest the first block of what was read of the context and the rest
 * @param {(text: string, goesOn?: boolean) => Token[]} inline
 * @returns {Token | undefined} the whole block
 */
export function join(long, rest, inline) {
  if (!long) return rest.type === 'paragraph' ? { ...rest, tokens: inline(rest.text ?? '') } : rest;
  const { settled, context } = long;
  if (rest.type !== settled.type || !rest.raw.startsWith(context)) return undefined;
  const raw = settled.raw + rest.raw.slice(context.length);
  switch (rest.type) {
    case 'list':
      if (rest.ordered !== settled.ordered || rest.loose !== settled.loose) return undefined;
      return { ...settled, raw, items: [...(settled.items ?? []), ...(rest.items ?? [])] };
    case 'table':
      return { ...settled, raw, rows: [...(settled.rows ?? []), ...(rest.rows ?? [])] };
    case 'code':
      return { ...settled, raw, text: `${settled.text}\n${rest.text}` };
    case 'paragraph': {
      const text = rest.text?.slice(context.length) ?? '';
      if (UNDERLINE.test(text)) return undefined;
      return { ...settled, raw, text: settled.text + text, tokens: [...(settled.tokens ?? []), ...inline(text, true)] };
    }
  }
  return undefined;
}
