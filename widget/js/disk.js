/**
 * The conversations of one site in IndexedDB. As thin as can be: what is kept, and for how long, is decided in the store.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./store.js').Conversation} Conversation
 *
 * @typedef {object} Batch what is to be written at once
 * @property {Map<string, any>} meta
 * @property {Map<string, Conversation>} conversations
 * @property {Set<string>} goneConversations
 * @property {Map<string, Exchange & {conversation: string}>} exchanges
 * @property {Set<string>} gone
 */
import { openDB } from '../vendor/idb-8.0.4/index.js';

/** Some browsers never answer where storage is denied. */
const WITHIN_MS = 2000;

/** @param {string} name */
export async function openDisk(name) {
  /** @type {any} */
  const database = await within(WITHIN_MS, openDB(name, 1, {
    upgrade(/** @type {any} */ fresh) {
      fresh.createObjectStore('meta');
      fresh.createObjectStore('conversations', { keyPath: 'id' });
      const exchanges = fresh.createObjectStore('exchanges', { keyPath: 'id' });
      exchanges.createIndex('conversation', 'conversation');
      exchanges.createIndex('at', 'at');
    },
    // A newer version of the chat, in another tab, is not to be held up by this one.
    blocking: () => database.close(),
  }));

  return {
    /** @returns {Promise<{meta: [string, any][], conversations: Conversation[]}>} */
    async read() {
      const all = database.transaction(['meta', 'conversations']);
      const meta = all.objectStore('meta');
      const [keys, values, conversations] = await Promise.all([meta.getAllKeys(), meta.getAll(), all.objectStore('conversations').getAll()]);
      return { meta: keys.map((/** @type {string} */ key, /** @type {number} */ index) => [key, values[index]]), conversations };
    },

    /** Of what the conversations share. @param {string} key @returns {Promise<any>} */
    get: (key) => database.get('meta', key),

    /** @param {string} id @returns {Promise<Conversation | undefined>} */
    conversation: (id) => database.get('conversations', id),

    /** @param {string} conversation @returns {Promise<Exchange[]>} in no order */
    exchanges: (conversation) => database.getAllFromIndex('exchanges', 'conversation', conversation),

    /** All of it or, where there is no room, nothing. @param {Batch} batch */
    async write(batch) {
      const all = database.transaction(['meta', 'conversations', 'exchanges'], 'readwrite');
      const [meta, conversations, exchanges] = ['meta', 'conversations', 'exchanges'].map((it) => all.objectStore(it));
      const done = [];
      for (const id of batch.goneConversations) {
        done.push(conversations.delete(id));
        for (const key of await exchanges.index('conversation').getAllKeys(id)) done.push(exchanges.delete(key));
      }
      for (const [key, value] of batch.meta) done.push(meta.put(value, key));
      for (const it of batch.conversations.values()) done.push(conversations.put(it));
      for (const id of batch.gone) done.push(exchanges.delete(id));
      for (const it of batch.exchanges.values()) done.push(exchanges.put(it));
      await Promise.all([...done, all.done]);
    },

    /** Makes room. @param {number} count @returns {Promise<number>} how many went */
    async dropOldest(count) {
      const all = database.transaction('exchanges', 'readwrite');
      const oldest = await all.store.index('at').getAllKeys(null, count);
      await Promise.all([...oldest.map((/** @type {string} */ id) => all.store.delete(id)), all.done]);
      return oldest.length;
    },

    /** What is under the key, or was made now: of two tabs that make it at once the first one counts. @template T @param {string} key @param {() => Promise<T>} make @returns {Promise<T>} */
    async once(key, make) {
      const kept = await database.get('meta', key);
      if (kept !== undefined) return kept;
      // Before the transaction: one that waits for something else is over.
      const made = await make();
      const all = database.transaction('meta', 'readwrite');
      const faster = await all.store.get(key);
      // Nothing, where it could not be made.
      if (faster === undefined && made !== undefined) all.store.put(made, key);
      await all.done;
      return faster ?? made;
    },

    async clear() {
      const all = database.transaction(['meta', 'conversations', 'exchanges'], 'readwrite');
      await Promise.all([...['meta', 'conversations', 'exchanges'].map((it) => all.objectStore(it).clear()), all.done]);
    },

    close: () => database.close(),
  };
}

/** @template T @param {number} ms @param {Promise<T>} promise @returns {Promise<T>} */
function within(ms, promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer')), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
