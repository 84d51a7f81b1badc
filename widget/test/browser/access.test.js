/** The chat for everybody: every state looked over by axe, by keyboard alone, by ear, small, large, still, and in forced colours. Started by run.sh. */
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { axe, axeEverywhere, fits, focused, frameOf, heard, listens, tabTo, tooSmall, tree } from './access.js';
import { browser, endAll, frontdesk, scriptedN8n, until } from './processes.js';
import { storyteller } from './story.js';

/** An answer with everything that Markdown and the typed blocks have. */
const block = (it) => `\`\`\`frontdesk\n${JSON.stringify(it)}\n\`\`\``;
const lamp = (title, amount) => ({ title, price: { amount, currency: 'EUR' }, stock: 'In stock', url: 'https://shop.example/lamp' });
const RICH = `# Lamps\n\nTwo of them, **both dimmable**, with a [guide](https://shop.example/guide):\n\n1. one\n2. two\n   - and a half\n\n| Lamp | Price |\n| --- | --: |\n| Alba | 89 |\n\n> Light is a good companion.\n\n\`\`\`js\nconst aVeryLongLineThatDoesNotFitIntoTheNarrowPanel = 'and which has to be scrolled in itself, not with the page';\n\`\`\`\n\n`;
const BLOCKS = [
  block({ type: 'carousel', label: 'Lamps', items: [lamp('Alba table lamp', 89), lamp('Fern reading lamp', 64), lamp('Otto floor lamp', 139)] }),
  block({ type: 'order', number: '48213', status: 'On its way', steps: [{ label: 'Ordered', done: true }, { label: 'Delivered' }] }),
  block({ type: 'form', title: 'Your return', fields: [{ name: 'Order', label: 'Order number', required: true }], submit: 'Get the label' }),
  block({ type: 'quick_replies', replies: ['Compare them', 'Only dimmable'] }),
].join('\n\n');

/** What Chromium itself writes to the console when a request is refused or its connection is gone. */
const REFUSED = /Failed to load resource/;

/** @type {Awaited<ReturnType<typeof browser>>} */
let chromium;
let n8n;
/** Behind it: n8n as the stories write it; nobody. */
let desk;
let deserted;

before(async () => {
  n8n = await scriptedN8n();
  try {
    [chromium, desk, deserted] = await Promise.all([
      browser(),
      // Some replies never end here.
      frontdesk({ N8N_WEBHOOK_URL: n8n.url, DRAIN_TIMEOUT: '1s' }),
      frontdesk({ N8N_WEBHOOK_URL: 'http://127.0.0.1:9/', N8N_CONNECT_RETRIES: '0', RATE_LIMIT_SESSION_PER_MINUTE: '1' }),
    ]);
  } catch (error) {
    // No story can be told, and what did start would keep this process waiting.
    console.error(error.message);
    process.exit(1);
  }
});

after(async () => {
  try {
    await chromium.close();
    await Promise.all([desk, deserted].map((process) => process.stop()));
  } finally {
    await n8n.close();
    endAll();
  }
});

const story = storyteller(() => chromium.driver);
const alone = (process) => `${process.url}/widget/modern-widget.html`;

/** n8n is asked by the story that runs just now: no two use the same words. */
let count = 0;

/** Alone on its page: cheaper to paint, and all of it is ours. @param {any} arrives @param {{at?: any, config?: object, options?: object}} [how] */
async function opens(arrives, { at = desk, config, options } = {}) {
  const ada = await arrives(options);
  if (config) {
    await ada.context.route('**/widget-config.json*', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), ...config } });
    });
  }
  const chat = await ada.open(alone(at));
  await chat.openChat();
  return { ada, chat };
}

/** @param {any} chat @param {string[]} answer */
async function converses(chat, ...answer) {
  const text = `question ${(count += 1)}`;
  await chat.ask(text);
  (await n8n.asked(text)).begin().say(...answer).end();
  await chat.isOver();
  return text;
}

/** @param {any} chat @param {string} [entry] */
async function opensMenu(chat, entry) {
  const menu = chat.chat.getByRole('button', { name: /^(\(\d+\) )?Menu$/ });
  await menu.click();
  await chat.chat.locator('#sheet').waitFor();
  if (entry) await chat.chat.locator('#sheet').getByRole('button', { name: new RegExp(`^${entry}`) }).click();
}

/** A visitor who had another conversation before. @param {any} chat */
async function hasTwo(chat) {
  await converses(chat, 'The lamp is in the warehouse.');
  await opensMenu(chat, 'New chat');
  await converses(chat, 'The other one is in the warehouse too.');
}

/** How each state comes to be. @type {Record<string, (arrives: any) => Promise<any>>} */
const STATES = {
  async welcome(arrives) {
    return (await opens(arrives)).chat;
  },

  async waiting(arrives) {
    const { chat } = await opens(arrives);
    await chat.ask('wait for it');
    await n8n.asked('wait for it');
    await chat.dots.waitFor();
    return chat;
  },

  async streaming(arrives) {
    const { chat } = await opens(arrives);
    await converses(chat, 'The first answer.');
    await chat.ask('half of it');
    (await n8n.asked('half of it')).begin().say('It begins with fire, and\n\n- then a');
    await chat.sees('It begins with fire');
    return chat;
  },

  async answered(arrives) {
    const { chat } = await opens(arrives);
    await converses(chat, RICH);
    return chat;
  },

  async blocks(arrives) {
    const { chat } = await opens(arrives);
    await converses(chat, 'These go well with it:\n\n', BLOCKS);
    return chat;
  },

  async menu(arrives) {
    const { chat } = await opens(arrives, { config: { consent: 'none' } });
    await hasTwo(chat);
    await opensMenu(chat);
    return chat;
  },

  async conversations(arrives) {
    const { chat } = await opens(arrives);
    await hasTwo(chat);
    await opensMenu(chat, 'Conversations');
    return chat;
  },

  async deleting(arrives) {
    const { chat } = await opens(arrives);
    await hasTwo(chat);
    await opensMenu(chat, 'Delete all chats');
    await chat.button('Keep').waitFor();
    return chat;
  },

  async search(arrives) {
    const { chat } = await opens(arrives);
    await hasTwo(chat);
    await opensMenu(chat, 'Search');
    await chat.chat.getByRole('searchbox', { name: 'Search' }).fill('warehouse');
    await until('both are found', async () => (await chat.chat.locator('.found .item').count()) === 2);
    return chat;
  },

  async consent(arrives) {
    const { chat } = await opens(arrives, { config: { consent: 'ask' } });
    await chat.sees('May we keep this chat on your device?', chat.chat.locator('.consent'));
    return chat;
  },

  async 'not kept'(arrives) {
    const chat = await STATES.consent(arrives);
    await chat.button('No').click();
    await chat.sees('This chat is not kept after you leave.', chat.chat.locator('.consent'));
    return chat;
  },

  async offline(arrives) {
    const { ada, chat } = await opens(arrives);
    await converses(chat, 'While there was a network.');
    await ada.context.setOffline(true);
    await chat.sees('You are offline', chat.notice);
    await chat.ask('written in the tunnel');
    await chat.sees('Not sent yet');
    return chat;
  },

  async limited(arrives) {
    const chat = await STATES.error(arrives);
    await chat.button('Try again').click();
    await chat.sees('Just a moment, that was fast.', chat.notice);
    return chat;
  },

  async error(arrives) {
    const { chat } = await opens(arrives, { at: deserted });
    await chat.ask('is anybody there?');
    await chat.sees('That answer did not come through.', chat.notice);
    return chat;
  },

  async expired(arrives) {
    const { ada, chat } = await opens(arrives);
    await converses(chat, 'While the session lasted.');
    await ada.context.route('**/api/v1/chat/message', (route) => route.fulfill({ status: 401, contentType: 'application/problem+json', json: { status: 401, code: 'session_ended' } }));
    await chat.ask('and now?');
    await chat.sees(/closed/, chat.notice);
    await chat.notice.getByRole('button', { name: 'New chat' }).waitFor();
    return chat;
  },
};

describe('the chat for everybody', { concurrency: 3, timeout: 300_000 }, () => {
  for (const [state, come] of Object.entries(STATES)) {
    story(`axe finds nothing: ${state}`, async (arrives) => {
      const chat = await come(arrives);
      await axeEverywhere(chat, state);
      assert.deepEqual(await tooSmall(chat, 28), [], 'targets');
    });
  }

  story('axe does find what is wrong', async (arrives) => {
    const { chat } = await opens(arrives);
    await frameOf(chat).evaluate(() => document.getElementById('field')?.removeAttribute('aria-label'));
    await frameOf(chat).evaluate(() => document.getElementById('field')?.removeAttribute('placeholder'));
    await assert.rejects(axe(chat, 'no name'), /label: /);
  });

  story('axe finds nothing on the page of a shop, closed and open', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    await chat.launcher.waitFor();
    const around = { ...chat, page: { ...chat.page, frames: () => [], mainFrame: () => chat.page.mainFrame() } };
    await axe(around, 'launcher');
    await chat.openChat();
    await axe(around, 'launcher and panel');
    await axe(chat, 'in its frame');
  });

  story('the chat speaks Arabic from right to left', async (arrives) => {
    const ada = await arrives({ locale: 'ar' });
    const chat = await ada.open(alone(desk));
    await chat.chat.locator('#field').waitFor();
    await until('it is ready', () => frameOf(chat).evaluate(() => document.documentElement.classList.contains('ready')));
    assert.deepEqual(await frameOf(chat).evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['ar', 'rtl']);
    await chat.chat.locator('#more').click();
    await chat.chat.locator('#sheet .item').first().waitFor();
    await chat.shot('access Arabic menu');
    await axe(chat, 'Arabic');
    await fits(chat, 'Arabic');
  });

  story('goes all the way with the keyboard alone', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    const { keyboard } = chat.page;
    await chat.launcher.waitFor();
    await tabTo({ ...chat, page: chat.page }, chat.launcher);
    await keyboard.press('Enter');
    await chat.field.waitFor();
    await until('the field has the focus', () => chat.field.evaluate((field) => document.hasFocus() && field === document.activeElement));

    await keyboard.type('by keyboard');
    await keyboard.press('Enter');
    const reply = await n8n.asked('by keyboard');
    reply.begin().say('It begins with fire, and ');
    await chat.sees('It begins with fire');
    await tabTo(chat, chat.button('Stop answering'));
    await keyboard.press('Space');
    await chat.sees('Stopped');
    await chat.isOver();
    assert.notEqual(await focused(chat), '', 'the focus is not lost with the button');

    await tabTo(chat, chat.button('Copy answer'), 'Shift+Tab');
    await keyboard.press('Enter');
    await until('it says so', async () => (await focused(chat)) === 'Copied');
    await tabTo(chat, chat.field);
    await keyboard.press('ControlOrMeta+v');
    await until('it is pasted', async () => (await chat.field.inputValue()).trim() === 'It begins with fire, and');
    await chat.field.fill('');

    const menu = chat.button('Menu');
    await tabTo(chat, menu, 'Shift+Tab');
    await keyboard.press('Enter');
    await chat.chat.locator('#sheet').waitFor();
    assert.equal(await menu.getAttribute('aria-expanded'), 'true');
    await until('its first entry has the focus', async () => (await focused(chat)) === 'New chat');
    await keyboard.press('End');
    assert.equal(await focused(chat), 'Delete this chat');
    await keyboard.press('Enter');
    assert.equal(await focused(chat), 'Keep', 'Enter pressed twice deletes nothing');
    await keyboard.press('Escape');
    assert.equal(await focused(chat), 'Delete this chat');
    await keyboard.press('Escape');
    await chat.chat.locator('#sheet').waitFor({ state: 'hidden' });
    assert.ok(await menu.evaluate((node) => node === document.activeElement), 'the focus is back on the button');
    assert.ok(await chat.panel.isVisible(), 'Escape closed the menu, not the chat');

    await keyboard.press('Enter');
    await until('the menu is open again', async () => (await focused(chat)) === 'New chat');
    await keyboard.press('Enter');
    await chat.chat.locator('#welcome').waitFor();
    await until('the field has the focus', () => chat.field.evaluate((field) => field === document.activeElement));
    assert.equal(await chat.questions.count(), 0);

    await keyboard.press('Escape');
    await chat.panel.waitFor({ state: 'hidden' });
    await until('the focus is back on the launcher', () => chat.launcher.evaluate((button) => button.getRootNode().activeElement === button));
    await keyboard.press('Tab');
    assert.ok(!(await chat.panel.isVisible()), 'what is closed cannot be focused');
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });

  story('finds and opens an earlier conversation with the keyboard alone', async (arrives) => {
    const { chat } = await opens(arrives);
    const { keyboard } = chat.page;
    await converses(chat, 'The lamp is in the warehouse.');
    await converses(chat, RICH, RICH);
    await opensMenu(chat, 'New chat');
    await converses(chat, 'The other one is in the warehouse too.');
    await tabTo(chat, chat.button('Menu'), 'Shift+Tab');
    await keyboard.press('Enter');
    await until('the menu is open', async () => (await focused(chat)) === 'New chat');
    await keyboard.press('ArrowDown');
    await keyboard.press('ArrowDown');
    assert.equal(await focused(chat), 'Search');
    await keyboard.press('Enter');
    await keyboard.type('the lamp is');
    await chat.chat.locator('.found .item').waitFor();
    await keyboard.press('ArrowDown');
    assert.match(await focused(chat), /The lamp is in the warehouse/);
    await keyboard.press('Enter');
    await chat.sees('The lamp is in the warehouse.');
    await until('what was found has the focus', async () => /The lamp is in the warehouse/.test(await focused(chat)));
    const found = await chat.chat.locator('.revealed').boundingBox();
    const log = await chat.chat.locator('#log').boundingBox();
    assert.ok(found.y >= log.y - 1 && found.y < log.y + log.height / 2, 'and is before the eyes, far above the end');
    await chat.shot('access revealed');
  });

  story('is heard: an answer once and whole, what goes wrong once, and no counting', async (arrives) => {
    const { ada, chat } = await opens(arrives);
    await listens(chat);
    await chat.ask('can you hear me?');
    const reply = await n8n.asked('can you hear me?');
    await until('it says that it answers', async () => (await chat.chat.locator('#status').textContent()) !== '');
    reply.begin().say('Loud ', 'and ');
    await chat.sees('Loud and');
    assert.deepEqual(await heard(chat), ['The assistant is answering.'], 'not a word of what is half');
    reply.say('clear.').end();
    await chat.isOver();
    await until('the answer is said', async () => /clear/.test((await chat.chat.locator('#status').textContent()) ?? ''));
    const told = await heard(chat);
    assert.equal(told.length, 1, told.join(' | '));
    assert.match(told[0], /Loud and clear\.$/);

    await ada.context.setOffline(true);
    await chat.sees('You are offline', chat.notice);
    await until('it is said', () => frameOf(chat).evaluate(() => globalThis.heard.length > 0));
    assert.match((await heard(chat)).join(' | '), /^You are offline[^|]*$/);
    await ada.context.setOffline(false);
    await chat.notice.waitFor({ state: 'hidden' });
    await heard(chat);

    await opensMenu(chat, 'Search');
    await chat.chat.getByRole('searchbox', { name: 'Search' }).fill('loud');
    await chat.chat.locator('.found .item').waitFor();
    assert.deepEqual(await heard(chat), ['1 message']);
    await chat.button('Back').click();
    await chat.button('Delete this chat').click();
    await chat.button('Delete').click();
    await chat.chat.locator('#welcome').waitFor();
    await until('it is said', async () => (await heard(chat)).includes('Deleted'));
  });

  story('is heard: a countdown is said when it begins and when it is over', async (arrives) => {
    const chat = await STATES.error(arrives);
    await listens(chat);
    await chat.button('Try again').click();
    await chat.sees('Just a moment, that was fast.', chat.notice);
    const first = await chat.notice.innerText();
    await until('it counts down', async () => (await chat.notice.innerText()) !== first && /second/.test(await chat.notice.innerText()));
    const told = (await heard(chat)).filter((text) => text.includes('Just a moment'));
    assert.equal(told.length, 1, told.join(' | '));
  });

  story('is heard: whether a chat may be kept, and what no means', async (arrives) => {
    const chat = await STATES.consent(arrives);
    assert.equal(await chat.chat.locator('#news').textContent(), 'May we keep this chat on your device?');
    await listens(chat);
    await chat.button('No').click();
    await until('it is said', async () => (await heard(chat)).includes('This chat is not kept after you leave.'));
    assert.equal(await focused(chat), 'Message', 'the focus does not go with the button');
  });

  story('the accessibility tree says what is there, and not what is covered', async (arrives) => {
    const { chat } = await opens(arrives);
    const has = (nodes, ...wanted) => wanted.forEach((it) => assert.ok(nodes.includes(it), `${it} in\n  ${nodes.join('\n  ')}`));
    has(await tree(chat), 'main ""', 'log "Conversation"', 'heading "Hi there, how can we help?"', 'textbox "Message"', 'button "Send" disabled', 'button "Where is my order?"');
    await chat.ask('what is there?');
    const reply = await n8n.asked('what is there?');
    reply.begin().say('A list: ');
    await chat.sees('A list');
    has(await tree(chat), 'log "Conversation" busy', 'button "Stop answering"');
    reply.say('\n\n- one\n- two').end();
    await chat.isOver();
    has(await tree(chat), 'log "Conversation"', 'list ""', 'button "Copy answer"', 'button "Menu"');
    await opensMenu(chat);
    const covered = await tree(chat);
    has(covered, 'region "Menu"', 'button "Menu" expanded', 'button "New chat"', 'button "Sound"', 'status ""');
    assert.deepEqual(covered.filter((it) => /^(log|textbox)|Copy answer/.test(it)), [], 'what the sheet covers');
    await chat.button('Sound').click();
    has(await tree(chat), 'button "Sound" pressed');
    await chat.page.keyboard.press('Escape');
    has(await tree(chat), 'log "Conversation"', 'textbox "Message"');
  });

  for (const [what, viewport] of [
    ['320 pixels', { width: 320, height: 568 }],
    // 1280 × 860 of a screen, at 200 % and at the 400 % of WCAG's reflow.
    ['200 %', { width: 640, height: 430 }],
    ['400 %', { width: 320, height: 215 }],
  ]) {
    story(`fits at ${what}`, async (arrives) => {
      const { chat } = await opens(arrives, { config: { consent: 'ask' }, options: { viewport } });
      const seen = async (state) => {
        await chat.shot(`access ${what} ${state}`);
        await fits(chat, `${what}, ${state}`);
      };
      await chat.button('Yes').waitFor();
      await seen('consent');
      await chat.button('Yes').click();
      await seen('welcome');
      await converses(chat, RICH, BLOCKS, `\n\n${'averylongwordwithoutanyplacetobreak'.repeat(5)} https://shop.example/${'x'.repeat(120)}`);
      await seen('answered');
      await opensMenu(chat);
      await seen('menu');
      await chat.button('Delete this chat').click();
      await seen('deleting');
      assert.ok(await chat.button('Keep').evaluate((node) => node.getBoundingClientRect().bottom <= innerHeight), 'what was asked can be seen');
      await chat.button('Keep').click();
      await chat.button('Search').click();
      await chat.chat.getByRole('searchbox', { name: 'Search' }).fill('lamp');
      await chat.chat.locator('.found .item').first().waitFor();
      await seen('search');
      await chat.page.keyboard.press('Escape');
      await chat.page.keyboard.press('Escape');
      await chat.page.keyboard.press('Escape');
      await chat.field.waitFor();
      await chat.field.fill('still room to write');
      const box = await chat.field.boundingBox();
      assert.ok(box.y >= 0 && box.y + box.height <= viewport.height + 1, 'the field is on the screen');
    });
  }

  story('fits in the panel of a shop at 200 %, and with the wide spacing of WCAG', async (arrives) => {
    const ada = await arrives({ viewport: { width: 640, height: 430 }, deviceScaleFactor: 2 });
    const chat = await ada.open(desk.url);
    await chat.openChat();
    await converses(chat, RICH);
    await chat.shot('access panel 200');
    await fits(chat, 'panel, 200 %');
    const panel = await chat.panel.boundingBox();
    assert.ok(panel.y >= 0 && panel.x >= 0 && panel.x + panel.width <= 640, 'the panel is on the screen');
    await frameOf(chat).evaluate(() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync('* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important } p { margin-block-end: 2em !important }');
      document.adoptedStyleSheets = [sheet];
    });
    await opensMenu(chat);
    await fits(chat, 'wide spacing, menu');
    await chat.shot('access spacing menu');
    await chat.page.keyboard.press('Escape');
    await fits(chat, 'wide spacing');
  });

  story('has targets for fingers', async (arrives) => {
    const { chat } = await opens(arrives, { options: { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true } });
    assert.deepEqual(await tooSmall(chat, 40), [], 'welcome');
    await hasTwo(chat);
    assert.deepEqual(await tooSmall(chat, 40), [], 'answered');
    await opensMenu(chat);
    assert.deepEqual(await tooSmall(chat, 40), [], 'menu');
    await chat.chat.locator('#sheet').getByRole('button', { name: /^Conversations/ }).click();
    assert.deepEqual(await tooSmall(chat, 40), [], 'conversations');
  });

  story('can be seen in forced colours', async (arrives) => {
    const { chat } = await opens(arrives, { options: { forcedColors: 'active' } });
    await hasTwo(chat);
    await chat.shot('access forced answered');
    const frame = frameOf(chat);
    /** What has no border is not there when backgrounds are not painted. */
    const bordered = (selector) => frame.evaluate((selector) => [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility()).map((node) => getComputedStyle(node).borderTopStyle), selector);
    assert.deepEqual([...new Set(await bordered('.visitor .bubble, .assistant .bubble, .send, .box'))], ['solid']);
    await tabTo(chat, chat.button('Menu'), 'Shift+Tab');
    assert.notEqual(await frame.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none', 'the focus is seen');
    await opensMenu(chat);
    await chat.chat.locator('#sheet').getByRole('button', { name: 'Sound' }).click();
    await chat.shot('access forced menu');
    assert.deepEqual([...new Set(await bordered('.sheet, .switch'))], ['solid']);
    const knob = await frame.evaluate(() => ['.switch'].map((selector) => getComputedStyle(document.querySelector(selector), '::after').backgroundColor)[0]);
    assert.notEqual(knob, await frame.evaluate(() => getComputedStyle(document.querySelector('.sheet')).backgroundColor), 'the switch is seen');
    // Contrast is the visitor's own choice here.
    await axe(chat, 'forced colours', ['color-contrast']);
  });

  story('keeps still for who wants that', async (arrives) => {
    const moving = async (reducedMotion) => {
      const { chat } = await opens(arrives, { options: { reducedMotion } });
      const running = () => frameOf(chat).evaluate(() => document.getAnimations().filter((it) => it.playState === 'running').length);
      const text = `keep still ${(count += 1)}`;
      let most = 0;
      await chat.ask(text);
      most = Math.max(most, await running());
      const reply = await n8n.asked(text);
      await chat.dots.waitFor();
      most = Math.max(most, await running());
      reply.begin().say('A word ');
      await chat.sees('A word');
      most = Math.max(most, await running());
      await opensMenu(chat);
      most = Math.max(most, await running());
      reply.end();
      return most;
    };
    assert.equal(await moving('reduce'), 0);
    assert.ok((await moving('no-preference')) > 0, 'and this would have been seen');
  });

  story('prints as a plain transcript', async (arrives) => {
    const { chat } = await opens(arrives);
    await hasTwo(chat);
    await opensMenu(chat);
    await chat.page.emulateMedia({ media: 'print' });
    for (const hidden of ['.composer', '.cover', '.head .tool']) assert.ok(!(await chat.chat.locator(hidden).first().isVisible()), hidden);
    assert.ok(await chat.answers.last().isVisible());
    await chat.shot('access print');
  });
});
