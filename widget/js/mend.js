/**
 * A reply is shown while it is written, and what is half-written must not flash as something else: `**bo` is shown bold,
 * `[label](https://…` as its label, and a line that does not tell yet what it will be (`-`, `` ``` ``, `| a |`) is held back.
 *
 * Only the end of the text is touched, so the blocks before it keep their sources.
 */

/** A line as yet without anything that says what it is: list, rule, heading, underline of one, fence, table. */
const UNDECIDED = /(?:^|\n)[ \t>]*(?:[-=*_+#~`|]+|\d{1,9}[.)]?|(?:[-*+]|\d{1,9}[.)])[ \t]+(?:[-*_~`#]*|\[[ xX]?\]?)|`{3,}[^`\n]*|~{3,}[^\n]*)[ \t]*$/;
const FENCE = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?(`{3,}|~{3,})(.*)$/;
/** Marks of emphasis don't reach over these. */
const STARTS_BLOCK = /^[ \t]*(?:$|>|[-*+][ \t]|\d{1,9}[.)][ \t]|#{1,6}[ \t]|\|)/;
const ROW = /^[ \t]*\|/;
const HALF_LINK = /!?\[([^[\]\n]{0,500})(?:\](?:\([^\s()]{0,2000}(?:[ \t]+"[^"\n]{0,300}"?)?)?)?$/y;
const HALF_TAG = /<(?:\/?[a-z]{0,10}[ \t]?\/?|!-?-?)$/iy;
const HALF_ADDRESS = /<(?:https?|mailto|tel):[^\s<>]*$/iy;
const HALF_ENTITY = /&#?\w{0,8}$/y;
const ADDRESS = /https?:\/\/[^\s<>]*/y;
const TARGET = /\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)/y;
const MOST_OPEN = 4;
const WORD = /[\p{L}\p{N}]/u;

/** @param {string} text the end of a reply that goes on, from the start of a block @returns {string} */
export function mend(text) {
  const lines = text.split('\n');
  const fence = openFence(lines);
  if (fence === null) return text;
  if (fence !== '') {
    // Perhaps the beginning of its end.
    const last = lines[lines.length - 1].trim();
    return last !== '' && fence.startsWith(last) ? lines.slice(0, -1).join('\n') : text;
  }
  const header = headerAt(lines);
  return mendLine(header >= 0 ? lines.slice(0, header).join('\n') : text.replace(UNDECIDED, ''));
}

/** @param {string[]} lines @returns {string | null} what the code that is still open was opened with; null if the last line has just closed it */
function openFence(lines) {
  let open = '';
  let closed = -1;
  // The line that is being written may yet become something else.
  lines.forEach((line, index) => {
    const found = FENCE.exec(line);
    if (!found) return;
    const [, marks, rest] = found;
    if (open !== '') {
      if (marks[0] === open[0] && marks.length >= open.length && rest.trim() === '') {
        open = '';
        closed = index;
      }
    } else if (index < lines.length - 1 && !(marks[0] === '`' && rest.includes('`'))) {
      open = marks;
    }
  });
  return closed === lines.length - 1 ? null : open;
}

/** Where a table's head begins whose second line is not whole: until then it is a sentence full of strokes. @param {string[]} lines */
function headerAt(lines) {
  const ended = lines.length > 1 && lines[lines.length - 1] === '';
  const last = lines.length - (ended ? 2 : 1);
  const isRow = (/** @type {number} */ at) => at >= 0 && ROW.test(lines[at]);
  if (isRow(last) && !isRow(last - 1)) return last;
  if (!ended && isRow(last) && isRow(last - 1) && !isRow(last - 2) && /^[ \t:|-]+$/.test(lines[last])) return last - 1;
  return -1;
}

/** Closes what is open in the last sentence. @param {string} text @returns {string} */
function mendLine(text) {
  // A sentence may go on after the end of a line, but not after an empty one.
  if (/[^\n]\n$/.test(text)) return `${mendLine(text.slice(0, -1))}\n`;
  let from = text.length;
  for (;;) {
    const start = text.lastIndexOf('\n', from - 1) + 1;
    if (STARTS_BLOCK.test(text.slice(start, from)) || start === 0) {
      from = start;
      break;
    }
    from = start - 1;
  }
  // In a table, no further than the cell.
  if (ROW.test(text.slice(from))) from = Math.max(from, text.lastIndexOf('|') + 1);
  // The marks of a list are not those of an emphasis.
  const marks = /^[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+/.exec(text.slice(from));
  from += marks ? marks[0].length : 0;
  return text.slice(0, from) + mendSpan(text.slice(from));
}

/** @param {string} text */
function mendSpan(text) {
  /** @type {string[]} */
  const open = [];
  let at = 0;
  const match = (/** @type {RegExp} */ pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  while (at < text.length) {
    const char = text[at];
    if (char === '\\') {
      at += 2;
    } else if (char === '`') {
      const run = runAt(text, at);
      const end = endOfCode(text, at + run.length, run);
      if (end >= 0) {
        at = end;
        continue;
      }
      const inside = text.slice(at + run.length).replace(/`+$/, '');
      if (inside.trim() !== '') return closed(text.slice(0, at) + run + inside + run, open);
      text = text.slice(0, at);
    } else if (char === '[' || char === '!') {
      const half = match(HALF_LINK);
      if (half) text = text.slice(0, at) + half[1];
      else at += 1;
    } else if (char === ']') {
      at += match(TARGET)?.[0].length ?? 1;
    } else if (char === '<' && match(HALF_ADDRESS)) {
      text = text.slice(0, at) + text.slice(at + 1);
    } else if ((char === '<' && match(HALF_TAG)) || (char === '&' && match(HALF_ENTITY))) {
      text = text.slice(0, at);
    } else if (char === 'h') {
      at += match(ADDRESS)?.[0].length ?? 1;
    } else if (char === '*' || char === '_' || char === '~') {
      const run = runAt(text, at);
      if (!pair(text, at, run, open)) text = text.slice(0, at);
      at += run.length;
    } else {
      at += 1;
    }
  }
  return closed(text, open);
}

/** @param {string} text @param {string[]} open */
function closed(text, open) {
  // Nobody writes that many into one another: those are no marks.
  return open.length === 0 || open.length > MOST_OPEN ? text : text.trimEnd() + open.reverse().join('');
}

/** @param {string} text @param {number} at @param {string} run @param {string[]} open @returns {boolean} whether the run stays */
function pair(text, at, run, open) {
  const char = run[0];
  const before = text[at - 1] ?? ' ';
  const after = text[at + run.length];
  let left = run.length;
  const closes = /\S/.test(before) && (char !== '_' || after === undefined || !WORD.test(after));
  while (closes && left > 0 && open.at(-1)?.[0] === char) {
    const mark = /** @type {string} */ (open.at(-1));
    if (mark.length > left) break;
    open.pop();
    left -= mark.length;
  }
  // The end of what comes next, or half of an end: neither says anything yet.
  if (after === undefined) return left === 0;
  const opens = /\S/.test(after) && (char !== '_' || !WORD.test(before));
  if (left === 0 || left > 3 || !opens) return true;
  if (left === 3) open.push(char + char, char);
  else open.push(char.repeat(left));
  return true;
}

/** @param {string} text @param {number} at */
function runAt(text, at) {
  let end = at + 1;
  while (text[end] === text[at]) end += 1;
  return text.slice(at, end);
}

/** @param {string} text @param {number} at @param {string} run @returns {number} after the marks that end it, or -1 */
function endOfCode(text, at, run) {
  let found = text.indexOf(run, at);
  while (found >= 0) {
    const other = runAt(text, found);
    if (other.length === run.length) return found + run.length;
    found = text.indexOf(run, found + other.length);
  }
  return -1;
}
