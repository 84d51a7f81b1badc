/**
 * Who reads the end of the conversation is kept there while it grows. Who has gone up to read stays where they are, and a
 * button tells that there is something new below.
 */

/** Within this many pixels of the end the reader is following. */
const FOLLOWING_PX = 48;

/** @param {HTMLElement} log what scrolls @param {HTMLElement} content what grows in it @param {HTMLElement} pill */
export function createFollower(log, content, pill) {
  let following = true;
  let top = 0;

  /** @param {boolean} [smooth] */
  function toEnd(smooth = false) {
    const isSmooth = smooth && !matchMedia('(prefers-reduced-motion: reduce)').matches;
    // Without a conversation there is a welcome, and that is read from its start.
    log.scrollTo({ top: content.hidden ? 0 : log.scrollHeight, behavior: isSmooth ? 'smooth' : 'instant' });
    following = true;
    pill.hidden = true;
  }

  log.addEventListener('scroll', () => {
    // Only going up ends the following: an end that moves away by itself does not.
    following = log.scrollHeight - log.scrollTop - log.clientHeight < FOLLOWING_PX || (following && log.scrollTop >= top);
    top = log.scrollTop;
    if (following) pill.hidden = true;
  });
  // The phone's keyboard, a picture that came and a resized window move the end, not who was reading there.
  const sizes = new ResizeObserver(() => following && toEnd());
  sizes.observe(log);
  sizes.observe(content);
  pill.addEventListener('click', () => toEnd(true));

  let due = false;

  return {
    toEnd,
    following: () => following,
    /** To the end, for who was reading there. To lay it out is a task of its own, before the next frame's. */
    keep() {
      if (due) return;
      if (!globalThis.scheduler?.postTask) return toEnd();
      due = true;
      scheduler.postTask(
        () => {
          due = false;
          if (following) toEnd();
        },
        { priority: 'user-blocking' },
      );
    },
    /** There is more than the reader sees. */
    more() {
      if (following) toEnd();
      else pill.hidden = false;
    },
  };
}
