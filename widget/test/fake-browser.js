/** Locks and channels as tabs of one browser share them. */
export function browser() {
  const held = new Map();
  const grant = (name) => {
    const queue = held.get(name);
    const first = queue[0];
    if (!first || first.granted) return;
    first.granted = true;
    Promise.resolve(first.leading()).then(() => {
      queue.shift();
      first.resolve();
      grant(name);
    });
  };
  const locks = {
    request: (name, { signal }, leading) => new Promise((resolve, reject) => {
      const queue = held.get(name) ?? held.set(name, []).get(name);
      const mine = { leading, resolve, granted: false };
      queue.push(mine);
      signal.addEventListener('abort', () => {
        if (mine.granted) return;
        queue.splice(queue.indexOf(mine), 1);
        reject(new DOMException('aborted', 'AbortError'));
      });
      queueMicrotask(() => grant(name));
    }),
  };
  const channels = new Set();
  class Channel extends EventTarget {
    constructor() {
      super();
      channels.add(this);
    }
    postMessage(data) {
      for (const other of channels) if (other !== this) other.dispatchEvent(Object.assign(new Event('message'), { data: structuredClone(data) }));
    }
  }
  return { locks, Channel };
}

/** What the chat takes of a browser, as globals; the page's events are told by `page`. @returns {{page: EventTarget, flags: Map<string, string>}} */
export function install() {
  const flags = new Map();
  const page = new EventTarget();
  const { locks, Channel } = browser();
  const globals = {
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
    BroadcastChannel: Channel,
    document: Object.assign(new EventTarget(), { hidden: false }),
    localStorage: { getItem: (key) => flags.get(key) ?? null, setItem: (key, value) => flags.set(key, value), removeItem: (key) => flags.delete(key) },
    navigator: { onLine: true, locks },
  };
  for (const [key, value] of Object.entries(globals)) Object.defineProperty(globalThis, key, { value, configurable: true, writable: true });
  return { page, flags };
}
