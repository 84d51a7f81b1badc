/**
 * The conversation: its exchanges (turn.js), the notice (strip.js), and who reads the end of it (follow.js). An empty chat
 * has none of it, so all this is loaded when the open chat has nothing else to do (later.js, main.js).
 *
 * @typedef {import('./state.js').State} State
 */
import { createFollower } from './follow.js';
import { sayDay } from './i18n.js';
import { icon } from './icons.js';
import { isRunning, running } from './state.js';
import { createStrip } from './strip.js';
import { ARROW } from './talk-icons.js';
import { createTurn } from './turn.js';

/** A reply is read aloud once, when it is whole; whoever wants more of it than this reads it in the log. */
const SPOKEN_CHARS = 1500;
/** More than are seen at once, where all are short. Of a long conversation the older ones come when these can be read. */
const AT_ONCE = 10;
/** Who says more takes the room of others. */
const CHARS = 600;
/** What is seen is painted first. */
const SEEN_MS = 100;
/** As long as nobody notices. Each time the browser lays out and paints what is seen anew, so fewer and longer are cheaper. */
const OLDER_MS = 16;

/**
 * @param {object} options
 * @param {(id: string) => HTMLElement} options.find
 * @param {import('./turn.js').Tools} options.tools
 * @param {HTMLElement} options.field where the focus goes after what the notice offers
 * @param {import('./types.js').Actions} options.on
 */
export function createTalk({ find, tools, field, on }) {
  const { t, texts } = tools;
  const log = find('log');
  const turns = find('turns');
  /** @type {Map<string, ReturnType<typeof createTurn>>} */
  const shown = new Map();
  /** @type {State | undefined} */
  let state;
  let newestId = '';
  /** What was said last, for who listens. */
  let spoken = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let older;

  find('newest').replaceChildren(icon('arrow', ARROW), t('to_newest'));
  const strip = createStrip({ texts, strip: find('notice'), field, on });
  const follower = createFollower(log, turns, find('newest'));

  /** @param {State} next */
  function paintExchanges(next) {
    const { exchanges } = next;
    turns.hidden = exchanges.length === 0;
    const ids = new Set(exchanges.map((it) => it.id));
    for (const [id, turn] of shown) {
      if (ids.has(id)) continue;
      turn.root.remove();
      shown.delete(id);
    }
    const paint = painter(next);
    let room = AT_ONCE;
    let at = exchanges.length - 1;
    /** @type {Element | null} */
    let below = null;
    for (; at >= 0; at -= 1) {
      if (shown.has(exchanges[at].id)) room = 0;
      // Above what is shown it would move who reads there.
      else if (room <= 0) break;
      below = paint(at, below);
      // Much of what is long may be a block for what is small.
      room -= 1 + Math.min(AT_ONCE / 3, (exchanges[at].text.length + exchanges[at].answer.length) / CHARS);
    }
    log.setAttribute('aria-busy', String(running(next) !== undefined));
    if (at >= 0) older ??= setTimeout(paintOlder, SEEN_MS);
  }

  /** From the newest to the oldest, as many as there is time for. Who reads stays where they are. */
  function paintOlder() {
    older = undefined;
    if (!state) return;
    const { exchanges } = state;
    const paint = painter(state);
    const until = performance.now() + OLDER_MS;
    const fromEnd = follower.following() ? undefined : log.scrollHeight - log.scrollTop;
    let at = exchanges.findLastIndex((it) => !shown.has(it.id));
    for (; at >= 0 && performance.now() < until; at -= 1) paint(at, shown.get(exchanges[at + 1]?.id)?.root ?? null);
    // Not every browser holds it there by itself, and none at the very top.
    if (fromEnd !== undefined) log.scrollTop = log.scrollHeight - fromEnd;
    if (at >= 0) older = setTimeout(paintOlder);
  }

  /** @param {State} next @returns {(at: number, below: Element | null) => Element} paints one of its exchanges, above the node of the one after it */
  function painter(next) {
    const { exchanges, online, editing } = next;
    const now = running(next) !== undefined;
    const answered = exchanges.findLast((it) => !isRunning(it) && it.answer !== '')?.id;
    return (at, below) => {
      const exchange = /** @type {import('./turn.js').Exchange} */ (exchanges[at]);
      let turn = shown.get(exchange.id);
      if (!turn) {
        turn = createTurn(exchange, tools);
        shown.set(exchange.id, turn);
      }
      const { root } = turn;
      if (root.parentElement !== turns || root.nextElementSibling !== below) turns.insertBefore(root, below);
      const last = at === exchanges.length - 1;
      const editable = last && !now && exchange.phase !== 'failed' && exchange.kind !== 'push';
      const newDay = at === 0 || !isSameDay(exchanges[at - 1].at, exchange.at);
      turn.paint(exchange, { last, online, editable, editing: editing === exchange.id, tools: exchange.id === answered, day: newDay ? sayDay(texts, exchange.at) : '' });
      return root;
    };
  }

  /** A reply that has become whole, or that came by itself, is said once. @param {State} before @param {State} next */
  function listen(before, next) {
    const was = new Map(before.exchanges.map((it) => [it.id, it]));
    const over = next.exchanges.findLast((it) => {
      const earlier = was.get(it.id);
      return !isRunning(it) && it.answer !== '' && (earlier ? isRunning(earlier) : 'kind' in it && it.kind === 'push' && before.exchanges.length > 0);
    });
    const text = over && (shown.get(over.id)?.spoken(SPOKEN_CHARS) || over.answer.slice(0, SPOKEN_CHARS));
    if (text) spoken = `${t('assistant')} ${text}`;
    else if (running(next) || next.exchanges.length === 0) spoken = '';
  }

  return {
    /** @param {State} next */
    render(next) {
      const before = state;
      state = next;
      const wasFollowing = follower.following();
      const changed = before?.exchanges !== next.exchanges || before?.online !== next.online;
      if (changed) paintExchanges(next);
      if (before && changed) listen(before, next);
      strip.render(next);

      const last = next.exchanges.at(-1);
      if (last && last.id !== newestId) {
        newestId = last.id;
        // One's own message is always worth seeing; what comes by itself must not take anybody away from what they read.
        if ('kind' in last && last.kind === 'push' && !wasFollowing) follower.more();
        else follower.toEnd();
      } else if (wasFollowing) {
        follower.keep();
      } else if (last && isRunning(last) && changed) {
        follower.more();
      }
    },

    /** What is to be said aloud. */
    said() {
      // What a notice has interrupted is not said twice.
      if (strip.announced()) spoken = '';
      return strip.announced() || (state && running(state) ? t('answering') : spoken);
    },

    /** To the end, for who was reading there. */
    keep() {
      if (follower.following()) follower.toEnd();
    },
  };
}

/** @param {number} one @param {number} other */
function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}
