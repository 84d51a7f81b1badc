/**
 * What the strip above the text field says, worked out from the state alone.
 *
 * @typedef {'retry' | 'edit' | 'new'} Action
 * @typedef {object} Notice
 * @property {'plain' | 'warn' | 'bad'} tone
 * @property {'warn' | 'offline' | 'ring' | 'lock'} icon
 * @property {string} title
 * @property {string} text
 * @property {[Action, string][]} actions
 * @property {number} seconds until `retry` works
 * @property {string} key changes when there is something new to tell, not while seconds count down
 */
import { isClosed, running, secondsToWait } from './state.js';
import { say, sayWhen } from './i18n.js';

/** Mistakes in the message itself: sending it again as it is would not help. */
const EDITABLE = new Set(['message_rejected', 'payload_too_large']);

/** What a visitor is told of each code of problem+json, of a `failed` event, and of ours: many causes, few things to do about them. */
export const SENTENCES = {
  insecure: 'insecure',
  unreachable: 'unreachable',
  overloaded: 'status_busy',
  queue_timeout: 'status_busy',
  session_busy: 'session_busy',
  message_rejected: 'rejected',
  payload_too_large: 'rejected',
  invalid_request: 'reload',
  unauthorized: 'reload',
  token_invalid: 'reload',
  fingerprint_mismatch: 'reload',
  proof_required: 'reload',
  proof_invalid: 'reload',
  session_ended: 'reload',
  origin_not_allowed: 'not_here',
  bot_detected: 'not_here',
  challenge_required: 'captcha',
  upstream_unreachable: 'unavailable',
  upstream_unauthorized: 'unavailable',
  upstream_invalid: 'unavailable',
  circuit_open: 'unavailable',
  upstream_timeout: 'slow',
  upstream_error: 'error',
  upstream_empty: 'error',
  interrupted: 'error',
  too_large: 'lost',
};

/** The key of what to say about a code. A newer edge may know others. @param {string} code @returns {string | undefined} */
export function sentenceFor(code) {
  return Object.hasOwn(SENTENCES, code) ? SENTENCES[/** @type {keyof typeof SENTENCES} */ (code)] : undefined;
}

/** @param {import('./state.js').State} state @param {import('./i18n.js').Texts} texts @returns {Notice | null} */
export function notice(state, texts) {
  const t = (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => say(texts, key, values);
  const now = running(state);
  if (!state.online) {
    const text = t(now && now.phase !== 'sending' ? 'offline_running' : 'offline_text');
    return { tone: 'plain', icon: 'offline', title: t('status_offline'), text, actions: [], seconds: 0, key: `offline ${text}` };
  }
  const last = state.exchanges.at(-1);
  if (last?.phase !== 'failed' || !last.trouble) {
    // Of least weight: nothing waits for it.
    return state.undeleted ? { tone: 'plain', icon: 'warn', title: t('deleted'), text: t('deleted_later'), actions: [], seconds: 0, key: 'undeleted' } : null;
  }
  const { code, sentence, retryable, maxChars } = last.trouble;
  if (isClosed(state)) return { tone: 'plain', icon: 'lock', title: t('closed_title'), text: t('closed_text'), actions: [['new', t('new_chat')]], seconds: 0, key: 'closed' };
  const seconds = secondsToWait(state);
  const again = seconds > 0 ? t('try_again_in', { when: sayWhen(texts, seconds) }) : t('try_again');
  /** @type {[Action, string][]} */
  const actions = EDITABLE.has(code) ? [['edit', t('edit')]] : retryable ? [['retry', again]] : [];
  const key = `${last.id} ${code} ${seconds > 0}`;
  if (code === 'rate_limited') {
    // The ring counts down, a second time would be too much.
    if (seconds > 0) actions.length = 0;
    return { tone: 'warn', icon: seconds > 0 ? 'ring' : 'warn', title: t('limited_title'), text: seconds > 0 ? again : t('limited_over'), actions, seconds, key };
  }
  const title = t(last.answer === '' ? 'failed_title' : 'failed_part_title');
  // The server's own sentence is English: it is for codes that nobody here has words for.
  const known = sentenceFor(code);
  const tooLong = code === 'message_rejected' && maxChars !== undefined && [...last.text].length > maxChars;
  const text = tooLong ? t('too_long', { count: [...last.text].length, max: maxChars }) : known ? t(known) : (sentence ?? t('error'));
  return { tone: 'bad', icon: 'warn', title, text, actions, seconds, key };
}
