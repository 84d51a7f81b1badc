/**
 * Up, Down, Home and End among the items of a list. They stay in the Tab order too: these are buttons, not a menu of the system.
 *
 * @param {HTMLElement} root @param {string} items a selector
 */
export function addArrows(root, items) {
  root.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const all = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(items)]);
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    // In a text field these keys move in the text, but it has one line only, so Down leads out of it.
    const writing = document.activeElement instanceof HTMLInputElement;
    const to = next(event.key, at, all.length);
    if (to === undefined || (writing && event.key !== 'ArrowDown')) return;
    event.preventDefault();
    all[to].focus();
  });
}

/** Where a key leads from `at` (-1: none of them) among `count` items. @param {string} key @param {number} at @param {number} count @returns {number | undefined} */
export function next(key, at, count) {
  if (count === 0) return undefined;
  switch (key) {
    case 'ArrowDown':
      return (at + 1) % count;
    case 'ArrowUp':
      return at <= 0 ? count - 1 : at - 1;
    case 'Home':
      return 0;
    case 'End':
      return count - 1;
    default:
      return undefined;
  }
}
