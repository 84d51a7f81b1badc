/** The nodes of the notice above the field. What it says is worked out in notice.js. */
import { element } from './dom.js';
import { icon, shape } from './icons.js';
import { notice as noticeOf } from './notice.js';
import { NOTICES } from './talk-icons.js';

/**
 * @param {object} options
 * @param {import('./i18n.js').Texts} options.texts
 * @param {HTMLElement} options.strip
 * @param {HTMLElement} options.field where the focus goes afterwards
 * @param {import('./types.js').Actions} options.on
 */
export function createStrip({ texts, strip, field, on }) {
  let painted = '';
  let told = '';
  let announced = '';
  let longestWait = 0;

  return {
    /** What a screen reader should hear of it now: '' while there is no notice. */
    announced: () => announced,

    /** @param {import('./state.js').State} state */
    render(state) {
      const what = noticeOf(state, texts);
      strip.hidden = what === null;
      const key = JSON.stringify(what);
      if (key === painted) return;
      painted = key;
      if (!what) {
        strip.replaceChildren();
        told = announced = '';
        return;
      }
      longestWait = what.key === told ? Math.max(longestWait, what.seconds) : what.seconds;
      const hadFocus = strip.contains(document.activeElement);
      const news = what.key !== told;
      // Counting down aloud each second would drown everything else: only news is announced.
      if (news) announced = `${what.title} ${what.text}`;
      told = what.key;
      strip.className = `notice ${what.tone}`;
      const act = { retry: on.retry, edit: () => on.edit(), new: () => on.newConversation() };
      const actions = what.actions.map(([action, label]) => {
        const button = element('button', { type: 'button', class: action }, label);
        button.disabled = action === 'retry' && what.seconds > 0;
        button.addEventListener('click', () => {
          act[action]();
          field.focus();
        });
        return button;
      });
      strip.replaceChildren(
        what.icon === 'ring' ? ring(what.seconds, longestWait) : icon(what.icon, NOTICES[what.icon]),
        element('div', {}, element('b', {}, what.title), element('span', {}, what.text), ...(actions.length > 0 ? [element('span', { class: 'actions' }, ...actions)] : [])),
      );
      if (hadFocus) (actions[0] ?? field).focus();
    },
  };
}

/** Seconds left, as a ring that empties. @param {number} seconds @param {number} of @returns {SVGElement} */
function ring(seconds, of) {
  const round = 2 * Math.PI * 15;
  const circle = { cx: 18, cy: 18, r: 15 };
  const left = shape('circle', {
    ...circle,
    class: 'ring-left',
    transform: 'rotate(-90 18 18)',
    'stroke-dasharray': round.toFixed(1),
    'stroke-dashoffset': (round * (1 - Math.min(1, seconds / Math.max(1, of)))).toFixed(1),
  });
  const number = shape('text', { x: 18, y: 18.5 });
  number.textContent = seconds < 100 ? String(seconds) : '';
  const svg = shape('svg', { viewBox: '0 0 36 36', 'aria-hidden': 'true', class: 'ring' });
  svg.append(shape('circle', { ...circle, class: 'ring-all' }), left, number);
  return svg;
}
