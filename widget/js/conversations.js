/**
 * The visitor's conversations with this shop: open one, or delete it.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {State['conversations'][number]} Conversation
 */
import { addArrows } from './arrows.js';
import { element, name, set } from './dom.js';
import { say } from './i18n.js';
import { icon } from './icons.js';
import { createQuestion } from './question.js';
import { TRASH } from './talk-icons.js';
import { when } from './when.js';

/**
 * @param {object} options
 * @param {import('./i18n.js').Texts} options.texts
 * @param {{openConversation(id: string): void, clear(id?: string): void}} options.on
 * @param {() => void} options.done a conversation was chosen
 * @param {(text: string) => void} options.announce
 */
export function createConversations({ texts, on, done, announce }) {
  const list = element('ul', { class: 'items' });
  const root = element('div', { class: 'chats' }, list);
  /** @type {Map<string, ReturnType<typeof row>>} */
  const rows = new Map();
  addArrows(root, '.chat-open');

  /** @param {Conversation} first */
  function row(first) {
    const { id } = first;
    // A title of the other direction stays on its side of the list.
    const title = element('bdi', { id: `chat-${id}` });
    const at = element('time');
    const count = element('span');
    const unread = element('span', { class: 'unread' });
    const open = element('button', { type: 'button', class: 'chat-open' }, element('span', { class: 'chat-line' }, element('span', { class: 'chat-title' }, title), unread), element('span', { class: 'chat-about' }, at, count));
    const erase = element('button', { type: 'button', class: 'tool', id: `chat-erase-${id}` });
    const root = element('li', { class: 'chat' }, open, erase);
    name(erase, say(texts, 'delete_yes'), icon('trash', TRASH));
    // "Delete" and what: its own label, then the title.
    erase.setAttribute('aria-labelledby', `chat-erase-${id} chat-${id}`);
    open.addEventListener('click', () => {
      done();
      on.openConversation(id);
    });
    erase.addEventListener('click', () => {
      const back = () => {
        root.replaceChildren(open, erase);
        root.classList.remove('asks');
      };
      const question = createQuestion({
        texts,
        title: title.textContent ?? '',
        text: say(texts, 'delete_text'),
        yes() {
          const near = /** @type {HTMLElement | null} */ ((root.nextElementSibling ?? root.previousElementSibling)?.querySelector('.chat-open') ?? null);
          on.clear(id);
          announce(say(texts, 'deleted'));
          // With the focus gone, the keyboard would start again at the top of the page.
          if (near) near.focus();
          else done();
        },
        no() {
          back();
          erase.focus();
        },
      });
      root.replaceChildren(question.root);
      root.classList.add('asks');
      question.focus();
    });
    return {
      root,
      open,
      /** @param {Conversation} it @param {boolean} current */
      paint(it, current) {
        set(title, it.title || say(texts, 'new_chat'));
        set(at, when(texts, it.at, Date.now()));
        at.dateTime = new Date(it.at).toISOString();
        set(count, say(texts, 'messages', { n: it.count }));
        set(unread, it.unread > 0 ? say(texts, 'unread', { n: it.unread }) : '');
        if (current) open.setAttribute('aria-current', 'true');
        else open.removeAttribute('aria-current');
      },
    };
  }

  return {
    root,

    open() {
      const first = /** @type {HTMLElement | null} */ (list.querySelector('.chat-open[aria-current]') ?? list.querySelector('.chat-open'));
      first?.focus();
    },

    /** @param {State} state */
    render({ conversations, conversation }) {
      const ids = new Set(conversations.map(({ id }) => id));
      for (const [id, { root }] of rows) {
        if (ids.has(id)) continue;
        root.remove();
        rows.delete(id);
      }
      conversations.forEach((it, index) => {
        const kept = rows.get(it.id) ?? row(it);
        rows.set(it.id, kept);
        kept.paint(it, it.id === conversation);
        // A node that is moved loses the focus, so only what is out of place is.
        if (list.children[index] !== kept.root) list.insertBefore(kept.root, list.children[index] ?? null);
      });
    },
  };
}
