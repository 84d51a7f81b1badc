/**
 * The chat without its looks: state, store and tabs, joined. Each event changes the state; what came of it is written
 * down, told to the other tabs, and taken up by the engine.
 *
 * @typedef {import('./state.js').Event} Event
 * @typedef {import('./state.js').State} State
 * @typedef {ReturnType<typeof import('./engine.js').createEngine>} Engine
 */
import { randomId } from './ids.js';
import { changesBetween, isWhole, listsOf, soundSession } from './keep.js';
import { apply, initialState, isRunning, secondsToWait } from './state.js';
import { createStore } from './store.js';
import { createTabs } from './tabs.js';

const LOAD_AGAIN_MS = 3000;
/** Nothing older than this is looked through for what was not sent. */
const UNFINISHED_FOR_MS = 3 * 24 * 3600_000;

/**
 * @param {object} options
 * @param {string} options.site
 * @param {URL} options.base of the edge
 * @param {() => object} options.describe what a new session is told of the page
 * @param {() => {signals: object}} options.about what a message is told of the page
 * @param {(state: State, before: State, event?: Event) => void} options.onChange with what happened in this tab
 * @param {() => Promise<import('./shelf.js').Disk>} [options.openDisk]
 */
export function createChat({ site, base, describe, about, onChange, openDisk }) {
  const store = createStore(site, {
    openDisk,
    onKeeping: (keeping) => dispatch({ type: 'settings', keeping }),
    onSession: (conversation, session) => tell({ type: 'session', conversation, session }),
  });
  const tabs = createTabs(`frontdesk:${site}`, hear);
  /** For the other tabs, once there is an engine. @type {[import('./keep.js').Changes, boolean][]} */
  let untold = [];
  /** Exchanges that began in another tab. */
  const theirs = new Set();
  let state = apply(initialState(randomId()), { type: 'online', online: navigator.onLine !== false });
  /** Signed by the shop's server, for a new session. */
  const who = { token: '' };
  /** Before what is kept was read in nothing is sent or written. */
  let started = false;
  /** What was asked, or heard, before that. @type {(() => void)[]} */
  let early = [];
  let current = '';
  /** @type {Engine | null} */
  let engine = null;
  /** @type {Promise<Engine> | null} */
  let loading = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let clock;

  /** @returns {Promise<Engine>} */
  function load() {
    loading ??= import('./engine.js').then(
      ({ createEngine }) => (engine = createEngine({ base, store, tabs, tell, state: () => state, isOurs: (id) => !theirs.has(id), dispatch, describe, about })),
      (error) => {
        // Without a network: what is to be sent waits in any case.
        loading = null;
        setTimeout(update, LOAD_AGAIN_MS);
        throw error;
      },
    );
    return loading;
  }

  function update() {
    if (!started) return;
    if (engine) {
      for (const it of untold.splice(0)) engine.relay.add(...it);
      return engine.update();
    }
    const needed = [...listsOf(state).values()].some((list) => list.some(isRunning)) || store.slot(state.conversation).session() || store.get('endings')?.length || untold.length;
    if (needed) load().then(update, () => {});
  }

  /** What is in memory only is this tab's alone. @param {import('./tabs.js').Said} said */
  function tell(said) {
    if (store.keeping() === 'disk') tabs.tell({ ...said, by: person() });
  }

  const person = () => store.get('person') ?? '';

  /** @param {Event} event @param {boolean} [heard] another tab said so, and has written it down */
  function dispatch(event, heard = false) {
    if (!started && event.type === 'asked') return void early.push(() => dispatch(event));
    // It may have begun elsewhere.
    if (event.type === 'retried') theirs.delete(event.newId);
    const before = state;
    state = apply(state, event);
    if (state === before) return;
    if (!heard && started) {
      const changes = changesBetween(before, state);
      const grows = event.type === 'chunk';
      store.keep(changes, grows);
      if (changes.lists.length > 0 || changes.summaries.length > 0) untold.push([changes, !grows]);
    }
    remember();
    update();
    countDown();
    onChange(state, before, heard ? undefined : event);
  }

  /** Which conversation a reload shows, once anything of it is kept. */
  function remember() {
    const { conversation } = state;
    if (conversation === current || store.keeping() !== 'disk' || !state.conversations.some((it) => it.id === conversation)) return;
    current = conversation;
    store.flags.set('current', conversation);
  }

  /** The clock runs only while the visitor has to wait for it. */
  function countDown() {
    const waits = secondsToWait(state) > 0;
    if (waits && clock === undefined) {
      const tick = () => dispatch({ type: 'time', now: Date.now() });
      clock = setInterval(tick, 1000);
      tick();
    } else if (!waits) {
      clearInterval(clock);
      clock = undefined;
    }
  }

  /** @param {import('./tabs.js').Said} said */
  function hear(said) {
    if (!started) return void early.push(() => hear(said));
    if (said.type === 'consent') return void takeConsent(said.answer);
    if (store.keeping() !== 'disk') return;
    if (said.type === 'forgotten') return forgetHere();
    if (said.type === 'person' && said.by !== person()) {
      if (person()) forgetHere();
      who.token = '';
      store.set('person', said.by);
    }
    // Of who was here before, said before it was known there.
    if (said.by !== person()) return;
    switch (said.type) {
      case 'changes':
        return hearChanges(/** @type {any} */ (said));
      case 'session':
        store.takeSession(said.conversation, soundSession(said.session));
        return update();
      case 'deleted':
        store.remove(said.conversation);
        return dispatch({ type: 'deleted conversation', id: said.conversation, fresh: randomId() }, true);
      case 'sound':
        return dispatch({ type: 'settings', sound: said.sound }, true);
      case 'lead':
        if (document.hidden) engine?.handOver(said.conversation);
    }
  }

  /** @param {import('./keep.js').Changes} changes */
  function hearChanges({ lists, summaries }) {
    if (!lists.every(({ changed }) => changed.every(isWhole))) return;
    const nothing = state.conversations.length === 0 && state.exchanges.length === 0;
    store.takeSummaries(summaries);
    for (const { conversation, changed, gone } of lists) {
      const known = new Set(listsOf(state).get(conversation)?.map((it) => it.id));
      for (const it of changed) if (!known.has(it.id)) theirs.add(it.id);
      store.take(conversation, changed, gone);
      dispatch({ type: 'synced', conversation, changed, gone }, true);
    }
    if (summaries.length === 0) return;
    dispatch({ type: 'summaries', summaries }, true);
    // The first conversation of all is that of every tab.
    if (nothing && lists.length > 0) dispatch({ type: 'opened conversation', id: lists[0].conversation, exchanges: lists[0].changed }, true);
    // The visitor reads it here, whatever the other tab thinks.
    const seen = state.attending && summaries.some((it) => it.id === state.conversation && it.unread > 0);
    const read = { lists: [], summaries: state.conversations.filter((it) => seen && it.id === state.conversation) };
    if (!seen) return;
    store.keep(read, false);
    untold.push([read, true]);
    update();
  }

  /** What memory knows of the visitor; the disk is another's to clear. */
  function forgetHere() {
    who.token = '';
    engine?.forget();
    untold = [];
    store.forget();
    current = '';
    dispatch({ type: 'all deleted', fresh: randomId() }, true);
    dispatch({ type: 'settings', sound: false }, true);
  }

  /** @param {'granted' | 'denied'} answer */
  async function takeConsent(answer) {
    dispatch({ type: 'settings', consent: answer }, true);
    await store.setConsent(answer);
  }

  /** Shows what is kept. @param {string | null} wanted the conversation to show, if it is still there */
  async function show(wanted) {
    const known = store.summaries();
    const id = (known.find((it) => it.id === wanted) ?? known[0])?.id ?? '';
    const exchanges = await store.exchanges(id);
    dispatch({ type: 'loaded', conversation: exchanges ? id : randomId(), exchanges: exchanges ?? [], conversations: store.summaries() }, true);
    dispatch({ type: 'settings', consent: store.consent(), keeping: store.keeping(), sound: store.get('sound') === true }, true);
    started = true;
    for (const it of early.splice(0)) it();
    update();
    findUnfinished();
  }

  /** What was written without a network, or still being answered, in conversations that are not shown. */
  async function findUnfinished() {
    for (const { id, at } of state.conversations) {
      if (id === state.conversation || at < Date.now() - UNFINISHED_FOR_MS) continue;
      const exchanges = await store.exchanges(id);
      if (exchanges?.some(isRunning)) dispatch({ type: 'unfinished', id, exchanges }, true);
    }
  }

  /** Whoever looks at a conversation has the lead: a hidden tab may be slow, or gone at any time. */
  function wantLead() {
    if (!document.hidden && engine?.waits(state.conversation)) tell({ type: 'lead', conversation: state.conversation });
  }

  return {
    store,
    who,
    dispatch,
    tell,
    wantLead,
    state: () => state,

    /** So that the first message need not wait for it. */
    warm: () => void load().catch(() => {}),

    /** The client of one conversation. @param {string} conversation */
    api: async (conversation) => (await load()).apiOf(conversation),

    /** @param {{ask: boolean}} options whether the visitor must agree before anything is kept */
    async start({ ask }) {
      await store.open({ ask });
      await show(store.flags.get('current'));
      addEventListener('online', () => dispatch({ type: 'online', online: true }));
      addEventListener('offline', () => dispatch({ type: 'online', online: false }));
      document.addEventListener('visibilitychange', wantLead);
      addEventListener('pagehide', () => {
        engine?.relay.flush();
        store.flush();
        // Locks and streams would keep the page from being shown again as it was.
        started = false;
        engine?.close();
      });
      addEventListener('pageshow', async ({ persisted }) => {
        if (!persisted) return;
        // What the other tabs said meanwhile was not heard.
        const before = person();
        await store.reread();
        engine?.forget();
        if (person() !== before) who.token = '';
        await show(state.conversation);
      });
    },

    /** The visitor's answer, for all tabs. @param {'granted' | 'denied'} answer */
    consent(answer) {
      tabs.tell({ type: 'consent', answer });
      return takeConsent(answer);
    },

    /** Deletes one conversation: here, in the other tabs, and on the edge. @param {string} id */
    remove(id) {
      store.end(id);
      store.remove(id);
      tell({ type: 'deleted', conversation: id });
      dispatch({ type: 'deleted conversation', id, fresh: randomId() }, true);
    },

    /** The next message of each conversation is said by who the visitor is now. What is being answered goes on, and the sessions before end by their age: the shop's figures keep them. */
    renew() {
      for (const id of store.withSession()) if (!listsOf(state).get(id)?.some(isRunning)) store.slot(id).keepSession(null);
      update();
    },

    /** Forgets the visitor: here at once, in the other tabs, on the disk. @param {{everywhere?: boolean}} [options] on the edge as well */
    async forget({ everywhere = false } = {}) {
      if (everywhere) for (const id of store.withSession()) store.end(id);
      tell({ type: 'forgotten' });
      forgetHere();
      await store.erase();
    },
  };
}
