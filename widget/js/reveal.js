/** Brings one exchange before the visitor's eyes, and to who cannot see, by the focus. */

/** A conversation that was only now opened takes some frames to be there. */
const WITHIN_MS = 3000;
const SHOWN_MS = 2400;

/** @param {HTMLElement} root of the conversation @param {string} id of the exchange, which its node carries as `data-id` @returns {Promise<boolean>} whether it was there */
export async function reveal(root, id) {
  const end = performance.now() + WITHIN_MS;
  for (;;) {
    const node = /** @type {HTMLElement | undefined} */ ([...root.querySelectorAll('[data-id]')].find((it) => it instanceof HTMLElement && it.dataset.id === id));
    if (node) {
      show(node);
      return true;
    }
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** @param {HTMLElement} node */
function show(node) {
  node.tabIndex = -1;
  node.scrollIntoView({ block: 'center', behavior: 'instant' });
  node.focus({ preventScroll: true });
  node.classList.add('revealed');
  setTimeout(() => node.classList.remove('revealed'), SHOWN_MS);
}
