/** Who sets up a shop's chat, in the theme studio. Started by run.sh. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { browser, endAll, frontdesk, until } from './processes.js';
import { visitor } from './visitor.js';

const AXE = readFileSync(join(process.env.MODULES ?? '', 'node_modules/axe-core/axe.min.js'), 'utf8');

let chromium;
let desk;

before(async () => {
  [chromium, desk] = await Promise.all([browser(), frontdesk()]);
});
after(() => endAll());

/** @param {import('playwright-core').BrowserContextOptions} [options] */
async function studio(options) {
  const person = await visitor(chromium.driver, { viewport: { width: 1400, height: 1100 }, ...options });
  await person.context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: desk.url });
  const { page } = await person.open(`${desk.url}/widget/studio.html`);
  await page.locator('#state option').nth(5).waitFor({ state: 'attached' });
  const frame = page.frames().find((it) => it.url().includes('studio-preview'));
  assert.ok(frame);
  return { person, page, frame, states: await page.locator('#state option').allTextContents() };
}

/** @param {import('playwright-core').Frame | import('playwright-core').Page} where @param {string} what */
async function axe(where, what) {
  if (!(await where.evaluate(() => 'axe' in globalThis))) await where.evaluate(AXE);
  const { violations, passes } = await where.evaluate(() => globalThis.axe.run(document, { rules: { region: { enabled: false } }, resultTypes: ['violations', 'passes'] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`), [], what);
  assert.ok(passes.length > 10, `axe looked at something: ${what}`);
}

describe('the theme studio', () => {
  it('shows every state, in light and dark, in colours that can be read whatever the accent', async () => {
    const { person, page, frame, states } = await studio();
    assert.ok(states.length > 10, `${states}`);
    for (const accent of ['#ffe600', '#0f6b5c']) {
      await page.locator('#field-theme-accent').fill(accent);
      for (const light of ['light', 'dark']) {
        await page.locator('#light').selectOption(light);
        for (const state of states) {
          await page.locator('#state').selectOption(state);
          await until(`${state} is shown`, () => frame.evaluate(([light]) => document.documentElement.dataset.theme === light && document.documentElement.classList.contains('ready'), [light]));
          await axe(frame, `${state}, ${light}, ${accent}`);
        }
      }
    }
    await person.isUnharmed({ hosts: [new URL(desk.url).host] });
    await person.close();
  });

  it('changes the chat while one writes, and gives the tag and the file', async () => {
    const { person, page, frame } = await studio();
    await page.locator('#field-name').fill('Lamps & Light');
    await page.locator('#field-side').selectOption('start');
    await page.getByRole('button', { name: 'Take out topic 1' }).click();
    await until('the name is in the chat', async () => (await frame.locator('#name').textContent()) === 'Lamps & Light');
    await until('the topic is gone', async () => (await frame.locator('#topics li').count()) === 2);
    await page.getByRole('button', { name: 'Copy the tag' }).click();
    await until('it is copied', async () => (await page.locator('#told').textContent()) === 'The tag is copied.');
    // Pasted, as pages may not read what was copied.
    await page.locator('#field-image_hosts').locator('xpath=ancestor::details').locator('summary').click();
    await page.locator('#field-image_hosts').focus();
    await page.keyboard.press('Control+V');
    assert.equal(await page.locator('#field-image_hosts').inputValue(), `<script src="${desk.url}/widget/embed.js" async data-color="#0f6b5c" data-side="start"></script>`);
    await page.locator('#field-image_hosts').fill('cdn.shop.example');
    const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
    const file = JSON.parse(readFileSync(await saved.path(), 'utf8'));
    assert.deepEqual([saved.suggestedFilename(), file.name, file.side, file.topics.length, file.image_hosts], ['default.json', 'Lamps & Light', 'start', 2, ['cdn.shop.example']]);

    await page.locator('#field-theme-radius').fill('99');
    await until('a mistake is told', async () => (await page.locator('#field-theme-radius-wrong').textContent()) === 'must be a whole number from 0 to 28');
    assert.equal(JSON.parse(String(await page.locator('#file').textContent())).theme.radius, undefined, 'and not taken');
    await axe(page, 'the studio with a mistake');
    await page.screenshot({ path: join(String(process.env.SCREENSHOTS), 'studio.png') });
    await person.isUnharmed({ hosts: [new URL(desk.url).host] });
    await person.close();
  });

  it('speaks every language in its direction, and can be used on a phone and in the dark', async () => {
    const { person, page, frame } = await studio({ colorScheme: 'dark', viewport: { width: 390, height: 844 } });
    await page.locator('#locale').selectOption('ar');
    await until('it is written to the left', () => frame.evaluate(() => document.documentElement.dir === 'rtl'));
    assert.equal(await frame.evaluate(() => document.documentElement.dataset.theme), 'dark');
    await axe(page, 'the studio on a phone');
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    await page.screenshot({ path: join(String(process.env.SCREENSHOTS), 'studio-phone.png'), fullPage: true });
    await person.isUnharmed({ hosts: [new URL(desk.url).host] });
    await person.close();
  });
});
