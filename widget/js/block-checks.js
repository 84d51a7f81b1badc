/**
 * What a workflow may ask to be shown, checked: see blocks.schema.json, which says the same for those who write it.
 *
 * A model may have written it, led by anybody. So nothing is passed on that is not named here, texts are cut to what fits,
 * links go where links may go, and pictures come from the shop's own list of hosts. Pure: no DOM.
 *
 * @typedef {{src: string, alt: string}} Picture
 * @typedef {string | {amount: number, currency: string}} Price
 * @typedef {{sku: string, quantity: number, label?: string}} Cart
 * @typedef {{label: string, primary: boolean} & ({message: string} | {url: string} | {event: string, detail: Detail})} Button
 * @typedef {Record<string, string | number | boolean>} Detail
 * @typedef {{title: string, subtitle?: string, price?: Price, was?: Price, image?: Picture, url?: string, stock?: string, available: boolean, badge?: string, cart?: Cart}} Product
 * @typedef {{name: string, label: string, input: 'text' | 'email' | 'tel' | 'number' | 'date' | 'textarea' | 'select', required: boolean, placeholder?: string, options: string[]}} Field
 * @typedef {{label: string, at?: string, done: boolean}} Step
 * @typedef {{type: 'product', product: Product}
 *   | {type: 'carousel', label?: string, items: Product[]}
 *   | {type: 'order', number: string, status: string, eta?: string, total?: Price, url?: string, linkLabel?: string, steps: Step[], items: {title: string, quantity: number}[]}
 *   | {type: 'buttons', text?: string, buttons: Button[]}
 *   | {type: 'quick_replies', replies: {label: string, message: string}[]}
 *   | {type: 'form', title?: string, fields: Field[], submit?: string}
 *   | {type: 'add_to_cart', product: Product & {cart: Cart}}} Checked
 */
import { safeHref } from './links.js';

const MAX_CHARS = 20_000;
const INPUTS = /** @type {const} */ (['text', 'email', 'tel', 'number', 'date', 'textarea', 'select']);

/** @param {string} text the JSON @param {readonly string[]} hosts that pictures may come from @returns {Checked | null} null: not one of ours */
export function checkBlock(text, hosts) {
  if (text.length > MAX_CHARS) return null;
  /** @type {any} */
  let it;
  try {
    it = JSON.parse(text);
  } catch {
    return null;
  }
  switch (it?.type) {
    case 'product': {
      const found = product(it, hosts);
      return found && { type: 'product', product: found };
    }
    case 'carousel': {
      const items = list(it.items, 12, (each) => product(each, hosts));
      return items.length > 0 ? { type: 'carousel', label: string(it.label, 80), items } : null;
    }
    case 'order': {
      const number = string(it.number, 40);
      const status = string(it.status, 60);
      if (!number || !status) return null;
      return { type: 'order', number, status, eta: string(it.eta, 80), total: price(it.total), url: href(it.url), linkLabel: string(it.link_label, 40), steps: list(it.steps, 8, step), items: list(it.items, 20, part) };
    }
    case 'buttons': {
      const buttons = list(it.buttons, 6, button);
      return buttons.length > 0 ? { type: 'buttons', text: string(it.text, 300), buttons } : null;
    }
    case 'quick_replies': {
      const replies = list(it.replies, 6, reply);
      return replies.length > 0 ? { type: 'quick_replies', replies } : null;
    }
    case 'form': {
      const fields = list(it.fields, 6, field);
      return fields.length > 0 ? { type: 'form', title: string(it.title, 120), fields, submit: string(it.submit, 40) } : null;
    }
    case 'add_to_cart': {
      const found = product(it, hosts);
      const wanted = cart({ ...it, label: it.label });
      return found && wanted && { type: 'add_to_cart', product: { ...found, cart: wanted } };
    }
    default:
      return null;
  }
}

/** @param {any} it @param {readonly string[]} hosts @returns {Product | null} */
function product(it, hosts) {
  const title = string(it?.title, 80);
  if (!title) return null;
  return {
    title,
    subtitle: string(it.subtitle, 120),
    price: price(it.price),
    was: price(it.was),
    image: picture(it.image, hosts),
    url: href(it.url),
    stock: string(it.stock, 40),
    available: it.available !== false,
    badge: string(it.badge, 20),
    cart: cart(it.cart) ?? undefined,
  };
}

/** @param {any} it @returns {Cart | null} */
function cart(it) {
  const sku = string(it?.sku, 64);
  if (!sku) return null;
  return { sku, quantity: whole(it.quantity, 1, 99), label: string(it.label, 40) };
}

/** @param {any} it @returns {Button | null} */
function button(it) {
  const label = string(it?.label, 40);
  if (!label) return null;
  const primary = it.primary === true;
  const message = string(it.message, 500);
  const url = href(it.url);
  if (message) return { label, primary, message };
  if (url) return { label, primary, url };
  const event = typeof it.event === 'string' && /^[a-z][a-z0-9_-]{0,39}$/.test(it.event) ? it.event : undefined;
  return event ? { label, primary, event, detail: detail(it.detail) } : null;
}

/** @param {any} it @returns {{label: string, message: string} | null} */
function reply(it) {
  const label = string(typeof it === 'string' ? it : it?.label, 60);
  return label ? { label, message: string(it.message, 500) ?? label } : null;
}

/** @param {any} it @returns {Field | null} */
function field(it) {
  const label = string(it?.label, 60);
  if (!label) return null;
  const options = list(it.options, 20, (each) => string(each, 60) ?? null);
  const input = INPUTS.find((kind) => kind === (it.input ?? 'text'));
  if (!input || (input === 'select' && options.length === 0)) return null;
  return { name: string(it.name, 40) ?? label, label, input, required: it.required === true, placeholder: string(it.placeholder, 60), options };
}

/** @param {any} it @returns {Step | null} */
function step(it) {
  const label = string(it?.label, 60);
  return label ? { label, at: string(it.at, 40), done: it.done === true } : null;
}

/** @param {any} it @returns {{title: string, quantity: number} | null} */
function part(it) {
  const title = string(it?.title, 80);
  return title ? { title, quantity: whole(it.quantity, 1, 9999) } : null;
}

/** @param {any} it @param {readonly string[]} hosts @returns {Picture | undefined} */
function picture(it, hosts) {
  const src = typeof it === 'string' ? it : it?.src;
  if (typeof src !== 'string' || src.length > 2000) return undefined;
  const safe = safeHref(src);
  if (!safe) return undefined;
  const { protocol, host } = new URL(safe);
  const allowed = protocol === 'https:' && hosts.some((each) => (each.startsWith('*.') ? host.endsWith(each.slice(1)) : host === each.replace(/^https:\/\//, '')));
  return allowed ? { src: safe, alt: string(it.alt, 120) ?? '' } : undefined;
}

/** @param {any} it @returns {Price | undefined} */
function price(it) {
  if (typeof it?.amount === 'number' && Number.isFinite(it.amount) && /^[A-Z]{3}$/.test(it.currency)) return { amount: it.amount, currency: it.currency };
  return string(it, 40);
}

/** @param {any} it @returns {string | undefined} */
function href(it) {
  if (typeof it !== 'string' || it.length > 2000) return undefined;
  return safeHref(it);
}

/** @param {any} it @returns {Detail} */
function detail(it) {
  if (typeof it !== 'object' || it === null) return {};
  const pairs = Object.entries(it).filter(([key, value]) => /^\w{1,40}$/.test(key) && (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string'));
  return Object.fromEntries(pairs.slice(0, 10).map(([key, value]) => [key, typeof value === 'string' ? value.slice(0, 200) : value]));
}

/** @template T @param {any} it @param {number} most @param {(each: any) => T | null} check @returns {T[]} those that are right */
function list(it, most, check) {
  return Array.isArray(it) ? it.slice(0, most).map(check).filter((each) => each !== null) : [];
}

/** @param {any} it @param {number} least @param {number} most */
function whole(it, least, most) {
  return Number.isInteger(it) ? Math.min(most, Math.max(least, it)) : least;
}

/** A text on one line, cut to what fits. @param {any} it @param {number} most @returns {string | undefined} */
function string(it, most) {
  if (typeof it === 'number') return String(it);
  if (typeof it !== 'string') return undefined;
  const text = it.slice(0, most * 4).replace(/\s+/g, ' ').trim();
  const chars = [...text];
  return text === '' ? undefined : chars.length > most ? `${chars.slice(0, most - 1).join('')}…` : text;
}
