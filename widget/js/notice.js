/**
 * What the strip above the text field says, worked out from the state alone.
 *
 * @typedef {'retry' | 'edit' | 'delete' | 'keep'} Action
 * @typedef {object} Notice
 * @property {'plain' | 'warn' | 'bad'} tone
 * @property {'warn' | 'offline' | 'trash' | 'ring'} icon
 * @property {string} title
 * @property {string} text
 * @property {[Action, string][]} actions
 * @property {number} seconds until `retry` works
 * @property {string} key changes when there is something new to tell, not while seconds count down
 */
import { running, secondsToWait } from './state.js';
import { say, sayTime } from './texts.js';

/** Mistakes in the message itself: sending it again as it is would not help. */
const EDITABLE = new Set(['message_rejected', 'payload_too_large']);

/** @param {import('./state.js').State} state @param {import('./texts.js').Texts} texts @returns {Notice | null} */
export function notice(state, texts) {
  const t = (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => say(texts, key, values);
  if (state.asking) {
    return { tone: 'plain', icon: 'trash', title: t('delete_title'), text: t('delete_text'), actions: [['delete', t('delete_yes')], ['keep', t('delete_no')]], seconds: 0, key: 'asking' };
  }
  const now = running(state);
  if (!state.online) {
    const text = t(!now ? 'offline_text' : now.phase === 'sending' ? 'offline_sending' : 'offline_running');
    return { tone: 'plain', icon: 'offline', title: t('offline_title'), text, actions: [], seconds: 0, key: `offline ${text}` };
  }
  const last = state.exchanges.at(-1);
  if (last?.phase !== 'failed' || !last.trouble) return null;
  const { code, sentence, retryable, maxChars } = last.trouble;
  const seconds = secondsToWait(state);
  /** @type {[Action, string][]} */
  const actions = EDITABLE.has(code) ? [['edit', t('edit')]] : !retryable ? [] : [['retry', seconds > 0 ? t('try_again_in', { time: sayTime(texts, seconds) }) : t('try_again')]];
  const key = `${last.id} ${code} ${seconds > 0}`;
  if (code === 'rate_limited') {
    // The ring counts down, a second time would be too much.
    if (seconds > 0) actions.length = 0;
    const text = seconds > 0 ? t('limited_text', { time: sayTime(texts, seconds) }) : t('limited_over');
    return { tone: 'warn', icon: seconds > 0 ? 'ring' : 'warn', title: t('limited_title'), text, actions, seconds, key };
  }
  const title = t(last.answer === '' ? 'failed_title' : 'failed_part_title');
  const text = sentence ?? (code === 'message_rejected' && maxChars ? t('message_too_long', { max: maxChars }) : t(code));
  return { tone: 'bad', icon: 'warn', title, text, actions, seconds, key };
}
