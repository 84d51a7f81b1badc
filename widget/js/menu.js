/**
 * The sheet below the header: the menu, the list of conversations, the search. Loaded when it is first opened.
 *
 * It is not a trap: the header stays usable above it, Escape goes one step back, and what it covers can be reached by nobody.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {import('./entries.js').Entry} Entry
 */
import { addArrows } from './arrows.js';
import { createConversations } from './conversations.js';
import { element, name } from './dom.js';
import { entries } from './entries.js';
import { say } from './i18n.js';
import { icon } from './icons.js';
import { createQuestion } from './question.js';
import { reveal } from './reveal.js';
import { createSearch } from './search.js';
import { PEN, SEARCH, TRASH } from './talk-icons.js';

/** Text and picture of each entry, and the paths of a picture that only the menu has. @type {Record<Entry, [text: string, picture: string, paths?: string[]]>} */
const LOOKS = {
  new: ['new_chat', 'pen', PEN],
  chats: ['conversations', 'chats', ['M15.5 9.8a5.8 5.8 0 0 1-8.4 5.2L3.5 16l1-3.4a5.8 5.8 0 1 1 11-2.8Z', 'M18.2 9.3a5.4 5.4 0 0 1 1.5 7.3l.8 2.9-3-.7a5.5 5.5 0 0 1-6.3-.9']],
  search: ['search', 'search', SEARCH],
  text: ['export_text', 'text', ['M12 4v11', 'm7.5 11 4.5 4.5 4.5-4.5', 'M4.5 19.5h15']],
  json: ['export_json', 'json', ['M8.5 4.5H8A2.5 2.5 0 0 0 5.5 7v2.5L4 12l1.5 2.5V17A2.5 2.5 0 0 0 8 19.5h.5', 'M15.5 4.5h.5A2.5 2.5 0 0 1 18.5 7v2.5L20 12l-1.5 2.5V17a2.5 2.5 0 0 1-2.5 2.5h-.5']],
  sound: ['sound', 'sound', ['M6.5 10a5.5 5.5 0 0 1 11 0c0 5 2 6 2 6.5h-15c0-.5 2-1.5 2-6.5Z', 'M10 19.5a2.2 2.2 0 0 0 4 0']],
  keep: ['keep', 'keep', ['M6.5 11h11a2 2 0 0 1 2 2v5a2 2 0 0 1-2 2h-11a2 2 0 0 1-2-2v-5a2 2 0 0 1 2-2Z', 'M8 11V8a4 4 0 0 1 8 0v3']],
  erase: ['delete_chat', 'trash', TRASH],
  erase_all: ['delete_all', 'erase-all', ['M4.5 7h15', 'M9.5 7V5a1 1 0 0 1 1-1h3a1 1 0 0 1 1 1v2', 'm6.5 7 .8 11.2A2 2 0 0 0 9.3 20h5.4a2 2 0 0 0 2-1.8L17.5 7', 'm10 11 4 5', 'm14 11-4 5']],
};
const BACK = ['m14.5 6-6 6 6 6'];

/**
 * @param {object} options
 * @param {import('./entries.js').Offer} options.config
 * @param {import('./i18n.js').Texts} options.texts
 * @param {HTMLElement} options.panel
 * @param {HTMLElement} options.button what opens it, and has the focus back afterwards
 * @param {() => void} options.focusChat
 * @param {(text: string) => void} options.announce
 * @param {import('./extras.js').Actions} options.on
 */
export function createMenu({ config, texts, panel, button, focusChat, announce, on }) {
  const t = (/** @type {string} */ key) => say(texts, key);
  const scrim = element('div', { class: 'scrim' });
  const sheet = element('section', { class: 'sheet', id: 'sheet', tabindex: '-1' });
  const cover = element('div', { class: 'cover', hidden: '' }, scrim, sheet);
  const head = /** @type {HTMLElement} */ (panel.querySelector('.head'));
  head.after(cover);
  button.setAttribute('aria-controls', 'sheet');

  /** @typedef {{root: HTMLElement, open(): void, render(state: State): void}} View */
  const list = listOfEntries();
  const chats = page('conversations', createConversations({ texts, on, announce, done: toChat }));
  const search = page('search', createSearch({
    texts,
    on,
    announce,
    async choose({ conversation, exchange }) {
      close(false);
      await on.openConversation(conversation);
      if (!(await reveal(panel, exchange))) focusChat();
    },
  }));
  /** @type {View} */
  let view = list;
  /** @type {State | undefined} */
  let state;

  scrim.addEventListener('click', () => close(true));
  const placed = new ResizeObserver(place);
  for (const node of [cover, button]) {
    node.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || cover.hidden || event.isComposing) return;
      // It closes what is on top, not the chat.
      event.stopPropagation();
      if (view === list) close(true);
      else show(list);
    });
  }

  /** Right below the header, however high that is. */
  function place() {
    cover.style.insetBlockStart = `${head.offsetHeight}px`;
  }

  /** The rest of the panel can't be seen now, so nobody shall get to it. What is announced still is. @param {boolean} covered */
  function coverRest(covered) {
    for (const node of panel.children) {
      if (node === head || node === cover || node.getAttribute('role') === 'status') continue;
      /** @type {HTMLElement} */ (node).inert = covered;
    }
  }

  function open() {
    cover.hidden = false;
    placed.observe(head);
    place();
    coverRest(true);
    button.setAttribute('aria-expanded', 'true');
    show(list);
  }

  /** @param {boolean} back whether the focus goes back to the button */
  function close(back) {
    if (cover.hidden) return;
    cover.hidden = true;
    placed.disconnect();
    coverRest(false);
    button.setAttribute('aria-expanded', 'false');
    if (back) button.focus();
  }

  function toChat() {
    close(false);
    focusChat();
  }

  /** @param {View} next */
  function show(next) {
    const from = view;
    view = next;
    if (state) view.render(state);
    sheet.setAttribute('aria-label', t(view === chats ? 'conversations' : view === search ? 'search' : 'menu'));
    sheet.classList.toggle('whole', view !== list);
    sheet.replaceChildren(view.root);
    sheet.scrollTop = 0;
    if (view === list && from !== list) list.openAt(from === chats ? 'chats' : 'search');
    else view.open();
    // Nothing in it to be focused: then the sheet itself, so that keys still arrive.
    if (!sheet.contains(document.activeElement)) sheet.focus();
  }

  /** A view with a way back. @param {string} title @param {View} inner @returns {View} */
  function page(title, inner) {
    const back = element('button', { type: 'button', class: 'tool' });
    name(back, t('back'), icon('back', BACK));
    back.addEventListener('click', () => show(list));
    const root = element('div', { class: 'page' }, element('div', { class: 'page-head' }, back, element('h2', {}, t(title))), inner.root);
    return { root, open: () => inner.open(), render: (state) => inner.render(state) };
  }

  function listOfEntries() {
    const root = element('ul', { class: 'items menu' });
    addArrows(root, '.item');
    /** @type {Map<Entry, HTMLElement>} */
    const items = new Map();
    /** @param {Entry} entry */
    const focus = (entry) => /** @type {HTMLElement | null | undefined} */ (items.get(entry)?.querySelector('.item'))?.focus();

    /** @type {Record<Entry, () => void>} */
    const act = {
      new() {
        toChat();
        on.newConversation();
      },
      chats: () => show(chats),
      search: () => show(search),
      text: () => save('text'),
      json: () => save('json'),
      sound: () => on.setSound(!state?.sound),
      keep: () => on.consent(state?.consent === 'granted' ? 'denied' : 'granted'),
      erase: () => ask('erase', 'delete_text', () => on.clear()),
      erase_all: () => ask('erase_all', 'delete_text', () => on.deleteAll()),
    };

    /** @param {'text' | 'json'} form */
    async function save(form) {
      close(true);
      await on.exportAs(form);
    }

    /** @param {Entry} entry @param {string} text @param {() => void} erase */
    function ask(entry, text, erase) {
      const place = items.get(entry);
      const item = place?.firstElementChild;
      if (!place || !item) return;
      const question = createQuestion({
        texts,
        title: t(LOOKS[entry][0]),
        text: t(text),
        yes() {
          place.replaceChildren(item);
          toChat();
          erase();
          announce(t('deleted'));
        },
        no() {
          place.replaceChildren(item);
          focus(entry);
        },
      });
      place.replaceChildren(question.root);
      question.focus();
      question.root.scrollIntoView({ block: 'nearest' });
    }

    /** @param {Entry} entry */
    function made(entry) {
      const [text, picture, paths] = LOOKS[entry];
      const item = element('button', { type: 'button', class: 'item' }, icon(picture, paths), element('span', {}, t(text)));
      if (entry === 'sound' || entry === 'keep') item.append(element('i', { class: 'switch' }));
      if (entry === 'chats') item.append(element('span', { class: 'unread' }));
      if (entry === 'chats' || entry === 'search') item.append(icon('go'));
      item.addEventListener('click', () => act[entry]());
      return element('li', { class: `entry-${entry}` }, item);
    }

    return {
      root,
      open: () => /** @type {HTMLElement | null} */ (root.querySelector('.item'))?.focus(),
      openAt: focus,
      /** @param {State} now */
      render(now) {
        const offered = entries(now, config);
        for (const [entry, node] of items) {
          if (offered.includes(entry)) continue;
          node.remove();
          items.delete(entry);
        }
        offered.forEach((entry, index) => {
          const node = items.get(entry) ?? made(entry);
          items.set(entry, node);
          if (root.children[index] !== node) root.insertBefore(node, root.children[index] ?? null);
        });
        items.get('sound')?.querySelector('.item')?.setAttribute('aria-pressed', String(now.sound));
        items.get('keep')?.querySelector('.item')?.setAttribute('aria-pressed', String(now.consent === 'granted'));
        const unread = items.get('chats')?.querySelector('.unread');
        if (unread) unread.textContent = now.unread > 0 ? say(texts, 'unread', { n: now.unread }) : '';
      },
    };
  }

  return {
    toggle() {
      if (cover.hidden) open();
      else close(true);
    },
    close,
    /** @param {State} next */
    render(next) {
      state = next;
      if (!cover.hidden) view.render(next);
    },
  };
}
