/**
 * Pictures of the chat in all its states, for whoever changes how it looks. Needs no edge and no build:
 *
 *   CHROMIUM=/usr/bin/chromium MODULES=~/.cache/frontdesk-browser/… SCREENSHOTS=/tmp/shots node widget/test/look/shots.js [STATE…]
 *
 * MODULES is where run.sh has put playwright-core and axe-core. Says what axe, the console and the policy complain of.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { STATES, hangPictures, show, stage } from './stage.js';

const { CHROMIUM, MODULES, SCREENSHOTS } = process.env;
const require = createRequire(join(MODULES, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const LOOKS = {
  light: { width: 408, height: 704 },
  dark: { width: 408, height: 704, theme: 'dark' },
  rtl: { width: 408, height: 704, locale: 'ar' },
  narrow: { width: 320, height: 568 },
  touch: { width: 390, height: 780, touch: true },
  zoomed: { width: 320, height: 256 },
};

const { base, close } = await stage();
const driver = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--font-render-hinting=none'] });
mkdirSync(SCREENSHOTS, { recursive: true });

const wanted = process.argv.slice(2);
const states = STATES.filter((name) => wanted.length === 0 || wanted.includes(name));
let bad = 0;
for (const [look, { width, height, touch = false, ...how }] of Object.entries(LOOKS)) {
  const context = await driver.newContext({ viewport: { width, height }, deviceScaleFactor: 1.5, hasTouch: touch, isMobile: touch, reducedMotion: 'reduce' });
  await hangPictures(context);
  for (const state of states) {
    const page = await context.newPage();
    const complain = (text) => {
      bad += 1;
      console.log(`${look} ${state}: ${text}`);
    };
    page.on('console', (said) => ['error', 'warning'].includes(said.type()) && complain(said.text()));
    page.on('pageerror', (error) => complain(error.stack));
    await show(page, base, state, how).catch((error) => complain(error.message));
    const wide = await page.evaluate(() => [document.documentElement, document.getElementById('log')].some((it) => it.scrollWidth > it.clientWidth));
    if (wide) complain('sticks out');
    await page.screenshot({ path: join(SCREENSHOTS, `${state}-${look}.png`) });
    await page.evaluate(axe).catch(() => {});
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    for (const it of violations) complain(`axe ${it.id}: ${it.nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ''}`).join(' | ')}`);
    await page.close();
  }
  await context.close();
}
await driver.close();
await close();
console.log(`${states.length} states, ${Object.keys(LOOKS).length} looks, ${bad} complaints, in ${SCREENSHOTS}`);
