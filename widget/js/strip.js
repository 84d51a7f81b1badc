/** The nodes of the notice above the field. What it says is worked out in notice.js. */
import { element } from './dom.js';
import { icon, ring } from './icons.js';
import { notice as noticeOf } from './notice.js';

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
        what.icon === 'ring' ? ring(what.seconds, longestWait) : icon(what.icon),
        element('div', {}, element('b', {}, what.title), element('span', {}, what.text), ...(actions.length > 0 ? [element('span', { class: 'actions' }, ...actions)] : [])),
      );
      if (hadFocus) (actions[0] ?? field).focus();
    },
  };
}
