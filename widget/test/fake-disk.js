/**
 * What a disk holds, outliving who opened it. `fail` throws at each write while it gives an error, `slow` is waited for
 * by each read of exchanges, and `hangUp` is the browser closing the newest connection.
 */
export function fakeDisk() {
  const kept = { meta: new Map(), conversations: new Map(), exchanges: new Map() };
  const it = { kept, opened: 0, writes: 0, fail: () => undefined, refuse: undefined, slow: undefined, hangUp: () => {} };
  const check = () => {
    const error = it.fail();
    if (error) throw Object.assign(new Error(error), { name: error });
  };
  it.open = async () => {
    it.opened += 1;
    if (it.refuse) throw new DOMException('denied', it.refuse);
    let closed = false;
    it.hangUp = () => (closed = true);
    const open = (act) => async (...args) => {
      if (closed) throw new DOMException('closed', 'InvalidStateError');
      return act(...args);
    };
    const acts = {
      read: async () => ({ meta: [...kept.meta], conversations: [...kept.conversations.values()] }),
      get: async (key) => kept.meta.get(key),
      conversation: async (id) => kept.conversations.get(id),
      async exchanges(id) {
        const rows = [...kept.exchanges.values()].filter((one) => one.conversation === id).reverse();
        await it.slow;
        return rows;
      },
      async write(batch) {
        check();
        it.writes += 1;
        for (const id of batch.goneConversations) {
          kept.conversations.delete(id);
          for (const [key, one] of kept.exchanges) if (one.conversation === id) kept.exchanges.delete(key);
        }
        for (const [key, value] of batch.meta) kept.meta.set(key, value);
        for (const [key, value] of batch.conversations) kept.conversations.set(key, value);
        for (const id of batch.gone) kept.exchanges.delete(id);
        for (const [key, value] of batch.exchanges) kept.exchanges.set(key, value);
      },
      async dropOldest(count) {
        const oldest = [...kept.exchanges.values()].sort((a, b) => a.at - b.at).slice(0, count);
        for (const { id } of oldest) kept.exchanges.delete(id);
        return oldest.length;
      },
      async once(key, make) {
        const made = kept.meta.get(key) ?? (await make());
        if (made !== undefined && !kept.meta.has(key)) kept.meta.set(key, made);
        return kept.meta.get(key);
      },
      async clear() {
        check();
        for (const one of Object.values(kept)) one.clear();
      },
    };
    return { ...Object.fromEntries(Object.entries(acts).map(([name, act]) => [name, open(act)])), close: it.hangUp };
  };
  return it;
}
