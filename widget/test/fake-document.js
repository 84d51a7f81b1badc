/** Just enough of a document to render into, to click in, and to print as one line. Attributes are printed in the order they were set. */

class Text {
  constructor(text) {
    this.text = text;
  }

  get print() {
    return this.text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  }
}

class Element {
  value = '';
  disabled = false;
  listeners = {};

  constructor(name) {
    this.name = name;
    this.attributes = new Map();
    this.children = [];
  }

  append(...nodes) {
    this.children.push(...nodes.map((node) => (typeof node === 'string' ? new Text(node) : node)));
  }

  replaceChildren(...nodes) {
    this.children = [];
    this.append(...nodes);
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }

  fire(type) {
    this.listeners[type]({ preventDefault() {} });
  }

  get print() {
    const attributes = [...this.attributes].map(([name, value]) => ` ${name}="${value}"`).join('');
    return `<${this.name}${attributes}>${this.children.map((child) => child.print).join('')}</${this.name}>`;
  }

  /** All elements from here down. */
  *all() {
    yield this;
    for (const child of this.children) if (child instanceof Element) yield* child.all();
  }
}

export const document = {
  createElement: (name) => new Element(name),
  createElementNS: (_, name) => new Element(name),
  createTextNode: (text) => new Text(text),
};
