/**
 * Reads Markdown as chat models write it. `marked` only tells what is what (its lexer); nothing here makes or reads HTML.
 *
 * @typedef {object} Token what marked's lexer gives, as far as it is used here
 * @property {string} type
 * @property {string} raw
 * @property {string} [text]
 * @property {string} [lang]
 * @property {string} [href]
 * @property {boolean} [autolink]
 * @property {number} [depth]
 * @property {boolean} [ordered]
 * @property {boolean} [loose]
 * @property {boolean} [checked]
 * @property {number | ''} [start]
 * @property {Token[]} [tokens]
 * @property {(Token & {tokens: Token[]})[]} [items]
 * @property {{tokens: Token[], align?: string | null}[]} [header]
 * @property {{tokens: Token[], align?: string | null}[][]} [rows]
 *
 * @typedef {object} Block
 * @property {Token} token
 * @property {boolean} open it is code, and its end has not come yet
 */
import { Lexer, Tokenizer, getDefaults } from '../vendor/marked-18.2.1/marked.esm.js';
import { mend } from './mend.js';

/** Deeper nesting is shown as plain text: a reply must not be able to exhaust the stack. */
const MAX_DEPTH = 6;
/** Marks in longer sentences are only looked for piece by piece: looking for their partners can cost the square of this. */
const PIECE_CHARS = 2000;

/** Models write text, not HTML, and name their links in place: both kinds of block are read as the text they are. */
class ChatTokenizer extends Tokenizer {
  depth = 0;

  html() {
    return undefined;
  }

  def() {
    return undefined;
  }

  /** @param {string} source */
  blockquote(source) {
    return this.deeper(() => super.blockquote(source));
  }

  /** @param {string} source */
  list(source) {
    return this.deeper(() => super.list(source));
  }

  /** @template T @param {() => T} read @returns {T | undefined} */
  deeper(read) {
    if (this.depth >= MAX_DEPTH) return undefined;
    this.depth += 1;
    try {
      return read();
    } finally {
      this.depth -= 1;
    }
  }
}

class ChatLexer extends Lexer {
  depth = 0;

  /** @param {string} source @param {any[]} [tokens] @returns {any[]} */
  inlineTokens(source, tokens = []) {
    if (this.depth >= MAX_DEPTH) {
      tokens.push({ type: 'text', raw: source, text: source });
      return tokens;
    }
    this.depth += 1;
    try {
      for (let at = 0; at < source.length; ) {
        const end = endOfPiece(source, at);
        super.inlineTokens(source.slice(at, end), tokens);
        at = end;
      }
    } finally {
      this.depth -= 1;
    }
    return tokens;
  }
}

/** @param {string} source @param {number} at */
function endOfPiece(source, at) {
  const end = at + PIECE_CHARS;
  if (end >= source.length) return source.length;
  // Best where a sentence ends, so that nothing is taken apart that belongs together.
  for (const mark of ['\n', '. ', ' ']) {
    const found = source.lastIndexOf(mark, end);
    if (found > at) return found + mark.length;
  }
  return end;
}

/** @param {string} source @returns {Token[]} the blocks of it, with what is in them */
export function lex(source) {
  const options = { ...getDefaults(), breaks: true, tokenizer: new ChatTokenizer() };
  return /** @type {any} */ (new ChatLexer(/** @type {any} */ (options)).lex(source));
}

/**
 * Reads one reply again and again while it grows. What is settled is not read again: a block can only change until two
 * more have begun after it.
 */
export function createReader() {
  /** @type {Block[]} */
  let settled = [];
  let settledSource = '';
  /** @type {Block[]} */
  let fresh = [];

  return {
    /** @param {string} text @param {boolean} growing @returns {{blocks: Block[], same: number}} `same`: so many are as they were */
    read(text, growing) {
      const source = text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
      let before = [...settled, ...fresh];
      if (source.slice(0, settledSource.length) !== settledSource) {
        before = settled = [];
        settledSource = '';
      }
      const tail = source.slice(settledSource.length);
      const tokens = lex(growing ? mend(tail) : tail);
      const last = tokens.at(-1);
      fresh = tokens.filter((it) => it.type !== 'space').map((token) => ({ token, open: growing && token === last && token.type === 'code' && !isClosed(token.raw) }));
      const blocks = [...settled, ...fresh];
      let same = settled.length;
      while (same < blocks.length && blocks[same].token.raw === before[same]?.token.raw && blocks[same].open === before[same].open) same += 1;
      if (growing && fresh.length > 2) {
        const unsettled = fresh[fresh.length - 2].token;
        const done = tokens.slice(0, tokens.indexOf(unsettled));
        settledSource += done.map((it) => it.raw).join('');
        settled = blocks.slice(0, -2);
        fresh = fresh.slice(-2);
      }
      return { blocks, same };
    },
  };
}

/** @param {string} raw of a code block */
function isClosed(raw) {
  const fence = /^ {0,3}(`{3,}|~{3,})/.exec(raw);
  return !fence || (raw.includes('\n') && new RegExp(`\\n {0,3}${fence[1]}[\`~]*[ \\t]*\\n?$`).test(raw.trimEnd()));
}
