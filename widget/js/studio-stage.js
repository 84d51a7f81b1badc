/**
 * Where the theme studio shows the chat: frames on a made-up shop's page, one or one for each state. A frame's page stays and
 * is told what to be.
 *
 * @typedef {{config: any, state: string, light: string, locale: string, direction: string}} Wanted
 */
import { palette } from './theme.js';

/** Of the panel, in pixels, as the launcher's script has them. @type {Record<string, number>} */
const WIDTHS = { compact: 360, normal: 408, large: 480 };

/**
 * @param {object} options
 * @param {(tag: string, more?: Record<string, any>, ...children: (Node | string)[]) => any} options.make
 * @param {HTMLElement} options.shop
 * @param {(names: string[]) => void} options.onStates
 */
export function createStage({ make, shop, onStates }) {
  /** @type {string[]} */
  let names = [];
  /** @type {{wanted: Wanted, how: {phone: boolean, all: boolean}} | undefined} */
  let last;
  /** By state; the one that is alone is under ''. @type {Map<string, {box: HTMLElement, frame: HTMLIFrameElement, ready: boolean}>} */
  const frames = new Map();
  const launcher = make('div', { className: 'launcher', ariaHidden: 'true' });
  const nudge = make('p', { className: 'nudge', hidden: true });
  const system = matchMedia('(prefers-color-scheme: dark)');
  system.addEventListener('change', () => last && show(last.wanted, last.how));

  addEventListener('message', (event) => {
    if (event.origin !== location.origin || !Array.isArray(event.data?.studio)) return;
    const slot = [...frames.values()].find(({ frame }) => frame.contentWindow === event.source);
    if (!slot) return;
    slot.ready = true;
    if (names.length === 0) {
      names = event.data.studio;
      onStates(names);
    }
    if (last) show(last.wanted, last.how);
  });

  /** @param {string} state */
  function frameOf(state) {
    const found = frames.get(state);
    if (found) return found;
    const frame = make('iframe', { title: state === '' ? 'The chat' : `The chat: ${state}`, src: 'studio-preview.html' });
    const slot = { box: make('figure', {}, make('figcaption', { hidden: state === '' }, state), make('div', { className: 'panel' }, frame)), frame, ready: false };
    frames.set(state, slot);
    return slot;
  }

  /** @param {Wanted} wanted @param {{phone: boolean, all: boolean}} how */
  function show(wanted, how) {
    last = { wanted, how };
    const { config } = wanted;
    const mode = wanted.light || config.theme?.mode || 'auto';
    const dark = mode === 'dark' || (mode === 'auto' && system.matches);
    const colours = palette(config.theme?.accent, dark ? 'dark' : 'light');
    const style = shop.style;
    style.setProperty('--accent', colours.accent);
    style.setProperty('--ink', colours.ink);
    style.setProperty('--width', `${how.phone ? 390 : (WIDTHS[config.size] ?? WIDTHS.normal)}px`);
    shop.dataset.side = config.side ?? 'end';
    shop.classList.toggle('dark', dark);
    shop.classList.toggle('phone', how.phone);
    shop.classList.toggle('all', how.all);
    shop.dir = wanted.direction || 'ltr';
    nudge.hidden = how.all || how.phone || !config.proactive?.text;
    nudge.textContent = config.proactive?.text ?? '';
    launcher.hidden = how.all || how.phone;

    const states = how.all && names.length > 0 ? names : [''];
    for (const [state, { box }] of frames) {
      if (states.includes(state)) continue;
      box.remove();
      frames.delete(state);
    }
    for (const state of states) {
      const { box, frame, ready } = frameOf(state);
      if (!box.isConnected) shop.append(box);
      if (ready) frame.contentWindow?.postMessage({ studio: { ...wanted, state: state || wanted.state } }, location.origin);
    }
    shop.append(nudge, launcher);
  }

  return { show };
}
