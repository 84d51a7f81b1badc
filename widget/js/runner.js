/**
 * Keeps one conversation going: sends what waits to be sent, one message after the other, goes on with what was being
 * answered, and listens in between. Only in the tab that leads; it asks for the lead when there is something to do.
 *
 * @typedef {import('./state.js').Exchange} Exchange
 * @typedef {import('./state.js').Event} Event
 */
import { listen } from './listen.js';
import { deliver, isForgotten } from './reply.js';
import { isRunning } from './state.js';

/**
 * @param {object} options
 * @param {string} options.conversation
 * @param {ReturnType<typeof import('./api.js').createApi>} options.api
 * @param {ReturnType<typeof import('./tabs.js').createTabs>} options.tabs
 * @param {() => Exchange[]} options.exchanges as they are now
 * @param {(it: Exchange) => boolean} options.isOurs whether it began in this tab
 * @param {() => boolean} options.isOpen whether somebody looks at the conversation, so that it is worth listening
 * @param {() => string | undefined} options.session its session's id
 * @param {(it: Exchange) => {message: string, message_id: string}} options.body
 * @param {(event: Event) => void} options.dispatch
 * @param {(ms: number, signal: AbortSignal) => Promise<void>} options.pause
 */
export function createRunner({ conversation, api, tabs, exchanges, isOurs, isOpen, session, body, dispatch, pause }) {
  /** @type {(() => void) | null} */
  let giveBack = null;
  let leads = false;
  /** What is being done, and how to end it: a message's id, or `listen`. @type {{what: string, abort: AbortController} | null} */
  let doing = null;
  /** Sessions of which no more is to be heard. */
  let deaf = '';
  /** Those that were heard of on this page. */
  const heard = new Set();

  /** What is being pushed comes by the stream that is listened to; what was left half-way is followed. @param {Exchange} it */
  const comes = (it) => it.kind === 'push' && doing?.what === 'listen';
  const next = () => exchanges().find((it) => isRunning(it) && !comes(it) && (tabs.exclusive() || isOurs(it)));
  const canListen = () => {
    const id = session();
    return isOpen() && id !== undefined && id !== deaf && exchanges().some((it) => it.session === id);
  };

  function update() {
    const it = next();
    const what = it ? it.id : canListen() ? 'listen' : '';
    if (doing && doing.what !== what) {
      doing.abort.abort();
      doing = null;
    }
    if (what === '') {
      close();
      return;
    }
    if (!giveBack) {
      giveBack = tabs.lead(conversation, () => {
        leads = true;
        update();
      });
    }
    if (!leads || doing) return;
    const mine = { what, abort: new AbortController() };
    doing = mine;
    const work = it ? send(it, mine.abort.signal) : hear(mine.abort.signal);
    work.finally(() => {
      if (doing !== mine) return;
      doing = null;
      update();
    });
  }

  function close() {
    doing?.abort.abort();
    doing = null;
    giveBack?.();
    giveBack = null;
    leads = false;
  }

  /** @param {Exchange} it @param {AbortSignal} signal */
  async function send(it, signal) {
    const { id } = it;
    const mayHaveArrived = it.phase !== 'sending' || it.tried === true;
    if (mayHaveArrived && !heard.has(id) && isForgotten(it, it.at)) {
      dispatch({ type: 'failed', id, trouble: { code: 'interrupted', retryable: true } });
      return;
    }
    heard.add(id);
    const exchange = () => exchanges().find((one) => one.id === id);
    const others = () => exchanges().some((one) => one.id !== id && one.phase === 'sending');
    try {
      await deliver({ api, exchange, body: () => body(exchange() ?? it), dispatch: (event) => signal.aborted || dispatch(event), others, pause, signal });
    } catch (error) {
      if (signal.aborted) return;
      console.error('frontdesk: the reply could not be read', error);
      dispatch({ type: 'failed', id, trouble: { code: 'error', retryable: true } });
    }
  }

  /** @param {AbortSignal} signal */
  async function hear(signal) {
    const its = session();
    // From the last event of this session on: what was before it is here.
    const lastEventId = () => exchanges().findLast((it) => it.session === its && it.lastEventId !== '')?.lastEventId ?? '';
    try {
      await listen({ conversation, api, lastEventId, dispatch: (event) => signal.aborted || dispatch(event), pause, signal });
    } finally {
      if (!signal.aborted) deaf = its ?? '';
    }
  }

  return {
    update,

    /** Another tab is before the visitor's eyes and wants the lead. What is under way goes on there. */
    handOver() {
      if (!giveBack) return;
      close();
      // At the end of the queue, for when the other tab is closed.
      update();
    },

    /** Whether another tab has the lead that this one wants. */
    waits: () => giveBack !== null && !leads,

    close,
  };
}
