/**
 * The looks of the chat: each state is painted and compared with the picture that is kept of it in ../look/kept. Started by
 * run.sh with this file's name. Whoever changes how the chat looks paints anew, looks at each picture, and commits them:
 *
 *   KEEP=1 FRONTDESK_BIN=… widget/test/browser/run.sh widget/test/browser/look.test.js
 *
 * What differs lies in SCREENSHOTS afterwards: `<name>.now.png`, and `<name>.differs.png` with what differs in red.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SHOP, STATES, hangPictures, show, stage } from '../look/stage.js';
import { browser, endAll } from './processes.js';

const { KEEP, MODULES, SCREENSHOTS } = process.env;
const require = createRequire(join(MODULES, 'package.json'));
const { default: pixelmatch } = await import(pathToFileURL(require.resolve('pixelmatch')).href);
const { PNG } = require('pngjs');
const KEPT = fileURLToPath(new URL('../look/kept/', import.meta.url));
const MADE_BY = join(KEPT, 'made-by.json');
const FONTS = fileURLToPath(new URL('../look/fonts.conf', import.meta.url));
const FONT = '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf';

/** All pictures together must not make the repository heavy. */
const MOST_BYTES = 1_500_000;
/** How far the colour of a pixel may be off, from 0 to 1. */
const THRESHOLD = 0.06;
/** Colours are kept in steps of this many of 255: a picture then has less than half the bytes. */
const STEP = 12;
/** How many pixels may differ: of all, and in the worst square of this side. Three dots that are gone have a dozen. */
const WINDOW = 32;
const SAME = { share: 0.001, square: 8, includeAA: true };
/** Another version of Chromium draws letters and corners a little differently. */
const OTHER = { share: 0.01, square: 200, includeAA: false };

/** A Wednesday. */
const NOW = new Date('2026-03-04T10:24:00Z');
const DESK = { width: 408, height: 704 };
const IMPORTANT = ['welcome', 'streaming', 'cards', 'order', 'form', 'limited', 'offline', 'menu'];
const LOOKS = {
  light: { size: DESK, states: STATES, shop: SHOP },
  dark: { size: DESK, states: STATES, shop: SHOP, theme: 'dark' },
  phone: { size: { width: 390, height: 780 }, states: IMPORTANT, shop: [], phone: true },
  rtl: { size: DESK, states: IMPORTANT, shop: SHOP, locale: 'ar' },
};

let chromium;
let theater;

before(async () => {
  try {
    assert.ok(existsSync(FONT), `${FONT} is missing, in which all pictures are written: apt-get install fonts-dejavu-core`);
    const flags = ['--font-render-hinting=none', '--disable-lcd-text', '--force-color-profile=srgb', '--disable-font-subpixel-positioning', '--force-device-scale-factor=1'];
    [chromium, theater] = await Promise.all([browser({ flags, env: { FONTCONFIG_FILE: FONTS } }), stage()]);
    mkdirSync(KEPT, { recursive: true });
    if (KEEP) {
      for (const name of readdirSync(KEPT)) unlinkSync(join(KEPT, name));
      writeFileSync(MADE_BY, `${JSON.stringify({ chromium: major() })}\n`);
    }
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
});

after(async () => {
  await chromium.close();
  await theater.close();
  endAll();
});

const major = () => chromium.driver.version().split('.')[0];
const tolerance = () => (JSON.parse(readFileSync(MADE_BY, 'utf8')).chromium === major() ? SAME : OTHER);

/** @param {string} look @param {(open: (state: string) => Promise<import('playwright-core').Page>) => Promise<void>} tell */
async function looks(look, tell) {
  const { size, theme = 'light', locale = 'en', phone = false } = LOOKS[look];
  const context = await chromium.driver.newContext({ viewport: size, deviceScaleFactor: 1, hasTouch: phone, isMobile: phone, reducedMotion: 'reduce', colorScheme: theme, locale: 'en-GB', timezoneId: 'UTC' });
  context.setDefaultTimeout(60_000);
  try {
    await hangPictures(context);
    await context.clock.setFixedTime(NOW);
    await tell(async (state) => {
      const page = await context.newPage();
      const wrong = [];
      page.on('console', (said) => ['error', 'warning'].includes(said.type()) && wrong.push(said.text()));
      page.on('pageerror', (error) => wrong.push(error.stack));
      await show(page, theater.base, state, { theme, locale });
      assert.deepEqual(wrong, [], `${state}: the console is clean`);
      return page;
    });
  } finally {
    await context.close();
  }
}

async function picture(page) {
  const png = PNG.sync.read(await page.screenshot({ animations: 'disabled', caret: 'hide', scale: 'css' }));
  png.data = png.data.map((value) => Math.min(255, Math.round(value / STEP) * STEP));
  // Opaque, as it was.
  for (let at = 3; at < png.data.length; at += 4) png.data[at] = 255;
  return png;
}

/** What differs, in a sentence, or ''. @param {string} name @param {any} now */
function differs(name, now) {
  const path = join(KEPT, `${name}.png`);
  if (!existsSync(path)) return `${name}: no picture of it is kept`;
  const kept = PNG.sync.read(readFileSync(path));
  const { width, height } = now;
  if (kept.width !== width || kept.height !== height) return `${name}: ${width}×${height} pixels instead of ${kept.width}×${kept.height}`;
  const seen = new PNG({ width, height });
  const { share, square, includeAA } = tolerance();
  const all = pixelmatch(kept.data, now.data, seen.data, width, height, { threshold: THRESHOLD, includeAA });
  const most = all === 0 ? 0 : pixelmatch(kept.data, now.data, null, width, height, { threshold: THRESHOLD, includeAA, windowSize: WINDOW });
  if (all <= share * width * height && most <= square) return '';
  writeFileSync(join(SCREENSHOTS, `${name}.now.png`), PNG.sync.write(now));
  writeFileSync(join(SCREENSHOTS, `${name}.differs.png`), PNG.sync.write(seen));
  return `${name}: ${all} pixels differ, ${most} of them in one square of ${WINDOW}`;
}

describe('the looks of the chat', { timeout: 600_000 }, () => {
  for (const [look, { states, shop }] of Object.entries(LOOKS)) {
    it(`each state is as its kept picture (${look})`, async () => {
      const found = [];
      await looks(look, async (open) => {
        for (const state of [...states, ...shop]) {
          const page = await open(state);
          const now = await picture(page);
          await page.close();
          const name = `${state}-${look}`;
          if (KEEP) writeFileSync(join(KEPT, `${name}.png`), PNG.sync.write(now, { colorType: 2, deflateLevel: 9, deflateStrategy: 0, filterType: 0 }));
          else found.push(differs(name, now));
        }
      });
      const told = found.filter(Boolean);
      assert.deepEqual(told, [], `see ${SCREENSHOTS}; if it is meant to be so, paint anew with KEEP=1 and look at each`);
    });
  }

  it('sees another accent, a button that is gone, and a line that has moved', { skip: KEEP ? 'the pictures are made just now' : false }, async () => {
    await looks('light', async (open) => {
      const check = async (state, change) => {
        const page = await open(state);
        assert.equal(differs(`${state}-light`, await picture(page)), '', 'before');
        await page.evaluate(change);
        assert.match(differs(`${state}-light`, await picture(page)), /pixels differ/, String(change));
        await page.close();
      };
      await check('answered', () => document.documentElement.style.setProperty('--fd-accent', '#1b6b8c'));
      await check('welcome', () => document.documentElement.style.setProperty('--fd-accent', '#1b6b8c'));
      await check('cards', () => document.getElementById('more').style.setProperty('visibility', 'hidden'));
      await check('error', () => document.getElementById('notice').style.setProperty('translate', '0 3px'));
    });
  });

  it('keeps one picture of each state, and not too many bytes', () => {
    const kept = readdirSync(KEPT).filter((name) => name.endsWith('.png'));
    const wanted = Object.entries(LOOKS).flatMap(([look, { states, shop }]) => [...states, ...shop].map((state) => `${state}-${look}.png`));
    assert.deepEqual(kept.sort(), wanted.sort());
    const bytes = kept.reduce((sum, name) => sum + statSync(join(KEPT, name)).size, 0);
    assert.ok(bytes <= MOST_BYTES, `${bytes} bytes, and there may be ${MOST_BYTES}`);
  });
});
