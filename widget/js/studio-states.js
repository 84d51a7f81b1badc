/**
 * The chat in each of its states, for the theme studio and for pictures of it: made up, of a shop that does not exist.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {import('./turn.js').Exchange} Exchange
 */
import { initialState } from './state.js';

const MINUTE = 60_000;

/** @param {number} now in milliseconds @returns {Record<string, State>} by name */
export function studioStates(now) {
  const state = (/** @type {Exchange[]} */ exchanges, /** @type {Partial<State>} */ more = {}) => ({ ...initialState(), now, exchanges, ...more });
  let count = 0;
  const said = (/** @type {string} */ text, /** @type {string} */ answer, /** @type {Partial<Exchange>} */ more = {}) => {
    count += 1;
    return /** @type {Exchange} */ ({ id: `studio-${count}`, text, at: now - (20 - count) * MINUTE, phase: 'done', answer, next: 0, lastEventId: '', session: '', ...more });
  };
  const order = (/** @type {Partial<Exchange>} */ more = {}) => said('Hi! Where is my order #48213?', ORDER, { rating: 'up', ...more });

  return {
    welcome: state([]),
    connecting: state([said('Hi! Where is my order #48213?', '', { phase: 'sending' })]),
    waiting: state([order(), said('Can a person call me back?', '', { phase: 'queued', late: true })]),
    typing: state([order(), said('Can I still change the delivery address?', '', { phase: 'waiting' })]),
    streaming: state([order(), said('Can I still change the delivery address?', STREAMING, { phase: 'streaming' })]),
    answered: state([order({ at: now - 26 * 60 * MINUTE }), said('Thank you!', 'You are welcome. Is there **anything else** I can do for you?', { rating: undefined })]),
    cards: state([order(), said('Thanks! Something similar for a reading corner?', CARDS)]),
    order: state([said('What is the state of my order?', STATUS)]),
    form: state([said('I would like to return the bulbs.', FORM)]),
    cart: state([said('I take the small one.', CART)]),
    growing: state([said('Something similar for a reading corner?', CARDS.slice(0, 160), { phase: 'streaming' })]),
    limited: state([order(), said('One more question about returns', '', { phase: 'failed', trouble: { code: 'rate_limited', retryable: true, until: now + 18_000 } })]),
    error: state([order(), said('And how do I return the bulbs?', '', { phase: 'failed', trouble: { code: 'upstream_error', retryable: true } })]),
    broken: state([order(), said('And how do I return the bulbs?', 'You can send them back within', { phase: 'failed', trouble: { code: 'interrupted', retryable: true } })]),
    stopped: state([order(), said('Tell me everything about lamps.', 'It begins with fire, and', { phase: 'stopped' })]),
    offline: state([order(), said('Does it fit E27 bulbs?', '', { phase: 'sending' })], { online: false }),
    expired: state([order(), said('And the bulbs?', '', { phase: 'failed', trouble: { code: 'session_over', retryable: false } })]),
    push: state([order(), said('', 'Good news from the workshop: your lamp has been **repaired** and is on its way back to you.', { kind: 'push' })]),
    markdown: state([said('Show me everything you can write.', LONG)]),
  };
}

const ORDER = `Good news: it left our warehouse this morning and arrives **Thursday, 14:00–16:00**.

- Alba table lamp × 1
- Warm-white bulb × 2

[Track the parcel](https://parcels.example/48213)`;

const STREAMING = `Yes, until the parcel reaches your local depot. I can move it to

- another address in the same city
- a pick-up point near`;

/** @param {object} it */
const block = (it) => `\`\`\`frontdesk\n${JSON.stringify(it)}\n\`\`\``;

const ALBA = { title: 'Alba table lamp', price: { amount: 89, currency: 'EUR' }, was: { amount: 119, currency: 'EUR' }, stock: 'In stock', url: 'https://shop.example/alba', image: { src: 'https://images.shop.example/alba.svg', alt: 'A small lamp with a linen shade' } };
const FERN = { title: 'Fern reading lamp', price: { amount: 64, currency: 'EUR' }, stock: 'In stock', url: 'https://shop.example/fern', image: { src: 'https://images.shop.example/fern.svg', alt: 'A green lamp' } };
const OTTO = { title: 'Otto oak stool', price: { amount: 139, currency: 'EUR' }, stock: 'Ships in 3 days', available: true, badge: 'New', url: 'https://shop.example/otto', image: { src: 'https://images.shop.example/otto.svg', alt: 'A stool of oak' } };

const CARDS = `These two go well with it, both dimmable:

${block({ type: 'carousel', label: 'Lamps for a reading corner', items: [ALBA, FERN, OTTO] })}

${block({ type: 'quick_replies', replies: ['Compare them', 'Only dimmable'] })}`;

const STATUS = `Here it is:

${block({
  type: 'order',
  number: '48213',
  status: 'On its way',
  eta: 'Thursday, 14:00–16:00',
  steps: [
    { label: 'Ordered', at: 'Mon 09:12', done: true },
    { label: 'Packed', at: 'Tue 16:40', done: true },
    { label: 'Handed to the carrier', at: 'Wed 07:55', done: true },
    { label: 'Delivered' },
  ],
  items: [{ title: 'Alba table lamp' }, { title: 'Warm-white bulb', quantity: 2 }],
  total: { amount: 107, currency: 'EUR' },
  url: 'https://parcels.example/48213',
})}

${block({ type: 'buttons', buttons: [{ label: 'Change the address', message: 'I would like to change the delivery address.' }, { label: 'Return something', message: 'I would like to return something.' }] })}`;

const FORM = `That is easy. I only need to know:

${block({
  type: 'form',
  title: 'Your return',
  fields: [
    { name: 'Order', label: 'Order number', required: true, placeholder: '48213' },
    { name: 'Reason', label: 'Why do you return it?', input: 'select', required: true, options: ['It does not fit', 'It is broken', 'I changed my mind'] },
    { name: 'E-mail', label: 'E-mail for the label', input: 'email' },
  ],
  submit: 'Get the label',
})}`;

const CART = `A good choice:

${block({ type: 'product', ...FERN, subtitle: 'Brass and linen, 38 cm, with a dimmer', badge: '−20 %', cart: { sku: 'FERN-38' } })}

${block({ type: 'add_to_cart', sku: 'BULB-E27', title: 'Warm-white bulb', subtitle: 'Fits it', price: { amount: 9, currency: 'EUR' }, quantity: 2 })}`;

const LONG = `# What I can write

A paragraph with **bold**, *italic*, ~~struck~~ and \`code\`, and a [link](https://shop.example/care).

## In order

1. First this
2. Then that
   - with a remark
   - and another
3. Done

- [x] Lamp chosen
- [ ] Bulb chosen

| Lamp | Height | Price |
| --- | --: | --: |
| Alba | 42 cm | € 89.00 |
| Fern | 38 cm | € 64.00 |

> Light is a good companion.

\`\`\`css
.lamp { color: warmwhite; transition: opacity 250ms ease-in-out; }
\`\`\`

---

That is all.`;
