/** The page in two sentences, and what is worth a look. */
import { h, icon, keyed, say } from './dom.js';
import { answered, notices } from './figures.js';
import { busiest } from './heat.js';
import { DAY } from './range.js';
import { texts } from './texts.js';

/**
 * @param {import('./format.js').Format} format
 * @param {(kind: import('./figures.js').Notice['kind']) => void} onLook
 */
export function glance(format, onLook) {
  const words = texts.glance;
  const sentence = h('p.sentence');
  const list = h('ul.notices');
  const node = h('section.glance', { 'aria-label': words.title }, sentence, list);
  let said = '';

  /** @param {import('./figures.js').Notice} notice */
  function wording(notice) {
    switch (notice.kind) {
      case 'failing':
        return words.failing(format.percent(notice.share), texts.outcomes.failure(notice.code).title);
      case 'slow':
        return words.slow(format.time(notice.ms));
      case 'unhelpful':
        return words.unhelpful(format.percent(notice.share));
      case 'limited':
        return words.limited(format.number(notice.count));
    }
  }

  return {
    node,
    /** @param {import('./main.js').Data} data */
    show({ choice, span, bucket, summary, busy }) {
      const days = bucket === 'day' ? format.inUtc() : format;
      const period = choice === 'custom' ? words.days(days.fullDay(span.from), days.fullDay(span.until - 1)) : texts.ranges[choice].period;
      const share = answered(summary);
      const first = summary.first_chunk_ms.p50;
      const top = busiest(busy.messages);
      const parts = [words.traffic(period, format.number(summary.sessions), format.number(summary.messages), summary.sessions, summary.messages)];
      if (share !== undefined) parts.push(first === null ? words.answersOnly(format.percent(share)) : words.answers(format.percent(share), format.time(first)));
      // Of one day it says nothing that the plot does not.
      if (top && span.until - span.from > 2 * DAY) parts.push(words.busiest(format.longWeekday(top.day), format.fullHour(top.hour)));
      const now = JSON.stringify(parts);
      if (now !== said) sentence.replaceChildren(...parts.flatMap((part) => part.map((text, place) => (place % 2 ? h('b', {}, text) : text))));
      said = now;

      const found = notices(summary);
      list.hidden = found.length === 0;
      keyed(list, found, ({ kind }) => kind, ({ kind }) => {
        const text = h('span');
        const button = h('button', { type: 'button', onclick: () => onLook(kind) }, icon('warn'), text, h('em', {}, kind === 'failing' ? words.look : words.lookShort, icon('go')));
        return { node: h('li', {}, button), update: (notice) => say(text, wording(notice)) };
      });
    },
  };
}
