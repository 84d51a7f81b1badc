/** The few words that must be known before anything is read: in localStorage, or in memory where the browser refuses it. */

/** @param {string} site */
export function createFlags(site) {
  const prefix = `frontdesk:${site}:`;
  /** @type {Map<string, string>} */
  const memory = new Map();
  return {
    /** @param {string} key @returns {string | null} */
    get(key) {
      try {
        return localStorage.getItem(prefix + key) ?? memory.get(key) ?? null;
      } catch {
        return memory.get(key) ?? null;
      }
    },

    /** @param {string} key @param {string} value */
    set(key, value) {
      try {
        localStorage.setItem(prefix + key, value);
      } catch {
        memory.set(key, value);
      }
    },

    /** @param {string} key */
    remove(key) {
      memory.delete(key);
      try {
        localStorage.removeItem(prefix + key);
      } catch {
        // Storage is denied, so there is nothing to remove.
      }
    },
  };
}
