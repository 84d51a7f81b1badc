/** What was said before, as the assistant is told it. */

/** Half of what a request may weigh, so that message and page fit beside it. */
const HISTORY_BYTES = 32 * 1024;

/**
 * Of this one conversation: newest last, at most `maxTurns`, and not more than a request can carry.
 *
 * @param {import('./state.js').Exchange[]} exchanges
 * @param {string} before the exchange that is being sent
 * @param {number} [maxTurns]
 * @returns {{role: 'user' | 'assistant', content: string}[]}
 */
export function history(exchanges, before, maxTurns = 20) {
  /** @type {{role: 'user' | 'assistant', content: string}[]} */
  const turns = [];
  let bytes = 0;
  const earlier = exchanges.slice(0, exchanges.findIndex((it) => it.id === before));
  for (const { text, answer } of earlier.reverse()) {
    if (answer === '') continue;
    bytes += new TextEncoder().encode(JSON.stringify(text + answer)).length + 64;
    /** @type {typeof turns} */
    const both = [{ role: 'user', content: text }, { role: 'assistant', content: answer }];
    const said = both.filter((turn) => turn.content !== '');
    if (turns.length + said.length > maxTurns || bytes > HISTORY_BYTES) break;
    turns.unshift(...said);
  }
  return turns;
}
