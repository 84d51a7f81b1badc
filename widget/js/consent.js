/**
 * Asks whether the conversation may be kept on this device, where the shop's law wants that asked, and reminds who said no of
 * what that means. The chat works either way, and both answers look the same.
 *
 * @typedef {import('./state.js').State} State
 */
import { element, set } from './dom.js';
import { say } from './i18n.js';

/**
 * @param {object} options
 * @param {import('./i18n.js').Texts} options.texts
 * @param {HTMLElement} options.before what it stands above
 * @param {{consent(answer: 'granted' | 'denied'): void}} options.on
 * @param {() => void} options.focusChat
 * @param {(text: string) => void} options.announce
 */
export function createConsent({ texts, before, on, focusChat, announce }) {
  const text = element('p', { id: 'consent-text' });
  const actions = element('div', { class: 'actions' });
  const root = element('section', { class: 'consent', 'aria-labelledby': 'consent-text', hidden: '' }, text, actions);
  before.before(root);
  let shown = '';

  /** @param {'consent_yes' | 'consent_no'} key @param {'granted' | 'denied'} answer */
  function choice(key, answer) {
    const button = element('button', { type: 'button' }, say(texts, key));
    button.addEventListener('click', () => {
      on.consent(answer);
      focusChat();
    });
    return button;
  }

  return {
    /** @param {Pick<State, 'consent'>} state */
    render({ consent }) {
      const key = { unasked: 'consent_text', denied: 'memory_only', granted: '' }[consent];
      if (key === shown) return;
      shown = key;
      root.hidden = key === '';
      root.classList.toggle('quietly', key === 'memory_only');
      const said = key && say(texts, key);
      set(text, said);
      actions.replaceChildren(...(key === 'consent_text' ? [choice('consent_yes', 'granted'), choice('consent_no', 'denied')] : []));
      actions.hidden = key !== 'consent_text';
      announce(said);
    },
  };
}
