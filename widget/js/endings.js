/**
 * Tells the edge of sessions that are over here, so that nothing is left there of what the visitor has deleted. Without a
 * network, or where the edge is busy, they are kept and told of later: when there is a network, after a while, or when the
 * page is loaded next.
 *
 * @typedef {{session: import('./api.js').Session, keys?: CryptoKeyPair}} Ending with the key the session is bound to, if any
 */
import { Problem, createApi } from './api.js';
import { createSigner } from './proof.js';

/** At once: who deletes everything may have had many sessions. */
const TOGETHER = 8;
const AGAIN_MS = 15_000;
const MOST_AGAIN_MS = 5 * 60_000;

/**
 * @param {object} options
 * @param {URL} options.base
 * @param {Pick<ReturnType<typeof import('./store.js').createStore>, 'get' | 'set'>} options.store
 * @param {(left: number) => void} [options.onLeft] how many the edge could not be told of yet, whenever that was tried
 */
export function createEndings({ base, store, onLeft = () => {} }) {
  /** @type {Set<Ending>} */
  const tried = new Set();
  /** Tried in vain; what is only under way is not among them. @type {Set<Ending>} */
  const failed = new Set();
  let wait = AGAIN_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let again;

  /** @returns {Ending[]} */
  const all = () => store.get('endings') ?? [];

  /** @param {Ending} it @returns {Promise<boolean>} whether there is no more to be done */
  async function tell(it) {
    const keys = async () => it.keys ?? Promise.reject(new Error('none'));
    const slot = { session: () => it.session, keepSession() {} };
    try {
      await createApi({ base, store: slot, fingerprint: async () => it.session.fingerprint, signer: createSigner(keys), describe: () => ({}) }).end();
      return true;
    } catch (error) {
      // Else it is over already, or so long ago that nothing shows any more whose it was.
      return error instanceof Problem && error.status !== 429 && error.status < 500;
    }
  }

  async function update() {
    const fresh = all().filter((it) => !tried.has(it));
    if (fresh.length === 0) return;
    for (const it of fresh) tried.add(it);
    const over = new Set();
    for (let from = 0; from < fresh.length; from += TOGETHER) {
      const told = await Promise.all(fresh.slice(from, from + TOGETHER).map(async (it) => (await tell(it)) && over.add(it)));
      // The others would fare no better.
      if (!told.every(Boolean)) break;
    }
    for (const it of fresh) if (!over.has(it)) failed.add(it);
    // Once, when all is known: where nothing is left to be told, nothing is written after everything was erased.
    store.set('endings', all().filter((it) => !over.has(it)));
    const left = all().filter((it) => failed.has(it)).length;
    clearTimeout(again);
    if (left === 0) wait = AGAIN_MS;
    else later();
    onLeft(left);
  }

  function later() {
    again = setTimeout(retry, wait);
    wait = Math.min(wait * 2, MOST_AGAIN_MS);
  }

  function retry() {
    clearTimeout(again);
    // What is under way is not told twice.
    for (const it of failed) tried.delete(it);
    // Another tab may have done it.
    if (all().length === 0) onLeft(0);
    update();
  }

  addEventListener('online', () => {
    wait = AGAIN_MS;
    retry();
  });

  return { update };
}
