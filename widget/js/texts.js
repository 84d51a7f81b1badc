/**
 * Every sentence of the chat, in one place. `widget-config.json` may replace any of them under `texts`.
 *
 * @typedef {Record<string, string>} Texts
 */

/** @type {Texts} */
export const TEXTS = {
  conversation: 'Conversation',
  message: 'Message',
  placeholder: 'Write a message…',
  send: 'Send',
  stop: 'Stop answering',
  close: 'Close chat',
  new_chat: 'Start a new chat',
  you: 'You said:',
  assistant: 'Assistant:',
  answering: 'The assistant is answering.',
  copy: 'Copy answer',
  copied: 'Copied',
  today: 'Today',
  yesterday: 'Yesterday',
  to_newest: 'New answer below',
  queued: 'Waiting for the assistant…',
  late: 'This may take a few minutes. You can leave and come back.',
  stopped: 'Stopped',
  stopping: 'Stopping…',
  lost: 'Part of this answer was lost.',
  unanswered: 'Not answered',
  waits_for_network: 'Waiting for a connection',
  captcha: 'Please confirm that you are not a robot.',
  status_offline: 'You are offline',
  status_reconnecting: 'Reconnecting…',
  status_busy: 'Very busy right now…',
  too_long: '{count} of {max} characters: please shorten it.',
  try_again: 'Try again',
  try_again_in: 'Try again in {time}',
  edit: 'Edit message',

  delete_title: 'Start a new chat?',
  delete_text: 'This one is deleted here and on our side.',
  delete_yes: 'Delete and start new',
  delete_no: 'Keep it',
  offline_title: 'No internet connection.',
  offline_text: 'You can go on reading. Messages go out when you are back.',
  offline_sending: 'Your message goes out when you are back.',
  offline_running: 'The answer goes on when you are back.',
  limited_title: 'Just a moment, that was fast.',
  limited_text: 'You can send again in {time}.',
  limited_over: 'You can send again now.',
  failed_title: 'That answer did not come through.',
  failed_part_title: 'The answer stopped half-way.',
  seconds: '{n} seconds',
  second: '1 second',
  minutes: '{n} minutes',
  minute: '1 minute',

  // By `code` of a refused request. Those of a `failed` event bring a sentence of their own, these stand in for it.
  error: 'Something went wrong. Your message is kept.',
  unreachable: 'The chat could not be reached. Your message is kept.',
  overloaded: 'Very many people are writing just now. Your message is kept.',
  session_busy: 'Your previous message is still being answered, perhaps in another tab.',
  message_rejected: 'This message could not be accepted. Please write it differently.',
  message_too_long: 'This message is too long: at most {max} characters.',
  payload_too_large: 'This message is too long. Please shorten it.',
  message_conflict: 'This message was already sent with another text.',
  origin_not_allowed: 'The chat is not allowed on this page.',
  bot_detected: 'The chat is not available for this browser.',
  challenge_required: 'It is not certain that you are not a robot. Your message is kept.',
  proof_required: 'This chat needs a newer version of itself. Please reload the page.',
  fingerprint_mismatch: 'The chat could not be opened. Please reload the page.',
  unauthorized: 'The chat could not be opened. Please reload the page.',
  token_invalid: 'The chat could not be opened. Please reload the page.',
  invalid_request: 'This message could not be sent. Please reload the page.',
  interrupted: 'It was interrupted on our side. Your message is kept.',
  upstream_unreachable: 'The assistant cannot be reached right now.',
  upstream_timeout: 'The assistant took too long.',
  upstream_error: 'The assistant had a problem.',
  upstream_invalid: 'The assistant gave an answer that cannot be shown.',
  upstream_empty: 'The assistant had no answer.',
  upstream_unauthorized: 'The assistant is not set up correctly.',
  circuit_open: 'The assistant is taking a short break.',
  queue_timeout: 'No assistant was free in time.',
  too_large: 'The answer was too long to show in full.',
};

/** @param {Texts} texts @param {string} key @param {Record<string, string | number>} [values] */
export function say(texts, key, values = {}) {
  return (texts[key] ?? TEXTS[key] ?? TEXTS.error).replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

/** @param {Texts} texts @param {number} seconds */
export function sayTime(texts, seconds) {
  if (seconds > 90) return say(texts, 'minutes', { n: Math.ceil(seconds / 60) });
  return seconds === 1 ? say(texts, 'second') : say(texts, 'seconds', { n: seconds });
}
