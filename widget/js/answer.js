/**
 * The nodes of one reply: bubbles of text, and between them what a workflow asked to be shown (blocks.js).
 *
 * Nodes of finished blocks stay where they are, so nothing jumps, flickers or loses a selection while a reply grows.
 *
 * @typedef {import('./markdown.js').Block} Block
 * @typedef {import('./blocks.js').Tools} Tools
 */
import { element, name } from './dom.js';
import { icon } from './icons.js';
import { loadBlocks, loadReading } from './later.js';
import { CHECK, COPY } from './talk-icons.js';

const COPIED_MS = 1600;
/** One block of thousands of words costs more to read again than a frame has time: then it is read less often. */
const DEAR_MS = 6;
const REST = 4;

/** @param {Tools} tools @param {() => void} late called when there is something to show that there was not when it was painted */
export function createAnswer(tools, late) {
  const { t } = tools;
  /** @type {import('./later.js').Reading | undefined} */
  let reading;
  /** @type {ReturnType<import('./later.js').Reading['createReader']>} */
  let reader;
  /** @type {{source: string, growing: boolean} | undefined} */
  let waiting;
  let restUntil = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let rest;
  const body = element('div', { class: 'body' });
  /** @type {{block: Block, nodes: HTMLElement[]}[]} */
  let shown = [];
  /** Where the next word will come. @type {HTMLElement | undefined} */
  let end;

  body.addEventListener('click', async (event) => {
    const button = event.target instanceof Element ? event.target.closest('.copy-code') : null;
    const text = button?.closest('.code')?.querySelector('pre')?.textContent;
    if (button instanceof HTMLElement && text && (await copy({ 'text/plain': text }))) confirmCopy(button, t('copy_code'), t('copied'));
  });

  /** @param {Block} block */
  function place(block) {
    if (isTyped(block)) {
      const node = element('div', { class: 'typed' });
      body.append(node);
      fill(node, block);
      return [node];
    }
    const nodes = read().render(block.token, t);
    let bubble = body.lastElementChild;
    if (!bubble?.classList.contains('bubble')) {
      bubble = element('div', { class: 'bubble', dir: 'auto' });
      body.append(bubble);
    }
    bubble.append(...nodes);
    return nodes;
  }

  /** @param {HTMLElement} node @param {Block} block */
  async function fill(node, { token, open }) {
    const blocks = loadBlocks();
    if (open || blocks instanceof Promise) node.replaceChildren(element('div', { class: 'skeleton card-skeleton', 'aria-hidden': 'true' }, element('i'), element('i'), element('i')));
    if (open) return;
    try {
      const made = (blocks instanceof Promise ? await blocks : blocks).renderBlock(token.text ?? '', tools);
      if (made) return node.replaceChildren(made);
    } catch (error) {
      console.error('frontdesk: a block could not be shown', error);
    }
    // Whatever it was meant to be, it can still be read.
    node.replaceChildren(element('div', { class: 'bubble' }, ...read().render(token, t)));
  }

  /** @param {HTMLElement} node */
  function remove(node) {
    const parent = node.parentElement;
    node.remove();
    if (parent !== body && parent?.childElementCount === 0) parent.remove();
  }

  /** Nothing is placed before this is here. */
  const read = () => /** @type {import('./later.js').Reading} */ (reading);

  /** @param {string} source @param {boolean} growing */
  function paint(source, growing) {
    clearTimeout(rest);
    const started = performance.now();
    if (growing && started < restUntil) {
      rest = setTimeout(() => paint(source, growing), restUntil - started);
      return;
    }
    reader ??= read().createReader();
    const { blocks, same } = reader.read(source, growing);
    let from = same;
    const before = shown[from];
    if (before && blocks[from] && !isTyped(before.block) && !isTyped(blocks[from]) && read().extend(before.nodes, before.block.token, blocks[from].token, t)) {
      before.block = blocks[from];
      from += 1;
    }
    for (const { nodes } of shown.splice(from).reverse()) nodes.forEach(remove);
    for (const block of blocks.slice(from)) shown.push({ block, nodes: place(block) });
    const last = growing ? shown.at(-1)?.nodes.at(-1) : undefined;
    if (last !== end) {
      end?.removeAttribute('data-end');
      last?.setAttribute('data-end', '');
      end = last;
    }
    const took = performance.now() - started;
    restUntil = took > DEAR_MS ? started + took * (1 + REST) : 0;
  }

  /** Without a network there may be nothing to read it with: then it is shown as it was written. */
  async function paintWhenRead() {
    try {
      reading = await loadReading();
    } catch {
      if (waiting) body.replaceChildren(element('div', { class: 'bubble plain', dir: 'auto' }, waiting.source));
    }
    if (reading && waiting) {
      body.replaceChildren();
      paint(waiting.source, waiting.growing);
    }
    waiting = undefined;
    late();
  }

  return {
    body,
    isEmpty: () => body.childElementCount === 0,

    /** @param {string} source @param {boolean} growing */
    paint(source, growing) {
      if (source === '') return;
      const loaded = reading ?? loadReading();
      if (!(loaded instanceof Promise)) {
        // What could not be read before is shown as it was written.
        if (!reading) body.replaceChildren();
        reading = loaded;
        return paint(source, growing);
      }
      const isAsked = waiting !== undefined;
      waiting = { source, growing };
      if (!isAsked) paintWhenRead();
    },

    /** The beginning of it, as it is read aloud. @param {number} most characters */
    spoken(most) {
      let text = '';
      // Piece by piece: to lay out all of a long reply for this would hold everything up.
      for (const node of shown.flatMap(({ nodes }) => nodes)) {
        if (text.length > most) break;
        text += `${node.innerText.trim()}\n`;
      }
      return text.length > most ? `${text.slice(0, most)}…` : text.trim();
    },

    /** As it can be read elsewhere: as it was written, but for what only this chat can show. */
    text: () => shown.map(({ block, nodes }) => (isTyped(block) ? `${nodes[0].innerText}\n\n` : `${block.token.raw.trimEnd()}\n\n`)).join('').trim(),

    html() {
      const whole = element('div', {}, ...shown.filter(({ block }) => !isTyped(block)).flatMap(({ block }) => read().render(block.token, t)));
      for (const tool of whole.querySelectorAll('.code-head')) tool.remove();
      for (const more of whole.querySelectorAll('.more:not(span)')) rejoin(more);
      return new XMLSerializer().serializeToString(whole);
    },
  };
}

/** To the group before it, as elsewhere a long block is one. @param {Element} more */
function rejoin(more) {
  const before = more.previousElementSibling;
  const rows = more.querySelectorAll(':scope > table > tbody > tr');
  const into = rows.length > 0 ? before?.querySelector('tbody') : before;
  into?.append(...(rows.length > 0 ? rows : more.childNodes));
  more.remove();
}

/** @param {Block} block */
function isTyped({ token }) {
  return token.type === 'code' && /^frontdesk(?:\s|$)/.test(token.lang ?? '');
}

/** @param {Record<string, string>} forms by media type @returns {Promise<boolean>} whether it is on the clipboard */
export async function copy(forms) {
  try {
    if (forms['text/html'] && globalThis.ClipboardItem) {
      const items = Object.entries(forms).map(([type, text]) => [type, new Blob([text], { type })]);
      await navigator.clipboard.write([new ClipboardItem(Object.fromEntries(items))]);
    } else {
      await navigator.clipboard.writeText(forms['text/plain']);
    }
    return true;
  } catch {
    // The page around us may forbid it; then there is nothing to say that helps.
    return false;
  }
}

/** @param {HTMLElement} button @param {string} label @param {string} done */
export function confirmCopy(button, label, done) {
  name(button, done, icon('check', CHECK));
  setTimeout(() => name(button, label, icon('copy', COPY)), COPIED_MS);
}
