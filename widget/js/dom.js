/** Making nodes: names, attributes and text, never markup. */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string>} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A button that is a picture still has a name, for who cannot see it and for who points at it. @param {HTMLElement} button @param {string} label @param {Node} picture */
export function name(button, label, picture) {
  button.setAttribute('aria-label', label);
  button.title = label;
  button.replaceChildren(picture);
}

/** Writing the same text again would make screen readers say it again. @param {HTMLElement} node @param {string} text */
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
