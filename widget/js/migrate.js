/**
 * What the chat kept in localStorage before it had conversations: one list of messages, one session, and the key pair of
 * that session in a database of its own. Read once, and taken away.
 *
 * @typedef {import('./store.js').Conversation} Conversation
 * @typedef {import('./state.js').Exchange} Exchange
 */
import { deleteDB, openDB } from '../vendor/idb-8.0.4/index.js';
import { countOf, fit, isWhole, soundSession, titleOf } from './keep.js';

const KEYS = 'frontdesk';

/**
 * @param {string} site
 * @param {{flags: ReturnType<typeof import('./flags.js').createFlags>, meta: Map<string, any>, conversations: Map<string, Conversation>, lists: Map<string, Exchange[]>}} memory
 * @param {() => Promise<boolean>} keep writes memory down; whether it is, or must not be
 * @returns {Promise<boolean>} whether there was anything: another tab may have been faster
 */
export function migrate(site, { flags, meta, conversations, lists }, keep) {
  return alone(`frontdesk:${site}:migration`, async () => {
    if ((flags.get('session') ?? flags.get('exchanges')) === null) return false;
    const session = json(flags.get('session'));
    const exchanges = oldExchanges(json(flags.get('exchanges')));
    const keys = session?.token_type === 'DPoP' ? await oldKeys().catch(() => undefined) : undefined;
    // Begun again half-way, it is the same conversation.
    const id = exchanges[0]?.id ?? '';
    if (exchanges.length > 0 && !conversations.has(id)) {
      if (keys) meta.set('keys', meta.get('keys') ?? keys);
      conversations.set(id, { id, title: titleOf(exchanges), at: exchanges.at(-1)?.at ?? 0, count: countOf(exchanges), unread: 0, session: soundSession(session) });
      lists.set(id, exchanges);
    }
    if (exchanges.length > 0 && !(await keep())) return true;
    for (const key of ['session', 'exchanges', 'fingerprint']) flags.remove(key);
    if (keys) await dropKeys().catch(() => {});
    return true;
  });
}

/** In one tab at a time, where the browser has locks. @template T @param {string} name @param {() => Promise<T>} act @returns {Promise<T>} */
async function alone(name, act) {
  /** @type {Promise<T> | undefined} */
  let done;
  const once = () => (done ??= act());
  try {
    await navigator.locks.request(name, once);
  } catch {
    // There are none.
  }
  return once();
}

/** In their order, which later versions tell by the time. @param {any} kept @returns {import('./state.js').Exchange[]} */
export function oldExchanges(kept) {
  let at = 0;
  return fit((Array.isArray(kept) ? kept.filter(isWhole) : []).map((it) => ({ ...it, at: (at = Math.max(it.at, at + 1)) })), Date.now());
}

/** @returns {Promise<CryptoKeyPair | undefined>} */
async function oldKeys() {
  /** @type {any} */
  const database = await openDB(KEYS, 1, { upgrade: (/** @type {any} */ fresh) => fresh.createObjectStore('keys') });
  const kept = await database.get('keys', 'session');
  database.close();
  return kept;
}

async function dropKeys() {
  // Another site of this desk may still have a session that was made with it.
  if (!Object.keys(localStorage).some((key) => /^frontdesk:.*:session$/.test(key))) await deleteDB(KEYS);
}

/** @param {string | null} text @returns {any} */
function json(text) {
  try {
    return JSON.parse(text ?? 'null');
  } catch {
    return null;
  }
}
