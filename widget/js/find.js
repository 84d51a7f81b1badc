/**
 * Looks for words in what was said.
 *
 * @typedef {{conversation: string, exchange: string, title: string, at: number, before: string, match: string, after: string}} Found
 */

const MOST = 50;
/** Characters shown on each side of a match. */
const AROUND = 40;

/** In all of them. @param {{id: string, title: string}[]} conversations @param {(id: string) => Promise<import('./state.js').Exchange[] | null>} read @param {string} query */
export async function findIn(conversations, read, query) {
  return find(query, await Promise.all(conversations.map(async ({ id, title }) => ({ id, title, exchanges: (await read(id)) ?? [] }))));
}

/** Each place only once, newest first. @param {string} query @param {{id: string, title: string, exchanges: import('./state.js').Exchange[]}[]} conversations @returns {Found[]} */
export function find(query, conversations) {
  const wanted = fold(query.trim()).join('');
  if (wanted === '') return [];
  /** @type {Found[]} */
  const found = [];
  for (const { id, title, exchanges } of conversations) {
    for (const { id: exchange, at, text, answer } of exchanges) {
      const place = around(text, wanted) ?? around(answer, wanted);
      if (place) found.push({ conversation: id, exchange, title, at, ...place });
    }
  }
  return found.sort((a, b) => b.at - a.at).slice(0, MOST);
}

/** Letter by letter, so that places in the folded text are places in the text, though some letters fold to two. @param {string} text */
function fold(text) {
  return [...text].map((letter) => letter.toLowerCase());
}

/** @param {string} text @param {string} wanted */
function around(text, wanted) {
  const letters = [...text];
  const folded = fold(text);
  const start = folded.join('').indexOf(wanted);
  if (start < 0) return undefined;
  let from = 0;
  for (let length = 0; length + folded[from].length <= start; from += 1) length += folded[from].length;
  let to = from;
  for (let length = 0; length < wanted.length; to += 1) length += folded[to].length;
  const flat = (/** @type {string[]} */ some) => some.join('').replace(/\s+/g, ' ');
  const [left, right] = [letters.slice(Math.max(0, from - AROUND), from), letters.slice(to, to + AROUND)];
  return {
    before: `${from > AROUND ? '…' : ''}${flat(left)}`,
    match: flat(letters.slice(from, to)),
    after: `${flat(right)}${to + AROUND < letters.length ? '…' : ''}`,
  };
}
