/**
 * What survives a reload: conversations, each with its session, and what they share. All of it is held in memory too, so
 * that reading never waits, and written behind to IndexedDB: where the visitor agreed, the browser lets us, and something
 * was said. Else the chat works the same, until the page is left.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./state.js').Consent} Consent
 * @typedef {import('./api.js').Session} Session
 * @typedef {import('./keep.js').Changes} Changes
 * @typedef {import('./state.js').Summary & {session: Session | null, past?: Session[]}} Conversation `past`: sessions before this one
 * @typedef {import('./shelf.js').Disk} Disk
 * @typedef {import('./shelf.js').Shelf} Shelf
 */
import { createFlags } from './flags.js';
import { fitConversations, merged } from './keep.js';

/** A growing answer is written down this often; other changes at once. */
const WRITE_EVERY_MS = 400;
/** Longer than a conversation is kept, and than an edge ends a session whose token is over (`SESSION_END_WITHIN`). */
const PAST_FOR_MS = 31 * 24 * 3600_000;
/** Tokens may be good for minutes only, so age alone is no bound. */
const MAX_PAST = 300;

/**
 * @param {string} site the conversations of two shops on one desk don't mix
 * @param {object} [options]
 * @param {() => Promise<Disk>} [options.openDisk]
 * @param {ReturnType<typeof createFlags>} [options.flags]
 * @param {(keeping: 'disk' | 'memory') => void} [options.onKeeping]
 * @param {(conversation: string, session: Session | null) => void} [options.onSession]
 */
export function createStore(site, { openDisk, flags = createFlags(site), onKeeping = () => {}, onSession = () => {} } = {}) {
  /** @type {Map<string, Conversation>} */
  const conversations = new Map();
  /** Those that were read in. @type {Map<string, Exchange[]>} */
  const lists = new Map();
  /** @type {Map<string, any>} */
  const meta = new Map();
  let mustAsk = false;
  /** The browser said no. */
  let denied = false;
  /** Raised when the visitor is forgotten: what was under way is of nobody who is here. */
  let era = 0;
  /** @type {Promise<Shelf> | null} */
  let disk = null;
  let batch = nothing();
  /** @type {Promise<void> | null} */
  let writing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;

  /** @returns {Consent} */
  const consent = () => (flags.get('consent') === 'denied' ? 'denied' : (meta.get('consent') ?? 'unasked'));
  const allowed = () => !denied && (mustAsk ? consent() === 'granted' : consent() !== 'denied');

  /** What is to be erased counts no more. */
  const isKept = () => flags.get('kept') !== null && !flags.get('erase');

  /** The first thing that is kept is a message, or that the visitor agreed; the last, what the edge is still to be told. */
  const used = () => conversations.size > 0 || isKept() || meta.get('consent') === 'granted' || meta.get('endings')?.length > 0;

  const isOnDisk = () => allowed() && isKept();

  const connect = () => (disk ??= import('./shelf.js').then(({ openShelf }) => openShelf(site, flags, openDisk)));

  function close() {
    disk?.then((it) => it.close(), () => {});
    disk = null;
  }

  function giveUp() {
    denied = true;
    disk = null;
    onKeeping('memory');
  }

  /** What the disk says to it; undefined where there is none, or for somebody who is forgotten. @template T @param {(disk: Shelf) => Promise<T>} act */
  async function withDisk(act) {
    const since = era;
    try {
      const it = await connect();
      const said = since === era ? await act(it) : undefined;
      if (since === era) return said;
    } catch {
      if (since === era) giveUp();
    }
  }

  /** Another tab may have taken the flag away. @template T @param {(disk: Shelf) => Promise<T>} act */
  function write(act) {
    return withDisk((it) => {
      flags.set('kept', '1');
      return act(it);
    });
  }

  /** @param {boolean} [later] */
  function schedule(later) {
    if (!allowed()) {
      // Memory has it; should the visitor agree later, all of it is written anew.
      batch = nothing();
      return;
    }
    if (later) {
      due ??= setTimeout(flush, WRITE_EVERY_MS);
      return;
    }
    flush();
  }

  /** @returns {Promise<void>} */
  function flush() {
    clearTimeout(due);
    due = undefined;
    writing ??= writeAll().finally(() => (writing = null));
    return writing;
  }

  async function writeAll() {
    while (!isEmpty(batch) && allowed() && used()) {
      const now = batch;
      batch = nothing();
      await write((it) => it.write(now));
    }
  }

  /** Everything that memory has is to be written. */
  async function writeMemory() {
    // What another tab has made first counts: its sessions are bound to it.
    for (const key of ['keys', 'salt']) {
      const mine = meta.get(key);
      meta.delete(key);
      if (mine !== undefined) await store.once(key, async () => mine);
    }
    for (const [key, value] of meta) batch.meta.set(key, value);
    for (const [id, it] of conversations) batch.conversations.set(id, it);
    for (const [conversation, list] of lists) for (const it of list) batch.exchanges.set(it.id, { ...it, conversation });
    schedule();
  }

  async function read() {
    const kept = await withDisk((it) => it.read());
    if (!kept) return;
    for (const it of [conversations, lists, meta]) it.clear();
    for (const [key, value] of kept.meta) meta.set(key, value);
    for (const it of fitConversations(kept.conversations, Date.now())) conversations.set(it.id, it);
    for (const { id } of kept.conversations) if (!conversations.has(id)) dropConversation(id);
  }

  /** @param {string} id */
  function dropConversation(id) {
    conversations.delete(id);
    lists.delete(id);
    batch.conversations.delete(id);
    for (const [key, it] of batch.exchanges) if (it.conversation === id) batch.exchanges.delete(key);
    batch.goneConversations.add(id);
  }

  const store = {
    flags,
    consent,
    keeping: () => /** @type {'disk' | 'memory'} */ (allowed() ? 'disk' : 'memory'),
    /** @param {string} key @returns {any} */
    get: (key) => meta.get(key),
    flush,

    /** @param {string} key @param {any} value */
    set(key, value) {
      meta.set(key, value);
      batch.meta.set(key, value);
      schedule();
    },

    /** Reads in what is kept. Nothing is opened where nothing was ever kept. @param {{ask?: boolean}} [options] whether the visitor must agree first */
    async open({ ask = false } = {}) {
      mustAsk = ask;
      if (consent() === 'denied' || !flags.get('kept')) await store.erase();
      else await read();
      if (flags.get('session') ?? flags.get('exchanges')) {
        const { migrate } = await import('./migrate.js');
        const found = await migrate(site, { flags, meta, conversations, lists }, async () => {
          await writeMemory();
          await flush();
          return allowed() || consent() === 'denied';
        });
        // Another tab was faster.
        if (!found && isOnDisk()) await read();
      }
      if (!isEmpty(batch)) schedule();
      onKeeping(store.keeping());
    },

    /** Newest first. @returns {import('./state.js').Summary[]} */
    summaries: () => fitConversations([...conversations.values()], Date.now()).map(({ session: _, past: __, ...it }) => it),

    /** In their order; none that is too old. @param {string} id @returns {Promise<Exchange[] | null>} null for none that is kept, or that can be read */
    async exchanges(id) {
      if (!lists.has(id) && conversations.has(id) && isOnDisk()) {
        await flush();
        // Perhaps it can be read the next time.
        const kept = await withDisk((it) => it.exchanges(id).catch(() => undefined));
        // Deleted, or all forgotten, meanwhile.
        if (kept && conversations.has(id) && !lists.has(id)) {
          lists.set(id, kept.list);
          for (const it of kept.gone) batch.gone.add(it);
          if (kept.gone.length > 0) schedule(true);
        }
      }
      return lists.get(id) ?? null;
    },

    /** @param {Changes} changes @param {boolean} later */
    keep({ lists: changed, summaries }, later) {
      for (const summary of summaries) {
        // Nothing of a new one is on the disk yet.
        if (!conversations.has(summary.id)) lists.set(summary.id, []);
        const it = { session: null, ...conversations.get(summary.id), ...summary };
        conversations.set(it.id, it);
        batch.conversations.set(it.id, it);
        batch.goneConversations.delete(it.id);
      }
      for (const { conversation, changed: exchanges, gone } of changed) {
        store.take(conversation, exchanges, gone);
        for (const it of exchanges) batch.exchanges.set(it.id, { ...it, conversation });
        for (const id of gone) {
          batch.exchanges.delete(id);
          batch.gone.add(id);
        }
        // The last message of it was taken back.
        if (lists.get(conversation)?.length === 0) {
          store.end(conversation);
          dropConversation(conversation);
        }
      }
      if (changed.length > 0 || summaries.length > 0) schedule(later);
    },

    /** What another tab has kept is only taken note of. @param {string} conversation @param {Exchange[]} changed @param {string[]} gone */
    take(conversation, changed, gone) {
      const known = lists.get(conversation);
      if (known || !isOnDisk()) lists.set(conversation, merged(known ?? [], changed, gone));
    },

    /** @param {import('./state.js').Summary[]} summaries */
    takeSummaries(summaries) {
      for (const it of summaries) conversations.set(it.id, { session: null, ...conversations.get(it.id), ...it });
    },

    /** @param {string} conversation @param {Session | null} session */
    takeSession(conversation, session) {
      const it = conversations.get(conversation);
      if (it) conversations.set(conversation, { ...it, session, past: pastOf(it, session) });
    },

    /** The place of one conversation's session. @param {string} conversation */
    slot(conversation) {
      return {
        /** @returns {Session | null} */
        session: () => conversations.get(conversation)?.session ?? null,

        /** @param {Session | null} session */
        keepSession(session) {
          const it = conversations.get(conversation);
          // Deleted meanwhile.
          if (!it) return;
          store.takeSession(conversation, session);
          batch.conversations.set(conversation, /** @type {Conversation} */ (conversations.get(conversation)));
          schedule();
          onSession(conversation, session);
        },

        /** As another tab may have changed it. @returns {Promise<Session | null>} */
        async latest() {
          const kept = disk && isEmpty(batch) && !writing ? await withDisk((it) => it.session(conversation)) : undefined;
          if (kept !== undefined) store.takeSession(conversation, kept);
          return conversations.get(conversation)?.session ?? null;
        },
      };
    },

    /** @returns {string[]} conversations that have, or had, a session */
    withSession: () => [...conversations.values()].filter((it) => it.session || it.past?.length).map((it) => it.id),

    /** Its sessions are over here; the edge is to be told, with their own key, until it has heard it. @param {string} conversation */
    end(conversation) {
      // Then it is one of those before.
      store.slot(conversation).keepSession(null);
      const it = conversations.get(conversation);
      if (!it?.past?.length) return;
      store.set('endings', [...(meta.get('endings') ?? []), ...it.past.map((session) => ({ session, keys: meta.get('keys') }))]);
      it.past = [];
    },

    /** @param {string} key @returns {Promise<any>} as another tab may have changed it */
    fresh: async (key) => (isOnDisk() ? withDisk((it) => it.get(key)) : undefined),

    /** @template T @param {string} key @param {() => Promise<T>} make @returns {Promise<T>} what is kept under the key, or was made now */
    async once(key, make) {
      if (meta.has(key)) return meta.get(key);
      const kept = (allowed() ? await write((it) => it.once(key, make)) : undefined) ?? (await make());
      if (!meta.has(key)) meta.set(key, kept);
      return meta.get(key);
    },

    /** @param {string} id */
    remove(id) {
      dropConversation(id);
      schedule();
    },

    /** As the other tabs have left it. */
    async reread() {
      if (!disk || !allowed()) return;
      await flush();
      await read();
    },

    /** All that memory knows of the visitor, but for what the edge is still to be told. */
    forget() {
      era += 1;
      const endings = meta.get('endings');
      for (const it of [conversations, lists, meta]) it.clear();
      if (endings) meta.set('endings', endings);
      batch = nothing();
      clearTimeout(due);
      due = undefined;
      close();
    },

    /** What is on the disk; memory keeps it. Where it can't be opened, whoever opens it next does that first. */
    async erase() {
      flags.remove('current');
      if (!flags.get('kept')) return;
      flags.set('erase', '1');
      close();
      await connect().catch(() => (disk = null));
    },

    /** @param {'granted' | 'denied'} answer */
    async setConsent(answer) {
      if (answer === 'denied') {
        flags.set('consent', 'denied');
        era += 1;
        batch = nothing();
        await store.erase();
      } else {
        flags.remove('consent');
        meta.set('consent', 'granted');
        await writeMemory();
      }
      onKeeping(store.keeping());
    },
  };
  return store;
}

/** The edge is told of them, too, when the conversation is deleted: oldest first, and where there are too many the oldest go. @param {Conversation} it @param {Session | null} next @returns {Session[]} */
function pastOf({ session, past = [] }, next) {
  return [...past, ...(session ? [session] : [])].filter((one) => one.session_id !== next?.session_id && (one.expires_at ?? Infinity) > Date.now() - PAST_FOR_MS).slice(-MAX_PAST);
}

/** @returns {import('./disk.js').Batch} */
function nothing() {
  return { meta: new Map(), conversations: new Map(), goneConversations: new Set(), exchanges: new Map(), gone: new Set() };
}

/** @param {import('./disk.js').Batch} batch */
function isEmpty(batch) {
  return Object.values(batch).every((it) => it.size === 0);
}
