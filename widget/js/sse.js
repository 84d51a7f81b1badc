/**
 * Server-sent events out of a byte stream, wherever the network cuts it. Knows no DOM and no chat.
 *
 * EventSource can neither POST nor set headers, so the chat reads its streams with `fetch` and this.
 *
 * @typedef {{event: string, data: string, id: string, retry: number | undefined}} ServerEvent
 *   `id` is the last id seen so far, `retry` the last pause in milliseconds the server asked for.
 */

/** A line longer than this is not ours; better to stop than to grow without a bound. */
const MAX_LINE_CHARS = 4 * 1024 * 1024;

/** @returns {{feed(text: string): ServerEvent[]}} */
export function createParser() {
  let line = '';
  let afterCarriageReturn = false;
  let event = '';
  /** @type {string[]} */
  let data = [];
  let id = '';
  /** @type {number | undefined} */
  let retry;

  /** @param {string} text @returns {ServerEvent | undefined} */
  function take(text) {
    if (text === '') {
      const complete = data.length > 0 ? { event: event || 'message', data: data.join('\n'), id, retry } : undefined;
      event = '';
      data = [];
      return complete;
    }
    const colon = text.indexOf(':');
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) retry = Number(value);
    return undefined;
  }

  return {
    feed(text) {
      /** @type {ServerEvent[]} */
      const complete = [];
      let start = 0;
      for (let at = 0; at < text.length; at += 1) {
        const char = text[at];
        if (char !== '\n' && char !== '\r') {
          afterCarriageReturn = false;
          continue;
        }
        // The LF of a CRLF, perhaps in another piece than its CR: the line is already taken.
        if (char === '\n' && afterCarriageReturn) {
          afterCarriageReturn = false;
          start = at + 1;
          continue;
        }
        afterCarriageReturn = char === '\r';
        const found = take(line + text.slice(start, at));
        if (found) complete.push(found);
        line = '';
        start = at + 1;
      }
      line += text.slice(start);
      if (line.length > MAX_LINE_CHARS) throw new RangeError('a line of the event stream is too long');
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
