/** Just enough of a document to render into, to click in, and to print as one line. Attributes are printed in the order they were set. */

class Text {
  constructor(text) {
    this.text = text;
  }

  get textContent() {
    return this.text;
  }

  appendData(text) {
    this.text += text;
  }

  remove() {
    removeFrom(this.parent, this);
  }

  get print() {
    return this.text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  }
}

const removeFrom = (parent, node) => (parent.children = parent.children.filter((it) => it !== node));

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
    for (const node of this.children) node.parent = this;
  }

  after(...nodes) {
    const { children } = this.parent;
    children.splice(children.indexOf(this) + 1, 0, ...nodes);
    for (const node of nodes) node.parent = this.parent;
  }

  remove() {
    removeFrom(this.parent, this);
  }

  get childNodes() {
    return this.children;
  }

  get lastChild() {
    return this.children.at(-1);
  }

  get lastElementChild() {
    return this.children.findLast((it) => it instanceof Element);
  }

  get textContent() {
    return this.children.map((it) => it.textContent).join('');
  }

  replaceChildren(...nodes) {
    this.children = [];
    this.append(...nodes);
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  toggleAttribute(name, on) {
    if (!on) this.attributes.delete(name);
    else if (!this.attributes.has(name)) this.attributes.set(name, '');
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
