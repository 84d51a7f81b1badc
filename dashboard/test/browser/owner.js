/** A shop owner at the dashboard: what they see and do. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../../widget/test/browser/processes.js';

const AXE = readFileSync(join(/** @type {string} */ (process.env.MODULES), 'node_modules/axe-core/axe.min.js'), 'utf8');

/** @param {import('playwright-core').Page} page */
export function owner(page) {
  const card = (name) => page.getByRole('region', { name, exact: true });
  const it = {
    page,
    card,
    token: page.getByLabel('Access token'),
    sentence: page.locator('.sentence'),
    rows: card('Latest visitors').locator('tbody tr'),
    sheet: page.getByRole('dialog', { name: 'One visit' }),

    async signIn(token) {
      await it.token.fill(token);
      await page.getByRole('button', { name: 'Sign in' }).click();
    },
    async seesFigures() {
      await it.sentence.waitFor();
      await page.locator('.u-over').first().waitFor();
    },
    /** What a tile says, in full. @param {string} title */
    tile: (title) => page.locator('.tile', { has: page.getByRole('heading', { name: title, exact: true }) }).locator('> b').getAttribute('title'),
    /** Picks a time, and waits for its figures. @param {string} name */
    async range(name) {
      await page.getByText(name, { exact: true }).click();
      await it.isCalm();
    },
    /** Nothing is being loaded. */
    isCalm: () => until('all is loaded', async () => (await page.locator('[aria-busy="true"], .spinning').count()) === 0),
    sees: (text, where = page.locator('body')) => until(`"${text}" is shown`, async () => (await where.innerText({ timeout: 500 })).includes(text)),

    /** All rules of axe, on what is shown now. @param {string} what */
    async isAccessible(what) {
      // By the driver: the page's own policy lets nobody add a script.
      if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
      const violations = await page.evaluate(async () => {
        const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join('\n  ')}`);
      });
      assert.deepEqual(violations, [], what);
    },
    /** As tall as the page: a screenshot of more than the window would draw the plots anew at another size. @param {string} name */
    async shot(name, { whole = false } = {}) {
      const size = page.viewportSize();
      if (whole && size) {
        await page.evaluate(() => scrollTo(0, 0));
        await page.setViewportSize({ width: size.width, height: await page.evaluate(() => document.documentElement.scrollHeight) });
        await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
      }
      await page.screenshot({ path: join(/** @type {string} */ (process.env.SCREENSHOTS), `${name.replace(/[^A-Za-z0-9]+/g, '-')}.png`) });
      if (whole && size) await page.setViewportSize(size);
    },
  };
  return it;
}
