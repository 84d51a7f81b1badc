/** Which addresses may be linked, whoever wrote them. */

/**
 * The browser's own parser decides what an address is (it drops tabs, newlines and case before reading the scheme), and
 * what it made of it is what is linked, not what was written.
 *
 * @param {string} target
 * @returns {string | undefined}
 */
export function safeHref(target) {
  let url;
  try {
    url = new URL(target);
  } catch {
    return undefined;
  }
  if (url.protocol === 'mailto:' || url.protocol === 'tel:') return url.href;
  // "https://bank.example@evil.example" is made to be misread.
  const plain = (url.protocol === 'https:' || url.protocol === 'http:') && url.username === '' && url.password === '';
  return plain ? url.href : undefined;
}
