/**
 * Tells the edge of sessions that are over here, so that nothing is left there of what the visitor has deleted. Without a
 * network, or where the edge is busy, they are kept and told of later: when there is a network, or when the page is loaded next.
 *
 * @typedef {{session: import('./api.js').Session, keys?: CryptoKeyPair}} Ending with the key the session is bound to, if any
 */
import { Problem, createApi } from './api.js';
import { createSigner } from './proof.js';

/** @param {{base: URL, store: Pick<ReturnType<typeof import('./store.js').createStore>, 'get' | 'set'>}} options */
export function createEndings({ base, store }) {
  /** @type {Set<Ending>} */
  const tried = new Set();

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
      // Else it is over already, or its token expired.
      return error instanceof Problem && error.status !== 429 && error.status < 500;
    }
  }

  async function update() {
    const fresh = all().filter((it) => !tried.has(it));
    if (fresh.length === 0) return;
    for (const it of fresh) tried.add(it);
    const over = new Set();
    await Promise.all(fresh.map(async (it) => (await tell(it)) && over.add(it)));
    // Once, when all is known: where nothing is left to be told, nothing is written after everything was erased.
    store.set('endings', all().filter((it) => !over.has(it)));
  }

  addEventListener('online', () => {
    tried.clear();
    update();
  });

  return { update };
}
