import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ACCENT, FONTS, GROUNDS, contrast, fromOklch, oklch, paintTheme, palette } from '../js/theme.js';

/** A grid through all colours, greys, the ends, and what shops really use. */
function accents() {
  const steps = [0, 51, 102, 153, 204, 255];
  const part = (n) => n.toString(16).padStart(2, '0');
  const grid = steps.flatMap((r) => steps.flatMap((g) => steps.map((b) => `#${part(r)}${part(g)}${part(b)}`)));
  const greys = Array.from({ length: 52 }, (_, at) => `#${part(at * 5).repeat(3)}`);
  // The same at each run, and between the steps of the grid.
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) % 256;
  const odd = Array.from({ length: 200 }, () => `#${part(random())}${part(random())}${part(random())}`);
  return [...grid, ...greys, ...odd, '#0f6b5c', '#667eea', '#ffe600', '#ff5a1f', '#e2001a', '#777777', '#767676', '#808080', '#fefefe', '#010101', '#171817', '#f7f7f5'];
}

test('contrast is counted as WCAG does', () => {
  assert.equal(contrast('#000000', '#ffffff').toFixed(2), '21.00');
  assert.equal(contrast('#ffffff', '#767676').toFixed(2), '4.54');
  assert.equal(contrast('#123456', '#123456'), 1);
});

test('a colour survives the way to OKLCH and back', () => {
  for (const colour of accents()) assert.equal(fromOklch(oklch(colour)), colour);
  const [L, chroma] = oklch('#ff0000');
  assert.deepEqual([L.toFixed(3), chroma.toFixed(3)], ['0.628', '0.258']);
});

for (const mode of /** @type {const} */ (['light', 'dark'])) {
  test(`whatever the shop's colour, everything can be read: ${mode}`, () => {
    const all = accents();
    assert.ok(all.length > 400);
    const { surface, canvas, raised } = GROUNDS[mode];
    for (const accent of all) {
      const it = palette(accent, mode);
      const least = (name, one, other, ratio) => assert.ok(contrast(one, other) >= ratio, `${accent} ${name}: ${one} on ${other} is ${contrast(one, other).toFixed(2)}`);
      least('ink', it.ink, it.accent, 4.5);
      least('ink under the pointer', it.ink, it.hover, 4.5);
      least('the visitor', it.userInk, it.user, 4.5);
      for (const ground of [surface, canvas, raised, it.soft]) {
        least('text', it.text, ground, 4.5);
        least('ring', it.ring, ground, 3);
      }
      // What is filled must be seen to be there.
      for (const ground of [surface, canvas]) least('fill', it.accent, ground, mode === 'dark' ? 3 : 1.15);
      for (const value of Object.values(it)) assert.match(value, /^#[0-9a-f]{6}$/);
    }
  });
}

test('the shop knows its colour again', () => {
  // By day it is the very colour, wherever that can be seen and written on.
  for (const colour of ['#0f6b5c', '#e2001a', '#1a1a1a', '#ffe600', '#3b5bdb']) assert.equal(palette(colour, 'light').accent, colour);
  // By night and as text it keeps its hue.
  for (const colour of ['#0f6b5c', '#e2001a', '#3b5bdb', '#ff5a1f', '#7c3aed']) {
    for (const mode of /** @type {const} */ (['light', 'dark'])) {
      const it = palette(colour, mode);
      for (const made of [it.accent, it.text, it.ring, it.user]) {
        const turn = Math.abs(oklch(colour)[2] - oklch(made)[2]);
        assert.ok(Math.min(turn, 2 * Math.PI - turn) < 0.12, `${colour} ${mode}: ${made}`);
      }
    }
  }
  // No colour of its own stays without one.
  assert.ok(oklch(palette('#000000', 'dark').accent)[1] < 0.01);
});

test('what is no colour is our own', () => {
  for (const bad of [undefined, '', 'green', '#12345', '#0f6b5c;x:y', 'rgb(1,2,3)']) assert.deepEqual(palette(bad, 'light'), palette(ACCENT, 'light'));
  assert.deepEqual(palette('#0AF', 'dark'), palette('#00aaff', 'dark'));
});

test('the grounds are those of the style sheet', () => {
  const css = readFileSync(new URL('../widget.css', import.meta.url), 'utf8');
  for (const [mode, grounds] of Object.entries(GROUNDS)) {
    for (const [name, colour] of Object.entries(grounds)) {
      const found = new RegExp(`--fd-${name}: ${colour.length === 7 ? `(${colour}|${short(colour)})` : colour}`, 'i');
      assert.match(css, found, `${mode} --fd-${name} is ${colour}`);
    }
  }
  for (const font of FONTS.slice(1)) assert.ok(css.includes(`[data-font="${font}"]`), font);
  function short(colour) {
    return /^#(.)\1(.)\2(.)\3$/.test(colour) ? colour.replace(/^#(.)\1(.)\2(.)\3$/, '#$1$2$3') : colour;
  }
});

/** A page of which only what `paintTheme` touches is there. */
function page(dark) {
  const set = new Map();
  const listeners = new Set();
  const system = { matches: dark, addEventListener: (_, hear) => listeners.add(hear), removeEventListener: (_, hear) => listeners.delete(hear) };
  globalThis.matchMedia = () => system;
  return { root: { dataset: {}, style: { setProperty: (name, value) => set.set(name, value), removeProperty: (name) => set.delete(name) } }, set, system, listeners };
}

test('a page is painted, and follows the system where the shop leaves it to that', () => {
  const { root, set, system, listeners } = page(false);
  paintTheme(root, { accent: '#e2001a' });
  assert.equal(root.dataset.theme, 'light');
  assert.deepEqual([set.get('--fd-accent'), set.get('--fd-accent-ink'), set.get('--fd-r-l'), set.get('color-scheme')], ['#e2001a', '#ffffff', undefined, 'light']);
  system.matches = true;
  for (const hear of listeners) hear();
  assert.equal(root.dataset.theme, 'dark');
  assert.notEqual(set.get('--fd-accent'), '#e2001a');

  paintTheme(root, { mode: 'light', radius: 10, font: 'serif' });
  assert.deepEqual([listeners.size, root.dataset.theme, set.get('--fd-r-l'), set.get('--fd-r-s')], [0, 'light', '10px', '4px']);
  assert.equal(root.dataset.font, 'serif');
  paintTheme(root, { font: '__proto__', radius: 0 });
  assert.deepEqual([root.dataset.font, set.get('--fd-r-m'), listeners.size], ['system', '0px', 1]);
});
