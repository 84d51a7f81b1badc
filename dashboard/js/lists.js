/** Two short lists: the pages on which chats begin, and what was refused. */
import { card } from './card.js';
import { h, icon, keyed, say } from './dom.js';
import { ranked, sum } from './figures.js';
import { texts } from './texts.js';

/**
 * @param {import('./format.js').Format} format
 * @param {(path: string) => void} onShow
 */
export function pages(format, onShow) {
  const words = texts.pages;
  const it = card(words.title, { hint: words.hint, area: 'pages' });
  const none = h('p.nothing', {}, words.none);
  const list = h('ol.ranked');
  it.body.append(none, list);
  return {
    node: it.node,
    /** @param {import('./main.js').Data} data */
    show({ pages: { pages, other } }) {
      const most = Math.max(1, ...pages.map(({ sessions }) => sessions));
      const rows = pages.map(({ path, sessions }) => ({ path: /** @type {string | null} */ (path), sessions, share: sessions / most }));
      if (other > 0) rows.push({ path: null, sessions: other, share: 0 });
      none.hidden = rows.length > 0;
      keyed(list, rows, ({ path }) => path ?? '', ({ path }) => {
        // All others together are no page to compare with.
        const length = h('i', { hidden: path === null });
        const count = h('b');
        const label = path === null ? h('span.other', {}, words.other) : h('button', { type: 'button', title: words.show(path), onclick: () => onShow(path) }, path);
        return {
          node: h('li', {}, length, label, count),
          update({ sessions, share }) {
            length.style.width = `${share * 100}%`;
            say(count, format.number(sessions));
          },
        };
      });
    },
  };
}

/** @param {import('./format.js').Format} format */
export function refusals(format) {
  const words = texts.refusals;
  const it = card(words.title, { hint: words.hint, area: 'refusals' });
  const none = h('div.calm', {}, icon('check'), h('p', {}, h('b', {}, words.none)), h('p', {}, words.noneWhy));
  const list = h('ul.reasons');
  it.body.append(none, list);
  return {
    node: it.node,
    /** @param {import('./main.js').Data} data */
    show({ summary: { refused } }) {
      none.hidden = sum(refused) > 0;
      keyed(list, ranked(refused), ([reason]) => reason, ([reason]) => {
        const { title, why } = words.reason(reason);
        const count = h('b');
        const row = [h('span', {}, title), count];
        const node = h('li', {}, why ? h('details', {}, h('summary', {}, icon('go'), ...row), h('div', {}, h('p', {}, why))) : h('p', {}, ...row));
        return { node, update: ([, times]) => say(count, words.times(format.number(times))) };
      });
    },
  };
}
