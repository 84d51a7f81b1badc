/**
 * What changes here, for the other tabs: not at every letter of a growing answer.
 *
 * @typedef {import('./keep.js').Changes} Changes
 */

/**
 * Collects changes and passes them on: the first at once, those that follow at most every `everyMs`, urgent ones always.
 * Without a timer in between where it can be: a hidden page's timers are slow.
 *
 * @param {number} everyMs @param {(changes: Changes) => void} pass
 */
export function createRelay(everyMs, pass) {
  /** @type {Map<string, {changed: Map<string, import('./state.js').Exchange>, gone: Set<string>}>} */
  const lists = new Map();
  /** @type {Map<string, import('./state.js').Summary>} */
  const summaries = new Map();
  let passedAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;

  /** @param {boolean} [told] or what was collected is dropped */
  function flush(told = true) {
    clearTimeout(due);
    due = undefined;
    if (lists.size === 0 && summaries.size === 0) return;
    const changes = {
      lists: [...lists].map(([conversation, { changed, gone }]) => ({ conversation, changed: [...changed.values()], gone: [...gone] })),
      summaries: [...summaries.values()],
    };
    lists.clear();
    summaries.clear();
    passedAt = Date.now();
    if (told) pass(changes);
  }

  return {
    flush,
    /** @param {Changes} changes @param {boolean} urgent */
    add(changes, urgent) {
      for (const { conversation, changed, gone } of changes.lists) {
        const list = lists.get(conversation) ?? { changed: new Map(), gone: new Set() };
        lists.set(conversation, list);
        for (const it of changed) list.changed.set(it.id, it);
        for (const id of gone) {
          list.changed.delete(id);
          list.gone.add(id);
        }
      }
      for (const it of changes.summaries) summaries.set(it.id, it);
      if (urgent || Date.now() - passedAt >= everyMs) flush();
      else due ??= setTimeout(() => flush(), everyMs);
    },
  };
}
