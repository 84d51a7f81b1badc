/**
 * What an empty chat does without, loaded when it is first needed: what shows a conversation, what reads replies, what shows
 * a workflow's blocks, and what asks for a comment.
 *
 * The functions give a promise as long as it has to be waited for, and from then on the thing itself, so that nothing
 * flickers that needs no waiting.
 *
 * @typedef {Pick<typeof import('./markdown.js'), 'createReader'> & Pick<typeof import('./prose.js'), 'render'> & Pick<typeof import('./grow.js'), 'extend'>} Reading
 * @typedef {typeof import('./blocks.js')} Blocks
 * @typedef {typeof import('./talk.js')} Talk
 */
import { element } from './dom.js';

export const loadTalk = once(async () => {
  const [talk] = await Promise.all([import('./talk.js'), loadStyle('../talk.css', { early: true, needed: true })]);
  return /** @type {Talk} */ (talk);
});

export const loadReading = once(async () => {
  // The library is named here, so that it is not only found in another.
  const [{ createReader }, { render }, { extend }] = await Promise.all([import('./markdown.js'), import('./prose.js'), import('./grow.js'), import('../vendor/marked-18.2.1/marked.esm.js')]);
  return /** @type {Reading} */ ({ createReader, render, extend });
});

export const loadBlocks = once(async () => {
  const [blocks] = await Promise.all([import('./blocks.js'), import('./block-checks.js'), loadStyle('../blocks.css')]);
  return /** @type {Blocks} */ (blocks);
});

export const loadComment = once(async () => {
  const [{ askForComment }] = await Promise.all([import('./comment.js'), loadStyle('../comment.css')]);
  return askForComment;
});

/** What could not be loaded is not tried again sooner, but where there is a network again. */
export const AGAIN_MS = 4000;

/** @template T @param {() => Promise<T>} load @returns {() => T | Promise<T>} */
export function once(load) {
  /** @type {T | undefined} */
  let loaded;
  /** @type {Promise<T> | undefined} */
  let loading;
  return () => {
    if (loaded) return loaded;
    if (!loading) {
      const mine = (loading = load().then((it) => (loaded = it)));
      const forget = () => {
        if (loading === mine) loading = undefined;
      };
      // Until it is forgotten each call gets the same refusal: who writes asks at each key.
      mine.catch(() => {
        addEventListener('online', forget, { once: true });
        if (navigator.onLine !== false) setTimeout(forget, AGAIN_MS);
      });
    }
    return loading;
  };
}

/** @param {string} name @param {{early?: boolean, needed?: boolean}} [how] early: other sheets may say more of the same, whenever they come @returns {Promise<void>} */
function loadStyle(name, { early, needed } = {}) {
  return new Promise((resolve, reject) => {
    const link = element('link', { rel: 'stylesheet', href: new URL(name, import.meta.url).href });
    link.onload = () => resolve();
    link.onerror = () => {
      link.remove();
      // Without the others all can still be read.
      if (needed) reject(new Error(name));
      else resolve();
    };
    if (early) document.querySelector('link[rel="stylesheet"]')?.after(link);
    else document.head.append(link);
  });
}
