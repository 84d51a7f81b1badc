/** The chat on pages of other people, in a real browser, with the real executable. Started by run.sh with this file's name. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe } from 'node:test';
import { identityToken } from '../../../docs/identity/sign.mjs';
import { browser, endAll, frontdesk, scriptedN8n, shops, until } from './processes.js';
import { storyteller } from './story.js';

const SECRET = 'a secret of at least thirty-two bytes';
/** As it is served. */
let embed;
const hash = (encoding) => createHash('sha256').update(embed).digest(encoding);

/** Hears everything that is said to the page, and asks before embed.js is there. */
const LISTENING = `<script>
  window.Frontdesk = window.Frontdesk || function () { (Frontdesk.q = Frontdesk.q || []).push(arguments) };
  window.heard = [];
  window.messages = [];
  for (const name of ['ready', 'open', 'close', 'unread', 'message', 'error', 'event']) {
    document.addEventListener('frontdesk:' + name, (event) => heard.push([name, event.detail]));
  }
  addEventListener('message', (event) => messages.push(event.data));
  window.ports = 0;
  window.MessageChannel = class extends MessageChannel { constructor() { super(); window.ports += 1; } };
</script>`;

/** Everything a shop's rules can do to what is not theirs. */
const HOSTILE = `* { all: unset !important; display: none !important; opacity: 0 !important; transform: scale(0.1) !important; pointer-events: none !important }
  html, body, h1 { display: block !important; opacity: 1 !important; transform: none !important; pointer-events: auto !important }
  .launcher, .panel, iframe, button, div { background: red !important; width: 1px !important }`;

let chromium;
let n8n;
let shop;
let desk;
const pages = {};

before(async () => {
  n8n = await scriptedN8n();
  shop = await shops(pages);
  try {
    const allowed = [shop.origin('lamps'), shop.origin('tea')].join(',');
    [chromium, desk] = await Promise.all([browser(), frontdesk({ N8N_WEBHOOK_URL: n8n.url, ALLOWED_ORIGINS: allowed, IDENTITY_SECRET: SECRET, REQUEST_SIGNATURES: 'required' })]);
  } catch (error) {
    // No story can be told, and what did start would keep this process waiting.
    console.error(error.message);
    process.exit(1);
  }
  embed = Buffer.from(await (await fetch(`${desk.url}/widget/embed.js`)).arrayBuffer());
  const tag = (attributes = '') => `<script src="${desk.url}/widget/embed.js" async ${attributes}></script>`;
  const strict = `default-src 'none'; style-src 'self'; img-src data:; script-src ${desk.url}; frame-src ${desk.url}; require-trusted-types-for 'script'; trusted-types 'none'`;
  Object.assign(pages, {
    '/plain': { html: `<h1>Lamps</h1>${tag()}` },
    '/next': { html: `<h1>The next page</h1>${tag()}` },
    '/strict': { html: `<link rel="stylesheet" href="/hostile.css"><script src="${desk.url}/widget/embed.js"></script></head><body><h1>Strict</h1>`, policy: strict },
    '/hostile.css': { css: HOSTILE },
    '/listening': { html: `${LISTENING}<h1>Listening</h1><script>Frontdesk('on', 'ready', () => (window.isReady = true)); Frontdesk('context', { product: 'Alba' })</script>${tag()}` },
    '/predecessor': { html: `<h1>Before</h1><script>window.ChatWidgetConfig = { title: 'Support', position: 'bottom-left', theme: 'dark' };
      (function(){ var script = document.createElement('script'); script.src = '${desk.url}/widget/embed.js'; script.async = true; document.head.appendChild(script); })();</script>` },
    '/frame': { html: `<h1>A frame</h1><iframe src="${desk.url}/widget/modern-widget.html" width="400" height="600" style="border:none"></iframe>` },
    '/twice': { html: `<h1>Twice</h1>${tag()}${tag()}` },
    '/pinned': { html: `<h1>Pinned</h1><script src="${desk.url}/widget/v/${hash('hex')}/embed.js" integrity="sha256-${hash('base64')}" crossorigin="anonymous" async></script>` },
    '/tampered': { html: `<h1>Tampered</h1><script src="${desk.url}/widget/v/${hash('hex')}/embed.js" integrity="sha256-${'A'.repeat(43)}=" crossorigin="anonymous" async></script>` },
    '/phone': { html: `<meta name="viewport" content="width=device-width"><main><h1>A long page</h1><a href="/next">Next</a><p style="height: 3000px"></p></main><nav inert>Menu</nav>${tag()}` },
    '/greeting': { html: `<h1>Greeting</h1><input autofocus aria-label="Search">${tag('data-greeting="Can I help?" data-greeting-delay="0.1" data-greeting-pages="/lamps /greet*"')}` },
    '/asking': { html: `<h1>Asking</h1>${tag('data-greeting="Can I help?" data-greeting-delay="0.1" data-consent="ask"')}` },
    '/elsewhere': { html: `<h1>Elsewhere</h1>${tag('data-greeting="Can I help?" data-greeting-delay="0.1" data-greeting-pages="/lamps* /else"')}` },
  });
});

after(async () => {
  try {
    await chromium.close();
    assert.equal(await desk.stop(), 0, 'frontdesk ends well after SIGTERM');
  } finally {
    await Promise.all([n8n.close(), shop.close()]);
    endAll();
  }
});

const story = storyteller(() => chromium.driver);

const hosts = (name = 'lamps') => [new URL(desk.url).host, new URL(shop.origin(name)).host];
const heard = (page, name) => page.evaluate((name) => globalThis.heard.filter(([type]) => type === name).map(([, detail]) => detail), name);
const answer = async (text, words = 'Yes.') => (await n8n.asked(text)).begin().say(words).end();

describe('the chat on other people\'s pages', { concurrency: 3, timeout: 240_000 }, () => {
  story('needs nothing of a strict page but its two sources, and stands its rules', async (arrives) => {
    const ada = await arrives();
    const asked = [];
    ada.context.on('request', (request) => asked.push(request.url()));
    const chat = await ada.open(`${shop.origin('lamps')}/strict`);
    await chat.launcher.waitFor();
    const { x, y, width, height } = await chat.launcher.boundingBox();
    assert.deepEqual([x, y, width, height], [1280 - 84, 860 - 84, 60, 60]);
    await chat.shot('embed: strict shop');
    assert.deepEqual(asked.filter((url) => url.startsWith(desk.url)), [`${desk.url}/widget/embed.js`], 'nothing else before it is wanted');
    assert.equal(await chat.page.evaluate(() => localStorage.length + sessionStorage.length), 0);
    await chat.openChat();
    await chat.ask('strict');
    await answer('strict');
    await chat.sees('Yes.');
    await chat.shot('embed: strict shop, open');
    assert.match(await chat.page.locator('frontdesk-chat iframe').getAttribute('sandbox'), /^allow-scripts allow-same-origin /);
    assert.deepEqual(shop.reports, []);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('keeps two shops apart', async (arrives) => {
    const ada = await arrives();
    const lamps = await ada.open(`${shop.origin('lamps')}/plain`);
    await lamps.openChat();
    await lamps.ask('only for lamps');
    await answer('only for lamps');
    await lamps.sees('Yes.');
    const tea = await ada.open(`${shop.origin('tea')}/plain`);
    await tea.openChat();
    assert.equal(await tea.questions.count(), 0);
    await tea.ask('only for tea');
    const reply = await n8n.asked('only for tea');
    assert.equal(reply.asked.session.origin_domain, 'tea.localhost');
    reply.begin().say('Tea.').end();
    await tea.sees('Tea.');
    await ada.isUnharmed({ hosts: [...hosts(), ...hosts('tea')] });
  });

  story('does what the page asks, and says what happened but not what was said', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/listening`);
    const { page } = chat;
    await chat.launcher.waitFor();
    await page.evaluate(() => globalThis.Frontdesk('send', 'Is it dimmable?'));
    const reply = await n8n.asked('Is it dimmable?');
    assert.deepEqual(reply.asked.metadata.context, { product: 'Alba' }, 'set before embed.js was there');
    assert.equal(reply.asked.session.page_url, `${shop.origin('lamps')}/listening`);
    await chat.sees('Is it dimmable?');
    assert.equal(await page.evaluate(() => globalThis.isReady), true);
    await page.evaluate(() => globalThis.Frontdesk('close'));
    await chat.panel.waitFor({ state: 'hidden' });
    reply.begin().say('Certainly.').end();
    await page.getByRole('button', { name: 'Chat 1 new message', exact: true }).waitFor();
    await chat.shot('embed: unread');
    await page.evaluate(() => globalThis.Frontdesk('toggle'));
    await chat.sees('Certainly.');
    await page.getByRole('button', { name: 'Chat', exact: true }).waitFor();
    assert.deepEqual(await heard(page, 'unread'), [{ n: 1, text: '1 new message' }, { n: 0, text: '' }]);
    assert.deepEqual(await heard(page, 'message'), [{ from: 'visitor', n: 1 }, { from: 'assistant', n: 1 }]);
    assert.deepEqual([(await heard(page, 'open')).length, (await heard(page, 'close')).length, (await heard(page, 'error')).length], [2, 1, 0]);
    assert.doesNotMatch(JSON.stringify(await page.evaluate(() => globalThis.heard)), /dimmable|Certainly/);

    await page.evaluate(() => globalThis.Frontdesk('prefill', 'And the colour?'));
    await until('the text is in the field', async () => (await chat.field.inputValue()) === 'And the colour?');
    await page.evaluate(() => globalThis.Frontdesk('context', { much: 'x'.repeat(5000) }));
    await until('too much is told', async () => (await heard(page, 'error')).some(({ code }) => code === 'bad_context'));
    await page.evaluate(() => ['close', 'hide'].forEach((name) => globalThis.Frontdesk(name)));
    await chat.launcher.waitFor({ state: 'hidden' });
    await page.evaluate(() => globalThis.Frontdesk('show'));
    await chat.launcher.waitFor();
    await page.evaluate(() => globalThis.Frontdesk('shutdown'));
    await chat.launcher.waitFor({ state: 'detached' });
    await page.evaluate(() => globalThis.Frontdesk('open'));
    assert.equal(await page.locator('frontdesk-chat').count(), 0);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('tells n8n who is signed in, and shows nobody what another one wrote', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/listening`);
    await chat.launcher.waitFor();
    const is = (id) => chat.page.evaluate((token) => globalThis.Frontdesk('identify', token), identityToken(SECRET, id));
    const identity = ({ asked }) => JSON.parse(Buffer.from(asked.jwt_token.split('.')[1], 'base64url')).identity;
    await is('customer-1');
    await chat.openChat();
    await chat.ask('my orders');
    const first = await n8n.asked('my orders');
    assert.equal(identity(first).sub, 'customer-1');
    first.begin().say('Two of them.').end();
    await chat.sees('Two of them.');
    await chat.isOver();
    await is('customer-1');
    await is('customer-2');
    await until('the chat is empty', async () => (await chat.questions.count()) === 0);
    await chat.ask('my orders too');
    const second = await n8n.asked('my orders too');
    assert.deepEqual([identity(second).sub, second.asked.sessionId === first.asked.sessionId], ['customer-2', false]);
    second.begin().say('None.').end();
    await chat.sees('None.');
    await chat.isOver();
    await chat.page.evaluate(() => globalThis.Frontdesk('reset'));
    await until('the chat is empty again', async () => (await chat.questions.count()) === 0);
    await chat.ask('who am I');
    const third = await n8n.asked('who am I');
    assert.equal(identity(third), null);
    assert.equal(third.asked.metadata.context ?? null, null);
    third.begin().say('A guest.').end();
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('takes the predecessor\'s snippet and its settings', async (arrives) => {
    const ada = await arrives();
    const { page } = await ada.open(`${shop.origin('lamps')}/predecessor`);
    const launcher = page.getByRole('button', { name: 'Support', exact: true });
    await launcher.click();
    assert.equal((await launcher.boundingBox()).x, 24);
    const frame = page.frameLocator('frontdesk-chat iframe');
    await frame.getByRole('textbox', { name: 'Message' }).waitFor();
    assert.equal(await frame.locator('html').getAttribute('data-theme'), 'dark');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('works in a plain frame', async (arrives) => {
    const ada = await arrives();
    const { page } = await ada.open(`${shop.origin('tea')}/frame`);
    const frame = page.frameLocator('iframe');
    await frame.getByRole('textbox', { name: 'Message' }).fill('in a frame');
    await frame.getByRole('button', { name: 'Send', exact: true }).click();
    const reply = await n8n.asked('in a frame');
    assert.equal(reply.asked.session.origin_domain, 'tea.localhost');
    reply.begin().say('All the same.').end();
    await frame.getByText('All the same.', { exact: true }).waitFor();
    await ada.isUnharmed({ hosts: hosts('tea') });
  });

  story('stays while the page around it changes', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/twice`);
    await chat.openChat();
    assert.equal(await chat.page.locator('frontdesk-chat').count(), 1);
    await chat.page.evaluate(() => {
      history.pushState({}, '', '/lamps/alba');
      document.title = 'Alba';
    });
    await chat.ask('which page');
    const reply = await n8n.asked('which page');
    assert.equal(reply.asked.session.page_url, `${shop.origin('lamps')}/lamps/alba`);
    reply.begin().say('The lamp.').end();
    await chat.sees('The lamp.');
    // As Turbo and Astro do it, and then as a script that clears the body.
    await chat.page.evaluate(() => document.body.replaceWith(document.createElement('body')));
    await chat.sees('The lamp.');
    await chat.page.evaluate(() => document.body.replaceChildren(document.createElement('h1')));
    await chat.sees('The lamp.');
    await chat.ask('still there');
    await answer('still there', 'Of course.');
    await chat.sees('Of course.');
    assert.equal(await chat.page.locator('frontdesk-chat').count(), 1);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('comes back with a page from the browser\'s memory', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/listening`);
    await chat.openChat();
    await chat.ask('before leaving');
    await answer('before leaving');
    await chat.sees('Yes.');
    await chat.isOver();
    await chat.page.evaluate(() => addEventListener('pageshow', (event) => (globalThis.restored = event.persisted)));
    await chat.page.evaluate(() => (location.href = '/next'));
    await chat.page.getByText('The next page').waitFor();
    await chat.page.goBack({ waitUntil: 'commit' });
    await until('the page is the old one', () => chat.page.evaluate(() => globalThis.restored));
    // Playwright does not find the frame again, which is there all the same, and hears the page.
    await chat.page.evaluate(() => globalThis.Frontdesk('send', 'after coming back'));
    await answer('after coming back', 'Welcome back.');
    await until('the page is told of the answer', async () => (await heard(chat.page, 'message')).length === 4);
    await chat.shot('embed: from the browser memory');
    assert.equal(await chat.page.evaluate(() => globalThis.ports), 1);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('talks to nobody but the page it belongs to', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/listening`);
    await chat.openChat();
    const result = await chat.page.evaluate(async () => {
      const frame = document.querySelector('frontdesk-chat').shadowRoot.querySelector('iframe');
      const stranger = document.createElement('iframe');
      stranger.srcdoc = '<script>parent.postMessage({ frontdesk: "hello", v: 1 }, "*")</scr' + 'ipt>';
      document.body.append(stranger);
      postMessage({ frontdesk: 'hello', v: 1 }, '*');
      const { port1, port2 } = new MessageChannel();
      const answers = [];
      port1.onmessage = ({ data }) => answers.push(data);
      frame.contentWindow.postMessage({ frontdesk: 'init', v: 1, open: true, options: { send: 'forged' } }, '*', [port2]);
      port1.postMessage(['send', 'forged']);
      frame.contentWindow.postMessage({ frontdesk: 'send', text: 'forged' }, '*');
      await new Promise((resolve) => setTimeout(resolve, 500));
      return { ports: globalThis.ports, answers, messages: globalThis.messages };
    });
    assert.equal(result.ports, 2, 'the one of the handshake, and ours here');
    assert.deepEqual(result.answers, []);
    assert.deepEqual(result.messages, Array(3).fill({ frontdesk: 'hello', v: 1 }), 'nothing else can be overheard');
    assert.equal(await chat.questions.count(), 0);
    assert.equal(n8n.runs('forged'), 0);

    // Loaded anew, the frame gets a new port, and the page is heard again.
    await chat.page.evaluate(() => {
      const frame = document.querySelector('frontdesk-chat').shadowRoot.querySelector('iframe');
      frame.src = frame.src;
    });
    await until('there is a new port', () => chat.page.evaluate(() => globalThis.ports === 3));
    await chat.page.evaluate(() => globalThis.Frontdesk('prefill', 'again'));
    await until('the text is in the field', async () => (await chat.field.inputValue()) === 'again');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('refuses a page that says it is another one', async (arrives) => {
    const ada = await arrives();
    const asked = [];
    ada.context.on('request', (request) => asked.push(request.url()));
    pages['/liar'] = { html: `<h1>Liar</h1><iframe width="400" height="600" src="${desk.url}/widget/modern-widget.html?origin=${encodeURIComponent(shop.origin('tea'))}"></iframe>` };
    const { page } = await ada.open(`${shop.origin('lamps')}/liar`);
    await page.frameLocator('iframe').getByText('The chat is not available here.').waitFor();
    assert.ok(!asked.some((url) => url.includes('/api/')));
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('is a link where it may not be framed, and covers nothing', async (arrives) => {
    const ada = await arrives();
    pages['/blocked'] = { html: `${LISTENING}<h1>Blocked</h1><a href="#clicked">A link of the shop</a><script src="${desk.url}/widget/embed.js" async></script>` };
    const chat = await ada.open(`${shop.origin('evil')}/blocked`);
    await chat.launcher.click();
    await chat.page.getByRole('link', { name: 'A link of the shop' }).click();
    const link = chat.panel.getByRole('link', { name: 'Chat' });
    await link.waitFor();
    assert.match(await link.getAttribute('href'), /\/widget\/modern-widget\.html\?/);
    assert.equal(await link.getAttribute('target'), '_blank');
    assert.deepEqual(await heard(chat.page, 'error'), [{ code: 'unreachable' }]);
    await chat.shot('embed: blocked');
    await chat.launcher.click();
    await chat.panel.waitFor({ state: 'hidden' });
    assert.match(ada.noted.errors.join(), /frame-ancestors/);
  });

  story('can be closed on a phone though its frame never comes', async (arrives) => {
    const ada = await arrives({ viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true });
    await ada.context.route('**/modern-widget.html*', (route) => route.abort());
    const chat = await ada.open(`${shop.origin('lamps')}/phone`);
    await chat.launcher.tap();
    await chat.panel.waitFor();
    await chat.launcher.tap();
    await chat.panel.waitFor({ state: 'hidden' });
    await chat.page.getByRole('link', { name: 'Next' }).tap();
    await chat.page.getByText('The next page').waitFor();
  });

  story('can be pinned by its hash, and another file is not run', async (arrives) => {
    const ada = await arrives();
    const pinned = await ada.open(`${shop.origin('lamps')}/pinned`);
    await pinned.openChat();
    await ada.isUnharmed({ hosts: hosts() });
    const tampered = await ada.open(`${shop.origin('lamps')}/tampered`);
    await until('the browser says why', () => ada.noted.errors.some((text) => /integrity/.test(text)));
    assert.equal(await tampered.page.locator('frontdesk-chat').count(), 0);
  });

  story('is the whole screen of a phone, and gives the page back', async (arrives) => {
    const ada = await arrives({ viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
    const chat = await ada.open(`${shop.origin('lamps')}/phone`);
    await chat.launcher.tap();
    await chat.field.waitFor();
    const page = () => chat.page.evaluate(() => [document.querySelector('main').inert, document.querySelector('nav').inert, document.documentElement.style.overflow]);
    const box = () => chat.panel.boundingBox();
    assert.deepEqual(await page(), [true, true, 'hidden']);
    assert.deepEqual(await box(), { x: 0, y: 0, width: 390, height: 780 });
    // What the keyboard leaves.
    await chat.page.setViewportSize({ width: 390, height: 430 });
    await until('the panel has the height that is seen', async () => (await box()).height === 430);
    assert.ok((await chat.field.boundingBox()).y < 430);
    await chat.shot('embed: phone with keyboard');
    await chat.page.setViewportSize({ width: 390, height: 780 });
    await chat.button('Close chat').tap();
    await chat.panel.waitFor({ state: 'hidden' });
    assert.deepEqual(await page(), [false, true, ''], 'what the page had inert stays so');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('greets once, where it should, and steals nothing', async (arrives) => {
    const ada = await arrives();
    const elsewhere = await ada.open(`${shop.origin('lamps')}/elsewhere`);
    await elsewhere.launcher.waitFor();
    const chat = await ada.open(`${shop.origin('lamps')}/greeting`);
    const nudge = (of) => of.page.getByRole('button', { name: 'Can I help?' });
    await nudge(chat).waitFor();
    assert.equal(await chat.page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Search');
    await chat.shot('embed: greeting');
    assert.equal(await nudge(elsewhere).count(), 0);
    assert.equal(chat.page.frames().length, 1);
    await chat.page.getByRole('button', { name: 'Dismiss' }).click();
    assert.equal(await nudge(chat).count(), 0);
    await chat.page.reload();
    await chat.launcher.waitFor();
    await chat.page.waitForTimeout(400);
    assert.equal(await nudge(chat).count(), 0);
    await ada.isUnharmed({ hosts: hosts() });

    const eve = await arrives();
    const asking = await eve.open(`${shop.origin('lamps')}/asking`);
    await asking.launcher.hover();
    await asking.page.waitForTimeout(400);
    assert.equal(await nudge(asking).count(), 0);
    assert.deepEqual([asking.page.frames().length, await asking.page.evaluate(() => localStorage.length + sessionStorage.length)], [1, 0]);
    await asking.page.evaluate(() => globalThis.Frontdesk('consent', 'granted'));
    await nudge(asking).click();
    await asking.field.waitFor();
    await eve.isUnharmed({ hosts: hosts() });
  });

  story('takes a colour from its tag, and no style', async (arrives) => {
    const ada = await arrives();
    const styled = (color) => ({ html: `<h1>Colour</h1><script src="${desk.url}/widget/embed.js" async data-color="${color}"></script>` });
    Object.assign(pages, { '/coloured': styled('#aa3311'), '/injected': styled('red;position:static} *{visibility:hidden} a{') });
    const accent = (chat) => chat.launcher.evaluate((node) => getComputedStyle(node).backgroundColor);
    const coloured = await ada.open(`${shop.origin('lamps')}/coloured`);
    await coloured.launcher.waitFor();
    assert.equal(await accent(coloured), 'rgb(170, 51, 17)');
    const injected = await ada.open(`${shop.origin('lamps')}/injected`);
    await injected.openChat();
    assert.ok(await injected.page.getByRole('heading', { name: 'Colour' }).isVisible(), 'the page is as it was');
    assert.equal(await injected.launcher.evaluate((node) => getComputedStyle(node).position), 'fixed');
    assert.ok(await injected.field.isVisible(), 'and so is the chat');
    const within = (selector) => injected.chat.locator(selector).evaluate((node) => getComputedStyle(node).visibility);
    assert.equal(await within('#name'), 'visible');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('asks once, though the page is hidden and shown in the middle of a reply', async (arrives) => {
    const ada = await arrives();
    const text = 'while the page is hidden';
    let posts = 0;
    ada.context.on('request', (request) => (posts += request.method() === 'POST' && request.postData()?.includes(text) ? 1 : 0));
    const chat = await ada.open(`${shop.origin('lamps')}/plain`);
    await chat.openChat();
    const frame = chat.page.frames().find((it) => it.url().includes('modern-widget'));
    await frame.evaluate(() => {
      Object.defineProperty(document, 'hidden', { get: () => globalThis.away === true });
      Object.defineProperty(document, 'visibilityState', { get: () => (globalThis.away ? 'hidden' : 'visible') });
    });
    const goes = (away) =>
      frame.evaluate((away) => {
        globalThis.away = away;
        document.dispatchEvent(new Event('visibilitychange'));
      }, away);
    await chat.ask(text);
    const reply = (await n8n.asked(text)).begin().say('It begins ');
    await chat.sees('It begins');
    for (const away of [true, false, true, false]) await goes(away);
    reply.say('and ends.').end();
    await chat.sees('It begins and ends.');
    await chat.isOver();
    assert.deepEqual([posts, n8n.runs(text), await chat.questions.count()], [1, 1, 1]);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('greets again in another session, until it is dismissed', async (arrives) => {
    const ada = await arrives();
    const url = `${shop.origin('lamps')}/greeting`;
    const nudge = (of) => of.page.getByRole('button', { name: 'Can I help?' });
    const first = await ada.open(url);
    await nudge(first).waitFor();
    await first.page.reload();
    await first.launcher.waitFor();
    await first.page.waitForTimeout(400);
    assert.equal(await nudge(first).count(), 0, 'once in a session of the browser');
    // A tab of its own has a session of its own.
    const second = await ada.open(url);
    await nudge(second).waitFor();
    await second.page.getByRole('button', { name: 'Dismiss' }).click();
    const third = await ada.open(url);
    await third.launcher.waitFor();
    await third.page.waitForTimeout(400);
    assert.equal(await nudge(third).count(), 0, 'dismissed for good');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('counts in the title of the page what is unread, and gives the title back', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/listening`);
    const title = (expected) => until(`the title is "${expected}"`, async () => (await chat.page.title()) === expected);
    await chat.openChat();
    await chat.ask('for the title');
    await chat.page.evaluate(() => globalThis.Frontdesk('close'));
    (await n8n.asked('for the title')).begin().say('Here.').end();
    await title('(1) A shop');
    await chat.page.evaluate(() => {
      document.title = 'Alba';
      history.pushState({}, '', '/lamps/alba');
    });
    await title('(1) Alba');
    await chat.page.evaluate(() => globalThis.Frontdesk('open'));
    await title('Alba');
    await chat.ask('for the title again');
    const again = await n8n.asked('for the title again');
    assert.match(JSON.stringify(again.asked.metadata), /"Alba"/, 'n8n is told the title without the count');
    await chat.page.evaluate(() => globalThis.Frontdesk('close'));
    again.begin().say('Here too.').end();
    await title('(1) Alba');
    await chat.page.evaluate(() => globalThis.Frontdesk('shutdown'));
    await title('Alba');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('greets nobody who has opened the chat before', async (arrives) => {
    const ada = await arrives();
    pages['/later'] = { html: `<h1>Later</h1><script src="${desk.url}/widget/embed.js" async data-greeting="Can I help?" data-greeting-delay="1.5"></script>` };
    const chat = await ada.open(`${shop.origin('lamps')}/later`);
    await chat.openChat();
    await chat.page.waitForTimeout(1800);
    assert.equal(await chat.page.getByRole('button', { name: 'Can I help?' }).count(), 0);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('loads on hover, and is open again on the next page if it was open', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(`${shop.origin('lamps')}/plain`);
    await chat.launcher.hover();
    await until('the frame is loaded', () => chat.page.frames().length === 2);
    assert.ok(await chat.panel.isHidden());
    await chat.openChat();
    await until('the field has the focus', () => chat.field.evaluate((field) => document.hasFocus() && field === document.activeElement));
    await chat.page.goto(`${shop.origin('lamps')}/next`);
    await chat.field.waitFor();
    await chat.field.press('Escape');
    await chat.panel.waitFor({ state: 'hidden' });
    await until('the focus is back on the launcher', () => chat.launcher.evaluate((button) => button.getRootNode().activeElement === button));
    await chat.page.keyboard.press('Enter');
    await chat.panel.waitFor();
    await chat.field.press('Escape');
    await chat.panel.waitFor({ state: 'hidden' });
    await chat.page.goto(`${shop.origin('lamps')}/plain`);
    await chat.launcher.waitFor();
    assert.equal(chat.page.frames().length, 1);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('is seen to come where its settings take long, and has the focus when it is there', async (arrives) => {
    const ada = await arrives();
    let go = () => {};
    const held = new Promise((resolve) => (go = () => resolve(undefined)));
    await ada.context.route('**/widget-config.json*', (route) => held.then(() => route.continue()));
    await ada.context.addInitScript(() => {
      const said = (globalThis.said = []);
      new MutationObserver(() => said.push(document.documentElement.className)).observe(document, { subtree: true, attributeFilter: ['class'] });
    });
    const chat = await ada.open(`${shop.origin('lamps')}/plain`);
    await chat.launcher.click();
    await chat.chat.locator('.skeleton').waitFor();
    assert.equal(await chat.chat.locator('html.ready').count(), 0);
    go();
    await chat.chat.locator('html.ready #field:focus').waitFor();
    const said = await chat.chat.locator('html').evaluate(() => globalThis.said);
    assert.deepEqual([said[0], said.find((it) => it !== 'unseen')], ['unseen', ''], 'nothing is laid out at first, but something before it is ready');
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('has a field as high as a line, where a script must measure it and nobody saw it made', async (arrives) => {
    const ada = await arrives();
    await ada.context.addInitScript(() => (CSS.supports = () => false));
    const chat = await ada.open(`${shop.origin('lamps')}/plain`);
    await chat.launcher.hover();
    await chat.chat.locator('html.ready').waitFor({ state: 'attached' });
    assert.deepEqual(await chat.chat.locator('#field').evaluate((field) => [innerWidth, field.style.height]), [0, 'auto']);
    await chat.launcher.click();
    await chat.chat.locator('#field').waitFor();
    assert.ok((await chat.chat.locator('#field').boundingBox()).height >= 30);
    await ada.isUnharmed({ hosts: hosts() });
  });

  story('is a plain link on a page of its own origin, and in a browser that is too old', async (arrives) => {
    const ada = await arrives();
    await ada.context.route(`${desk.url}/shop`, (route) => route.fulfill({ contentType: 'text/html', body: `<!doctype html><html lang="en"><title>A shop</title><link rel="icon" href="data:,"><h1>Same</h1><script src="/widget/embed.js" async></script>` }));
    const same = await ada.open(`${desk.url}/shop`);
    await same.page.getByRole('link', { name: 'Chat' }).waitFor();
    assert.equal(await same.page.locator('frontdesk-chat').count(), 0);
    const bob = await arrives();
    await bob.context.addInitScript(() => delete Document.prototype.adoptedStyleSheets);
    const old = await bob.open(`${shop.origin('lamps')}/plain`);
    await old.page.getByRole('link', { name: 'Chat' }).waitFor();
    assert.equal(await old.page.locator('frontdesk-chat').count(), 0);
    await bob.isUnharmed({ hosts: hosts() });
  });
});
