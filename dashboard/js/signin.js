/** The door. What is typed goes to the caller and nowhere else. */
import { h, icon, say } from './dom.js';
import { texts } from './texts.js';

/**
 * @param {object} options
 * @param {string} [options.message] why one stands here again
 * @param {(token: string) => Promise<string | undefined>} options.enter what is wrong with it, if something is
 */
export function signIn({ message = '', enter }) {
  const words = texts.signIn;
  const token = h('input', { id: 'token', name: 'password', type: 'password', autocomplete: 'current-password', required: true, spellcheck: 'false', autocapitalize: 'off', 'aria-describedby': 'token-hint token-error' });
  const error = h('p.error', { id: 'token-error', role: 'alert', hidden: !message }, message);
  const button = h('button.primary', { type: 'submit' }, words.button);
  // Password managers file a secret under a name.
  const user = h('input', { id: 'user', name: 'username', type: 'text', autocomplete: 'username', value: 'frontdesk', readonly: true, tabindex: -1 });
  const form = h(
    'form.door',
    { method: 'post', novalidate: true },
    h('img.mark', { src: '/dashboard/icon.svg', alt: '', width: 52, height: 52 }),
    h('h1', {}, words.title),
    h('p.lead', {}, words.lead),
    h('div.quiet', { 'aria-hidden': 'true' }, h('label', { for: 'user' }, words.user), user),
    h('label', { for: 'token' }, words.token),
    h('div.field', {}, icon('key'), token),
    error,
    button,
    h('p.small', { id: 'token-hint' }, words.hint),
    h('p.small', {}, words.memory),
  );
  form.addEventListener('submit', async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (button.getAttribute('aria-disabled') === 'true') return;
    const typed = token.value.trim();
    if (!typed) return refuse(words.missing);
    button.setAttribute('aria-disabled', 'true');
    say(button, words.busy);
    error.hidden = true;
    const wrong = await enter(typed);
    if (wrong === undefined) return;
    button.removeAttribute('aria-disabled');
    say(button, words.button);
    refuse(wrong);
  });
  token.addEventListener('input', () => {
    error.hidden = true;
    token.removeAttribute('aria-invalid');
  });

  /** @param {string} why */
  function refuse(why) {
    say(error, why);
    error.hidden = false;
    token.setAttribute('aria-invalid', 'true');
    token.focus();
    token.select();
  }

  return { node: h('main.signin', {}, form), focus: () => token.focus() };
}
