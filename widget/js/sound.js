/**
 * A soft sound for an answer that came while nobody was looking. Two tones made here: no file to load. Browsers allow sound
 * only after the visitor did something on the page, so until then there is silence and no complaint.
 *
 * @typedef {import('./state.js').State} State
 */
import { isRunning } from './state.js';

/** Fundamental and time after the start: a rising fourth, quietly. */
const TONES = [[659.3, 0], [880, 0.11]];
const LOUDNESS = 0.07;
const FADES_IN_S = 0.5;

/**
 * Whether something was said that the visitor has not heard of: an answer ended, or a message came by itself. What was
 * only loaded, or is another conversation now, is not news.
 *
 * @param {Pick<State, 'conversation' | 'exchanges' | 'unread'>} before @param {Pick<State, 'conversation' | 'exchanges' | 'unread'>} now
 */
export function isNews(before, now) {
  if (before.conversation !== now.conversation) return false;
  if (now.unread > before.unread) return true;
  const known = new Map(before.exchanges.map((it) => [it.id, it]));
  return now.exchanges.some((it) => {
    const was = known.get(it.id);
    return was ? isRunning(was) && it.phase === 'done' : it.kind === 'push';
  });
}

export function createSound() {
  /** @type {AudioContext | undefined} */
  let audio;
  /** @type {State | undefined} */
  let before;
  let playing = 0;

  function allow() {
    // Made before a gesture, it would be mute and make the browser complain.
    if (globalThis.AudioContext) audio ??= new AudioContext();
  }
  for (const gesture of ['pointerdown', 'keydown']) addEventListener(gesture, allow, { once: true, capture: true });

  async function play() {
    if (!audio) return;
    playing += 1;
    await audio.resume();
    const start = audio.currentTime + 0.02;
    await Promise.all(TONES.map(([pitch, after]) => tone(/** @type {AudioContext} */ (audio), pitch, start + after)));
    playing -= 1;
    // A context that runs keeps the device awake.
    if (playing === 0) await audio.suspend();
  }

  /** Of several tabs with this chat in the background, one is enough. */
  function playOnce() {
    if (!navigator.locks) return play();
    return navigator.locks.request('frontdesk-sound', { ifAvailable: true }, async (lock) => {
      if (lock) await play();
    });
  }

  return {
    /** For the visitor to hear what was just switched on: that click is the gesture. */
    sample() {
      allow();
      play().catch(ignore);
    },

    /** @param {State} state */
    render(state) {
      const news = before !== undefined && isNews(before, state);
      before = state;
      if (news && state.sound && (document.hidden || !state.attending)) playOnce().catch(ignore);
    },
  };
}

/** The sound is an extra: without a device, or a lock, the chat is as good. */
function ignore() {}

/** @param {AudioContext} audio @param {number} pitch @param {number} start @returns {Promise<unknown>} until it has faded */
function tone(audio, pitch, start) {
  const oscillator = new OscillatorNode(audio, { frequency: pitch, type: 'sine' });
  const gain = new GainNode(audio, { gain: 0 });
  gain.gain.setValueAtTime(0, start);
  gain.gain.linearRampToValueAtTime(LOUDNESS, start + 0.012);
  gain.gain.exponentialRampToValueAtTime(0.0001, start + FADES_IN_S);
  oscillator.connect(gain).connect(audio.destination);
  oscillator.start(start);
  oscillator.stop(start + FADES_IN_S);
  return new Promise((resolve) => oscillator.addEventListener('ended', resolve, { once: true }));
}
