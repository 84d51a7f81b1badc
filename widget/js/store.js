/**
 * What survives a reload: the session and the conversation, in localStorage, or in memory where the browser refuses it
 * (private windows, blocked third-party storage). The chat works the same then, until the page is left.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./api.js').Session} Session
 */

/** Kept for the visitor to read; what is sent along to the assistant is cut shorter elsewhere. */
const MAX_EXCHANGES = 100;

/** @param {string} site the conversations of two shops on one desk don't mix */
export function createStore(site) {
  const prefix = `frontdesk:${site}:`;
  const memory = new Map();

  /** @param {string} key @returns {string | null} */
  function get(key) {
    try {
      const value = localStorage.getItem(prefix + key);
      if (value !== null) return value;
    } catch {
      // Storage is denied: memory has what there is.
    }
    return memory.get(key) ?? null;
  }

  /** @param {string} key @param {string} value */
  function set(key, value) {
    try {
      localStorage.setItem(prefix + key, value);
      memory.delete(key);
    } catch {
      memory.set(key, value);
    }
  }

  /** @param {string} key */
  function remove(key) {
    memory.delete(key);
    try {
      localStorage.removeItem(prefix + key);
    } catch {
      // Storage is denied, so there is nothing to remove.
    }
  }

  /** @param {string} key @returns {any} */
  function getJson(key) {
    try {
      return JSON.parse(get(key) ?? 'null');
    } catch {
      return null;
    }
  }

  return {
    get,
    set,

    /** @returns {Session | null} */
    session() {
      const session = getJson('session');
      return typeof session?.session_id === 'string' && typeof session.token === 'string' ? session : null;
    },

    /** @param {Session | null} session */
    keepSession(session) {
      if (session) set('session', JSON.stringify(session));
      else remove('session');
    },

    /** @returns {Exchange[]} */
    exchanges() {
      const kept = getJson('exchanges');
      const whole = (/** @type {any} */ it) => typeof it?.id === 'string' && typeof it.text === 'string' && typeof it.answer === 'string' && typeof it.phase === 'string';
      return Array.isArray(kept) ? kept.filter(whole) : [];
    },

    /** @param {Exchange[]} exchanges */
    keepExchanges(exchanges) {
      if (exchanges.length > 0) set('exchanges', JSON.stringify(exchanges.slice(-MAX_EXCHANGES)));
      else remove('exchanges');
    },

    /** Another tab of this browser said something. @param {() => void} changed */
    onExchanges(changed) {
      addEventListener('storage', (event) => {
        if (event.key === `${prefix}exchanges`) changed();
      });
    },
  };
}
