/**
 * What a workflow asked to be shown, as nodes: product cards, the state of an order, buttons, a form. Loaded with the first.
 *
 * @typedef {object} Tools what the parts of a message need
 * @property {import('./prose.js').Say} t
 * @property {import('./i18n.js').Texts} texts
 * @property {readonly string[]} imageHosts
 * @property {import('./types.js').Actions} on
 * @typedef {import('./block-checks.js').Product} Product
 * @typedef {import('./block-checks.js').Price} Price
 */
import { checkBlock } from './block-checks.js';
import { element } from './dom.js';
import { icon } from './icons.js';
import { CHECK } from './talk-icons.js';

/** How long a button says that it was done. */
const DONE_MS = 2000;
const MAX_INPUT = 300;

/** @param {string} text the JSON @param {Tools} tools @returns {HTMLElement | null} null: it is not one of ours, show it as it is */
export function renderBlock(text, tools) {
  const block = checkBlock(text, tools.imageHosts);
  switch (block?.type) {
    case 'product':
      return element('div', { class: 'cards single' }, card(block.product, tools));
    case 'carousel':
      // It scrolls sideways, and must do so by keyboard too.
      return element('div', { class: 'cards', role: 'group', tabindex: '0', 'aria-label': block.label ?? tools.t('products') }, ...block.items.map((it) => card(it, tools)));
    case 'order':
      return order(block, tools);
    case 'buttons':
      return element('div', { class: 'choices' }, ...(block.text ? [element('p', { dir: 'auto' }, block.text)] : []), ...block.buttons.map((it) => button(it, tools)));
    case 'quick_replies':
      return element('div', { class: 'quick', role: 'group', 'aria-label': tools.t('replies') }, ...block.replies.map((it) => chip(it, tools)));
    case 'form':
      return form(block, tools);
    case 'add_to_cart':
      return element('div', { class: 'row-card' }, picture(block.product), words(block.product, tools), cartButton(block.product, block.product.cart, tools));
    default:
      return null;
  }
}

/** @param {Product} product @param {Tools} tools */
function card(product, tools) {
  const inside = [picture(product), words(product, tools)];
  const face = product.url ? link(product.url, { class: 'card-face' }, tools, ...inside) : element('div', { class: 'card-face' }, ...inside);
  return element('div', { class: 'card' }, face, ...(product.cart ? [cartButton(product, product.cart, tools)] : []));
}

/** Its box keeps its shape while the picture loads, and when it does not. @param {Product} product */
function picture({ image, badge }) {
  const box = element('div', { class: 'picture' }, icon('box'));
  if (badge) box.append(element('span', { class: 'badge', dir: 'auto' }, badge));
  if (image) {
    const img = element('img', { src: image.src, alt: image.alt, loading: 'lazy', decoding: 'async', referrerpolicy: 'no-referrer' });
    img.addEventListener('error', () => img.remove());
    box.append(img);
  }
  return box;
}

/** @param {Product} product @param {Tools} tools */
function words({ title, subtitle, price, was, stock, available }, tools) {
  const box = element('div', { class: 'card-words', dir: 'auto' }, element('b', {}, title));
  if (subtitle) box.append(element('span', { class: 'subtitle' }, subtitle));
  if (price) {
    const line = element('span', { class: 'price' }, ...(was ? [element('span', { class: 'quiet' }, `${tools.t('now')} `)] : []), element('bdi', {}, money(price, tools)));
    if (was) line.append(element('span', { class: 'quiet' }, ` ${tools.t('was')} `), element('s', {}, element('bdi', {}, money(was, tools))));
    box.append(line);
  }
  if (stock) box.append(element('span', { class: available ? 'stock' : 'stock gone' }, stock));
  return box;
}

/** @param {Product} product @param {import('./block-checks.js').Cart} cart @param {Tools} tools */
function cartButton(product, { sku, quantity, label }, { t, on, ...tools }) {
  const words = label ?? t('add_to_cart');
  const add = element('button', { type: 'button', class: 'action primary add' }, words);
  add.disabled = !product.available;
  add.addEventListener('click', () => {
    const { title, url, price } = product;
    on.hostEvent?.('add_to_cart', { sku, quantity, title, ...(url && { url }), ...(price && { price: money(price, { t, on, ...tools }) }) });
    add.replaceChildren(icon('check', CHECK), t('added'));
    setTimeout(() => add.replaceChildren(words), DONE_MS);
  });
  return add;
}

/** @param {Extract<import('./block-checks.js').Checked, {type: 'order'}>} order @param {Tools} tools */
function order({ number, status, eta, total, url, linkLabel, steps, items }, tools) {
  const { t } = tools;
  const [before, after = ''] = t('order', { number: '\u0000' }).split('\u0000');
  const box = element('div', { class: 'order' }, element('div', { class: 'order-head' }, element('span', { dir: 'auto' }, before, element('bdi', {}, number), after), element('b', { dir: 'auto' }, status)));
  if (eta) box.append(element('p', { class: 'eta', dir: 'auto' }, eta));
  if (steps.length > 0) {
    const now = steps.findLastIndex((it) => it.done);
    const list = steps.map(({ label, at, done }, index) => {
      const step = element('li', { class: done ? 'done' : '' }, element('span', { dir: 'auto' }, label), ...(at ? [element('small', { dir: 'auto' }, at)] : []));
      if (index === now) step.setAttribute('aria-current', 'step');
      return step;
    });
    box.append(element('ol', { class: 'steps' }, ...list));
  }
  if (items.length > 0) {
    const list = items.map((it) => element('li', {}, element('span', {}, t('quantity', { n: it.quantity })), element('span', { dir: 'auto' }, it.title)));
    box.append(element('ul', { class: 'parts' }, ...list));
  }
  if (total) box.append(element('p', { class: 'total' }, element('span', {}, t('total')), element('bdi', {}, money(total, tools))));
  if (url) box.append(link(url, { class: 'action' }, tools, linkLabel ?? t('order_link')));
  return box;
}

/** @param {import('./block-checks.js').Button} it @param {Tools} tools */
function button(it, tools) {
  const look = { class: it.primary ? 'action primary' : 'action' };
  if ('url' in it) return link(it.url, look, tools, it.label);
  const made = element('button', { type: 'button', ...look }, it.label);
  made.addEventListener('click', () => {
    if ('message' in it) tools.on.send(it.message);
    else tools.on.hostEvent?.(it.event, it.detail);
  });
  return made;
}

/** @param {{label: string, message: string}} reply @param {Tools} tools */
function chip({ label, message }, tools) {
  const made = element('button', { type: 'button', class: 'chip', dir: 'auto' }, label);
  made.addEventListener('click', () => tools.on.send(message));
  return made;
}

/** What is filled in goes out as a message of the visitor, who sees all of it. @param {Extract<import('./block-checks.js').Checked, {type: 'form'}>} form @param {Tools} tools */
function form({ title, fields, submit }, { t, on }) {
  const inputs = fields.map((it) => {
    const shared = { name: it.name, ...(it.required && { required: '' }), ...(it.placeholder && { placeholder: it.placeholder }) };
    const input =
      it.input === 'select'
        ? element('select', shared, element('option', { value: '' }, t('choose')), ...it.options.map((option) => element('option', {}, option)))
        : it.input === 'textarea'
          ? element('textarea', { ...shared, rows: '3', maxlength: String(MAX_INPUT) })
          : element('input', { ...shared, type: it.input, maxlength: String(MAX_INPUT), ...((it.input === 'email' || it.input === 'tel') && { autocomplete: it.input }) });
    const label = element('label', { dir: 'auto' }, element('span', {}, it.label, ...(it.required ? [] : [element('small', {}, ` · ${t('optional')}`)])), input);
    return { label, input, name: it.name };
  });
  const send = element('button', { type: 'submit', class: 'action primary' }, submit ?? t('send'));
  const made = element('form', { class: 'form' }, ...(title ? [element('b', { dir: 'auto' }, title)] : []), ...inputs.map((it) => it.label), send);
  made.addEventListener('submit', (event) => {
    event.preventDefault();
    const lines = inputs.filter((it) => it.input.value.trim() !== '').map((it) => `${it.name}: ${it.input.value.trim()}`);
    if (lines.length === 0 || !on.send(lines.join('\n'))) return;
    for (const it of [...inputs.map(({ input }) => input), send]) it.disabled = true;
  });
  return made;
}

/** Pages of the shop itself open around the chat, others apart. @param {string} href @param {Record<string, string>} attributes @param {Tools} tools @param {(Node | string)[]} children */
function link(href, attributes, { on }, ...children) {
  const made = element('a', { ...attributes, href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...children);
  made.addEventListener('click', (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey && on.navigate?.(href)) event.preventDefault();
  });
  return made;
}

/** @param {Price} price @param {Tools} tools */
function money(price, { texts }) {
  if (typeof price === 'string') return price;
  return new Intl.NumberFormat(texts.tag, { style: 'currency', currency: price.currency }).format(price.amount);
}
