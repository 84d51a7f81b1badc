/** What `bench/widget.sh` runs; see README.md. The demo shop frames the chat from its own origin, so both are one target of the browser, which is slowed down as a whole. */
import { endAll, frontdesk, scriptedN8n, shops, until } from '../widget/test/browser/processes.js';
import { plainBrowser } from './pages.js';

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

const OTHERS = { empty: () => open('empty'), open: () => open('click'), pointed: () => open('pointed'), history };
const known = [...Object.keys(OTHERS), ...Object.keys(SHAPES)];
const wanted = process.argv.length > 2 ? process.argv.slice(2) : known;
for (const it of wanted) if (!known.includes(it)) throw new Error(`there is no "${it}"; there are ${known.join(', ')}`);

/** In every page and frame: when the chat could be used, which the page around is told as well, long tasks, the time between frames. */
function watch() {
  const seen = (globalThis.seen = { ready: 0, read: 0, exchanges: 0, whole: 0, tasks: [], frames: [], observing: false });
  new PerformanceObserver((list) => seen.observing && seen.tasks.push(...list.getEntries().map((it) => it.duration))).observe({ type: 'longtask' });
  const now = () => performance.timeOrigin + performance.now();
  /** Calls it when the next frame was painted that is seen, before whatever else waits, as what the visitor does would come. */
  globalThis.painted = (then) => requestAnimationFrame(() => (innerWidth === 0 ? painted(then) : scheduler.postTask(() => then(now()), { priority: 'user-blocking' })));
  globalThis.usable = new Promise((resolve) => (globalThis.isUsable = resolve));
  new MutationObserver((changes, observer) => {
    if (!document.documentElement?.classList.contains('ready')) return;
    observer.disconnect();
    painted((at) => top.isUsable((seen.ready = at)));
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ['class'] });
  if (top !== globalThis) return;
  let last = 0;
  const exchanges = document.getElementsByClassName('exchange');
  requestAnimationFrame(function frame(at) {
    // What is looked for in the page again and again takes time from what is measured.
    if (seen.observing) {
      if (last) seen.frames.push(at - last);
    } else {
      if (!seen.read && document.querySelector('.exchange:last-child .body:not([hidden])')) seen.read = now();
      if (exchanges.length > seen.exchanges) seen.whole = now();
      seen.exchanges = exchanges.length;
    }
    last = at;
    requestAnimationFrame(frame);
  });
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
const chromium = plainBrowser();

/** Begins to look at the main threads of pages. @returns what ends that, and gives the tasks with their parts, in ms of the processor's own time */
async function trace() {
  const events = [];
  chromium.hear('Tracing.dataCollected', ({ value }) => events.push(...value));
  await chromium.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'devtools.timeline', '__metadata'], recordMode: 'recordAsMuchAsPossible' } });
  return async () => {
    const complete = new Promise((resolve) => chromium.hear('Tracing.tracingComplete', resolve));
    await chromium.send('Tracing.end');
    await complete;
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

const CHAT = '/widget/modern-widget.html';
const visit = (url) => chromium.visit(url, watch);
const usable = (page) => until('the chat can be used', () => page.evaluate(() => globalThis.seen?.ready > 0), 60_000);
/** What a page does after it has loaded is over. */
const SETTLED_MS = 500;
/** Asked seldom: a page that is asked again and again has less time for what it does. */
const SELDOM_MS = 200;

async function ask(page, text) {
  await page.evaluate(() => document.getElementById('field').focus());
  await page.send('Input.insertText', { text });
  await until('it can be sent', () => page.evaluate(() => !document.getElementById('send').disabled));
  await page.evaluate(() => document.getElementById('send').click());
  return n8n.asked(text);
}
const answered = (page) => until('the answer is shown', () => page.evaluate(() => document.querySelector('.assistant .body:not([hidden])') !== null));

const busy = (tasks) => tasks.reduce((sum, it) => sum + it.took, 0);

/** From then on until the frame is painted in which it can be used. */
const OPENINGS = {
  empty: { name: 'an empty page in a frame', wanted: Infinity },
  click: { name: 'first open to usable', wanted: OPEN_MS },
  pointed: { name: `first open to usable, pointed at for ${POINTED_MS} ms`, wanted: OPEN_MS },
};

/** @param {keyof typeof OPENINGS} how pointed: the mouse is over the launcher for a moment first, which is when the chat begins to load */
async function open(how) {
  const times = [];
  const own = [];
  const host = how === 'empty' ? await shops({ '/': { html: '' }, '/framed': { html: '' } }) : undefined;
  // The first is not counted: the browser itself has only just started. What is traced takes longer, and has its own rounds.
  for (let round = -1; round < 2 * rounds; round += 1) {
    // The launcher is what is there before; what it opens is measured.
    const page = await visit(host ? `${host.origin('empty')}/` : `${desk.url}/`);
    const { x, y } = await until('the page is there', () =>
      page.evaluate((empty) => {
        globalThis.opened ??= new Promise((resolve) => (globalThis.isOpened = resolve));
        globalThis.onclick ??= ({ timeStamp }) => {
          globalThis.clicked = performance.timeOrigin + timeStamp;
          painted(globalThis.isOpened);
        };
        const { x, y, width, height } = empty ? { x: 0, y: 0, width: 1, height: 1 } : document.querySelector('frontdesk-chat').shadowRoot.querySelector('button').getBoundingClientRect();
        return document.readyState === 'complete' && width > 0 && { x: x + width / 2, y: y + height / 2 };
      }, how === 'empty'),
    );
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    await page.slow(rate);
    const traced = round >= rounds ? await trace() : undefined;
    if (how === 'pointed') {
      const mouse = (type, more = {}) => page.send('Input.dispatchMouseEvent', { type, x, y, ...more });
      await mouse('mouseMoved');
      await new Promise((resolve) => setTimeout(resolve, POINTED_MS));
      await mouse('mousePressed', { button: 'left', clickCount: 1 });
      await mouse('mouseReleased', { button: 'left', clickCount: 1 });
    } else if (how === 'click') {
      await page.evaluate(() => document.querySelector('frontdesk-chat').shadowRoot.querySelector('button').click());
    } else {
      await page.evaluate(() => {
        document.body.click();
        const frame = Object.assign(document.createElement('iframe'), { src: '/framed' });
        frame.addEventListener('load', () => frame.contentWindow.painted(globalThis.isUsable));
        document.body.append(frame);
      });
    }
    const took = await page.evaluate(async () => Math.max(await globalThis.opened, await globalThis.usable) - globalThis.clicked);
    if (traced) own.push(busy(await traced()));
    else if (round >= 0) times.push(took);
    await page.close();
  }
  await host?.close();
  const { name, wanted } = OPENINGS[how];
  report(name, wanted === Infinity ? '' : ms(wanted), share(times, 0.5) <= wanted, `${ms(share(times, 0.5))}, worst ${ms(Math.max(...times))}; of the processor ${ms(share(own, 0.5))}`);
}

async function history() {
  const page = await visit(`${desk.url}${CHAT}`);
  await usable(page);
  (await ask(page, 'Which lamp?')).begin().say('This **one**.').end();
  await answered(page);
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
  await page.slow(rate);
  const times = [];
  const whole = [];
  const own = [];
  // The first is not counted: it compiles what those after it find compiled. What is traced takes longer, and has its own rounds.
  for (let round = -1; round < 2 * rounds; round += 1) {
    const traced = round >= rounds ? await trace() : undefined;
    const before = await page.evaluate(() => performance.timeOrigin);
    await page.send('Page.reload');
    const isWhole = () => page.evaluate(({ before, count }) => performance.timeOrigin !== before && globalThis.seen?.exchanges === count, { before, count: EXCHANGES });
    for (const end = Date.now() + 60_000; !(await isWhole()); ) {
      if (Date.now() > end) throw new Error('not all of it was shown within a minute');
      await new Promise((resolve) => setTimeout(resolve, SELDOM_MS));
    }
    if (traced) own.push(busy(await traced()));
    const shown = await page.evaluate((log = document.getElementById('log')) => ({ usable: Math.max(globalThis.seen.ready, globalThis.seen.read) - performance.timeOrigin, whole: globalThis.seen.whole - performance.timeOrigin, unread: document.querySelectorAll('.exchange .body:not(:has(strong))').length, toEnd: log.scrollHeight - log.scrollTop - log.clientHeight }));
    if (shown.unread > 0 || shown.toEnd > 1) throw new Error(`not all was shown, or not its end: ${JSON.stringify(shown)}`);
    if (traced || round < 0) continue;
    times.push(shown.usable);
    whole.push(shown.whole);
  }
  await page.close();
  report(`${2 * EXCHANGES} messages to usable`, `${HISTORY_MS} ms`, share(times, 0.5) <= HISTORY_MS, `${ms(share(times, 0.5))}, worst ${ms(Math.max(...times))}; the oldest there after ${ms(share(whole, 0.5))}; of the processor ${ms(share(own, 0.5))}`);
}

/** One reply of that shape, as it grows. What is traced takes longer. @param {string} shape @param {boolean} isTraced */
async function grow(shape, isTraced) {
  const page = await visit(`${desk.url}${CHAT}`);
  await usable(page);
  const call = await ask(page, `Tell me of it, as ${shape}${isTraced ? ', once more' : ''}`);
  call.begin().say('Well.\n\n');
  await answered(page);
  await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
  await page.slow(rate);
  await page.evaluate(() => (globalThis.seen.observing = true));
  const traced = isTraced ? await trace() : undefined;
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
  const own = await traced?.();
  const { tasks, frames, count } = await page.evaluate(() => ({ ...globalThis.seen, count: document.querySelector('.assistant .body').textContent.split(/\s+/).length }));
  await page.close();
  if (count < WORDS / 2) throw new Error(`only ${count} words of ${shape} were shown`);
  return { tasks, frames, own };
}

async function stream(shape) {
  const { tasks, frames } = await grow(shape, false);
  const { own } = await grow(shape, true);
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
  for (const { name, goal, kept, figures } of rows) console.log(`${name.padEnd(width)}  ${goal.padEnd(15)}  ${goal === '' ? '      ' : kept ? 'ok    ' : 'missed'}  ${figures}`);
  failed = rows.every(({ kept }) => kept) ? 0 : 1;
} catch (error) {
  console.error(error);
} finally {
  endAll();
  process.exit(failed);
}
