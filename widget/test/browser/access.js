/** How the chat is for who cannot see it, cannot point, needs it large, or needs it still. What access.test.js looks at. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const AXE = readFileSync(join(process.env.MODULES ?? '', 'node_modules/axe-core/axe.min.js'), 'utf8');

/** The frame that the chat is in, or the page. @param {import('./visitor.js').tab extends (page: any) => infer Tab ? Tab : never} chat */
export const frameOf = (chat) => chat.page.frames().find((frame) => frame.url().includes('/widget/modern-widget.html')) ?? chat.page.mainFrame();

/**
 * Nothing that axe knows of. `target-size` is of WCAG 2.2, and off unless asked for.
 * @param {any} chat @param {string} state @param {string[]} [without] rules that can't be decided here
 */
export async function axe(chat, state, without = []) {
  const frame = frameOf(chat);
  if (!(await frame.evaluate(() => 'axe' in globalThis))) await frame.evaluate(AXE);
  const rules = Object.fromEntries([['target-size', { enabled: true }], ...without.map((rule) => [rule, { enabled: false }])]);
  const { violations, passes } = await frame.evaluate((rules) => globalThis.axe.run(document, { rules, resultTypes: ['violations', 'passes'] }), rules);
  const told = violations.map((it) => `${it.id}: ${it.nodes.map((node) => `${node.html} ${node.any.map((any) => any.message).join(', ')}`).join('\n    ')}`);
  assert.deepEqual(told, [], `axe: ${state}`);
  assert.ok(passes.length > 10, `axe looked at something: ${state}`);
}

/** Every theme and direction of what is shown now. @param {any} chat @param {string} state */
export async function axeEverywhere(chat, state) {
  const frame = frameOf(chat);
  for (const dir of ['ltr', 'rtl']) {
    await frame.evaluate((dir) => (document.documentElement.dir = dir), dir);
    for (const colorScheme of ['light', 'dark']) {
      await chat.page.emulateMedia({ colorScheme });
      await chat.shot(`access ${state} ${colorScheme} ${dir}`);
      await axe(chat, `${state}, ${colorScheme}, ${dir}`);
      await fits(chat, `${state}, ${colorScheme}, ${dir}`);
    }
  }
}

/** Nothing can be scrolled sideways, and nothing that can be pressed is outside. @param {any} chat @param {string} state */
export async function fits(chat, state) {
  const outside = await frameOf(chat).evaluate(() => {
    const wide = [document.documentElement, ...document.querySelectorAll('.log, .sheet, .composer, .notice, .consent')].filter((node) => node.scrollWidth > node.clientWidth + 1);
    const pressed = [...document.querySelectorAll('button, a, textarea, input:not([tabindex="-1"])')].filter((node) => {
      const { left, right, width } = node.getBoundingClientRect();
      // A row of cards and a wide table scroll in themselves.
      return width > 0 && !node.closest('[tabindex="0"]:not(.log), .table, pre, .row, .quiet') && (left < -1 || right > innerWidth + 1);
    });
    return [...wide, ...pressed].map((node) => `${node.tagName} .${node.className} "${node.textContent?.trim().slice(0, 30)}"`);
  });
  assert.deepEqual(outside, [], `sticks out: ${state}`);
}

/** What can be pressed, and is smaller than that, in pixels of CSS. @param {any} chat @param {number} least */
export function tooSmall(chat, least) {
  return frameOf(chat).evaluate((least) => {
    const all = [...document.querySelectorAll('button')].filter((node) => node.checkVisibility() && !node.closest('[inert]'));
    return all.flatMap((node) => {
      const { width, height } = node.getBoundingClientRect();
      return Math.min(width, height) < least - 0.5 ? [`${node.getAttribute('aria-label') ?? node.textContent} ${Math.round(width)}×${Math.round(height)}`] : [];
    });
  }, least);
}

/**
 * Notes what a screen reader would say by itself from now on: each change of a region that is live, as its whole text then.
 * @param {any} chat
 */
export function listens(chat) {
  return frameOf(chat).evaluate(() => {
    const LIVE = '[role="status"], [role="alert"], [role="log"], [aria-live]';
    const isLive = (node) => (node.getAttribute('aria-live') ?? 'polite') !== 'off';
    globalThis.heard = [];
    const said = new Map([...document.querySelectorAll(LIVE)].map((node) => [node, node.textContent]));
    new MutationObserver((changes) => {
      const regions = new Set(changes.map(({ target }) => (target instanceof Element ? target : target.parentElement)?.closest(LIVE)));
      for (const region of regions) {
        if (!region || !isLive(region) || region.closest('[inert], [hidden]')) continue;
        const text = region.textContent.trim();
        if (text === said.get(region)) continue;
        said.set(region, text);
        if (text !== '') globalThis.heard.push(text);
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
}

/** @param {any} chat @returns {Promise<string[]>} what was said since */
export const heard = (chat) => frameOf(chat).evaluate(() => globalThis.heard.splice(0));

/**
 * The accessibility tree, as the browser gives it to a screen reader: `role "name"`, what is ignored left out.
 * @param {any} chat alone on its page
 */
export async function tree(chat) {
  const session = await chat.page.context().newCDPSession(chat.page);
  try {
    const { nodes } = await session.send('Accessibility.getFullAXTree');
    const shown = nodes.filter(({ ignored, role }) => !ignored && !['none', 'generic', 'InlineTextBox', 'StaticText', 'RootWebArea'].includes(role?.value));
    return shown.map(({ role, name, properties = [] }) => {
      const states = properties.filter(({ name, value }) => ['expanded', 'pressed', 'busy', 'disabled'].includes(name) && !['false', false].includes(value.value)).map(({ name }) => name);
      return [role.value, `"${name?.value ?? ''}"`, ...states].join(' ');
    });
  } finally {
    await session.detach();
  }
}

/** Presses Tab until this has the focus, as who has no other way. @param {any} chat @param {import('playwright-core').Locator} wanted @param {string} [key] */
export async function tabTo(chat, wanted, key = 'Tab') {
  const passed = [];
  for (let presses = 0; presses < 40; presses += 1) {
    // Not there yet counts as not focused: it is looked for again after the next key.
    if ((await wanted.count()) > 0 && (await wanted.first().evaluate((node) => node === node.getRootNode().activeElement && node.ownerDocument.hasFocus()))) return;
    await chat.page.keyboard.press(key);
    passed.push(await focused(chat));
  }
  throw new Error(`${key} never got to ${wanted}, but to ${passed.join(' → ')}`);
}

/** The name of what has the focus in the chat. @param {any} chat @returns {Promise<string>} */
export function focused(chat) {
  return frameOf(chat).evaluate(() => {
    const node = document.activeElement;
    return (node?.getAttribute('aria-label') ?? node?.textContent ?? '').trim();
  });
}
