/**
 * What of the conversations is kept, and for how long. Pure: the store and the state both go by it.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./state.js').State} State
 * @typedef {import('./state.js').Summary} Summary
 *
 * @typedef {{conversation: string, changed: Exchange[], gone: string[]}} Change what is new in one conversation
 * @typedef {{lists: Change[], summaries: Summary[]}} Changes
 */

/** In one conversation. What is sent along to the assistant is cut shorter elsewhere. */
export const MAX_MESSAGES = 200;
export const MAX_AGE_MS = 30 * 24 * 3600_000;
export const MAX_CONVERSATIONS = 50;
const TITLE_CHARS = 60;

/** A visitor's message and the reply to it are two; what is on its way is not counted before it is here. @param {Exchange} it */
const messages = (it) => Number(it.text !== '') + Number(it.answer !== '');

/** @param {Exchange[]} exchanges */
export function countOf(exchanges) {
  return exchanges.reduce((sum, it) => sum + messages(it), 0);
}

/** The newest, as many as are kept; the same list if that is all. @param {Exchange[]} exchanges @param {number} [now] with it, none that is too old @returns {Exchange[]} */
export function fit(exchanges, now) {
  let from = exchanges.length;
  let room = MAX_MESSAGES;
  while (from > 0) {
    const it = exchanges[from - 1];
    room -= messages(it);
    if (room < 0 || (now !== undefined && it.at < now - MAX_AGE_MS)) break;
    from -= 1;
  }
  return from === 0 ? exchanges : exchanges.slice(from);
}

/** Those that are kept, newest first. @template {{at: number}} T @param {T[]} conversations @param {number} now @returns {T[]} */
export function fitConversations(conversations, now) {
  return newestFirst(conversations).filter((it) => it.at >= now - MAX_AGE_MS).slice(0, MAX_CONVERSATIONS);
}

/** @template {{at: number}} T @param {T[]} conversations @returns {T[]} */
export function newestFirst(conversations) {
  return [...conversations].sort((a, b) => b.at - a.at);
}

/** What a conversation is called in a list: its first words. @param {Exchange[]} exchanges */
export function titleOf(exchanges) {
  const first = exchanges.find((it) => it.text !== '')?.text ?? exchanges.find((it) => it.answer !== '')?.answer ?? '';
  const line = first.replace(/\s+/g, ' ').trim();
  const chars = [...line];
  return chars.length > TITLE_CHARS ? `${chars.slice(0, TITLE_CHARS - 1).join('').trimEnd()}…` : line;
}

/** All exchanges that a state holds, by conversation. @param {State} state @returns {Map<string, Exchange[]>} */
export function listsOf(state) {
  return new Map([...Object.entries(state.background), [state.conversation, state.exchanges]]);
}

/** What must be written down after a change. A conversation that was only now read in is no change. @param {State} before @param {State} after @returns {Changes} */
export function changesBetween(before, after) {
  const old = listsOf(before);
  /** @type {Change[]} */
  const lists = [];
  for (const [conversation, exchanges] of listsOf(after)) {
    const known = old.get(conversation);
    if (!known || known === exchanges) continue;
    const were = new Map(known.map((it) => [it.id, it]));
    const are = new Set(exchanges.map((it) => it.id));
    const changed = exchanges.filter((it) => were.get(it.id) !== it);
    const gone = known.filter((it) => !are.has(it.id)).map((it) => it.id);
    if (changed.length > 0 || gone.length > 0) lists.push({ conversation, changed, gone });
  }
  const were = new Set(before.conversations);
  return { lists, summaries: after.conversations.filter((it) => !were.has(it)) };
}

/** The later of two states of one exchange, one of which came from another tab. @param {Exchange} mine @param {Exchange} theirs @returns {Exchange} */
export function newer(mine, theirs) {
  // Tried again under its id, it is as new. (Pushes are dated by each tab for itself.)
  if (mine.at !== theirs.at && mine.kind !== 'push') return mine.at > theirs.at ? mine : theirs;
  const [here, there] = [rank(mine), rank(theirs)];
  if (here !== there) return here > there ? mine : theirs;
  if (mine.next !== theirs.next) return mine.next > theirs.next ? mine : theirs;
  // Told last: a rating, a stop that was asked for.
  return theirs;
}

/** What is over comes after all else. */
const PHASES = ['sending', 'waiting', 'queued', 'streaming', 'done', 'stopped', 'failed'];

/** @param {Exchange} it */
function rank({ phase }) {
  return Math.min(PHASES.indexOf(phase), 4);
}

/** Whether it is what the chat relies on: another version may have left it on the disk, or said it. @param {any} it an exchange */
export function isWhole(it) {
  return ['id', 'text', 'answer', 'lastEventId', 'session'].every((key) => typeof it?.[key] === 'string') && Number.isFinite(it.at) && Number.isFinite(it.next) && PHASES.includes(it.phase);
}

/** The same of a session: it, or none. @param {any} it @returns {import('./api.js').Session | null} */
export function soundSession(it) {
  return ['session_id', 'token', 'fingerprint'].every((key) => typeof it?.[key] === 'string') ? it : null;
}

/** How much a visitor may write to the shop about a reply: nothing where its session is another, or over, which the edge would refuse. @param {import('./api.js').Session | null} session the conversation's @param {string} of the reply's @returns {number} characters */
export function commentMax(session, of, now = Date.now()) {
  return session?.session_id === of && (session.expires_at ?? Infinity) > now ? (session.limits?.comment_max_chars ?? 0) : 0;
}

/** A list with what another tab did to it. @param {Exchange[]} exchanges @param {Exchange[]} changed @param {string[]} gone @returns {Exchange[]} */
export function merged(exchanges, changed, gone) {
  const news = new Map(changed.map((it) => [it.id, it]));
  const out = new Set(gone);
  const kept = exchanges.filter((it) => !out.has(it.id)).map((it) => {
    const other = news.get(it.id);
    news.delete(it.id);
    return other ? newer(it, other) : it;
  });
  return fit([...kept, ...news.values()].sort((a, b) => a.at - b.at));
}
