/** What visitors live through, in a real browser, with the real executable. Started by run.sh. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'node:test';
import { codeOf } from '../literals.js';
import { axe } from './access.js';
import { browser, captchaProvider, endAll, foreignShop, frontdesk, scriptedN8n, secrets, until } from './processes.js';
import { storyteller } from './story.js';
import { stores } from './visitor.js';

/** What Chromium itself writes to the console when a request is refused or its connection is gone. */
const LOST = /Failed to load resource: (net::ERR_|the server responded with a status of 503)/;

/** Typed by a visitor, and written by a model. Each would tell by `attacked` if a script of it ran. */
const ATTACKS = [
  '<script>attacked("script")</script>',
  '<img src=x onerror=attacked("img")>',
  '<svg onload=attacked("svg")><animate onbegin=attacked("animate") attributeName=x>',
  '<iframe srcdoc="<script>parent.attacked(1)</script>"></iframe>',
  '<details open ontoggle=attacked("details")>',
  '<a href="javascript:attacked(1)">click</a>',
  '[click](javascript:attacked("link"))',
  '[click](  JaVaScRiPt:attacked("case"))',
  '[click](java\tscript:attacked("tab"))',
  '[click](&#106;avascript:attacked("entity"))',
  '[click](data:text/html,<script>attacked(1)</script>)',
  '[click](vbscript:attacked("vb"))',
  '![x](x"onerror="attacked(1))',
  '![x](http://127.0.0.1:9/tracked.png)',
  '<style>@import "http://127.0.0.1:9/a.css"; * { color: red }</style>',
  '<base href="http://127.0.0.1:9/"><link rel=stylesheet href=a.css>',
  '<meta http-equiv=refresh content="0;url=javascript:attacked(1)">',
  '<form action=javascript:attacked(1)><button>go</button></form>',
  '"><script>attacked("quote")</script>',
  "';attacked('js');//",
  '{{constructor.constructor("attacked(1)")()}}',
  '```html\n<script>attacked("fence")</script>\n```',
  '`<img src=x onerror=attacked("code")>`',
  '| <img src=x onerror=attacked("table")> |\n| --- |\n| <script>attacked("cell")</script> |',
  '<math><mtext></form><form><mglyph><style></math><img src onerror=attacked("mxss")>',
  '<http://127.0.0.1:9/" onmouseover="attacked(1)>',
  '\u202Eattacked(1)\u202C <b onclick=attacked("b")>b</b>',
];

/** @type {Awaited<ReturnType<typeof browser>>} */
let chromium;
let amnesiac;
let n8n;
/** Behind it: the friendly demo; the demo, and an edge that suspects everybody, or shows them a captcha as well; n8n as the stories write it; nobody. */
let demo;
let strict;
let stricter;
let provider;
let desk;
let deserted;
let shop;

before(async () => {
  n8n = await scriptedN8n();
  provider = await captchaProvider();
  shop = await foreignShop(() => desk.url);
  try {
    [chromium, amnesiac, demo, strict, stricter, desk, deserted] = await Promise.all([
      browser(),
      browser({ noStorage: true }),
      frontdesk(),
      frontdesk({ BOT_CHALLENGE_AT: '0' }),
      // A headless browser's score is in the upper half.
      frontdesk({ BOT_CHALLENGE_AT: '0', BOT_REFUSE_AT: '60', CAPTCHA: 'turnstile', CAPTCHA_SITE_KEY: '1x00AA', CAPTCHA_SECRET_KEY: 'a-secret', CAPTCHA_VERIFY_URL: provider.url }),
      // All of its stories are told by browsers that sign every call.
      frontdesk({ N8N_WEBHOOK_URL: n8n.url, ALLOWED_ORIGINS: shop.origin, REQUEST_SIGNATURES: 'required' }),
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
    await Promise.all([chromium.close(), amnesiac.close()]);
    const all = [demo, strict, stricter, desk, deserted];
    const codes = await Promise.all(all.map((process) => process.stop()));
    assert.deepEqual(codes, all.map(() => 0), 'frontdesk ends well after SIGTERM');
  } finally {
    await Promise.all([n8n.close(), provider.close(), shop.close()]);
    endAll();
  }
});

const story = storyteller((denied) => (denied ? amnesiac : chromium).driver);

/** The chat alone on a page: cheaper to paint than the whole shop. */
const alone = (process) => `${process.url}/widget/modern-widget.html`;
/** A word of the workflow that nobody asked for. */
async function push(call, content) {
  const response = await fetch(call.asked.reply_url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ content, kind: 'push' }) });
  assert.equal((await response.json()).kind, 'push');
}
/** More of it than this browser was told: so many exchanges before the one that is shown, ten of them each day. */
function isKept(chat, more) {
  return until('it is kept', () => chat.page.evaluate(async (more) => {
    const done = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: reject }));
    const database = await done(indexedDB.open('frontdesk:default'));
    const store = database.transaction('exchanges', 'readwrite').objectStore('exchanges');
    const [first] = await done(store.getAll());
    if (first?.phase === 'done') for (let at = 1; at <= more; at += 1) await done(store.put({ ...first, id: crypto.randomUUID(), at: first.at - at * 8_640_000, text: `question ${more - at}`, answer: `Answer **${more - at}**.` }));
    database.close();
    return first?.phase === 'done';
  }, more));
}
/** What a token says. @param {string} token */
const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
const hostOf = (process) => new URL(process.url).host;
/** Files of sentences that are asked for from now on. */
function languagesAsked({ context }) {
  const asked = [];
  context.on('request', (request) => request.url().includes('/locales/') && asked.push(request.url().split('/').at(-1)));
  return asked;
}

it('gets the code that stands in the repository, line by line, without the comments', async () => {
  const folder = fileURLToPath(new URL('../../', import.meta.url));
  const names = readdirSync(folder, { recursive: true }).filter((name) => /^(?:js\/.*|embed)\.js$/.test(name));
  assert.ok(names.length > 50, `${names.length} files`);
  const get = async (name) => (await fetch(`${demo.url}/widget/${name}`)).text();
  // Of a module that comes together with others, what it exports is told at its end.
  const groups = await Promise.all(['main', 'talking', 'reading', 'keeping', 'sending'].map((name) => get(`js/${name}.js`)));
  const joined = new Map(groups.flatMap((group) => [...group.matchAll(/^\/\/ (.*)\nconst \$\w+ = \(\(\) => \{\n([^]*?)return \{ (.*) \};\n\}\)\(\);\n/gm)].map(([, name, body, exports]) => [name, { body, exports }])));
  assert.ok(joined.size > 35, `${joined.size} modules in five`);
  // What a file is for runs where a page names the file.
  joined.set('js/main.js', { body: /^\/\/ js\/main\.js\nif \(.*\) \{\n([^]*)\}\nexport \{ .* \};\n$/m.exec(groups[0])[1], exports: '' });
  // And an import from there names the module by a constant.
  const vendored = new Map(groups.flatMap((group) => [...group.matchAll(/^import \* as \$(\w+) from '(.*)';$/gm)].map(([, constant, from]) => [constant, from])));
  const from = (module) => vendored.get(module) ?? `./${module.replaceAll('_', '-')}.js`;
  const asWritten = (list) => list.replaceAll(': ', ' as ');
  const imported = (text) =>
    text
      .replace(/^import \{ \$\w+ \} from '\.\/\w+\.js'; const \{ (.*) \} = \$(\w+);$|^const \{ (.*) \} = \$(\w+);$/gm, (_, outside, there, inside, here) => `import { ${asWritten(outside ?? inside)} } from '${from(there ?? here)}';`)
      .replace(/import\('\.\/\w+\.js'\)\.then\(\(it\) => it\.\$(\w+)\)/g, (_, there) => `import('${from(there)}')`);
  for (const name of names) {
    const part = joined.get(name);
    const served = imported(part?.body ?? (await get(name)));
    const source = readFileSync(`${folder}${name}`, 'utf8');
    const written = part ? source.replace(/^export /gm, '') : source;
    if (part) assert.deepEqual(part.exports.split(', ').filter(Boolean), [...source.matchAll(/^export (?:async )?\w+\*? (\w+)/gm)].map(([, it]) => it), name);
    assert.equal(codeOf(served), codeOf(written), name);
    assert.ok(codeOf(written).length > 0 && served.length <= written.length, name);
    const lines = served.split('\n');
    written.split('\n').forEach((line, at) => assert.ok(lines[at] === line || lines[at] === '', `${name}:${at + 1}`));
  }
});

describe('the chat in a browser', { concurrency: 3, timeout: 180_000 }, () => {
  story('opens, streams a reply of the demo, and does nothing it should not', async (arrives) => {
    const ada = await arrives({ reducedMotion: 'no-preference' });
    const chat = await ada.open(demo.url);
    await chat.launcher.waitFor();
    assert.equal(chat.page.frames().length, 1, 'the chat is not loaded before it is opened');
    assert.equal(await chat.page.evaluate(() => localStorage.length + sessionStorage.length), 0, 'nothing is kept before that either');
    await chat.shot('desktop light: shop');

    await chat.openChat();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await until('the shop sees the field focused', () => chat.field.evaluate((field) => field === document.activeElement));
    await chat.shot('desktop light: welcome');

    await chat.chat.locator('#turns').evaluate((turns) => {
      globalThis.lengths = new Set();
      globalThis.ends = new Set();
      new MutationObserver(() => {
        const { length } = turns.querySelector('.body.growing')?.textContent ?? '';
        if (length > 0) globalThis.lengths.add(length);
        globalThis.ends.add(turns.querySelectorAll('[data-end]').length);
      }).observe(turns, { subtree: true, childList: true, characterData: true });
    });
    await chat.ask('Hello there, what are you?');
    await chat.button('Stop answering').waitFor();
    await chat.chat.locator('.body.growing').waitFor();
    await chat.shot('desktop light: streaming');
    await chat.isOver();
    const answer = await chat.answers.innerText();
    assert.match(answer, /^You said Hello there, what are you\?\. I am the demo assistant/);
    assert.match(answer, /Or ask me for help\.$/);
    const lengths = await chat.chat.locator('#turns').evaluate(() => [...globalThis.lengths]);
    assert.ok(lengths.length >= 5, `the text grew while the reply ran: ${lengths}`);
    assert.deepEqual(await chat.chat.locator('#turns').evaluate(() => [...globalThis.ends].sort()), [0, 1], 'one place where the next word will come');
    assert.equal(await chat.chat.locator('[data-end]').count(), 0, 'and none when all is said');
    await chat.button('Copy answer').waitFor();
    await chat.shot('desktop light: answered');

    await chat.ask('markdown');
    await chat.isOver();
    assert.equal(await chat.answers.last().locator('ol > li').count(), 3);
    assert.equal(await chat.answers.last().locator('pre').count(), 1);
    await chat.shot('desktop light: markdown');
    await ada.isUnharmed({ hosts: [hostOf(demo)] });
  });

  story('reads the API docs, which keep to their own policy', async (arrives) => {
    const ada = await arrives();
    const docs = await ada.open(`${demo.url}/docs`);
    await docs.page.getByRole('heading', { name: 'Frontdesk API' }).waitFor();
    assert.ok(await docs.page.getByText('/api/v1/session/create').count() > 0);
    assert.equal(await docs.page.evaluate(() => {
      try {
        document.body.innerHTML = '<b>markup</b>';
        return 'taken';
      } catch (error) {
        return error.name;
      }
    }), 'TypeError', 'Trusted Types are in force');
    assert.ok(await docs.page.evaluate(() => crossOriginIsolated), 'isolated from other windows');
    await until('our own try is noted', () => ada.noted.policy.length > 0);
    const violations = ada.noted.policy.splice(0);
    assert.ok(violations.every((text) => /trusted/i.test(text)), `only our own try is noted: ${violations}`);
    await ada.isUnharmed({ hosts: [hostOf(demo)], errors: /TrustedHTML/ });
  });

  story('goes on with the same reply after a reload in the middle of it', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    await chat.openChat();
    await chat.ask('reload me');
    const reply = await n8n.asked('reload me');
    reply.begin().say('One, ', 'two, ');
    await chat.sees('One, two,');
    await chat.page.reload();
    await chat.sees('One, two,');
    assert.ok(await chat.isRunning());
    reply.say('three, ');
    await chat.sees('One, two, three,');
    // Once more, and now it goes on and ends while nobody looks.
    await chat.page.goto('about:blank');
    reply.say('four, ', 'five.').end();
    await chat.page.goto(desk.url);
    await chat.sees('five.');
    await chat.isOver();
    assert.equal((await chat.answers.innerText()).trim(), 'One, two, three, four, five.');
    assert.equal(await chat.questions.count(), 1);
    await chat.page.reload();
    await chat.sees('One, two, three, four, five.');
    assert.ok(!(await chat.isRunning()));
    assert.equal(n8n.runs('reload me'), 1);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('reloads before the first word, and is asked once', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('slow to begin');
    const reply = await n8n.asked('slow to begin');
    await chat.page.reload();
    await chat.dots.waitFor();
    reply.begin().say('Here I am.').end();
    await chat.sees('Here I am.');
    await chat.isOver();
    assert.equal(await chat.answers.innerText(), 'Here I am.');
    assert.equal(n8n.runs('slow to begin'), 1);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('shows one conversation in two tabs', async (arrives) => {
    const ada = await arrives();
    const one = await ada.open(desk.url);
    await one.openChat();
    const two = await ada.open(desk.url);
    await two.openChat();
    await one.ask('from the first tab');
    const reply = await n8n.asked('from the first tab');
    reply.begin().say('Both ');
    await one.sees('Both');
    await two.sees('from the first tab');
    await two.sees('Both');
    reply.say('of you ', 'see this.').end();
    for (const tab of [one, two]) {
      await tab.sees('Both of you see this.');
      await tab.isOver();
      assert.equal((await tab.answers.innerText()).trim(), 'Both of you see this.');
    }
    await two.ask('and back');
    const back = await n8n.asked('and back');
    back.begin().say('Back again');
    await one.sees('Back again');
    await one.button('Stop answering').click();
    for (const tab of [one, two]) {
      await tab.sees('Stopped');
      await tab.isOver();
    }
    await until('the call to n8n is closed', () => back.left);
    assert.deepEqual([n8n.runs('from the first tab'), n8n.runs('and back')], [1, 1]);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('goes on in the other tab when the one that reads the reply is closed', async (arrives) => {
    const ada = await arrives();
    const one = await ada.open(alone(desk));
    await one.openChat();
    await one.ask('close the first tab');
    const reply = await n8n.asked('close the first tab');
    reply.begin().say('One, ');
    await one.sees('One,');
    const two = await ada.open(alone(desk));
    await two.sees('One,');
    await one.page.close();
    reply.say('two, ', 'three.').end();
    await two.sees('One, two, three.');
    await two.isOver();
    assert.equal((await two.answers.innerText()).trim(), 'One, two, three.');
    await two.ask('and still there');
    (await n8n.asked('and still there')).begin().say('So am I.').end();
    await two.sees('So am I.');
    assert.equal(n8n.runs('close the first tab'), 1);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('shows what the assistant says by itself, in every tab, once', async (arrives) => {
    const ada = await arrives();
    const one = await ada.open(alone(desk));
    await one.openChat();
    const two = await ada.open(alone(desk));
    await two.openChat();
    await one.ask('tell me when it is there');
    const reply = await n8n.asked('tell me when it is there');
    reply.begin().say('I will.').end();
    for (const tab of [one, two]) await tab.isOver();
    await push(reply, 'Your parcel has arrived.');
    for (const tab of [one, two]) await tab.sees('Your parcel has arrived.');
    // While nobody listens it is kept on the other side.
    for (const tab of [one, two]) await tab.page.goto('about:blank');
    await push(reply, 'It is at the door.');
    await one.page.goto(alone(desk));
    await one.sees('It is at the door.');
    await one.page.reload();
    await one.sees('It is at the door.');
    assert.deepEqual((await one.answers.allInnerTexts()).map((text) => text.trim()), ['I will.', 'Your parcel has arrived.', 'It is at the door.']);
    assert.equal(await one.questions.count(), 1);
    await one.shot('desktop light: pushed');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('keeps conversations apart, and each of them has its own session', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    // The chat as a view has it; the page itself is the other tab, which sees the same.
    const act = async (what, argument) => chat.page.evaluate(async ([what, argument]) => {
      const { $chat: { createChat }, $actions: { createActions } } = await import(document.querySelector('script[src$="js/main.js"]').src);
      if (!globalThis.second) {
        const second = createChat({ site: 'default', base: new URL('../', location.href), describe: () => ({ site: 'default' }), about: () => ({ signals: {} }), onChange() {} });
        await second.start({ ask: false });
        globalThis.second = { chat: second, on: createActions({ chat: second, bridge: { framed: false, tell() {} }, words: () => ({}) }) };
      }
      const { chat, on } = globalThis.second;
      const result = await on[what]?.(argument);
      const { exchanges, conversations, conversation } = chat.state();
      return { result, conversation, said: exchanges.map((it) => it.text), answers: exchanges.map((it) => it.answer), titles: conversations.map((it) => it.title) };
    }, [what, argument]);

    await chat.ask('about lamps');
    const first = await n8n.asked('about lamps');
    first.begin().say('They are bright.').end();
    await chat.isOver();
    const lamps = await act('look');
    assert.deepEqual([lamps.said, lamps.answers], [['about lamps'], ['They are bright.']]);
    await act('newConversation');
    await act('send', 'about chairs');
    const second = await n8n.asked('about chairs');
    second.begin().say('They are soft.').end();
    await until('it is answered', async () => (await act('look')).answers[0] === 'They are soft.');
    assert.notEqual(second.asked.session.session_id, first.asked.session.session_id);
    assert.deepEqual(claims(second.asked.jwt_token).message_history, []);
    await chat.sees('They are bright.');
    const { titles } = await act('openConversation', lamps.conversation);
    assert.deepEqual(titles, ['about chairs', 'about lamps']);
    await act('send', 'more about lamps');
    const third = await n8n.asked('more about lamps');
    third.begin().say('And warm.').end();
    await chat.sees('And warm.');
    assert.equal(third.asked.session.session_id, first.asked.session.session_id);
    assert.deepEqual(claims(third.asked.jwt_token).message_history.map((it) => it.content), ['about lamps', 'They are bright.']);
    assert.deepEqual((await act('search', 'SOFT')).result.map((it) => [it.title, it.match]), [['about chairs', 'soft']]);
    const kept = await chat.page.evaluate(() => indexedDB.databases().then((all) => all.map((it) => it.name)));
    assert.deepEqual(kept, ['frontdesk:default']);
    const deleted = [];
    ada.context.on('response', (response) => response.request().method() === 'DELETE' && deleted.push(response.status()));
    await act('deleteAll');
    await until('our side was told', () => deleted.length >= 2);
    assert.deepEqual(deleted, [204, 204]);
    await until('nothing is kept', async () => Object.values(await stores(chat.page)).every((rows) => Object.keys(rows).length === 0));
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await chat.page.reload();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('shows a long conversation from its end, and then all of it, in order', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('the first question');
    (await n8n.asked('the first question')).begin().say('The **first** answer.').end();
    await chat.isOver();
    const more = 60;
    await isKept(chat, more);
    // How many were there when the end of it could first be read.
    await ada.context.addInitScript(() => new MutationObserver((_, observer) => {
      if (!document.querySelector('.exchange:last-child .body strong')) return;
      observer.disconnect();
      globalThis.firstSeen = document.querySelectorAll('.exchange').length;
    }).observe(document, { subtree: true, childList: true }));
    await chat.page.reload();
    await until('all are there', async () => (await chat.questions.count()) === more + 1);
    await chat.sees('The first answer.', chat.answers.last());
    const seen = await chat.page.evaluate(() => {
      const log = document.getElementById('log');
      const days = [...document.querySelectorAll('.day')].map((it) => (it.hidden ? '' : it.textContent));
      return { first: globalThis.firstSeen, fromEnd: log.scrollHeight - log.scrollTop - log.clientHeight, days: days.filter(Boolean), startsWith: days[0] };
    });
    assert.ok(seen.first < more / 2, `${seen.first} exchanges held up the newest`);
    assert.ok(seen.fromEnd < 2, `${seen.fromEnd} pixels from the end`);
    assert.notEqual(seen.startsWith, '');
    assert.ok(seen.days.length >= 6 && new Set(seen.days).size === seen.days.length, `each day once: ${seen.days}`);
    assert.deepEqual(await chat.questions.allInnerTexts(), [...Array.from({ length: more }, (_, at) => `question ${at}`), 'the first question']);
    assert.deepEqual(await chat.answers.allInnerTexts(), [...Array.from({ length: more }, (_, at) => `Answer ${at}.`), 'The first answer.']);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('leaves who has gone up where they are while older messages come in', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('once upon a time');
    const call = await n8n.asked('once upon a time');
    call.begin().say('The **first** answer.').end();
    await chat.isOver();
    const more = 40;
    await isKept(chat, more);
    // The browser comes to the older ones when this story lets it: faster than anybody can go up.
    await ada.context.addInitScript(() => {
      const later = globalThis.setTimeout;
      let held;
      globalThis.setTimeout = (run, ...rest) => {
        if (globalThis.comesToThem || !/\bpaintOlder\b/.test(String(run))) return later(run, ...rest);
        held = run;
        return 0;
      };
      globalThis.comeToThem = () => {
        globalThis.comesToThem = true;
        held();
      };
    });
    const log = chat.chat.locator('#log');
    const exchanges = chat.chat.locator('.exchange');
    const eye = chat.chat.getByText('question 37', { exact: true });
    const place = () => eye.evaluate((it) => it.getBoundingClientRect().top);
    // At the very top no browser holds anything by itself; below it some do, and it must not be done twice.
    for (const [round, fromTop] of [0, 120].entries()) {
      await chat.page.reload();
      await chat.sees('The first answer.');
      await log.hover();
      await chat.page.mouse.wheel(0, -10_000);
      await until('the top is seen', () => log.evaluate((it) => it.scrollTop === 0));
      if (fromTop > 0) await chat.page.mouse.wheel(0, fromTop);
      await until('they have gone up', () => log.evaluate((it, fromTop) => it.scrollTop === fromTop, fromTop));
      assert.equal(await exchanges.count(), 10, 'the others have not come yet');
      const before = await place();
      const stays = async (what) => assert.ok(Math.abs((await place()) - before) < 1, `${what}: from ${before} to ${await place()}, ${fromTop} pixels below the top`);
      // What is new at the end must not bring them either.
      await push(call, `word ${round} of the shop`);
      await chat.sees(`word ${round} of the shop`);
      await stays('a word came');
      await chat.page.evaluate(() => globalThis.comeToThem());
      await until('all are there', async () => (await exchanges.count()) === more + 2 + round);
      await stays('all came');
      assert.ok(await chat.button('New message').isVisible(), 'the word waits');
    }
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('loads what sends and shows messages when all that opens the chat is there', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    const loads = () =>
      chat.page.evaluate(() => {
        const all = performance.getEntriesByType('resource').map(({ name, startTime, responseEnd }) => ({ name, startTime, responseEnd }));
        const later = all.filter(({ name }) => /js\/(sending|talking)\.js|talk\.css|vendor/.test(name));
        return { opening: all.filter((it) => !later.includes(it) && !/\.svg$/.test(it.name)), later };
      });
    // Nobody has touched a key.
    await until('it is loaded', async () => (await loads()).later.length === 5);
    const { opening, later } = await loads();
    assert.deepEqual(opening.map(({ name }) => name.split('/').at(-1)).sort(), ['main.js', 'widget-config.json', 'widget.css'], 'the sentences are in the page');
    assert.ok(Math.min(...later.map((it) => it.startTime)) >= Math.max(...opening.map((it) => it.responseEnd)), 'and it takes nothing from the opening');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('says that the chat is closed when a new session is refused as well, and starts another', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('before it is closed');
    (await n8n.asked('before it is closed')).begin().say('Still open.').end();
    await chat.isOver();
    let refused = 0;
    await ada.context.route('**/api/v1/chat/message', (route) => {
      refused += 1;
      return route.fulfill({ status: 401, contentType: 'application/problem+json', body: '{"code":"token_invalid","status":401}' });
    });
    await chat.ask('let me in');
    await chat.sees('This chat was closed for your safety.', chat.notice);
    assert.equal(refused, 2, 'one new session, no more');
    assert.ok(await chat.field.isDisabled());
    await chat.sees('Still open.');
    await chat.shot('desktop light: closed');
    await ada.context.unroute('**/api/v1/chat/message');
    await chat.button('New chat').and(chat.notice.getByRole('button')).click();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await chat.ask('a fresh start');
    (await n8n.asked('a fresh start')).begin().say('Welcome.').end();
    await chat.sees('Welcome.');
    await ada.isUnharmed({ hosts: [hostOf(desk)], errors: /status of 401/ });
  });

  story('sends what was written without a network, in order, even after a reload', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('first of all');
    (await n8n.asked('first of all')).begin().say('Here.').end();
    await chat.isOver();
    await ada.context.setOffline(true);
    await chat.sees('You are offline', chat.notice);
    for (const text of ['one from the tunnel', 'two from the tunnel']) await chat.ask(text);
    assert.equal(await chat.questions.count(), 3);
    await chat.shot('desktop light: two written offline');
    await chat.page.goto('about:blank');
    await ada.context.setOffline(false);
    await chat.page.goto(alone(desk));
    const one = await n8n.asked('one from the tunnel');
    assert.equal(n8n.runs('two from the tunnel'), 0, 'one after the other');
    one.begin().say('Answer one.').end();
    const two = await n8n.asked('two from the tunnel');
    assert.deepEqual(claims(two.asked.jwt_token).message_history.at(-1), { role: 'assistant', content: 'Answer one.' });
    two.begin().say('Answer two.').end();
    await chat.sees('Answer two.');
    await chat.isOver();
    assert.deepEqual((await chat.questions.allInnerTexts()).map((text) => text.trim()), ['first of all', 'one from the tunnel', 'two from the tunnel']);
    assert.deepEqual([n8n.runs('one from the tunnel'), n8n.runs('two from the tunnel')], [1, 1]);
    await ada.isUnharmed({ hosts: [hostOf(desk)], errors: LOST });
  });

  for (const here of [true, false]) {
    story(`takes the first message of all without a network (${here ? 'what shows it was loaded before' : 'nothing to show it with'})`, async (arrives) => {
      const ada = await arrives();
      const text = `first word from the tunnel ${here}`;
      let refuses = !here;
      await ada.context.route('**/js/talking.js', (route) => (refuses ? route.abort() : route.continue()));
      const loaded = ada.context.waitForEvent(here ? 'requestfinished' : 'requestfailed', (request) => request.url().endsWith('/js/talking.js'));
      const engine = ada.context.waitForEvent('requestfinished', (request) => request.url().endsWith('/js/sending.js'));
      const chat = await ada.open(alone(desk));
      await chat.openChat();
      // Nobody has touched a key.
      await Promise.all([loaded, engine]);
      await chat.page.waitForLoadState('networkidle');
      await ada.context.setOffline(true);
      await until('it is known here', async () => (await chat.status.innerText()) === 'You are offline');
      await chat.field.fill(text);
      await chat.button('Send').click();
      if (here) {
        await chat.sees('Not sent yet');
      } else {
        await chat.sees('The chat could not be reached. Your message is kept.', chat.chat.locator('#status'));
        await chat.shot('desktop light: nothing to show it with');
      }
      assert.equal(await chat.field.inputValue(), '', 'it was taken');
      refuses = false;
      await ada.context.setOffline(false);
      (await n8n.asked(text)).begin().say('Welcome to the daylight.').end();
      await chat.sees('Welcome to the daylight.');
      await chat.sees(text, chat.questions.last());
      await chat.isOver();
      assert.equal(n8n.runs(text), 1);
      assert.equal(await chat.chat.locator('#status').getAttribute('class'), 'quiet');
      await ada.isUnharmed({ hosts: [hostOf(desk)], errors: LOST });
    });
  }

  story('says that a reload is needed where an update has taken its files away', async (arrives) => {
    const ada = await arrives();
    let gone = true;
    await ada.context.route('**/js/talking.js', (route) => (gone ? route.fulfill({ status: 404 }) : route.continue()));
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.field.fill('after the update');
    await chat.button('Send').click();
    (await n8n.asked('after the update')).begin().say('Here I am.').end();
    await chat.sees('The chat could not be opened. Please reload the page.', chat.chat.locator('#status'));
    await axe(chat, 'files taken away');
    await chat.shot('desktop light: files taken away');
    gone = false;
    await chat.page.reload();
    await chat.sees('Here I am.');
    assert.equal(n8n.runs('after the update'), 1);
  });

  story('comes back from the memory of the browser, and hears what was said meanwhile', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('before leaving');
    const reply = await n8n.asked('before leaving');
    reply.begin().say('See you.').end();
    await chat.sees('See you.');
    await chat.isOver();
    await chat.page.evaluate(() => addEventListener('pageshow', (event) => (globalThis.restored = event.persisted)));
    await chat.page.goto(`${desk.url}/health/live`);
    await push(reply, 'You were away.');
    await chat.page.goBack({ waitUntil: 'commit' });
    await until('the page is the old one', () => chat.page.evaluate(() => globalThis.restored === true));
    await chat.sees('You were away.');
    await chat.ask('after coming back');
    (await n8n.asked('after coming back')).begin().say('Welcome back.').end();
    await chat.sees('Welcome back.');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('works from memory where the browser denies all storage', async (arrives) => {
    const ada = await arrives({ denied: true });
    const chat = await ada.open(shop.origin);
    await chat.openChat();
    const denied = await chat.chat.locator('body').evaluate(() => {
      try {
        return `${localStorage.length} are kept`;
      } catch (error) {
        return error.name;
      }
    });
    assert.equal(denied, 'SecurityError', 'this story is of a browser that denies it');
    await chat.ask('without a memory');
    const reply = await n8n.asked('without a memory');
    reply.begin().say('I shall ', 'forget this.').end();
    await chat.sees('I shall forget this.');
    await chat.isOver();
    await chat.ask('and another');
    (await n8n.asked('and another')).begin().say('This too.').end();
    await chat.sees('This too.');
    await chat.page.reload();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await ada.isUnharmed({ hosts: [hostOf(desk), new URL(shop.origin).host] });
  });

  story('takes a double click on Send for one message, and not for a stop', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.field.fill('twice');
    await chat.button('Send').dblclick();
    const reply = await n8n.asked('twice');
    reply.begin().say('Once ');
    await chat.sees('Once');
    assert.ok(await chat.isRunning());
    reply.say('is enough.').end();
    await chat.sees('Once is enough.');
    await chat.isOver();
    assert.deepEqual([n8n.runs('twice'), await chat.questions.count()], [1, 1]);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('stops a reply when asked to, and n8n hears of it', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    await chat.openChat();
    await chat.ask('stop me');
    const reply = await n8n.asked('stop me');
    reply.begin().say('A long story: ');
    await chat.sees('A long story:');
    await chat.button('Stop answering').click();
    await chat.sees('Stopped');
    await chat.isOver();
    await until('the call to n8n is closed', () => reply.left);
    assert.equal((await chat.answers.innerText()).trim(), 'A long story:');
    await chat.shot('desktop light: stopped');
    await chat.ask('and after that');
    (await n8n.asked('and after that')).begin().say('All is well.').end();
    await chat.sees('All is well.');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('says so when the assistant fails, keeps the message, and counts down when it was too fast', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(deserted));
    await chat.openChat();
    await chat.ask('Is anybody there?');
    await chat.sees('That answer did not come through.', chat.notice);
    await chat.sees(/Try again in [1-5] seconds?$/, chat.notice);
    await chat.shot('desktop light: error');
    assert.doesNotMatch(await chat.notice.innerText(), /127\.0\.0\.1|http|refused|upstream/i, 'nothing internal');
    await until('it can be tried again', () => chat.button('Try again').isVisible());
    await chat.button('Try again').click();
    await chat.sees('Just a moment, that was fast.', chat.notice);
    await chat.shot('desktop light: too fast');
    assert.equal(await chat.questions.count(), 1, 'asked again, not twice');
    assert.match(await chat.notice.innerText(), /Try again in \d+ seconds?/);
    await ada.isUnharmed({ hosts: [hostOf(deserted)], errors: /status of 429/ });
  });

  story('keeps what came when n8n breaks in the middle, and a new try brings the whole', async (arrives) => {
    const ada = await arrives({ colorScheme: 'dark' });
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('break off');
    const reply = await n8n.asked('break off');
    reply.begin().say('As far as ');
    await chat.sees('As far as');
    reply.cut();
    await chat.sees('The answer stopped half-way.', chat.notice);
    await chat.sees('As far as');
    await chat.shot('desktop dark: half an answer');
    await until('it can be tried again', () => chat.button('Try again').isVisible());
    await chat.button('Try again').click();
    (await n8n.asked('break off', 2)).begin().say('And now to the end.').end();
    await chat.sees('And now to the end.');
    await chat.isOver();
    assert.equal(await chat.questions.count(), 1);
    assert.ok(!(await chat.notice.isVisible()));
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    story(`is honest when the desk goes away in mid-reply (${signal}), and a new try works when it is back`, async (arrives) => {
      const settings = { N8N_WEBHOOK_URL: n8n.url, DRAIN_TIMEOUT: '1s', ...secrets() };
      let own = await frontdesk(settings);
      const { url, port } = own;
      try {
        const ada = await arrives();
        const chat = await ada.open(alone(own));
        await chat.openChat();
        const text = `do not die on me (${signal})`;
        await chat.ask(text);
        const reply = await n8n.asked(text);
        reply.begin().say('While I was speaking, ');
        await chat.sees('While I was speaking,');
        assert.equal(await own.stop(signal), signal === 'SIGTERM' ? 0 : signal);
        await until('the page says that something is wrong', async () => {
          return (await chat.status.innerText()) === 'Reconnecting…' || (await chat.notice.isVisible());
        });
        await chat.sees('While I was speaking,');
        await chat.shot(`desktop light: desk away, ${signal}`);
        own = await frontdesk({ ...settings, API_PORT: port });
        assert.equal(own.url, url);
        await chat.sees('The answer stopped half-way.', chat.notice, 20_000);
        assert.ok(!(await chat.isRunning()), 'no endless waiting');
        assert.equal(n8n.runs(text), 1, 'it is not run again by itself');
        await chat.shot(`desktop light: desk back, ${signal}`);
        await until('it can be tried again', () => chat.button('Try again').isVisible());
        await chat.button('Try again').click();
        (await n8n.asked(text, 2)).begin().say('Here is ', 'the whole.').end();
        await chat.sees('Here is the whole.');
        await chat.isOver();
        assert.equal(await chat.questions.count(), 1);
        assert.equal((await chat.answers.innerText()).trim(), 'Here is the whole.');
        await ada.isUnharmed({ hosts: [hostOf(own)], errors: LOST });
      } finally {
        await own.stop();
      }
    });
  }

  story('gets a new session by itself when the desk was started with other secrets', async (arrives) => {
    const settings = { N8N_WEBHOOK_URL: n8n.url, DRAIN_TIMEOUT: '1s' };
    let own = await frontdesk(settings);
    const { port } = own;
    try {
      const ada = await arrives();
      const chat = await ada.open(alone(own));
      await chat.openChat();
      await chat.ask('before');
      (await n8n.asked('before')).begin().say('The first answer.').end();
      await chat.isOver();
      await own.stop();
      own = await frontdesk({ ...settings, API_PORT: port });
      await chat.ask('after');
      const reply = await n8n.asked('after');
      reply.begin().say('The second answer.').end();
      await chat.sees('The second answer.');
      await chat.isOver();
      await chat.sees('The first answer.');
      await ada.isUnharmed({ hosts: [hostOf(own)], errors: /status of (401|503)/ });
    } finally {
      await own.stop();
    }
  });

  story('waits without a network, and goes on when it is back', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    await chat.openChat();
    await chat.ask('tunnel ahead');
    const reply = await n8n.asked('tunnel ahead');
    reply.begin().say('Before the tunnel, ');
    await chat.sees('Before the tunnel,');
    await ada.context.setOffline(true);
    await chat.sees('You are offline', chat.notice);
    assert.equal(await chat.status.innerText(), 'You are offline');
    await chat.shot('desktop light: offline');
    reply.say('in it, ', 'after it.').end();
    await ada.context.setOffline(false);
    await chat.sees('Before the tunnel, in it, after it.');
    await chat.isOver();
    assert.ok(!(await chat.notice.isVisible()));

    await ada.context.setOffline(true);
    await chat.sees('You are offline', chat.notice);
    await chat.ask('written in the tunnel');
    await chat.sees('Not sent yet');
    await chat.shot('desktop light: written offline');
    await ada.context.setOffline(false);
    const second = await n8n.asked('written in the tunnel');
    second.begin().say('Got it.').end();
    await chat.sees('Got it.');
    await chat.isOver();
    assert.deepEqual([n8n.runs('tunnel ahead'), n8n.runs('written in the tunnel')], [1, 1]);
    await ada.isUnharmed({ hosts: [hostOf(desk)], errors: LOST });
  });

  story('runs no script of a visitor, echoed by the demo', async (arrives) => {
    const eve = await arrives();
    const chat = await eve.open(alone(demo));
    await chat.field.waitFor();
    for (const attack of [...ATTACKS.slice(0, 3), ATTACKS.join('\n')]) {
      await chat.field.fill(attack);
      await chat.button('Send').click();
      await until('the attack is shown as it was typed', async () => (await chat.questions.last().textContent()) === attack);
      // Some of them are nothing but tags, and then nothing is left to ask.
      await chat.isOver();
      const rejected = await chat.button('Edit message').isVisible();
      if (rejected) {
        await chat.button('Edit message').click();
        await until('it is back in the field', async () => (await chat.field.inputValue()) === attack);
      } else {
        await chat.sees('You said', chat.answers.last());
      }
    }
    await eve.isUnharmed({ hosts: [hostOf(demo)], errors: /status of 400/ });
  });

  story('runs no script of a model', async (arrives) => {
    const eve = await arrives();
    const chat = await eve.open(alone(desk));
    await chat.field.waitFor();
    await chat.ask('be evil');
    const reply = await n8n.asked('be evil');
    reply.begin();
    // Cut anywhere: while it grows, a half-written thing is shown too.
    for (const attack of ATTACKS) reply.say(...attack.match(/[^]{1,7}/g), '\n\n');
    reply.say('That was all.').end();
    await chat.sees('That was all.');
    await chat.isOver();
    const answer = chat.answers.last();
    assert.equal(await answer.locator('script, img, svg:not(.icon), iframe, style, link, meta, base, form, object, embed, math, [onclick], [onerror], [style]').count(), 0);
    const links = await answer.locator('a').evaluateAll((all) => all.map((link) => link.protocol));
    assert.deepEqual(links.filter((protocol) => !/^(https?|mailto|tel):$/.test(protocol)), []);
    for (const link of await answer.getByText('click', { exact: true }).all()) await link.click({ noWaitAfter: true });
    await answer.hover();
    await chat.page.reload();
    await chat.sees('That was all.');
    await eve.isUnharmed({ hosts: [hostOf(desk)] });

    // And the traps do snap.
    await chat.page.evaluate(() => globalThis.attacked('on purpose'));
    await assert.rejects(chat.page.evaluate(() => document.body.setAttribute('onclick', 'attacked(1)')), /TrustedScript/);
    await chat.page.evaluate(() => fetch('http://127.0.0.1:9/').catch(() => {}));
    await until('the traps snap', () => eve.noted.attacks.length === 1 && eve.noted.policy.length >= 2 && eve.noted.errors.length >= 2);
  });

  story('shows what a workflow asks for: an outline while it comes, then the cards, and text where it is wrong', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('show me lamps');
    const reply = await n8n.asked('show me lamps');
    reply.begin().say('These two:\n\n```front', 'desk\n{"type":"carousel","items":[{"title":"Alba","price":{"amount":89,"currency":"EUR"},"image":"https://evil.example/a.png"},', '{"title":"Fern","url":"javascript:attacked(1)"}');
    await chat.sees('These two:');
    await chat.chat.locator('.card-skeleton').waitFor();
    assert.doesNotMatch(await chat.answers.innerText(), /frontdesk|carousel|```/, 'nothing of how it is written is seen');
    reply.say(']}\n```\n\n```frontdesk\n{"type":"quick_replies","replies":["Compare them"]}\n```\n\n```frontdesk\n{"type":"unknown"}\n```').end();
    await chat.sees('€89.00');
    await chat.isOver();
    assert.deepEqual([await chat.chat.locator('.card').count(), await chat.chat.locator('.card img, .card a').count()], [2, 0]);
    await chat.sees('{"type":"unknown"}');
    await chat.shot('desktop light: blocks');
    await chat.button('Compare them').click();
    (await n8n.asked('Compare them')).begin().say('They are alike.').end();
    await chat.sees('They are alike.');
    assert.ok(await chat.button('Compare them').isHidden(), 'suggestions go with the next message');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('shows a list, a table and a paragraph of thousands of words as one each, of which what nobody sees is skipped', async (arrives) => {
    const ada = await arrives({ viewport: { width: 408, height: 500 } });
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('all of them');
    const reply = await n8n.asked('all of them');
    const many = (write, count = 120) => Array.from({ length: count }, (_, at) => write(at + 1));
    const word = 'unbreakable'.repeat(6);
    reply.begin().say('The list:\n\n', ...many((at) => `${at}. item ${at}\n`), '\nThe table:\n\n| a | b | c | d | e |\n|---|---|---|---|---|\n', ...many((at) => `| row ${at} | b | c | d | ${at === 90 ? word : 'e'} |\n`));
    reply.say('\n', ...many((at) => `Sentence **${at}** says something about lamps and about their light. `, 300), '\n\n- with one in it:\n', ...many((at) => `  - small ${at}\n`, 60), '\n\nThe end.').end();
    await chat.sees('The end.');
    await chat.isOver();
    const seen = await chat.page.evaluate(() => {
      const kinds = { list: '.bubble > ol', table: '.table tbody', paragraph: '.bubble > p:has(strong)', inner: 'li > ul' };
      const all = (selector) => [...document.querySelectorAll(`.body ${selector}`)];
      const each = (tell) => Object.fromEntries(Object.entries(kinds).map(([kind, selector]) => [kind, tell(all(selector), kind)]));
      const skipped = each((groups) => groups.filter((it) => it.closest('[data-past]') && !it.firstElementChild.checkVisibility({ contentVisibilityAuto: true })).length);
      // Where everything is once nothing of it is skipped.
      for (const it of all('.more')) it.style.contentVisibility = 'visible';
      const tops = (node, kind) => {
        if (kind !== 'paragraph') return [...node.children].map((it) => it.getBoundingClientRect().top);
        const range = document.createRange();
        range.selectNodeContents(node);
        return [...range.getClientRects()].filter(({ width }) => width > 0).map(({ top }) => top);
      };
      const gaps = (groups, kind) => {
        const found = groups.flatMap((it) => tops(it, kind)).map((top, at, list) => top - list[at - 1]).filter((gap) => Math.abs(gap) > 2);
        return Math.round(Math.max(...found) - Math.min(...found));
      };
      return {
        skipped,
        groups: each((groups) => groups.length),
        gaps: each((groups, kind) => (kind === 'table' ? 0 : gaps(groups, kind))),
        starts: all(kinds.list).map((it) => it.start),
        room: Math.min(...all('ol.more').map((it) => it.firstElementChild.getBoundingClientRect().left - it.getBoundingClientRect().left)),
        widths: new Set(all('table').map((it) => Math.round(it.getBoundingClientRect().width))).size,
        between: new Set(all('div.more').map((it) => Math.round(it.getBoundingClientRect().top - it.previousElementSibling.getBoundingClientRect().bottom))).size,
        cut: all('td').filter((it) => it.scrollWidth > it.clientWidth).length,
        heads: all('thead').filter((it) => it.offsetHeight > 1).length,
      };
    });
    for (const kind of ['list', 'table', 'paragraph']) assert.ok(seen.groups[kind] > 4 && seen.skipped[kind] > 0, `${kind}: ${JSON.stringify(seen)}`);
    assert.deepEqual(seen.gaps, { list: 0, table: 0, paragraph: 0, inner: 0 }, 'nothing shows where one group ends');
    assert.deepEqual(seen.starts, Array.from({ length: seen.groups.list }, (_, at) => 1 + at * (seen.starts[1] - 1)));
    assert.ok(seen.room > 40, `a number of three digits has room in what is painted by itself: ${seen.room} pixels`);
    assert.deepEqual([seen.widths, seen.between, seen.cut, seen.heads], [1, 1, 0, 1], 'one table, as wide everywhere, with one head');

    await chat.page.evaluate(() => {
      globalThis.copied = new Promise((resolve) => (navigator.clipboard.write = async ([item]) => resolve(await (await item.getType('text/html')).text())));
    });
    await chat.button('Copy answer').last().click();
    const html = await chat.page.evaluate(() => globalThis.copied);
    const copied = ['<ol', '<table', '<thead', '<tr>', '<ul', '<li>', 'data-past'].map((mark) => html.split(mark).length - 1);
    assert.deepEqual(copied, [1, 1, 1, 121, 2, 181, 0], 'elsewhere each is one');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('leaves alone what is being read, selected or heard while a reply grows', async (arrives) => {
    const ada = await arrives({ viewport: { width: 408, height: 500 } });
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('a long one');
    const reply = await n8n.asked('a long one');
    reply.begin();
    for (let at = 1; at <= 12; at += 1) reply.say(`Paragraph ${at} says **something** about lamps and light.\n\n`);
    await chat.sees('Paragraph 12');
    const log = chat.chat.locator('#log');
    assert.ok(await log.evaluate((it) => it.scrollHeight - it.scrollTop - it.clientHeight < 2), 'the end is followed');
    await chat.chat.getByText('Paragraph 3 says').evaluate((it) => getSelection().selectAllChildren(it));
    await log.evaluate((it) => it.scrollTo(0, 100));
    await until('the chat knows', () => log.evaluate((it) => it.scrollTop === 100));
    for (let at = 13; at <= 20; at += 1) reply.say(`Paragraph ${at} says **something** about lamps and light.\n\n`);
    await chat.sees('Paragraph 20');
    assert.equal(await log.evaluate((it) => it.scrollTop), 100);
    assert.match(await chat.page.evaluate(() => String(getSelection())), /^Paragraph 3 says something/);
    const spoken = chat.chat.locator('#status');
    assert.equal(await spoken.textContent(), 'The assistant is answering.');
    await chat.button('New message').click();
    await until('the end is seen', () => log.evaluate((it) => it.scrollHeight - it.scrollTop - it.clientHeight < 2));
    reply.say('The end.').end();
    await chat.sees('The end.');
    await chat.isOver();
    await until('the whole reply is said once', async () => /^Assistant: Paragraph 1 says something[^]*The end\.$/.test(await spoken.textContent()));
    assert.deepEqual([await log.getAttribute('aria-live'), await log.getAttribute('aria-busy')], ['off', 'false']);
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('can be used with the keyboard alone', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(desk.url);
    const { keyboard } = chat.page;
    await chat.launcher.waitFor();
    await until('Tab reaches the launcher', async () => {
      await keyboard.press('Tab');
      return chat.launcher.evaluate((button) => button.getRootNode().activeElement === button);
    });
    await chat.shot('desktop light: launcher focused');
    await keyboard.press('Enter');
    await chat.field.waitFor();
    await until('the field has the focus', () => chat.field.evaluate((field) => document.hasFocus() && field === document.activeElement));
    await keyboard.type('First line');
    await keyboard.press('Shift+Enter');
    await keyboard.type('second line');
    await keyboard.press('Enter');
    const reply = await n8n.asked('First line\nsecond line');
    assert.equal(await chat.field.inputValue(), '');
    reply.begin().say('Typed well.').end();
    await chat.sees('Typed well.');
    await chat.isOver();
    await keyboard.press('Escape');
    await chat.panel.waitFor({ state: 'hidden' });
    await until('the focus is back on the launcher', () => chat.launcher.evaluate((button) => button.getRootNode().activeElement === button));
    await keyboard.press('Enter');
    await chat.panel.waitFor();
    await until('the field has the focus again', () => chat.field.evaluate((field) => document.hasFocus() && field === document.activeElement));
    await chat.sees('Typed well.');
    await ada.isUnharmed({ hosts: [hostOf(desk)] });
  });

  story('deletes the conversation when the visitor wants that', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('forget this');
    (await n8n.asked('forget this')).begin().say('I shall.').end();
    await chat.isOver();
    await chat.button('Menu').click();
    await chat.button('Delete this chat').click();
    await chat.shot('desktop light: delete');
    const deleted = [];
    ada.context.on('response', (response) => response.request().method() === 'DELETE' && deleted.push(response.status()));
    await chat.button('Delete').click();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    assert.equal(await chat.questions.count(), 0);
    await chat.page.reload();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await until('our side was told', () => deleted.length > 0);
    // Who reloads before the answer is here has it told again.
    assert.ok(deleted.every((status) => status === 204 || status === 410), deleted.join(' '));
    await ada.isUnharmed({ hosts: [hostOf(desk)], errors: /status of 410 \(Gone\) \(\S+\/api\/v1\/session\)$/ });
  });

  story('tells once more of a deletion whose answer a reload has cut off, and no more after it', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(alone(desk));
    await chat.openChat();
    await chat.ask('forget this as well');
    (await n8n.asked('forget this as well')).begin().say('I shall.').end();
    await chat.isOver();
    const deleted = [];
    let held = true;
    // The edge has done it, and its answer does not get here.
    await ada.context.route('**/api/v1/session', async (route) => {
      const answer = await route.fetch();
      deleted.push(answer.status());
      if (!held) await route.fulfill({ response: answer });
    });
    await chat.button('Menu').click();
    await chat.button('Delete this chat').click();
    await chat.button('Delete').click();
    await until('it is over on our side', () => deleted.length === 1);
    held = false;
    await chat.page.reload();
    await until('it is told again', () => deleted.length === 2);
    await until('nothing is left to tell', async () => !(await stores(chat.page)).meta.endings?.length);
    await chat.page.reload();
    await chat.sees('Hi there, how can we help?', chat.chat.locator('#welcome'));
    await chat.ask('still there?');
    (await n8n.asked('still there?')).begin().say('Yes.').end();
    await chat.isOver();
    assert.deepEqual(deleted, [204, 410]);
    await ada.isUnharmed({ hosts: [hostOf(desk)], errors: /status of 410 \(Gone\) \(\S+\/api\/v1\/session\)$/ });
  });

  story('does the work that a suspicious edge asks for, and the visitor sees nothing of it', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(strict.url);
    const workers = [];
    chat.page.on('worker', (worker) => workers.push(worker.url()));
    await chat.openChat();
    assert.equal(await chat.chat.getByRole('textbox').count(), 1, 'no screen reader tells of the trap');
    assert.deepEqual(await chat.chat.locator('#topic').evaluate((trap) => [trap.tabIndex, getComputedStyle(trap).clipPath]), [-1, 'inset(50%)'], 'nobody sees it or gets to it');
    await chat.ask('Hello there, what are you?');
    await chat.isOver();
    assert.match(await chat.answers.innerText(), /^You said Hello there, what are you\?/);
    assert.equal(workers.length, 2, 'one for the session, one for the message');
    const metrics = await (await fetch(`${strict.url}/metrics`)).text();
    assert.match(metrics, /^frontdesk_edge_bot_challenges_total\{result="passed"\} 2$/m);
    assert.match(metrics, /^frontdesk_edge_bot_challenges_total\{result="asked"\} 2$/m);
    await ada.isUnharmed({ hosts: [hostOf(strict)], errors: /the server responded with a status of 403/ });
  });

  story('shows a captcha when the work was not enough, once', async (arrives) => {
    const ada = await arrives();
    // In the place of the provider's script, which is not of this machine.
    const script = `globalThis.turnstile = { render(place, { sitekey, callback }) {
      const button = document.createElement('button');
      button.textContent = 'I am a person ' + sitekey;
      button.addEventListener('click', () => callback('good'));
      place.append(button);
    } };
    captchaIsHere();`;
    await ada.context.route('https://challenges.cloudflare.com/**', (route) => route.fulfill({ contentType: 'text/javascript', body: script }));
    const chat = await ada.open(alone(stricter));
    await chat.openChat();
    await chat.ask('Hello there, what are you?');
    await chat.chat.frameLocator('#captcha iframe').getByRole('button', { name: 'I am a person 1x00AA' }).click();
    await chat.isOver();
    assert.match(await chat.answers.innerText(), /^You said Hello there, what are you\?/);
    assert.deepEqual(provider.asked, ['good']);
    await chat.ask('And again?');
    await chat.sees(/You said And again/);
    await chat.isOver();
    assert.deepEqual(provider.asked, ['good'], 'a person is not asked again');
    assert.ok(await chat.chat.locator('#captcha').isHidden());
    await ada.isUnharmed({ hosts: [hostOf(stricter), 'challenges.cloudflare.com'], errors: /the server responded with a status of 403/ });
  });

  story('works in a shop on another site, with a strict policy of its own, and remembers', async (arrives) => {
    const ada = await arrives();
    const chat = await ada.open(shop.origin);
    await chat.openChat();
    await chat.ask('hello from afar');
    const reply = await n8n.asked('hello from afar');
    assert.equal(reply.asked.session.origin_domain, 'localhost');
    reply.begin().say('Welcome ');
    await chat.sees('Welcome');
    await chat.page.reload();
    await chat.sees('Welcome');
    reply.say('from afar.').end();
    await chat.sees('Welcome from afar.');
    await chat.isOver();
    assert.equal(n8n.runs('hello from afar'), 1);
    await chat.shot('foreign shop');
    await ada.isUnharmed({ hosts: [hostOf(desk), new URL(shop.origin).host] });
  });

  for (const colorScheme of ['light', 'dark']) {
    story(`fills the screen of a phone (${colorScheme})`, async (arrives) => {
      const ada = await arrives({ reducedMotion: 'no-preference', viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme });
      const chat = await ada.open(demo.url);
      await chat.launcher.waitFor();
      await chat.shot(`phone ${colorScheme}: shop`);
      await chat.launcher.tap();
      await chat.field.waitFor();
      const box = await until('the panel has risen', async () => {
        const now = await chat.panel.boundingBox();
        return now?.x === 0 && now.y === 0 && now;
      });
      assert.deepEqual([box.width, box.height], [390, 780]);
      await chat.shot(`phone ${colorScheme}: welcome`);
      await chat.chat.getByRole('button', { name: 'Help me choose a lamp' }).tap();
      await until('an answer grows', async () => (await chat.answers.count()) > 0 && (await chat.answers.innerText()).length > 80);
      await chat.shot(`phone ${colorScheme}: streaming`);
      await chat.isOver();
      await chat.ask('shipping');
      await chat.isOver();
      await chat.shot(`phone ${colorScheme}: table`);
      assert.ok(await chat.chat.locator('body').evaluate((body) => body.scrollWidth <= innerWidth), 'nothing sticks out');
      await chat.button('Close chat').tap();
      await chat.panel.waitFor({ state: 'hidden' });
      await ada.isUnharmed({ hosts: [hostOf(demo)] });
    });
  }

  story('looks at home in the dark', async (arrives) => {
    const ada = await arrives({ colorScheme: 'dark' });
    const chat = await ada.open(demo.url);
    await chat.openChat();
    await chat.shot('desktop dark: welcome');
    await chat.ask('Show me some markdown');
    await until('an answer grows', async () => (await chat.answers.count()) > 0 && (await chat.answers.innerText()).length > 150);
    await chat.shot('desktop dark: streaming');
    await chat.isOver();
    await chat.shot('desktop dark: markdown');
    await ada.isUnharmed({ hosts: [hostOf(demo)] });
  });

  for (const [locale, language, direction] of [['ar-EG', 'ar', 'rtl'], ['he-IL', 'he', 'rtl'], ['de-CH', 'de', 'ltr'], ['ja-JP', 'ja', 'ltr'], ['fi-FI', 'en', 'ltr']]) {
    story(`speaks the visitor's language where it can (${locale})`, async (arrives) => {
      const sentences = JSON.parse(readFileSync(new URL(`../../locales/${language}.json`, import.meta.url), 'utf8'));
      const ada = await arrives({ locale, viewport: { width: 320, height: 640 } });
      const asked = languagesAsked(ada);
      const chat = await ada.open(alone(demo));
      await chat.page.getByRole('textbox', { name: sentences.message, exact: true }).waitFor();
      assert.deepEqual(await chat.page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), [language, direction]);
      await chat.page.getByRole('textbox').fill('shipping');
      await chat.button(sentences.send).click();
      await chat.button(sentences.copy).waitFor();
      const [mine, theirs] = [await chat.questions.boundingBox(), await chat.answers.boundingBox()];
      const ends = direction === 'rtl' ? mine.x + mine.width < theirs.x + theirs.width : mine.x > theirs.x;
      assert.ok(ends, 'the visitor speaks from the end of a line');
      assert.ok(await chat.page.evaluate(() => document.body.scrollWidth <= innerWidth), 'nothing sticks out');
      await chat.shot(`narrow: ${language}`);
      await ada.context.setOffline(true);
      await chat.sees(sentences.offline_text, chat.notice);
      assert.deepEqual(asked, [], 'they came with the page');
      await ada.isUnharmed({ hosts: [hostOf(demo)] });
    });
  }

  story('begins once, by whatever address a proxy gives its script', async (arrives) => {
    const ada = await arrives();
    await ada.context.route('**/modern-widget.html*', async (route) => {
      const answer = await route.fetch();
      const body = (await answer.text()).replace('js/main.js"', 'js/main.js?v=1"');
      assert.match(body, /\?v=1"/);
      await route.fulfill({ response: answer, body });
    });
    const sent = [];
    ada.context.on('request', (request) => request.method() === 'POST' && request.url().includes('/chat/message') && sent.push(request.url()));
    const chat = await ada.open(alone(demo));
    await chat.ask('shipping');
    await chat.isOver();
    assert.deepEqual([sent.length, await chat.questions.count(), await chat.answers.count()], [1, 1, 1]);
    await ada.isUnharmed({ hosts: [hostOf(demo)] });
  });

  story('has the sentences of its site in the page', async (arrives) => {
    const folder = mkdtempSync(join(tmpdir(), 'frontdesk-settings-'));
    writeFileSync(join(folder, 'default.json'), JSON.stringify({ locale: 'pl' }));
    const own = await frontdesk({ WIDGET_CONFIG_DIR: folder });
    try {
      const ada = await arrives({ locale: 'de-CH' });
      const asked = languagesAsked(ada);
      const chat = await ada.open(alone(own));
      const sentences = JSON.parse(readFileSync(new URL('../../locales/pl.json', import.meta.url), 'utf8'));
      await chat.page.getByRole('textbox', { name: sentences.message, exact: true }).waitFor();
      assert.deepEqual(asked, []);
      await ada.isUnharmed({ hosts: [hostOf(own)] });
    } finally {
      await own.stop();
      rmSync(folder, { recursive: true });
    }
  });

  story('asks for its sentences where the edge has guessed another language', async (arrives) => {
    const ada = await arrives({ locale: 'de-CH' });
    const asked = languagesAsked(ada);
    await ada.context.addInitScript(() => Object.defineProperty(navigator, 'languages', { get: () => ['fr-FR'] }));
    const chat = await ada.open(alone(demo));
    const sentences = JSON.parse(readFileSync(new URL('../../locales/fr.json', import.meta.url), 'utf8'));
    await chat.page.getByRole('textbox', { name: sentences.message, exact: true }).waitFor();
    assert.deepEqual([asked, await chat.page.locator('#sentences').getAttribute('lang')], [['fr.json'], 'de']);
    await ada.isUnharmed({ hosts: [hostOf(demo)] });
  });
});
