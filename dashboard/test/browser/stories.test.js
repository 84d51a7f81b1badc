/** What shop owners live through at the dashboard, in a real browser, with the real executable. Started by run.sh. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { browser, endAll, frontdesk, madeUp, until } from '../../../widget/test/browser/processes.js';
import { tab, visitor } from '../../../widget/test/browser/visitor.js';
import { owner } from './owner.js';

/** What Chromium itself writes to the console when a request is refused or its connection is gone. */
const REFUSED = /Failed to load resource: (net::ERR_|the server responded with a status of 4(0[0-9]|29))/;
/** Gone, or started a moment ago and not ready yet. */
const AWAY = new RegExp(`${REFUSED.source}|status of 503`);

const ADMIN = randomBytes(32).toString('base64url');
const SHOES = randomBytes(32).toString('base64url');

/** @type {Awaited<ReturnType<typeof browser>>} */
let chromium;
/** A month of made-up visitors; nobody yet. */
let shops;
let fresh;

before(async () => {
  try {
    const settings = { ...(await madeUp({ days: 40, sites: 2 })), ADMIN_TOKEN: ADMIN, SITE_TOKENS: `shoes=${SHOES}` };
    [chromium, shops, fresh] = await Promise.all([browser(), frontdesk(settings), frontdesk({ ADMIN_TOKEN: ADMIN })]);
  } catch (error) {
    // No story can be told, and what did start would keep this process waiting.
    console.error(error.message);
    process.exit(1);
  }
});

after(async () => {
  try {
    await chromium.close();
    const codes = await Promise.all([shops, fresh].map((process) => process.stop()));
    assert.deepEqual(codes, [0, 0], 'frontdesk ends well after SIGTERM');
  } finally {
    endAll();
  }
});

/**
 * One story: who comes, and what happens. What it looked like when it went wrong is kept as a picture.
 *
 * @param {string} name
 * @param {(arrives: (options?: import('playwright-core').BrowserContextOptions) => ReturnType<typeof visitor>) => Promise<void>} tell
 */
function story(name, tell) {
  it(name, { timeout: 60_000 }, async () => {
    const here = [];
    try {
      await tell(async (options) => {
        const someone = await visitor(chromium.driver, { timezoneId: 'Europe/Berlin', acceptDownloads: true, ...options });
        here.push(someone);
        return someone;
      });
    } catch (error) {
      for (const [index, page] of here.flatMap((someone) => someone.context.pages()).entries()) {
        await owner(page).shot(`failed ${name} ${index + 1}`).catch(() => {});
      }
      const noted = here.flatMap((someone) => [...someone.noted.errors, ...someone.noted.policy]);
      if (noted.length > 0) console.error(`${name}: in the browser's console\n  ${noted.join('\n  ')}`);
      throw error;
    } finally {
      for (const someone of here) await someone.close();
    }
  });
}

/** At the door. @param {Awaited<ReturnType<typeof visitor>>} someone */
async function comes(someone, process = shops) {
  const page = await someone.context.newPage();
  await page.goto(process.dashboard);
  const here = owner(page);
  await here.token.waitFor();
  return here;
}

/** Inside, before the figures. */
async function enters(someone, process = shops, token = ADMIN) {
  const here = await comes(someone, process);
  await here.signIn(token);
  await here.seesFigures();
  await here.isCalm();
  return here;
}

/** What the API says, to compare. @param {string} path */
async function asked(path, token = ADMIN) {
  const response = await fetch(new URL(`/api/v1/analytics/${path}`, shops.dashboard), { headers: { Authorization: `Bearer ${token}` } });
  assert.equal(response.status, 200, path);
  return response.json();
}

const hostOf = (process) => new URL(process.dashboard).host;
const number = (text) => Number(text.replaceAll(/[^\d.]/g, ''));

describe('the dashboard in a browser', { concurrency: 3, timeout: 240_000 }, () => {
  story('tells a wrong token, lets in with the right one, and keeps it nowhere', async (arrives) => {
    const ada = await arrives();
    const here = await comes(ada);
    assert.equal(await here.token.getAttribute('type'), 'password');
    assert.equal(await here.token.getAttribute('autocomplete'), 'current-password');
    await here.shot('sign in');
    await here.isAccessible('the door');

    await here.signIn('');
    await here.sees('Enter your access token first');
    await here.signIn('a-token-that-is-none-of-ours-at-all');
    await here.sees('does not know this token');
    await here.isAccessible('the door, after a wrong token');
    await here.shot('wrong token');

    await here.signIn(ADMIN);
    await here.seesFigures();
    assert.equal(await here.page.evaluate(async () => localStorage.length + sessionStorage.length + (await indexedDB.databases()).length), 0, 'nothing is kept');
    assert.equal(here.page.url(), new URL('/', shops.dashboard).href);
    assert.ok(!(await here.page.content()).includes(ADMIN), 'the token is not in the page');

    await here.page.reload();
    await here.token.waitFor();
    assert.equal(await here.token.inputValue(), '');
    await ada.isUnharmed({ hosts: [hostOf(shops)], errors: REFUSED });
  });

  story('shows the figures of the API, and says that they are made up', async (arrives) => {
    const ada = await arrives({ viewport: { width: 1380, height: 900 } });
    const here = await enters(ada);
    await here.sees('Demo data');
    const summary = await asked('summary?range=7d');
    // The API's own week ends now, the page's with the hour: at most an hour's sessions apart.
    assert.ok(Math.abs(number(await here.tile('Visitors')) - summary.sessions) <= summary.sessions * 0.05, `${await here.tile('Visitors')} ${summary.sessions}`);
    assert.match(await here.tile('Answered'), /^\d+(\.\d)?%$/);
    assert.match(await here.tile('First word after'), /^\d+(\.\d+)?\ss$/);
    assert.match(await here.sentence.innerText(), /^In the last 7 days, .* visitors opened the chat and sent .* messages\./);

    // What the plot adds up is what the tile says.
    assert.equal(number(await here.card('Visitors and messages').locator('.key', { hasText: 'Messages' }).locator('b').innerText()), number(await here.tile('Messages')));
    await here.shot('light', { whole: true });
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('follows the time and the site that are picked', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada);
    const week = number(await here.tile('Messages'));
    for (const [name, words] of [['30 d', 'In the last 30 days'], ['90 d', 'In the last 90 days'], ['Year', 'In the last 365 days'], ['24 h', 'In the last 24 hours']]) {
      await here.range(name);
      await here.sees(words);
      const found = number(await here.tile('Messages'));
      assert.ok(name === '24 h' ? found < week : found > week, `${name}: ${found}, the week: ${week}`);
      const bars = await here.card('Top pages').locator('i:not([hidden])').evaluateAll((all) => all.map((bar) => parseFloat(bar.style.width)));
      assert.equal(Math.max(...bars), 100, `${name}: the longest bar is the first page's`);
    }

    const chosen = () => here.page.locator('.range input:checked').inputValue();
    await here.page.getByText('Custom', { exact: true }).click();
    assert.equal(await here.page.getByLabel('To', { exact: true }).getAttribute('max'), await here.page.getByLabel('To', { exact: true }).inputValue());
    await here.page.keyboard.press('Escape');
    assert.equal(await here.page.getByLabel('From').isVisible(), false);
    assert.equal(await chosen(), '24h', 'what the figures are of');
    await here.page.getByText('Custom', { exact: true }).click();
    await here.page.getByLabel('From').fill('2020-01-01');
    await here.page.getByRole('button', { name: 'Show', exact: true }).click();
    await here.sees('more than three years');
    await here.isAccessible('a range of one’s own');
    const day = new Date(Date.now() - 5 * 86_400_000).toISOString().slice(0, 10);
    await here.page.getByLabel('From').fill(day);
    await here.page.getByLabel('To', { exact: true }).fill(day);
    await here.page.getByRole('button', { name: 'Show', exact: true }).click();
    await until('the day is named', async () => /^On \d+ \w+ \d{4}, /.test(await here.sentence.innerText()));
    await here.isCalm();
    assert.equal(await here.page.getByLabel('From').isVisible(), false);
    await here.page.getByText('Custom', { exact: true }).click();
    assert.equal(await here.page.getByLabel('From').inputValue(), day, 'days can be changed');
    await here.page.getByLabel('From').press('Escape');
    assert.equal(await here.page.getByLabel('From').isVisible(), false);
    assert.equal(await chosen(), 'custom');

    await here.range('7 d');
    await here.page.getByLabel('Site', { exact: true }).selectOption('shoes');
    await until('the site’s own figures', async () => number(await here.tile('Messages')) < week);
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('shows an admin a site that comes later', async (arrives) => {
    const ada = await arrives();
    const page = await ada.context.newPage();
    const asks = [];
    page.on('request', (request) => request.url().includes('/summary?') && asks.push(new URL(request.url()).searchParams.get('site')));
    let sites = ['default'];
    await page.route('**/analytics/sites?', (route) => route.fulfill({ json: { sites } }));
    await page.goto(shops.dashboard);
    const here = owner(page);
    await here.signIn(ADMIN);
    await here.seesFigures();
    await here.isCalm();
    await here.sees('default', page.locator('.site'));
    assert.deepEqual(new Set(asks), new Set([null]), 'all sites, though one is known');
    sites = ['default', 'shoes'];
    await page.getByRole('button', { name: 'Refresh now' }).click();
    const picker = page.getByLabel('Site', { exact: true });
    await picker.selectOption('shoes');
    await here.isCalm();
    assert.equal(asks.at(-1), 'shoes');
    sites = ['default', 'hats', 'shoes'];
    await page.getByRole('button', { name: 'Refresh now' }).click();
    await until('three sites, and all of them', async () => (await picker.locator('option').count()) === 4);
    assert.equal(await picker.inputValue(), 'shoes', 'the choice stays');
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('tells where hours end, and shows days beyond', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada);
    const traffic = here.card('Visitors and messages');
    const busy = here.card('Busy hours');
    const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
    const pick = async (from, until) => {
      await here.page.getByText('Custom', { exact: true }).click();
      await here.page.getByLabel('From').fill(from);
      await here.page.getByLabel('To', { exact: true }).fill(until);
      await here.page.getByRole('button', { name: 'Show', exact: true }).click();
      await here.isCalm();
    };
    await here.sees('by hour', traffic);
    assert.ok(!(await busy.innerText()).includes('400 days'));
    await pick(day(500), day(0));
    await here.sees('by day (UTC)', traffic);
    await here.sees('Hours are kept for 400 days: these are from', busy);
    // A week that only days are left of, with a visitor put into it: nobody made one up that far back.
    await here.page.route('**/summary?*', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), sessions: 7, messages: 7 } });
    });
    await pick(day(500), day(498));
    await here.sees('by day (UTC)', traffic);
    await here.sees('This time is older', busy);
    assert.equal(await busy.locator('table').isVisible(), false);
    await here.isAccessible('only days');
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('shows a site’s own token nothing of the others', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada, shops, SHOES);
    assert.equal(await here.page.getByLabel('Site', { exact: true }).count(), 0, 'one site is no choice');
    await here.sees('shoes', here.page.locator('.site'));
    const { sessions } = await asked('summary?range=7d&site=shoes');
    assert.ok(Math.abs(number(await here.tile('Visitors')) - sessions) <= sessions * 0.1 + 2);
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('has a table behind each plot, and reads plots by the arrow keys', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada);
    await here.range('30 d');
    const traffic = here.card('Visitors and messages');
    const plot = traffic.getByRole('group');
    await plot.focus();
    await here.page.keyboard.press('End');
    const spoken = () => traffic.locator('.plotted').getByRole('status').innerText();
    const last = await spoken();
    await here.page.keyboard.press('ArrowLeft');
    await until('the day before is read', async () => (await spoken()) !== last);
    assert.match(await spoken(), /: Messages [\d,]+, Visitors [\d,]+$/);

    for (const name of ['Visitors and messages', 'Waiting for the first word', 'Busy hours']) await here.page.getByRole('button', { name: `Show as table: ${name}` }).click();
    assert.equal(await traffic.locator('tbody tr').count(), 30);
    const read = async (cells) => (await cells.allInnerTexts()).map(number).reduce((all, it) => all + it, 0);
    assert.equal(await read(traffic.locator('tbody td:nth-child(2)')), number(await here.tile('Messages')));
    const busy = here.card('Busy hours');
    assert.equal(await busy.locator('tbody td').count(), 7 * 24);
    assert.equal(await read(busy.locator('tbody td')), number(await here.tile('Messages')), 'the week’s hours hold all messages');
    await here.isAccessible('tables');
    await here.shot('tables', { whole: true });
    await here.page.getByRole('button', { name: 'Show as table: Visitors and messages' }).click();
    await plot.waitFor();
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('explains failures, and leads to the sessions in which they happened', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada);
    await here.range('30 d');
    const ends = here.card('How replies ended');
    await ends.locator('summary').first().click();
    await here.sees('What to do', ends);
    await ends.getByRole('button', { name: 'Show these sessions' }).first().click();
    await here.isCalm();
    const list = here.card('Latest visitors');
    await until('only sessions with failures', async () => {
      const [rows, failed] = [await here.rows.count(), await list.locator('tbody .pill.failed').count()];
      return rows > 0 && rows === failed;
    });
    await list.getByRole('button', { name: 'Clear filters' }).click();
    await list.getByLabel('Rating').selectOption('down');
    await until('only unhelpful ones', async () => (await here.rows.count()) > 0 && (await here.rows.count()) === (await list.locator('.icon-down_thumb').count()));
    await list.getByLabel('Page begins with').fill('nowhere/at/all');
    await here.sees('No visitors match these filters', list);
    await list.getByRole('button', { name: 'Clear filters' }).click();

    const path = here.card('Top pages').getByRole('button').first();
    const name = await path.innerText();
    await path.click();
    await until('only sessions of that page', async () => (await here.rows.count()) > 0 && (await here.rows.locator('.path').allInnerTexts()).every((it) => it.startsWith(name)));
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('pages through the latest visitors without repeating one, and opens one by the keyboard', async (arrives) => {
    const ada = await arrives({ viewport: { width: 1380, height: 900 } });
    const here = await enters(ada);
    assert.equal(await here.rows.count(), 25);
    await here.card('Latest visitors').getByRole('button', { name: 'Show more' }).click();
    await until('50 rows', async () => (await here.rows.count()) === 50);
    await here.page.getByRole('button', { name: 'Refresh now' }).click();
    await here.isCalm();
    assert.equal(await here.rows.count(), 50, 'a refresh keeps what was unfolded');
    const { sessions } = await asked('sessions?range=7d&limit=50');
    assert.deepEqual(sessions.map(({ id }) => id).filter((id, at, all) => all.indexOf(id) !== at), []);

    const row = here.rows.filter({ has: here.page.locator('.pill.ended') }).first().getByRole('button');
    await row.focus();
    await here.page.keyboard.press('Enter');
    await here.sheet.waitFor();
    await here.sees('Opened the chat', here.sheet);
    await here.sees('Sent a message of', here.sheet);
    await here.sees('Answered within', here.sheet);
    await here.isAccessible('one visit');
    await here.shot('visit');
    await here.page.keyboard.press('Escape');
    await here.sheet.waitFor({ state: 'hidden' });
    await until('the focus is back at the row', () => row.evaluate((it) => it === document.activeElement));
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('shows what visitors said, as they wrote it, and leads to the visit', async (arrives) => {
    const ada = await arrives({ viewport: { width: 1380, height: 900 } });
    const here = await enters(ada);
    await here.range('30 d');
    const said = here.card('What visitors said');
    const { comments } = await asked('comments?range=30d&limit=40');
    assert.ok(comments.length > 12, 'some were made up');
    const shown = () => said.locator('li p').allInnerTexts();
    await until('the newest are shown', async () => (await shown()).join() === comments.slice(0, 6).map(({ comment }) => comment).join());
    await said.getByRole('button', { name: 'Show more' }).click();
    await until('more are shown', async () => (await shown()).length === 18);
    // Whatever it is, it is text.
    const wild = '<img src=x onerror=attacked()>\n=1+1 \u202eabc';
    await here.page.route('**/comments?*', async (route) => {
      const response = await route.fetch();
      const list = await response.json();
      await route.fulfill({ response, json: { ...list, comments: [{ ...list.comments[0], at: list.comments[0].at + 1, comment: wild }, ...list.comments] } });
    });
    await here.page.getByRole('button', { name: 'Refresh now' }).click();
    await here.sees('<img src=x onerror=attacked()>', said);
    await here.isAccessible('what visitors said');
    await here.shot('comments', { whole: true });
    await said.locator('li').nth(1).getByRole('button').click();
    await here.sees(comments[0].comment, here.sheet);
    await here.shot('comment in a visit');
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('gives files to keep', async (arrives) => {
    const ada = await arrives();
    const here = await enters(ada);
    const save = async (name) => {
      const [file] = await Promise.all([here.page.waitForEvent('download'), here.page.getByRole('button', { name: `Download CSV: ${name}` }).click()]);
      return [file.suggestedFilename(), readFileSync(await file.path(), 'utf8').trim().split(/\r?\n/)];
    };
    const [series, steps] = await save('Visitors and messages');
    assert.equal(series, 'frontdesk-over-time.csv');
    assert.match(steps[0], /messages/);
    assert.equal(steps.length, 1 + 7 * 24);
    await here.card('Latest visitors').getByLabel('Replies').selectOption('failed');
    await here.isCalm();
    // One that never comes is stopped, and asked for anew.
    await here.page.route('**/export?*', () => {});
    await here.page.getByRole('button', { name: 'Download CSV: Latest visitors' }).click();
    await here.page.getByRole('button', { name: 'Stop the download: Latest visitors' }).click();
    await here.page.unrouteAll({ behavior: 'ignoreErrors' });
    const [name, rows] = await save('Latest visitors');
    assert.equal(name, 'frontdesk-visitors.csv');
    assert.ok(rows.length > 1 && rows[0].includes('started'), rows[0]);
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('helps to embed the chat while nobody came, and shows the first visitor', async (arrives) => {
    const ada = await arrives();
    const here = await comes(ada, fresh);
    await here.signIn(ADMIN);
    await here.sees('No visitors yet');
    await here.page.getByLabel('Address of your chat').fill('https://chat.lamps.example/');
    await here.sees('<script src="https://chat.lamps.example/widget/embed.js" async></script>', here.page.locator('.snippet code'));
    await here.sees('ANALYTICS_DB_PATH=demo.redb frontdesk analytics demo', here.page.locator('pre.lines'));
    await here.isAccessible('nobody yet');
    await here.shot('empty');

    const bob = await arrives();
    const chat = tab(await bob.context.newPage().then(async (page) => (await page.goto(fresh.url), page)));
    await chat.openChat();
    await chat.ask('Hello there, what are you?');
    await chat.isOver();
    await until('the visitor is seen', async () => {
      await here.page.getByRole('button', { name: 'Refresh now' }).click();
      await here.isCalm();
      return (await here.sentence.count()) > 0 && (await here.tile('Messages')) === '1';
    });
    assert.equal(await here.tile('Live now'), '1');
    assert.equal(await here.page.getByText('Demo data').isVisible(), false);
    await here.isAccessible('one visitor');
    await ada.isUnharmed({ hosts: [hostOf(fresh)] });
  });

  story('keeps the figures while analytics is away, and goes on when it is back', async (arrives) => {
    const settings = { ...(await madeUp({ days: 3, sites: 1 })), ADMIN_TOKEN: ADMIN };
    let desk = await frontdesk(settings);
    const ada = await arrives();
    const here = await enters(ada, desk);
    const before = await here.tile('Messages');
    assert.equal(await desk.stop(), 0);
    await here.page.getByRole('button', { name: 'Refresh now' }).click();
    await here.sees('Analytics does not answer. You see the last figures.');
    await here.isCalm();
    assert.equal(await here.tile('Messages'), before);
    await here.isAccessible('analytics away');
    await here.shot('away');

    const address = new URL(desk.dashboard).host;
    desk = await frontdesk({ ...settings, ANALYTICS_ADDR: address });
    // By itself: the first try is after five seconds.
    await until('the alarm is over', async () => !(await here.page.locator('.alarm').isVisible()), 30_000);
    assert.equal(await desk.stop(), 0);

    desk = await frontdesk({ ...settings, ANALYTICS_ADDR: address, ADMIN_TOKEN: randomBytes(32).toString('base64url') });
    await here.page.getByRole('button', { name: 'Refresh now' }).click();
    await here.sees('You were signed out');
    assert.equal(await desk.stop(), 0);
    await here.signIn(ADMIN);
    await here.sees('Analytics does not answer. Is it running?');
    await ada.isUnharmed({ hosts: [address], errors: AWAY });
  });

  story('says so where nobody may ask, or not this one', async (arrives) => {
    const ada = await arrives();
    const here = await comes(ada);
    const refuse = (status, code) => here.page.route('**/api/v1/analytics/**', (route) => route.fulfill({ status, contentType: 'application/problem+json', body: JSON.stringify({ status, code, detail: '' }) }));
    await refuse(404, 'api_disabled');
    await here.signIn(ADMIN);
    await here.sees('set ADMIN_TOKEN or SITE_TOKENS');
    await here.page.unrouteAll();
    await refuse(429, 'rate_limited');
    await here.signIn(ADMIN);
    await here.sees('Wait a minute');
    await here.page.unrouteAll();
    await here.signIn(ADMIN);
    await here.seesFigures();
    await here.isCalm();
    await refuse(403, 'site_forbidden');
    await here.page.getByRole('button', { name: 'Refresh now' }).click();
    await here.sees('Your token may not see this site');
    await ada.isUnharmed({ hosts: [hostOf(shops)], errors: REFUSED });
  });

  story('asks again each half minute, but not when switched off or out of sight', async (arrives) => {
    const ada = await arrives();
    const page = await ada.context.newPage();
    await page.clock.install();
    let asks = 0;
    page.on('request', (request) => (asks += request.url().includes('/pages?') ? 1 : 0));
    await page.goto(shops.dashboard);
    const here = owner(page);
    await here.signIn(ADMIN);
    await here.seesFigures();
    await here.isCalm();
    assert.equal(asks, 1);
    await page.clock.runFor(15_000);
    await here.sees('Updated 15 seconds ago');
    await page.clock.runFor(16_000);
    await until('asked again', () => asks === 2);
    await here.isCalm();

    const see = (state) => page.evaluate((state) => {
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
    await see('hidden');
    await page.clock.runFor(300_000);
    assert.equal(asks, 2, 'nobody looks');
    await see('visible');
    await until('asked at once when seen again', () => asks === 3);
    await here.isCalm();

    await page.getByRole('switch', { name: 'Refresh every 30 seconds' }).click();
    await page.clock.runFor(300_000);
    assert.equal(asks, 3, 'switched off');
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  story('is there in the dark, by wish of the system or of the moment', async (arrives) => {
    const ada = await arrives({ colorScheme: 'dark', viewport: { width: 1380, height: 900 } });
    const here = await enters(ada);
    const canvas = () => here.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const plotted = () => here.page.locator('.plot canvas').first().evaluate((it) => it.toDataURL());
    assert.equal(await canvas(), 'rgb(16, 17, 16)');
    await here.isAccessible('dark');
    await here.shot('dark', { whole: true });
    await here.isCalm();
    const dark = await plotted();
    await here.page.getByRole('button', { name: 'Dark colours' }).click();
    // The click is with the page when it is with the browser's thread that paints, not when the driver has sent it.
    await until('the page is light', async () => (await canvas()) === 'rgb(247, 247, 245)');
    assert.equal(await here.page.getByRole('button', { name: 'Dark colours' }).getAttribute('aria-pressed'), 'false');
    await until('the plots are light as well', async () => (await plotted()) !== dark);
    await here.isAccessible('light');
    await here.page.reload();
    await here.token.waitFor();
    assert.equal(await canvas(), 'rgb(16, 17, 16)', 'kept nowhere');
    await ada.isUnharmed({ hosts: [hostOf(shops)] });
  });

  for (const width of [320, 390]) {
    story(`fits a phone of ${width} pixels`, async (arrives) => {
      const ada = await arrives({ viewport: { width, height: 720 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
      // Words and dates as wide as they get, on each day of the year.
      await ada.context.route('**/analytics/sessions?*', async (route) => {
        const page = await (await route.fetch()).json();
        assert.ok(page.sessions?.length > 0, JSON.stringify(page));
        Object.assign(page.sessions[0], { started: Date.parse('2026-09-30T10:28:00Z'), messages: 988, ended: 888, cancelled: 88, failed: { upstream_timeout: 8 }, page_path: `/${'lamps/'.repeat(20)}` });
        await route.fulfill({ json: page });
      });
      const here = await enters(ada);
      const wide = () => here.page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(await wide(), width);
      await here.isAccessible('a phone');
      await here.shot(`phone ${width}`);
      await here.rows.first().scrollIntoViewIfNeeded();
      await here.shot(`visitors on a phone ${width}`);
      const { path, over } = await here.rows.first().evaluate((row) => ({ path: row.querySelector('.path').clientWidth, over: row.offsetWidth - row.closest('section .body').clientWidth }));
      assert.ok(path >= 40 && over <= 0, `the page's path has ${path} px, and the table is ${over} px too wide`);
      await here.rows.first().getByRole('button').click();
      await here.sees('Opened the chat', here.sheet);
      assert.equal(await wide(), width);
      await here.page.getByRole('button', { name: 'Close' }).click();
      await here.page.getByRole('button', { name: 'Show as table: Busy hours' }).click();
      await here.page.getByText('Custom', { exact: true }).click();
      assert.equal(await wide(), width, 'tables and fields as well');
      await here.page.getByRole('button', { name: 'Sign out' }).click();
      await here.token.waitFor();
      assert.equal(await wide(), width);
      await ada.isUnharmed({ hosts: [hostOf(shops)] });
    });
  }
});
