/** The colours, computed from the style sheet itself: they can be read, and told apart. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const sheet = (/** @type {string} */ name) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');
const [light, dark] = [sheet('dashboard.css'), sheet('css/dark.css')];

/** @param {string} name @returns {[string, string]} in light and in dark */
function token(name) {
  const [value, instead] = [light, dark].map((text) => new RegExp(`\\n  --${name}: ([^;]+);`).exec(text)?.[1]);
  assert.ok(value, `--${name}`);
  return [value, instead ?? value];
}

/** @param {string} colour `#rrggbb` */
const linear = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
const luminance = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;

/** As WCAG 2.2 defines it. */
function contrast(a, b) {
  const [x, y] = [luminance(linear(a)), luminance(linear(b))].sort((low, high) => high - low);
  return (x + 0.05) / (y + 0.05);
}

function check(least, front, back) {
  ['light', 'dark'].forEach((scheme, which) => {
    const found = contrast(token(front)[which], token(back)[which]);
    assert.ok(found >= least, `--${front} on --${back} in ${scheme}: ${found.toFixed(2)}`);
  });
}

test('text has a contrast of 4.5 on all it stands on', () => {
  for (const back of ['canvas', 'surface', 'raised']) for (const front of ['ink', 'ink-2', 'ink-3', 'accent', 'bad']) check(4.5, front, back);
  check(4.5, 'accent-ink', 'accent');
  for (const kind of ['good', 'bad', 'warn']) check(4.5, kind, `${kind}-soft`);
  check(4.5, 'accent', 'accent-soft');
});

test('what is drawn has a contrast of 3', () => {
  for (const front of ['messages', 'visitors', 'median', 'slowest', 'ended', 'cancelled', 'failed', 'field-line', 'heat']) check(3, front, 'surface');
});

test('lines and parts have the same colour in light and dark', () => {
  for (const name of ['messages', 'visitors', 'median', 'slowest', 'ended', 'cancelled', 'failed']) assert.equal(...token(name), name);
});

/** What people without red, or without green, cones see: Machado, Oliveira and Fernandes 2009, at full strength. */
const EYES = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  'no red': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  'no green': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};

/** In CIELAB, where 2 is the least that is noticed side by side. @param {string} colour @param {number[][]} eye */
function seen(colour, eye) {
  const rgb = linear(colour);
  const [r, g, b] = eye.map((row) => Math.max(0, row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2]));
  const xyz = [(0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505, 0.2126 * r + 0.7152 * g + 0.0722 * b, (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089];
  const [x, y, z] = xyz.map((it) => (it > 0.008856 ? Math.cbrt(it) : 7.787 * it + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

test('colours that stand side by side are told apart without red or green', () => {
  for (const group of [['messages', 'visitors'], ['median', 'slowest'], ['ended', 'cancelled', 'failed']]) {
    for (const [name, eye] of Object.entries(EYES)) {
      for (const a of group) {
        for (const b of group.slice(group.indexOf(a) + 1)) {
          const [p, q] = [seen(token(a)[0], eye), seen(token(b)[0], eye)];
          const distance = Math.hypot(...p.map((it, at) => it - q[at]));
          assert.ok(distance >= 25, `--${a} and --${b} to eyes with ${name}: ${distance.toFixed(1)}`);
        }
      }
    }
  }
});
