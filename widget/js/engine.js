/**
 * What speaks with the edge: a client, and what keeps it going, for each conversation in which there is something to do.
 * Loaded when a message is sent or is already there, or else when an open chat has nothing to do: to open it takes none of it.
 */
import { Unreachable, createApi } from './api.js';
import { createEndings } from './endings.js';
import { fingerprint } from './fingerprint.js';
import { history } from './history.js';
import { randomId } from './ids.js';
import { listsOf } from './keep.js';
import { createSigner, makeKeys } from './proof.js';
import { createRelay } from './relay.js';
import { createRunner } from './runner.js';
import { isRunning } from './state.js';

/** The other tabs are told of a growing answer this often. */
const TELL_EVERY_MS = 100;
/** Not every browser tells when it has a network again. */
const LOOK_AGAIN_MS = 60_000;

/**
 * @param {object} options
 * @param {URL} options.base of the edge
 * @param {ReturnType<typeof import('./store.js').createStore>} options.store
 * @param {ReturnType<typeof import('./tabs.js').createTabs>} options.tabs
 * @param {(said: import('./tabs.js').Said) => void} options.tell the other tabs
 * @param {() => import('./state.js').State} options.state
 * @param {(id: string) => boolean} options.isOurs whether the exchange began in this tab
 * @param {(event: import('./state.js').Event) => void} options.dispatch
 * @param {() => object} options.describe what a new session is told of the page
 * @param {() => {signals: object}} options.about what a message is told of the page
 */
export function createEngine({ base, store, tabs, tell, state, isOurs, dispatch, describe, about }) {
  const relay = createRelay(TELL_EVERY_MS, (changes) => tell({ type: 'changes', ...changes }));
  const endings = createEndings({ base, store, onLeft: (left) => dispatch({ type: 'undeleted', left }) });
  const signer = createSigner(() => store.once('keys', makeKeys));
  /** @type {Map<string, ReturnType<typeof createApi>>} */
  const apis = new Map();
  /** @type {Map<string, ReturnType<typeof createRunner>>} */
  const runners = new Map();

  /** @param {string} conversation */
  function apiOf(conversation) {
    const known = apis.get(conversation);
    if (known) return known;
    const slot = store.slot(conversation);
    const api = createApi({ base, store: slot, fingerprint: async () => fingerprint(await store.once('salt', async () => randomId())), signer, describe });
    /** As soon as there is a network: it may be running. @type {typeof api.cancel} */
    const cancel = async (id, session) => {
      // Without a session there is nothing that runs.
      while (slot.session()) {
        try {
          return await api.cancel(id, session);
        } catch (error) {
          if (navigator.onLine !== false || !(error instanceof Unreachable)) throw error;
          await pause(LOOK_AGAIN_MS, new AbortController().signal);
        }
      }
    };
    const made = { ...api, cancel };
    apis.set(conversation, made);
    return made;
  }

  /** @param {string} conversation */
  function runnerOf(conversation) {
    const known = runners.get(conversation);
    if (known) return known;
    const slot = store.slot(conversation);
    const exchanges = () => listsOf(state()).get(conversation) ?? [];
    const runner = createRunner({
      conversation,
      api: apiOf(conversation),
      tabs,
      exchanges,
      isOurs: (it) => isOurs(it.id),
      isOpen: () => state().attending && state().online && conversation === state().conversation,
      session: () => slot.session()?.session_id,
      body: ({ id, text, how = {} }) => {
        const { signals, ...page } = about();
        const past = history(exchanges(), id, slot.session()?.limits?.history_max_messages);
        return { message: text, message_id: id, history: past, ...page, signals: { ...signals, form_ms: how.typedMs, honeypot: how.honeypot } };
      },
      dispatch: (event) => {
        // What keeps another conversation waiting is not told in the one that is shown.
        if (event.type !== 'delayed' || conversation === state().conversation) dispatch(event);
      },
      pause,
    });
    runners.set(conversation, runner);
    return runner;
  }

  function close() {
    for (const runner of runners.values()) runner.close();
    runners.clear();
  }

  return {
    apiOf,
    relay,
    close,

    /** Takes up what there is to do by now. */
    update() {
      endings.update();
      const lists = listsOf(state());
      for (const [id, exchanges] of lists) if (id === state().conversation || exchanges.some(isRunning)) runnerOf(id);
      for (const [id, runner] of runners) {
        if (lists.has(id)) {
          runner.update();
          continue;
        }
        runner.close();
        runners.delete(id);
      }
    },

    /** @param {string} conversation */
    handOver: (conversation) => runners.get(conversation)?.handOver(),

    /** Whether another tab has the lead that this one wants. @param {string} conversation */
    waits: (conversation) => runners.get(conversation)?.waits() === true,

    /** Of the visitor, and by what they were known to the edge. */
    forget() {
      close();
      relay.flush(false);
      apis.clear();
      signer.forget();
    },
  };
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
