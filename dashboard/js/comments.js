/** What visitors wrote with their ratings: their own words, and only ever text. */
import { card, keep } from './card.js';
import { h, icon, keyed, say } from './dom.js';
import { texts } from './texts.js';

/**
 * @typedef {object} Comment
 * @property {string} site
 * @property {string} session
 * @property {string} message_id
 * @property {number} at
 * @property {'up' | 'down'} rating
 * @property {string} comment
 * @property {string | null} page_path
 */

const PAGE = 6;
const MOST = 500;

/**
 * @param {object} options
 * @param {import('./api.js').Api} options.api
 * @param {import('./format.js').Format} options.format
 * @param {() => {site: string | null, span: import('./range.js').Span}} options.query
 * @param {(visit: {site: string, id: string}) => void} options.onOpen
 * @param {(error: unknown) => void} options.onError
 */
export function comments({ api, format, query, onOpen, onError }) {
  const words = texts.comments;
  const it = card(words.title, {
    hint: words.hint,
    area: 'comments',
    onSave: async (signal) => {
      const { site, span } = query();
      keep(await api.export(site, span, { what: 'comments' }, signal), `${words.file}.csv`);
    },
  });
  const none = h('p.nothing', { hidden: true }, words.none);
  const list = h('ul.said');
  const more = h('button.secondary', { type: 'button', hidden: true, onclick: () => void grow() }, words.more);
  it.body.append(none, list, h('div.more', {}, more));

  /** How many are wanted. */
  let wanted = PAGE;
  /** @type {AbortController | undefined} */
  let running;

  /** @param {AbortSignal} [outer] */
  async function load(outer) {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const signal = outer ? AbortSignal.any([outer, mine.signal]) : mine.signal;
    const { site, span } = query();
    /** @type {{comments: Comment[], next: string | null}} */
    let page;
    try {
      page = await api.comments(site, span, Math.min(MOST, wanted), signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      throw error;
    }
    // Another time or site may have been chosen meanwhile; then that is what comes next.
    if (signal.aborted) return;
    none.hidden = page.comments.length > 0;
    more.hidden = page.next === null || wanted >= MOST;
    keyed(list, page.comments, ({ site, session, message_id, at }) => `${site} ${session} ${message_id} ${at}`, line);
  }

  async function grow() {
    wanted += 2 * PAGE;
    await load().catch(onError);
  }

  /** @param {Comment} comment */
  function line({ site, session, at, rating, comment, page_path }) {
    const up = rating === 'up';
    const when = h('button', { type: 'button', title: format.exactMoment(at), onclick: () => onOpen({ site, id: session }) }, format.moment(at));
    const text = h('p', { dir: 'auto' });
    // As it is, line by line.
    say(text, comment);
    const mark = h(`i.${rating}`, { role: 'img', 'aria-label': up ? words.up : words.down, title: up ? words.up : words.down }, icon(up ? 'thumb' : 'down_thumb'));
    return { node: h('li', {}, mark, h('div', {}, text, h('small', {}, when, page_path ? h('span', {}, page_path) : ''))), update() {} };
  }

  return {
    node: it.node,
    load,
    /** Back to one page: another time, another site. */
    restart() {
      wanted = PAGE;
    },
  };
}
