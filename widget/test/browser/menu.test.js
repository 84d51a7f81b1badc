/** What the menu does, and what comes while nobody looks. Started by run.sh. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe } from 'node:test';
import { axe } from './access.js';
import { browser, endAll, frontdesk, scriptedN8n, until } from './processes.js';
import { storyteller } from './story.js';

/** @type {Awaited<ReturnType<typeof browser>>} */
let chromium;
let n8n;
let desk;

before(async () => {
  n8n = await scriptedN8n();
  try {
    [chromium, desk] = await Promise.all([browser(), frontdesk({ N8N_WEBHOOK_URL: n8n.url })]);
  } catch (error) {
    // No story can be told, and what did start would keep this process waiting.
    console.error(error.message);
    process.exit(1);
  }
});

after(async () => {
  try {
    await chromium.close();
    await desk.stop();
  } finally {
    await n8n.close();
    endAll();
  }
});

const story = storyteller(() => chromium.driver);

/** Alone on its page, with these settings beside the shop's own. @param {any} arrives @param {object} [config] */
async function opens(arrives, config) {
  const ada = await arrives();
  if (config) {
    await ada.context.route('**/widget-config.json*', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), ...config } });
    });
  }
  // A headless page is never hidden, and has no ears.
  await ada.context.addInitScript(() => {
    globalThis.away = false;
    globalThis.played = 0;
    Object.defineProperty(document, 'hidden', { get: () => globalThis.away });
    Object.defineProperty(document, 'visibilityState', { get: () => (globalThis.away ? 'hidden' : 'visible') });
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...at) {
      globalThis.played += 1;
      return start.apply(this, at);
    };
  });
  const chat = await ada.open(`${desk.url}/widget/modern-widget.html`);
  await chat.openChat();
  return { ada, chat };
}

/** @param {any} chat @param {string} text @param {string} answer */
async function converses(chat, text, answer) {
  await chat.ask(text);
  (await n8n.asked(text)).begin().say(answer).end();
  await chat.isOver();
}

/** @param {any} chat @param {string} [entry] */
async function opensMenu(chat, entry) {
  await chat.chat.getByRole('button', { name: /^(\(\d+\) )?Menu$/ }).click();
  await chat.chat.locator('#sheet').waitFor();
  if (entry) await inSheet(chat, new RegExp(`^${entry}`)).click();
}

const inSheet = (chat, name) => chat.chat.locator('#sheet').getByRole('button', { name });
const entriesOf = async (chat) => (await chat.chat.locator('#sheet .item').allInnerTexts()).map((text) => text.trim());

/** @param {any} chat @param {boolean} away */
function goes(chat, away) {
  return chat.page.evaluate((away) => {
    globalThis.away = away;
    document.dispatchEvent(new Event('visibilitychange'));
    dispatchEvent(new Event(away ? 'blur' : 'focus'));
  }, away);
}

/** Everything this origin keeps in the browser, as text. @param {any} chat @returns {Promise<string>} */
function kept(chat) {
  return chat.page.evaluate(async () => {
    const all = [JSON.stringify({ ...localStorage, ...sessionStorage })];
    for (const { name } of await indexedDB.databases()) {
      const database = await new Promise((resolve, reject) => Object.assign(indexedDB.open(name), { onsuccess: (event) => resolve(event.target.result), onerror: reject }));
      for (const store of database.objectStoreNames) {
        const rows = await new Promise((resolve, reject) => Object.assign(database.transaction(store).objectStore(store).getAll(), { onsuccess: (event) => resolve(event.target.result), onerror: reject }));
        all.push(...rows.map((row) => `${store} ${JSON.stringify(row)}`));
      }
      database.close();
    }
    return all.join('\n');
  });
}

describe('the menu', { concurrency: 3, timeout: 180_000 }, () => {
  story('is not loaded before it is wanted, and offers nothing that does nothing', async (arrives) => {
    const ada = await arrives();
    const asked = [];
    ada.context.on('request', (request) => asked.push(new URL(request.url()).pathname));
    const chat = await ada.open(`${desk.url}/widget/modern-widget.html`);
    await chat.openChat();
    await chat.page.mouse.move(5, 5);
    assert.deepEqual(asked.filter((path) => /(menu|search|conversations|sound|consent)\.js|sheet\.css/.test(path)), []);
    await opensMenu(chat);
    assert.deepEqual(await entriesOf(chat), ['Sound']);
    await chat.page.keyboard.press('Escape');
    await converses(chat, 'one', 'First.');
    await opensMenu(chat);
    assert.deepEqual(await entriesOf(chat), ['New chat', 'Search', 'Save as text', 'Save as JSON', 'Sound', 'Delete this chat']);
    await chat.page.locator('.scrim').click({ position: { x: 20, y: 600 } });
    await chat.chat.locator('#sheet').waitFor({ state: 'hidden' });
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });

  story('has only what the shop wants', async (arrives) => {
    const { chat } = await opens(arrives, { features: { history: false, search: false, export: false, sound: false } });
    assert.ok(await chat.chat.locator('#more').isHidden(), 'nothing to offer, no button');
    await converses(chat, 'only this', 'Fine.');
    await opensMenu(chat);
    assert.deepEqual(await entriesOf(chat), ['New chat', 'Delete this chat']);
  });

  story('goes from one conversation to another, and each has its own session', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    await converses(chat, 'about lamps', 'Lamps are bright.');
    await opensMenu(chat, 'New chat');
    await chat.chat.locator('#welcome').waitFor();
    await converses(chat, 'about stools', 'Stools are low.');
    const sessions = await Promise.all(['about lamps', 'about stools'].map(async (text) => (await n8n.asked(text)).asked.sessionId));
    assert.notEqual(sessions[0], sessions[1]);
    await opensMenu(chat, 'Conversations');
    const rows = chat.chat.locator('.chat-open');
    assert.deepEqual((await rows.allInnerTexts()).map((text) => text.split('\n')[0]), ['about stools', 'about lamps'], 'newest first');
    assert.match(await rows.last().innerText(), /2 messages/);
    await chat.shot('menu conversations');
    await rows.last().click();
    await chat.sees('Lamps are bright.');
    assert.equal(await chat.questions.count(), 1);
    await chat.page.reload();
    await chat.field.waitFor();
    await opensMenu(chat, 'Conversations');
    assert.equal(await rows.count(), 2);
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });

  story('deletes one conversation, or all, here and on our side', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    const deleted = [];
    ada.context.on('response', (response) => response.request().method() === 'DELETE' && deleted.push(response.status()));
    for (const [text, answer] of [['first secret', 'One.'], ['second secret', 'Two.'], ['third secret', 'Three.']]) {
      await converses(chat, text, answer);
      if (text !== 'third secret') await opensMenu(chat, 'New chat');
    }
    await opensMenu(chat, 'Conversations');
    await inSheet(chat, 'Delete second secret').click();
    await chat.button('Delete').click();
    await until('its row is gone', async () => (await chat.chat.locator('.chat-open').count()) === 2);
    await until('our side was told', () => deleted.length === 1);
    await until('nothing of it is kept', async () => !(await kept(chat)).includes('second secret'));
    assert.match(await kept(chat), /first secret/);
    await chat.button('Back').click();
    await inSheet(chat, 'Delete all chats').click();
    await chat.button('Delete').click();
    await chat.chat.locator('#welcome').waitFor();
    await until('our side was told of the others', () => deleted.length === 3);
    assert.deepEqual(deleted.filter((status) => status >= 300), []);
    await until('nothing is kept', async () => !/secret|One\.|Two\.|Three\./.test(await kept(chat)));
    await chat.page.reload();
    await chat.chat.locator('#welcome').waitFor();
  });

  story('tells what our side could not delete yet, until it did', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    await converses(chat, 'delete me later', 'Later.');
    let refuses = true;
    const statuses = [];
    await ada.context.route('**/api/v1/session', (route) => (refuses && route.request().method() === 'DELETE' ? route.fulfill({ status: 503, json: { code: 'overloaded' } }) : route.continue()));
    ada.context.on('response', (response) => response.request().method() === 'DELETE' && statuses.push(response.status()));
    await opensMenu(chat, 'Delete this chat');
    await chat.button('Delete').click();
    await chat.chat.locator('#welcome').waitFor();
    await chat.sees('On this device. Our side could not do it yet, and tries again by itself.', chat.notice);
    await axe(chat, 'a deletion that waits');
    await chat.shot('deletion waits');
    // Also after a reload.
    await chat.page.reload();
    await chat.sees('Our side could not do it yet', chat.notice);
    refuses = false;
    await until('it is told no more', async () => !(await chat.notice.isVisible()), 25_000);
    assert.equal(statuses.at(-1), 204);
  });

  story('tells of a deletion of all chats that waits, also after a reload', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    let refuses = true;
    await ada.context.route('**/api/v1/session', (route) => (refuses && route.request().method() === 'DELETE' ? route.fulfill({ status: 503, json: { code: 'overloaded' } }) : route.continue()));
    await converses(chat, 'one of all', 'One.');
    await opensMenu(chat, 'New chat');
    await converses(chat, 'two of all', 'Two.');
    await opensMenu(chat, 'Delete all chats');
    await chat.button('Delete').click();
    await chat.chat.locator('#welcome').waitFor();
    await chat.sees('Our side could not do it yet', chat.notice);
    await chat.page.reload();
    await chat.chat.locator('#welcome').waitFor();
    await chat.sees('Our side could not do it yet', chat.notice);
    refuses = false;
    await until('it is told no more', async () => !(await chat.notice.isVisible()), 25_000);
  });

  for (const [entry, form] of [['Save as text', 'txt'], ['Save as JSON', 'json']]) {
    story(`saves the conversation (${form})`, async (arrives) => {
      const { chat } = await opens(arrives);
      await converses(chat, `save me as ${form}`, 'With **pleasure**.');
      await opensMenu(chat);
      const [download] = await Promise.all([chat.page.waitForEvent('download'), inSheet(chat, entry).click()]);
      assert.match(download.suggestedFilename(), new RegExp(`\\.${form}$`));
      const text = await readFile(await download.path(), 'utf8');
      assert.match(text, new RegExp(`save me as ${form}`));
      assert.match(text, /With \*\*pleasure\*\*\./);
      if (form === 'json') JSON.parse(text);
    });
  }

  story('keeps nothing before yes, nothing after no, and the visitor may change their mind', async (arrives) => {
    const { ada, chat } = await opens(arrives, { consent: 'ask' });
    await chat.button('No').waitFor();
    await converses(chat, 'unkept words', 'Unkept too.');
    assert.doesNotMatch(await kept(chat), /nkept/, 'not asked yet');
    await chat.button('No').click();
    await chat.sees('This chat is not kept after you leave.', chat.chat.locator('.consent'));
    assert.doesNotMatch(await kept(chat), /nkept/);
    await opensMenu(chat);
    const keep = inSheet(chat, 'Keep on this device');
    assert.equal(await keep.getAttribute('aria-pressed'), 'false');
    await keep.click();
    await until('it is kept now', async () => /nkept/.test(await kept(chat)));
    assert.equal(await keep.getAttribute('aria-pressed'), 'true');
    assert.ok(await chat.chat.locator('.consent').isHidden());
    await chat.page.reload();
    await chat.sees('Unkept too.');
    assert.equal(await chat.button('No').count(), 0, 'not asked again');
    await opensMenu(chat);
    await keep.click();
    await until('it is gone again', async () => !/nkept/.test(await kept(chat)));
    await chat.page.reload();
    await chat.chat.locator('#welcome').waitFor();
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });

  story('makes a sound and counts in the title only while nobody looks, and only if that is wanted', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    const played = () => chat.page.evaluate(() => globalThis.played);
    const answersAway = async (text) => {
      await chat.ask(text);
      const reply = await n8n.asked(text);
      reply.begin().say('Here ');
      await chat.sees('Here');
      await goes(chat, true);
      reply.say('you are.').end();
      await until('the title counts', async () => /^\(1\) /.test(await chat.page.title()));
    };
    await answersAway('silence, please');
    await goes(chat, false);
    await until('it was read', async () => !/\(/.test(await chat.page.title()));
    assert.equal(await played(), 0, 'off unless it is switched on');

    await opensMenu(chat, 'Sound');
    await until('it is heard what was switched on', async () => (await played()) === 2);
    assert.equal(await inSheet(chat, 'Sound').getAttribute('aria-pressed'), 'true');
    await chat.page.keyboard.press('Escape');
    await converses(chat, 'I am looking', 'I see.');
    assert.equal(await played(), 2, 'not while it is read');
    await answersAway('now aloud');
    await until('it is heard', async () => (await played()) === 4);
    await goes(chat, false);

    await chat.page.reload();
    await chat.field.waitFor();
    await chat.field.click();
    await answersAway('after a reload');
    await until('it is heard', async () => (await played()) === 2);
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });
});
