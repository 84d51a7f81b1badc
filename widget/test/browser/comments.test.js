/** A few words to the shop after a thumb, and what becomes of them. Started by run.sh. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { axe, axeEverywhere, fits, focused, heard, listens, tooSmall } from './access.js';
import { browser, endAll, frontdesk, scriptedN8n, until } from './processes.js';
import { storyteller } from './story.js';
import { stores } from './visitor.js';

const ADMIN = randomBytes(32).toString('base64url');

/** @type {Awaited<ReturnType<typeof browser>>} */
let chromium;
let n8n;
let desk;
/** Of a shop that wants no comments, and of one whose sessions are soon over. */
let silent;
let brief;

before(async () => {
  n8n = await scriptedN8n();
  try {
    const settings = { N8N_WEBHOOK_URL: n8n.url, ADMIN_TOKEN: ADMIN };
    [chromium, desk, silent, brief] = await Promise.all([
      browser(),
      frontdesk(settings),
      frontdesk({ ...settings, FEEDBACK_COMMENT_MAX: '0' }),
      // Enough to ask, to be answered, and to open the form.
      frontdesk({ ...settings, SESSION_TTL: '20s' }),
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
    await Promise.all([desk, silent, brief].map((process) => process.stop()));
  } finally {
    await n8n.close();
    endAll();
  }
});

const story = storyteller(() => chromium.driver);

/** An answer to something that only this story says. @param {any} arrives @param {string} text @param {object} [more] */
async function isAnswered(arrives, text, { at = desk, options = undefined, config = undefined } = {}) {
  const ada = await arrives(options);
  if (config) {
    await ada.context.route('**/widget-config.json*', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), ...config } });
    });
  }
  const chat = await ada.open(`${at.url}/widget/modern-widget.html`);
  await chat.openChat();
  await chat.ask(text);
  (await n8n.asked(text)).begin().say('Answer ', `to ${text}.`).end();
  await chat.isOver();
  return { ada, chat, form: chat.chat.locator('.comment form'), words: chat.chat.getByRole('textbox', { name: 'Want to tell the shop more?' }) };
}

/** What the shop is told. @param {string} text of the comment */
async function read(text, at = desk) {
  const response = await fetch(`${at.dashboard}api/v1/analytics/comments?range=1h`, { headers: { Authorization: `Bearer ${ADMIN}` } });
  assert.equal(response.status, 200);
  return (await response.json()).comments.filter(({ comment }) => comment.includes(text));
}

async function deletesChat(chat) {
  await chat.chat.getByRole('button', { name: /^(\(\d+\) )?Menu$/ }).click();
  await chat.chat.locator('#sheet').getByRole('button', { name: /^Delete this chat/ }).click();
  await chat.button('Delete').click();
  await chat.chat.locator('#welcome').waitFor();
}

describe('a comment', { concurrency: 3, timeout: 180_000 }, () => {
  story('reaches the shop, and goes when the chat is deleted', async (arrives) => {
    const { ada, chat, words } = await isAnswered(arrives, 'how long is the warranty');
    await chat.button('Not helpful').click();
    await words.fill('I asked about the <b>warranty</b>,\nnot the price.');
    await listens(chat);
    await chat.chat.locator('.comment').getByRole('button', { name: 'Send' }).click();
    await chat.sees('Thank you. The shop will read it.');
    assert.ok((await heard(chat)).some((said) => said.includes('Thank you. The shop will read it.')), 'and it is said');
    assert.equal(await focused(chat), 'Not helpful', 'the focus is not lost');
    await until('the shop is told', async () => (await read('warranty')).length === 1);
    const [told] = await read('warranty');
    assert.deepEqual([told.rating, told.comment, told.site], ['down', 'I asked about the warranty,\nnot the price.', 'default']);
    // Who has said it is not asked again, and another thumb is another word.
    await chat.button('Not helpful').click();
    assert.equal(await words.count(), 0);
    await chat.shot('comment sent');
    await deletesChat(chat);
    await until('nothing of it is left', async () => (await read('warranty')).length === 0);
    await ada.isUnharmed({ hosts: [new URL(desk.url).host] });
  });

  story('is left out by the keyboard, and everything of the form has a name', async (arrives) => {
    const { ada, chat, form, words } = await isAnswered(arrives, 'left out');
    const asked = [];
    ada.context.on('request', (request) => asked.push(new URL(request.url()).pathname));
    const up = chat.button('Helpful');
    await up.focus();
    await chat.page.keyboard.press('Enter');
    await words.waitFor();
    assert.deepEqual(asked.filter((path) => /comment\.(js|css)$/.test(path)).length, 2, 'loaded now, and not before');
    assert.equal(await words.evaluate((node) => node === document.activeElement), true);
    assert.equal(await words.getAttribute('maxlength'), '500');
    await axeEverywhere(chat, 'comment');
    await fits(chat, 'comment');
    assert.equal(await form.getByRole('button', { name: 'Send' }).isDisabled(), true, 'nothing is written yet');
    await words.fill('half a word');
    // The other thumb takes along what is written.
    await chat.button('Not helpful').click();
    assert.equal(await words.inputValue(), 'half a word');
    await axe(chat, 'comment with words');
    await words.focus();
    await chat.page.keyboard.press('Escape');
    await form.waitFor({ state: 'detached' });
    assert.equal(await focused(chat), 'Not helpful');
    assert.equal(await up.isVisible(), true, 'the chat is still open');
    assert.deepEqual(await read('half a word'), []);
  });

  story('waits in the field when it does not arrive', async (arrives) => {
    const { ada, chat, form, words } = await isAnswered(arrives, 'does not arrive');
    await ada.context.route('**/chat/feedback', (route) => route.abort());
    await chat.button('Helpful').click();
    await words.fill('kept in the field');
    await form.getByRole('button', { name: 'Send' }).click();
    await chat.sees('The chat could not be reached. Your message is kept.');
    assert.equal(await words.inputValue(), 'kept in the field');
    await ada.context.unroute('**/chat/feedback');
    await form.getByRole('button', { name: 'Send' }).click();
    await chat.sees('Thank you. The shop will read it.');
    await until('the shop is told', async () => (await read('kept in the field')).length === 1);
  });

  story('that comes when the session is over is told to be too late, and stays to be copied', async (arrives) => {
    const { ada, chat, form, words } = await isAnswered(arrives, 'slow to say', { at: brief });
    await chat.button('Not helpful').click();
    await words.fill('written for an hour');
    await until('the session is over', async () => Object.values((await stores(chat.page)).conversations)[0].session.expires_at < Date.now(), 30_000);
    const told = [];
    ada.context.on('response', (response) => response.url().endsWith('/chat/feedback') && told.push(response.status()));
    await listens(chat);
    const send = form.getByRole('button', { name: 'Send' });
    await send.click();
    await chat.sees('It is too late to send this. The shop was not told.');
    assert.ok((await heard(chat)).some((said) => said.includes('It is too late to send this.')), 'and it is said');
    assert.deepEqual(told, [401], 'and so it is: nothing was sent by another session');
    assert.deepEqual(await read('written for an hour', brief), []);
    assert.deepEqual([await words.inputValue(), await words.getAttribute('readonly'), await send.isDisabled()], ['written for an hour', '', true]);
    assert.equal(await focused(chat), 'Skip', 'the focus is not lost');
    await axe(chat, 'comment too late');
    await chat.shot('comment too late');
    await chat.page.keyboard.press('Enter');
    await form.waitFor({ state: 'detached' });
    // The conversation goes on, and so do comments.
    await chat.ask('slow no more');
    (await n8n.asked('slow no more')).begin().say('A new answer.').end();
    await chat.isOver();
    await chat.button('Helpful').click();
    await words.fill('written at once');
    await form.getByRole('button', { name: 'Send' }).click();
    await chat.sees('Thank you. The shop will read it.');
    await until('the shop is told', async () => (await read('written at once', brief)).length === 1);
  });

  story('is thanked for below an older answer, and the focus stays in the chat', async (arrives) => {
    const { chat, form, words } = await isAnswered(arrives, 'an older answer');
    await chat.button('Helpful').click();
    await words.fill('written while the next one came');
    await chat.field.fill('a newer question');
    await chat.field.press('Enter');
    (await n8n.asked('a newer question')).begin().say('A newer answer.').end();
    await chat.isOver();
    await words.focus();
    await form.getByRole('button', { name: 'Send' }).click();
    await chat.sees('Thank you. The shop will read it.');
    assert.equal(await focused(chat), 'Message');
    await until('the shop is told', async () => (await read('written while')).length === 1);
    await chat.shot('comment older answer');
  });

  story('has room on a phone, and no keyboard jumps up', async (arrives) => {
    const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
    const { chat, words } = await isAnswered(arrives, 'on a phone', { options: phone });
    await chat.button('Helpful').tap();
    await words.waitFor();
    assert.equal(await words.evaluate((node) => node === document.activeElement), false);
    await fits(chat, 'comment on a phone');
    assert.deepEqual(await tooSmall(chat, 24), []);
    await chat.shot('comment phone');
  });

  story('is not asked for where the shop wants none', async (arrives) => {
    const { chat, words } = await isAnswered(arrives, 'wants none', { at: silent });
    const features = { feedback: true, comments: false };
    const { chat: other, words: its } = await isAnswered(arrives, 'not on this site', { config: { features } });
    for (const one of [chat, other]) {
      const rated = one.page.waitForResponse((response) => response.url().endsWith('/chat/feedback'));
      await one.button('Helpful').click();
      assert.equal((await rated).status(), 202);
      assert.equal(await one.button('Helpful').getAttribute('aria-pressed'), 'true');
    }
    assert.deepEqual([await words.count(), await its.count()], [0, 0]);
  });
});
