/** What `bench/widget.sh` runs; see README.md. The demo shop frames the chat from its own origin, so both are one target of the browser, which is slowed down as a whole. */
import { browser, endAll, frontdesk, scriptedN8n, until } from '../widget/test/browser/processes.js';

const { ROUNDS = '7', SLOWDOWN = '4' } = process.env;
const rounds = Number(ROUNDS);
const rate = Number(SLOWDOWN);
if (!(rounds >= 1) || !(rate >= 1)) throw new Error('ROUNDS and SLOWDOWN are numbers from 1 on');
const OPEN_MS = 300;
/** From when the mouse is there to when it clicks, of somebody quick. */
const POINTED_MS = 200;
const HISTORY_MS = 500;
const TASK_MS = 50;
const WORDS = 10_000;
/** Exchanges of two messages each. */
const EXCHANGES = 100;
/** Some ten times as fast as a model writes. */
const WORDS_A_CHUNK = 4;
const CHUNK_EVERY_MS = 4;

const vocabulary = 'the lamp has a warm light and its shade is made of linen which is woven in a small mill by the river where orders leave on working days before noon'.split(' ');
const word = (at) => vocabulary[(at * 7 + (at >> 3)) % vocabulary.length];
const words = (from, count) => Array.from({ length: count }, (_, at) => ((from + at) % 23 === 7 ? `**${word(from + at)}**` : (from + at) % 61 === 9 ? `[${word(from + at)}](https://shop.example/${from + at})` : word(from + at)));
const pieces = (size, write) => Array.from({ length: WORDS / size }, (_, at) => write(words(at * size, size), at)).join('');

/** Replies of 10,000 words. But for the first each is one single block. */
const SHAPES = {
  paragraphs: () => pieces(80, (it) => `${it.join(' ')}.\n\n`),
  list: () => pieces(10, (it) => `- ${it.join(' ')}\n`),
  paragraph: () => pieces(20, (it) => `${it.join(' ')}. `),
  code: () => `\`\`\`js\n${pieces(10, (it) => `${it.join(' ')};\n`)}\`\`\`\n`,
  table: () => `| a | b | c | d | e |\n|---|---|---|---|---|\n${pieces(20, (it) => `| ${[0, 4, 8, 12, 16].map((at) => it.slice(at, at + 4).join(' ')).join(' | ')} |\n`)}`,
};

const OTHERS = { open: () => open(false), pointed: () => open(true), history };
const known = [...Object.keys(OTHERS), ...Object.keys(SHAPES)];
const wanted = process.argv.length > 2 ? process.argv.slice(2) : known;
for (const it of wanted) if (!known.includes(it)) throw new Error(`there is no "${it}"; there are ${known.join(', ')}`);

/** In every page and frame: when the chat could be used, long tasks, the time between frames. */
function watch() {
  const seen = (globalThis.seen = { ready: 0, read: 0, exchanges: 0, whole: 0, tasks: [], frames: [], observing: false });
  new PerformanceObserver((list) => seen.observing && seen.tasks.push(...list.getEntries().map((it) => it.duration))).observe({ type: 'longtask' });
  let last = 0;
  const exchanges = document.getElementsByClassName('exchange');
  const frame = (now) => {
    if (!seen.read && document.querySelector('.exchange:last-child .body:not([hidden])')) seen.read = performance.timeOrigin + performance.now();
    if (exchanges.length > seen.exchanges) seen.whole = performance.timeOrigin + performance.now();
    seen.exchanges = exchanges.length;
    if (seen.observing && last) seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  const look = () => {
    if (seen.ready || !document.documentElement?.classList.contains('ready')) return;
    seen.ready = -1;
    // A message that is sent before a frame is painted comes when it was.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      seen.ready = performance.timeOrigin + performance.now();
      console.debug('ready', seen.ready);
    };
    requestAnimationFrame(() => port2.postMessage(0));
  };
  new MutationObserver(look).observe(document, { subtree: true, attributes: true, attributeFilter: ['class'] });
}

const rows = [];
const report = (name, goal, kept, figures) => {
  rows.push({ name, goal, kept, figures });
  console.error(`${name}: ${figures}`);
};
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const share = (numbers, part) => sorted(numbers)[Math.min(numbers.length - 1, Math.floor(numbers.length * part))] ?? 0;
const ms = (number) => `${Math.round(number)} ms`;

const n8n = await scriptedN8n();
const desk = await frontdesk({ N8N_WEBHOOK_URL: n8n.url });
const chromium = await browser();
const tracer = await chromium.driver.newBrowserCDPSession();

/** Begins to look at the main threads of pages. @returns what ends that, and gives the tasks with their parts, in ms of the processor's own time */
async function trace() {
  const events = [];
  const note = ({ value }) => events.push(...value);
  tracer.on('Tracing.dataCollected', note);
  await tracer.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'devtools.timeline', '__metadata'], recordMode: 'recordAsMuchAsPossible' } });
  return async () => {
    const complete = new Promise((resolve) => tracer.once('Tracing.tracingComplete', resolve));
    await tracer.send('Tracing.end');
    await complete;
    tracer.off('Tracing.dataCollected', note);
    const mains = new Set(events.filter((it) => it.name === 'thread_name' && it.args.name === 'CrRendererMain').map((it) => `${it.pid} ${it.tid}`));
    const timed = events.filter((it) => it.ph === 'X' && it.tdur > 0 && mains.has(`${it.pid} ${it.tid}`));
    const tasks = timed.filter((it) => it.name.endsWith('RunTask'));
    return tasks.map((task) => {
      const inside = new Map();
      if (task.tdur > TASK_MS * 500) for (const it of timed) if (it !== task && it.pid === task.pid && it.tid === task.tid && it.ts >= task.ts && it.ts < task.ts + task.dur) inside.set(it.name, (inside.get(it.name) ?? 0) + it.tdur / 1000);
      return { took: task.tdur / 1000, wall: task.dur / 1000, at: task.ts, inside };
    });
  };
}

/** A visitor of their own: nothing is in the browser's cache. */
async function visit(path) {
  const context = await chromium.driver.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-GB' });
  context.setDefaultTimeout(60_000);
  await context.addInitScript(watch);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Network.enable').catch(() => {});
  const chat = path === CHAT && ready(page);
  await page.goto(`${desk.url}${path}`);
  await chat;
  return { page, slow: (by = rate) => session.send('Emulation.setCPUThrottlingRate', { rate: by }), close: () => context.close() };
}

const CHAT = '/widget/modern-widget.html';
/** It says so itself: a page that is asked again and again has less time for what it does. To be called before what opens it. */
async function ready(page) {
  const said = await page.waitForEvent('console', { predicate: (it) => it.text().startsWith('ready '), timeout: 60_000 });
  return Number(said.text().slice('ready '.length));
}

async function ask(page, text) {
  await page.locator('#field').fill(text);
  await page.locator('#send').click();
  return n8n.asked(text);
}

const busy = (tasks) => tasks.reduce((sum, it) => sum + it.took, 0);

/** @param {boolean} pointed the mouse is over the launcher for a moment first, which is when the chat begins to load */
async function open(pointed) {
  const times = [];
  const own = [];
  // The first is not counted: the browser itself has only just started. What is traced takes longer, and has its own rounds.
  for (let round = -1; round < 2 * rounds; round += 1) {
    // The launcher is what is there before; what it opens is measured.
    const { page, slow, close } = await visit('/');
    const launcher = page.locator('frontdesk-chat button').first();
    await launcher.waitFor();
    const { x, y, width, height } = await launcher.boundingBox();
    await page.evaluate(() => addEventListener('click', ({ timeStamp }) => (globalThis.clicked = performance.timeOrigin + timeStamp), true));
    await slow();
    const traced = round >= rounds ? await trace() : undefined;
    const usable = ready(page);
    if (pointed) {
      await page.mouse.move(x + width / 2, y + height / 2);
      await new Promise((resolve) => setTimeout(resolve, POINTED_MS));
      await page.mouse.down();
      await page.mouse.up();
    } else {
      await page.evaluate(() => document.querySelector('frontdesk-chat').shadowRoot.querySelector('button').click());
    }
    const at = await usable;
    if (traced) own.push(busy(await traced()));
    else if (round >= 0) times.push(at - (await page.evaluate(() => globalThis.clicked)));
    await close();
  }
  report(pointed ? `first open to usable, pointed at for ${POINTED_MS} ms` : 'first open to usable', `${OPEN_MS} ms`, share(times, 0.5) <= OPEN_MS, `${ms(share(times, 0.5))}, worst ${ms(Math.max(...times))}; of the processor ${ms(share(own, 0.5))}`);
}

async function history() {
  const { page, slow, close } = await visit(CHAT);
  (await ask(page, 'Which lamp?')).begin().say('This **one**.').end();
  await page.locator('.assistant .body:not([hidden])').waitFor();
  // As if they had talked for long.
  const made = await until('it is kept', () => page.evaluate(async ({ count, answer }) => {
    const database = await new Promise((resolve, reject) => {
      const asked = indexedDB.open('frontdesk:default');
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
    const store = database.transaction('exchanges', 'readwrite').objectStore('exchanges');
    const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const [first] = await done(store.getAll());
    if (first?.phase !== 'done') return database.close();
    for (let at = 1; at < count; at += 1) await done(store.put({ ...first, id: crypto.randomUUID(), at: first.at - at * 60_000, text: `${at}: ${first.text}`, answer: `${at}. ${answer}` }));
    database.close();
    return true;
  }, { count: EXCHANGES, answer: `${words(0, 60).join(' ')}\n\n- ${words(3, 8).join(' ')}\n- ${words(5, 8).join(' ')}\n- ${words(9, 8).join(' ')}\n\n${words(20, 30).join(' ')}` }));
  if (!made) throw new Error('there is no history');
  await slow();
  const times = [];
  const whole = [];
  const own = [];
  for (let round = 0; round < rounds; round += 1) {
    const traced = await trace();
    await Promise.all([ready(page), page.reload()]);
    await until('all of it is there', () => page.evaluate((count) => globalThis.seen.exchanges === count, EXCHANGES), 60_000);
    own.push(busy(await traced()));
    const shown = await page.evaluate((log = document.getElementById('log')) => ({ usable: Math.max(globalThis.seen.ready, globalThis.seen.read) - performance.timeOrigin, whole: globalThis.seen.whole - performance.timeOrigin, unread: document.querySelectorAll('.exchange .body:not(:has(strong))').length, toEnd: log.scrollHeight - log.scrollTop - log.clientHeight }));
    if (shown.unread > 0 || shown.toEnd > 1) throw new Error(`not all was shown, or not its end: ${JSON.stringify(shown)}`);
    times.push(shown.usable);
    whole.push(shown.whole);
  }
  await close();
  report(`${2 * EXCHANGES} messages to usable`, `${HISTORY_MS} ms`, share(times, 0.5) <= HISTORY_MS, `${ms(share(times, 0.5))}, worst ${ms(Math.max(...times))}; the oldest there after ${ms(share(whole, 0.5))}; of the processor ${ms(share(own, 0.5))}`);
}

async function stream(shape) {
  const { page, slow, close } = await visit(CHAT);
  const call = await ask(page, `Tell me of it, as ${shape}`);
  call.begin().say('Well.\n\n');
  await page.locator('.assistant .body:not([hidden])').waitFor();
  await slow();
  await page.evaluate(() => (globalThis.seen.observing = true));
  const traced = await trace();
  const tokens = SHAPES[shape]().match(/\s*\S+\s*/g);
  await new Promise((resolve) => {
    const timer = setInterval(() => {
      if (tokens.length === 0) {
        clearInterval(timer);
        call.end();
        return resolve();
      }
      call.say(tokens.splice(0, WORDS_A_CHUNK).join(''));
    }, CHUNK_EVERY_MS);
  });
  await until('the reply is over', () => page.evaluate(() => document.getElementById('log').getAttribute('aria-busy') === 'false'), 120_000);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1500)));
  const own = await traced();
  const { tasks, frames, count } = await page.evaluate(() => ({ ...globalThis.seen, count: document.querySelector('.assistant .body').textContent.split(/\s+/).length }));
  await close();
  if (count < WORDS / 2) throw new Error(`only ${count} words of ${shape} were shown`);
  const longest = Math.max(0, ...tasks);
  const dearest = own.reduce((most, it) => (it.took > most.took ? it : most), { took: 0, wall: 0, inside: new Map() });
  if (process.env.DETAILS) {
    const begun = Math.min(...own.map((it) => it.at));
    for (const it of own.filter((it) => it.took > TASK_MS / 2).sort((a, b) => b.took - a.took).slice(0, Number(process.env.DETAILS))) {
      console.error(`  ${ms(it.took)} of ${ms(it.wall)}, at ${ms((it.at - begun) / 1000)}: ${[...it.inside].sort((a, b) => b[1] - a[1]).slice(0, 9).map(([name, took]) => `${name} ${took.toFixed(1)}`).join(', ')}`);
    }
  }
  report(`${WORDS} words: ${shape}`, `no task > ${TASK_MS} ms`, longest <= TASK_MS, `${tasks.length} long tasks, longest ${ms(longest)}; of the processor ${own.filter((it) => it.took > TASK_MS).length}, ${ms(dearest.took)}; frames: median ${ms(share(frames, 0.5))}, 95 % ${ms(share(frames, 0.95))}, longest ${ms(Math.max(...frames))}`);
}

let failed = 1;
try {
  for (const it of wanted) await (OTHERS[it]?.() ?? stream(it));
  const width = Math.max(...rows.map(({ name }) => name.length));
  for (const { name, goal, kept, figures } of rows) console.log(`${name.padEnd(width)}  ${goal.padEnd(15)}  ${kept ? 'ok    ' : 'missed'}  ${figures}`);
  failed = rows.every(({ kept }) => kept) ? 0 : 1;
} finally {
  endAll();
  process.exit(failed);
}
