/** What the visitor, or the page around, can do. The views call these and nothing else. */
import { randomId } from './ids.js';
import { busy, isClosed, isRunning, running, secondsToWait } from './state.js';

/** A cancelled reply ends within moments. If that never arrives, the visitor still gets the field back. */
const STOP_WITHIN_MS = 4000;

/** It failed here, for all we know: the edge may be answering. */
const OURS = new Set(['unreachable', 'error']);

/**
 * @param {object} options
 * @param {ReturnType<typeof import('./chat.js').createChat>} options.chat
 * @param {ReturnType<typeof import('./bridge.js').connect>} options.bridge
 * @param {() => {name: string, texts: import('./i18n.js').Texts}} options.words
 */
export function createActions({ chat, bridge, words }) {
  const { dispatch, state, store } = chat;

  /** The last thing the visitor said. */
  const lastSaid = () => state().exchanges.findLast((it) => it.kind !== 'push');

  const mayRun = (/** @type {import('./state.js').Exchange} */ it) => it.tried && (it.phase === 'sending' || OURS.has(it.trouble?.code ?? ''));

  const on = {
    /** @param {string} text @param {import('./state.js').How} [how] @returns {boolean} whether it was taken: one message at a time, while there is a network */
    send(text, how) {
      if (busy(state()) || isClosed(state()) || secondsToWait(state()) > 0) return false;
      // Kept before anything is sent: if the page goes away now, the reload knows what to ask for.
      dispatch({ type: 'asked', id: randomId(), text, at: Date.now(), how });
      chat.wantLead();
      return true;
    },

    async stop() {
      const exchange = running(state());
      if (!exchange) return;
      const { id, session } = exchange;
      const { conversation } = state();
      dispatch({ type: 'stopping', id });
      const give = () => dispatch({ type: 'stopped', id });
      // Not known to have arrived: nothing will tell its end. The call goes out all the same, it may have.
      if (exchange.phase === 'sending') give();
      else setTimeout(give, STOP_WITHIN_MS);
      try {
        if (session || exchange.tried) await (await chat.api(conversation)).cancel(id, session);
      } catch {
        give();
      }
    },

    retry() {
      const failed = state().exchanges.at(-1);
      if (failed?.phase !== 'failed' || failed.kind === 'push') return;
      // Under its own id the edge runs it once only.
      dispatch({ type: 'retried', id: failed.id, newId: mayRun(failed) ? failed.id : randomId(), at: Date.now() });
    },

    /** Takes the last message back into the field; what is sent then takes its place. Again: leaves it as it was. @param {string} [id] */
    edit(id) {
      const said = lastSaid();
      if (!said || (id && id !== said.id)) return;
      const waits = said.phase === 'sending' && !state().online;
      if (said.phase === 'failed' || waits) {
        if (mayRun(said)) chat.api(state().conversation).then((api) => api.cancel(said.id, said.session)).catch(() => {});
        dispatch({ type: 'taken back', id: said.id });
      }
      else if (!isRunning(said)) dispatch({ type: 'editing', id: state().editing === said.id ? '' : said.id });
    },

    close() {
      bridge.tell('close');
    },

    /** Deletes a conversation here and on the edge. @param {string} [id] default: the one that is shown */
    clear(id = state().conversation) {
      chat.remove(id);
    },

    newConversation() {
      if (state().exchanges.length > 0) dispatch({ type: 'new conversation', id: randomId() });
    },

    /** @param {string} id */
    async openConversation(id) {
      const exchanges = await store.exchanges(id);
      if (!exchanges) return;
      dispatch({ type: 'opened conversation', id, exchanges });
      chat.wantLead();
    },

    /** Everything, here and on the edge. */
    deleteAll: () => chat.forget({ everywhere: true }),

    /** @param {string} query @returns {Promise<import('./find.js').Found[]>} */
    async search(query) {
      const { findIn } = await import('./find.js');
      return findIn(state().conversations, store.exchanges, query);
    },

    /** @param {'text' | 'json'} form */
    async exportAs(form) {
      const { save } = await import('./transcript.js');
      save(state().exchanges, form, words());
    },

    /** @param {string} id @param {'up' | 'down'} rating @param {string} [comment] for the shop @returns {Promise<unknown>} why it was not taken */
    async rate(id, rating, comment) {
      const it = state().exchanges.find((one) => one.id === id);
      if (!it || (it.rating === rating && !comment)) return;
      const rated = () => dispatch({ type: 'rated', id, rating, commented: !!comment });
      // A word for the shop's figures: not worth a word to the visitor when it is lost, but for what they wrote.
      if (!comment) rated();
      try {
        await (await chat.api(state().conversation)).rate(id, rating, it.session, comment);
      } catch (error) {
        return error;
      }
      if (comment) rated();
    },

    /** @param {boolean} sound */
    setSound(sound) {
      store.set('sound', sound);
      dispatch({ type: 'settings', sound });
      chat.tell({ type: 'sound', sound });
    },

    /** @param {'granted' | 'denied'} answer */
    consent: (answer) => chat.consent(answer),

    /** An event of the page around us. @param {string} name @param {object} [detail] */
    hostEvent(name, detail) {
      bridge.tell('event', { name, detail });
    },

    /** To a page of the shop around us. @param {string} url @returns {boolean} whether the page around goes there */
    navigate(url) {
      if (!bridge.connected() || new URL(url).origin !== bridge.origin()) return false;
      bridge.tell('navigate', url);
      return true;
    },
  };
  return on;
}
