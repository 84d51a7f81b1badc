/** When the page asks again by itself. */

export const EVERY_MS = 30_000;
const RETRY_MS = 5_000;
const RETRY_MAX_MS = 300_000;

/** Longer after each failure, so that a server that is in trouble is left in peace. @param {number} failures in a row */
export const pause = (failures) => (failures === 0 ? EVERY_MS : Math.min(RETRY_MS * 2 ** (failures - 1), RETRY_MAX_MS));

/**
 * Loads at once when told to, and by itself as long as it is on and the tab is seen. Never two at a time of its own
 * doing; what is told interrupts what runs.
 *
 * @param {object} options
 * @param {(signal: AbortSignal) => Promise<boolean>} options.load whether it went well; never throws
 * @param {() => boolean} options.seen whether somebody looks
 * @param {(run: () => void, ms: number) => number} [options.later]
 * @param {(timer: number) => void} [options.never]
 * @param {() => number} [options.now]
 */
export function createRefresh({ load, seen, later = setTimeout, never = clearTimeout, now = Date.now }) {
  let on = true;
  let failures = 0;
  /** @type {number | undefined} */
  let timer;
  /** @type {number | undefined} when the next load is due */
  let due;
  /** @type {AbortController | undefined} */
  let running;
  let over = false;

  function plan() {
    if (timer !== undefined) never(timer);
    timer = undefined;
    // A failure is tried again even when the page does not refresh by itself: there is nothing else to look at.
    due = !over && !running && (on || failures > 0) ? now() + pause(failures) : undefined;
    if (due !== undefined) timer = later(wake, pause(failures));
  }

  function wake() {
    timer = undefined;
    // Due while nobody looks: done when somebody does.
    if (seen()) void go();
  }

  async function go() {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    plan();
    const well = await load(mine.signal);
    // Another one took over.
    if (running !== mine) return;
    running = undefined;
    failures = well ? 0 : failures + 1;
    plan();
  }

  return {
    go,
    /** @param {boolean} wanted */
    set(wanted) {
      on = wanted;
      if (!running) plan();
    },
    /** The tab is shown again. */
    look() {
      if (timer === undefined && due !== undefined && !running && !over) void go();
    },
    /** ms until the next load by itself. */
    left: () => (due === undefined ? undefined : Math.max(0, due - now())),
    stop() {
      over = true;
      running?.abort();
      running = undefined;
      plan();
    },
  };
}
