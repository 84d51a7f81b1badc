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
 * @property {Cell[]} [header]
 * @property {Cell[][]} [rows]
 * @property {boolean} [begins] a piece of a longer sentence, after another one
 *
 * @typedef {{text: string, tokens: Token[], align?: string | null}} Cell
 *
 * @typedef {object} Block
 * @property {Token} token
 * @property {boolean} open it is code, and its end has not come yet
 */
import { Lexer, Tokenizer, getDefaults } from '../vendor/marked-18.2.1/marked.esm.js';
import { LONG_CHARS, cut, join } from './long.js';
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

  /** @param {Memory} memory */
  constructor(memory) {
    super(/** @type {any} */ ({ ...getDefaults(), breaks: true, tokenizer: new ChatTokenizer() }));
    this.memory = memory;
  }

  /** @param {string} source @param {any[]} [tokens] @returns {any[]} */
  inlineTokens(source, tokens = []) {
    if (this.depth > 0) return this.readInline(source, tokens);
    const known = this.memory.last.get(source) ?? this.readInline(source, []);
    this.memory.now.set(source, known);
    for (const it of known) tokens.push(it);
    return tokens;
  }

  /** @param {string} source @param {any[]} tokens @returns {any[]} */
  readInline(source, tokens) {
    if (this.depth >= MAX_DEPTH) {
      tokens.push({ type: 'text', raw: source, text: source });
      return tokens;
    }
    this.depth += 1;
    try {
      for (let at = 0; at < source.length; ) {
        const end = endOfPiece(source, at);
        /** @type {Token[]} */
        const piece = super.inlineTokens(source.slice(at, end));
        if (at > 0 && piece[0]) piece[0].begins = true;
        tokens.push(...piece);
        // A link that is left open ends with its piece.
        if (this.depth === 1) this.state.inLink = this.state.inRawBlock = false;
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

/**
 * What was inside which text when it was read last, and what is this time: most items and cells are as they were.
 *
 * @typedef {{last: Map<string, Token[]>, now: Map<string, Token[]>}} Memory
 */

/** @returns {Memory} */
const noMemory = () => ({ last: new Map(), now: new Map() });

/** @param {string} source @param {Memory} [memory] @returns {Token[]} the blocks of it, with what is in them */
export function lex(source, memory = noMemory()) {
  return /** @type {any} */ (new ChatLexer(memory).lex(source));
}

/** @param {string} text @param {boolean} [goesOn] after another piece @returns {Token[]} what is in a paragraph of it */
function inline(text, goesOn = false) {
  const tokens = new ChatLexer(noMemory()).inlineTokens(text);
  if (goesOn && tokens[0]) tokens[0].begins = true;
  return tokens;
}

/**
 * Reads one reply again and again while it grows. What is settled is not read again: a block can only change until two
 * more have begun after it, and of a long one only the end (long.js).
 */
export function createReader() {
  /** @type {Block[]} */
  let settled = [];
  let settledSource = '';
  /** @type {Block[]} */
  let fresh = [];
  /** Of the first block that is not settled. @type {import('./long.js').Long | undefined} */
  let long;
  let memory = noMemory();

  /** @param {string} tail @param {boolean} growing @returns {{tokens: Token[], first?: Token}} `first`: as it was read, without what is settled of it */
  function readTail(tail, growing) {
    const ready = (/** @type {string} */ text) => (growing ? mend(text) : text);
    if (long && tail.startsWith(long.settled.raw)) {
      const [first, ...others] = lex(ready(long.context + tail.slice(long.settled.raw.length)), memory);
      const whole = first && join(long, first, inline);
      if (whole) return { tokens: [whole, ...others], first };
    }
    long = undefined;
    const tokens = lex(ready(tail), memory);
    return { tokens, first: tokens[0] };
  }

  /** @param {string} tail @param {Token | undefined} first of the block that is all of it */
  function cutOff(tail, first) {
    const found = first && cut(first, long?.context ?? '', endOfPiece);
    const begun = found && join(long, found.part, inline);
    // What was made up to close what is open must not be kept.
    if (found && begun && tail.startsWith(begun.raw)) long = { settled: begun, context: found.context };
  }

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
      memory = { last: memory.now, now: new Map() };
      const { tokens, first } = readTail(tail, growing);
      const last = tokens.at(-1);
      fresh = tokens.filter((it) => it.type !== 'space').map((token) => ({ token, open: growing && token === last && token.type === 'code' && !isClosed(token.raw) }));
      const blocks = [...settled, ...fresh];
      let same = settled.length;
      while (same < blocks.length && blocks[same].token.raw === before[same]?.token.raw && blocks[same].open === before[same].open) same += 1;
      if (!growing) {
        memory = noMemory();
        return { blocks, same };
      }
      const isLong = last !== undefined && last === fresh.at(-1)?.token && last.raw.length >= LONG_CHARS;
      // Whatever is long has ended what was before it.
      const kept = isLong ? 1 : 2;
      if (fresh.length > kept) {
        const unsettled = fresh[fresh.length - kept].token;
        const done = tokens.slice(0, tokens.indexOf(unsettled));
        settledSource += done.map((it) => it.raw).join('');
        settled = blocks.slice(0, -kept);
        fresh = fresh.slice(-kept);
        long = undefined;
      } else if (isLong && tokens.length === 1) {
        cutOff(tail, first);
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
