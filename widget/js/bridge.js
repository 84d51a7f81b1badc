/**
 * The wire between the chat and the page it is framed by. Nothing but "opened", "closed" and what page it is comes in, and
 * nothing but "ready" and "close" goes out: never a word of the conversation.
 *
 * @typedef {{url?: string, title?: string, referrer?: string}} Page
 */

export const framed = window.parent !== window;

/** Known from the browser where it says so, else from the first message of the page around us. @type {string | null} */
let parentOrigin = framed ? claimedOrigin() : location.origin;

function claimedOrigin() {
  const above = location.ancestorOrigins?.[0];
  if (above && above !== 'null') return above;
  try {
    return new URL(document.referrer).origin;
  } catch {
    return null;
  }
}

/** The shop's origin where it is not the desk's own. @returns {string | undefined} */
export function foreignParent() {
  return framed && parentOrigin && parentOrigin !== location.origin ? parentOrigin : undefined;
}

/** @param {'ready' | 'close'} what */
export function tell(what) {
  // Where the browser hides who is around us, the page must speak first, and it waits for this word.
  if (framed) window.parent.postMessage({ frontdesk: what }, parentOrigin ?? '*');
}

/** @param {(said: {frontdesk: unknown, page?: Page, focus?: boolean}) => void} hear */
export function listen(hear) {
  addEventListener('message', (event) => {
    if (!framed || event.source !== window.parent || typeof event.data?.frontdesk !== 'string') return;
    parentOrigin ??= event.origin;
    if (event.origin === parentOrigin) hear(event.data);
  });
}

/** @param {unknown} value @param {number} max */
const short = (value, max) => (typeof value === 'string' && value !== '' ? value.slice(0, max) : undefined);

/** What came from the page around is cut to what a request may carry. @param {any} page @returns {Page} */
export function asPage(page) {
  return { url: short(page?.url, 1000), title: short(page?.title, 200), referrer: short(page?.referrer, 1000) };
}
