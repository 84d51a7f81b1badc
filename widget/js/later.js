/**
 * What an empty chat does without, loaded when it is first needed: what reads replies, and what shows a workflow's blocks.
 *
 * Both functions give a promise as long as it has to be waited for, and from then on the thing itself, so that nothing
 * flickers that needs no waiting.
 *
 * @typedef {Pick<typeof import('./markdown.js'), 'createReader'> & Pick<typeof import('./prose.js'), 'render' | 'item'>} Reading
 * @typedef {typeof import('./blocks.js')} Blocks
 */
import { element } from './dom.js';

export const loadReading = once(async () => {
  // All named here, so that none is only found in another.
  const [{ createReader }, { render, item }] = await Promise.all([import('./markdown.js'), import('./prose.js'), import('./mend.js'), import('../vendor/marked-18.2.1/marked.esm.js')]);
  return /** @type {Reading} */ ({ createReader, render, item });
});

export const loadBlocks = once(async () => {
  const [blocks] = await Promise.all([import('./blocks.js'), import('./block-checks.js'), loadStyle('../blocks.css')]);
  return /** @type {Blocks} */ (blocks);
});

/** @template T @param {() => Promise<T>} load @returns {() => T | Promise<T>} */
function once(load) {
  /** @type {T | undefined} */
  let loaded;
  /** @type {Promise<T> | undefined} */
  let loading;
  return () => {
    if (loaded) return loaded;
    if (!loading) {
      loading = load().then((it) => (loaded = it));
      // The network may be back at the next try.
      loading.catch(() => (loading = undefined));
    }
    return loading;
  };
}

/** @param {string} name @returns {Promise<void>} */
function loadStyle(name) {
  return new Promise((resolve) => {
    const link = element('link', { rel: 'stylesheet', href: new URL(name, import.meta.url).href });
    // Without it all can still be read.
    link.onload = link.onerror = () => resolve();
    document.head.append(link);
  });
}
