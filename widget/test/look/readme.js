/**
 * The pictures of README.md: the demo shop of compose.yaml with the chat in it, as a visitor gets it. Painted anew into docs/ by
 *
 *   SHOP_URL=http://127.0.0.1:8080 FRONTDESK_BIN=… widget/test/browser/run.sh widget/test/look/readme.js
 *
 * SHOP_URL       a shop that runs; without it, that of a plain `frontdesk` that is started for this
 *
 * The fonts are those of this machine: the pictures have Inter and Noto Color Emoji. Look at them before they are committed.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { browser, endAll, frontdesk } from '../browser/processes.js';
import { tab } from '../browser/visitor.js';

const { MODULES, SHOP_URL } = process.env;
const { PNG } = createRequire(join(MODULES, 'package.json'))('pngjs');
const DOCS = fileURLToPath(new URL('../../../docs/', import.meta.url));
const MOST_BYTES = 150_000;
/** Colours in steps of this many of 255, which nobody sees: the pictures have half the bytes. */
const STEP = 3;

const PICTURES = {
  demo: { viewport: { width: 1280, height: 820 } },
  'demo-dark': { viewport: { width: 1280, height: 820 }, colorScheme: 'dark' },
  'demo-phone': { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true },
};

it('paints the demo shop', { timeout: 120_000 }, async () => {
  const [chromium, desk] = await Promise.all([browser({ flags: ['--font-render-hinting=none', '--disable-lcd-text'] }), SHOP_URL ? undefined : frontdesk()]);
  try {
    for (const [name, options] of Object.entries(PICTURES)) {
      const context = await chromium.driver.newContext({ locale: 'en-GB', reducedMotion: 'reduce', ...options });
      const page = await context.newPage();
      await page.goto(SHOP_URL ?? desk.url);
      const chat = tab(page);
      await chat.launcher.waitFor();
      await chat.openChat();
      await chat.ask('How long does shipping take?');
      await chat.sees('made up');
      await chat.isOver();
      // No caret, and no ring around the field.
      await chat.field.evaluate((field) => field.blur());
      await page.waitForTimeout(500);
      const png = PNG.sync.read(await page.screenshot({ animations: 'disabled', caret: 'hide' }));
      png.data = png.data.map((value) => Math.min(255, Math.round(value / STEP) * STEP));
      const path = join(DOCS, `${name}.png`);
      writeFileSync(path, PNG.sync.write(png, { colorType: 2, deflateLevel: 9, deflateStrategy: 0, filterType: 0 }));
      assert.ok(statSync(path).size <= MOST_BYTES, `${path} has ${statSync(path).size} bytes, and may have ${MOST_BYTES}`);
      await context.close();
    }
  } finally {
    await chromium.close();
    await desk?.stop();
    endAll();
  }
});
