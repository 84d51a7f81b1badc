/**
 * Server-sent events out of a byte stream, wherever the network cuts it. Knows no DOM and no chat.
 *
 * EventSource can neither POST nor set headers, so the chat reads its streams with `fetch` and this. The lines are read
 * by eventsource-parser; here its events get what the standard leaves to the reader: the last id, the pause, a bound.
 *
 * @typedef {{event: string, data: string, id: string, retry: number | undefined}} ServerEvent
 *   `id` is the last id seen so far, `retry` the last pause in milliseconds the server asked for.
 */
import { createParser as createLines } from '../vendor/eventsource-parser-4.1.3/parse.js';

/** An event longer than this is not ours; better to stop than to grow without a bound. */
const MAX_EVENT_CHARS = 4 * 1024 * 1024;

/** @returns {{feed(text: string): ServerEvent[]}} */
export function createParser() {
  /** @type {ServerEvent[]} */
  let complete = [];
  let id = '';
  /** @type {number | undefined} */
  let retry;
  const lines = createLines({
    maxBufferSize: MAX_EVENT_CHARS,
    onId: (/** @type {string} */ its) => (id = its),
    onRetry: (/** @type {number} */ ms) => (retry = ms),
    onEvent: (/** @type {{event?: string, data: string}} */ { event, data }) => complete.push({ event: event || 'message', data, id, retry }),
    onError: (/** @type {{type: string}} */ { type }) => {
      // Its other errors are about lines that the standard has us ignore.
      if (type === 'max-buffer-size-exceeded') throw new RangeError('an event of the stream is too long');
    },
  });
  return {
    feed(text) {
      complete = [];
      lines.feed(text);
      return complete;
    },
  };
}

/**
 * The events of a response body. What is not closed by an empty line at the end is dropped, as the standard says.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} [onBytes] called for whatever arrives, heartbeats too: the line is alive
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 */
export async function* readEvents(body, onBytes) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = createParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes?.();
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Reached too when the consumer has what it wants: the connection must not stay open behind its back.
    reader.cancel().catch(() => {});
  }
}
