/**
 * The other tabs of this browser with the same shop's chat. They tell each other what changes, and of each conversation
 * one of them has the lead: only that one speaks with the edge. When it goes away the next one takes over.
 *
 * Where the browser has no locks (no secure context, storage denied) each tab leads for itself; where it has no channel
 * either, tabs know nothing of each other.
 *
 * @typedef {{type: string} & Record<string, any>} Said
 */

/** Of what tabs say to each other: after an update, one that was loaded before it is not understood. */
const VERSION = 2;

/**
 * @param {string} name the same for all that belong together
 * @param {(said: Said) => void} hear
 * @param {{Channel?: typeof BroadcastChannel, locks?: LockManager}} [browser]
 */
export function createTabs(name, hear, browser = { Channel: globalThis.BroadcastChannel, locks: globalThis.navigator?.locks }) {
  const channel = open();
  let exclusive = browser.locks !== undefined;

  function open() {
    try {
      return browser.Channel && new browser.Channel(`${name}:${VERSION}`);
    } catch {
      return undefined;
    }
  }

  channel?.addEventListener('message', ({ data }) => {
    if (typeof data?.type === 'string') hear(data);
  });

  return {
    /** @param {Said} said */
    tell(said) {
      try {
        channel?.postMessage(said);
      } catch {
        // The channel was closed with the page: nobody is there to be told.
      }
    },

    /** Whether only one tab leads: else it must not take up what another one began. */
    exclusive: () => exclusive,

    /**
     * Waits for the lead of a conversation, and has it until it is given back.
     *
     * @param {string} conversation @param {() => void} leading called once this tab has it
     * @returns {() => void} gives it back, or waits no longer
     */
    lead(conversation, leading) {
      const over = new AbortController();
      /** @type {() => void} */
      let giveBack = () => {};
      const held = new Promise((resolve) => (giveBack = () => resolve(undefined)));
      const alone = () => {
        exclusive = false;
        if (!over.signal.aborted) leading();
      };
      try {
        if (!browser.locks) queueMicrotask(alone);
        else {
          const lock = browser.locks.request(`${name}:${conversation}`, { signal: over.signal }, () => {
            // Given at the very moment in which it was no longer wanted.
            if (!over.signal.aborted) leading();
            return held;
          });
          lock.catch(() => over.signal.aborted || alone());
        }
      } catch {
        queueMicrotask(alone);
      }
      return () => {
        giveBack();
        over.abort();
      };
    },
  };
}
