/** When visitors write: a table of the week, coloured. What a screen reader finds in it are the numbers. */
import { card } from './card.js';
import { h, say } from './dom.js';
import { LEVELS, busiest, levels } from './heat.js';
import { texts } from './texts.js';

/** @param {import('./format.js').Format} format */
export function busy(format) {
  const words = texts.busy;
  const it = card(words.title, { area: 'busy', onTable: (asTable) => table.classList.toggle('plain', asTable) });
  const days = [0, 1, 2, 3, 4, 5, 6];
  const hours = Array.from({ length: 24 }, (_, hour) => hour);
  const fields = days.map(() => hours.map(() => h('td', {}, h('span'))));
  const caption = h('caption.quiet');
  const table = h(
    'table.heat',
    {},
    caption,
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, h('span.quiet', {}, words.day)), hours.map((hour) => h('th', { scope: 'col', class: hour % 6 === 0 ? 'shown' : '' }, h('span', {}, format.hour(hour)))))),
    h('tbody', {}, days.map((day) => h('tr', {}, h('th', { scope: 'row' }, format.weekday(day)), fields[day]))),
  );
  const told = h('p.told', { 'aria-hidden': 'true' });
  const scale = h('p.scale', { 'aria-hidden': 'true' }, words.less, Array.from({ length: LEVELS + 1 }, (_, level) => h(`i.level-${level}`)), words.more);
  it.body.append(h('div.scroll', { tabindex: 0, role: 'region', 'aria-label': texts.card.inside(words.title) }, table), h('div.under', {}, told, scale));

  /** @type {number[][]} */
  let counts = [];
  const tell = (/** @type {number} */ day, /** @type {number} */ hour) => say(told, words.field(format.longWeekday(day), `${format.fullHour(hour)} – ${format.fullHour((hour + 1) % 24)}`, words.messages(format.number(counts[day][hour]), counts[day][hour])));
  const rest = () => {
    const top = busiest(counts);
    if (top) tell(top.day, top.hour);
    else say(told, words.none);
  };
  fields.forEach((row, day) => row.forEach((field, hour) => field.addEventListener('pointerenter', () => tell(day, hour))));
  table.addEventListener('pointerleave', rest);

  return {
    node: it.node,
    /** @param {import('./main.js').Data} data */
    show({ span, busy: { messages, span: known } }) {
      counts = messages;
      const hint = known ? words.hint(format.timeZone(), known.from > span.from ? format.fullDay(known.from) : undefined) : words.notKept;
      it.hint(hint);
      say(caption, hint);
      // Zeros would be wrong: there was something, by days.
      it.body.hidden = !known;
      const top = busiest(messages);
      levels(messages).forEach((row, day) =>
        row.forEach((level, hour) => {
          const field = fields[day][hour];
          field.className = `level-${level}${top && top.day === day && top.hour === hour ? ' top' : ''}`;
          say(field.firstChild, format.number(messages[day][hour]));
        }),
      );
      rest();
    },
  };
}
