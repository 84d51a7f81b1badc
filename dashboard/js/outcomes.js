/** How replies ended, and for those that failed: why, and what to do. */
import { card } from './card.js';
import { h, icon, keyed, say } from './dom.js';
import { over, ranked, share, sum } from './figures.js';
import { texts } from './texts.js';

/**
 * @param {import('./format.js').Format} format
 * @param {(code: string) => void} onShow
 */
export function outcomes(format, onShow) {
  const words = texts.outcomes;
  const kinds = /** @type {const} */ (['ended', 'cancelled', 'failed']);
  const bar = h('div.stack', { 'aria-hidden': 'true' });
  const parts = kinds.map((kind) => {
    const piece = h(`i.${kind}`);
    bar.append(piece);
    const figure = h('b');
    const part = h('span');
    return { kind, piece, figure, part, node: h('li', {}, h(`i.swatch.bars.${kind}`), h('span', {}, words[kind]), figure, part) };
  });
  const none = h('p.nothing', { hidden: true }, words.none);
  const clean = h('p.fine', { hidden: true }, icon('check'), words.clean);
  const why = h('h3', {}, words.why);
  const list = h('ul.reasons');
  const key = h('ul.parts', {}, parts.map(({ node }) => node));
  const it = card(words.title, { area: 'outcomes' });
  it.body.append(none, bar, key, clean, why, list);

  return {
    node: it.node,
    /** @param {import('./main.js').Data} data */
    show({ summary }) {
      const all = over(summary);
      const counts = { ended: summary.ended, cancelled: summary.cancelled, failed: sum(summary.failed) };
      none.hidden = all > 0;
      bar.hidden = key.hidden = all === 0;
      for (const { kind, piece, figure, part } of parts) {
        piece.hidden = counts[kind] === 0;
        piece.style.flexGrow = String(counts[kind]);
        say(figure, format.number(counts[kind]));
        say(part, format.percent(share(counts[kind], all) ?? 0));
      }
      const failed = ranked(summary.failed);
      clean.hidden = all === 0 || failed.length > 0;
      why.hidden = list.hidden = failed.length === 0;
      keyed(list, failed, ([code]) => code, ([code]) => {
        const { title, why, todo } = words.failure(code);
        const count = h('b');
        const node = h('li', {}, h('details', {}, h('summary', {}, icon('go'), h('span', {}, title), count), h('div', {}, h('p', {}, why), h('p', {}, h('strong', {}, `${words.todo}: `), todo), h('button.link', { type: 'button', onclick: () => onShow(code) }, words.show, icon('go')))));
        return { node, update: ([, times]) => say(count, format.number(times)) };
      });
    },
  };
}
