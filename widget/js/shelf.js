/**
 * The disk as the store sees it: opened anew where the browser has closed it, with the oldest exchanges gone where there is no
 * room for a new one, and without what is broken. Loaded once there is something to read or to write.
 *
 * @typedef {import('./disk.js').Batch} Batch
 * @typedef {Awaited<ReturnType<typeof import('./disk.js').openDisk>>} Disk
 * @typedef {Awaited<ReturnType<typeof openShelf>>} Shelf
 */
import { openDisk } from './disk.js';
import { fit, isWhole, soundSession } from './keep.js';

/** So many go at a time. */
const MAKE_ROOM = 20;

/** @param {string} site @param {ReturnType<typeof import('./flags.js').createFlags>} flags @param {() => Promise<Disk>} [open] */
export async function openShelf(site, flags, open = () => openDisk(`frontdesk:${site}`)) {
  let disk = await open();
  // Whoever had to forget it may have been stopped half-way.
  if (flags.get('erase')) {
    await disk.clear();
    for (const key of ['kept', 'erase']) flags.remove(key);
  }
  let closed = false;

  /** The connection may have been closed by the browser, or for a newer version. @template T @param {(disk: Disk) => Promise<T>} act @returns {Promise<T>} */
  async function use(act) {
    if (closed) throw new Error('closed');
    const mine = disk;
    try {
      return await act(mine);
    } catch (error) {
      if (closed || isFull(error)) throw error;
      if (disk === mine) {
        mine.close();
        const fresh = await open();
        // Somebody else may have been faster.
        if (closed || disk !== mine) fresh.close();
        else disk = fresh;
      }
      if (closed) throw error;
      return act(disk);
    }
  }

  return {
    async read() {
      const { meta, conversations } = await use((it) => it.read());
      return { meta, conversations: conversations.map((it) => ({ ...it, session: soundSession(it.session), past: (it.past ?? []).filter(soundSession) })) };
    },

    /** @param {string} key */
    get: (key) => use((it) => it.get(key)),
    /** @param {string} id @returns {Promise<import('./api.js').Session | null | undefined>} undefined for none that is kept */
    async session(id) {
      const kept = await use((it) => it.conversation(id));
      return kept && soundSession(kept.session);
    },

    /** In their order, and which are not worth keeping. @param {string} id */
    async exchanges(id) {
      const rows = await use((it) => it.exchanges(id));
      const list = fit(rows.filter(isWhole).sort((a, b) => a.at - b.at), Date.now());
      const ids = new Set(list.map((it) => it.id));
      return { list, gone: rows.map((it) => it.id).filter((it) => !ids.has(it)) };
    },

    /** Undefined where it can't be made: that is no fault of the disk. @template T @param {string} key @param {() => Promise<T>} make @returns {Promise<T | undefined>} */
    once: (key, make) => use((it) => it.once(key, () => make().catch(() => undefined))),
    clear: () => use((it) => it.clear()),

    /** @param {Batch} batch */
    async write(batch) {
      for (;;) {
        try {
          return await use((it) => it.write(batch));
        } catch (error) {
          if (!isFull(error) || (await use((it) => it.dropOldest(MAKE_ROOM))) === 0) throw error;
        }
      }
    },

    close() {
      closed = true;
      disk.close();
    },
  };
}

/** @param {any} error */
const isFull = (error) => error?.name === 'QuotaExceededError';
