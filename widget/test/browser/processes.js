/** What the stories start, and end again: the executable, a scripted n8n, a foreign shop, a browser. All on 127.0.0.1. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { FRONTDESK_BIN, CHROMIUM, MODULES } = process.env;
if (!FRONTDESK_BIN || !CHROMIUM || !MODULES) throw new Error('start these tests by widget/test/browser/run.sh');
const { chromium } = createRequire(join(MODULES, 'package.json'))('playwright-core');

/** Asks until it is so. The one way in which the stories wait for what has no event. */
export async function until(what, probe, ms = 15_000) {
  const end = performance.now() + ms;
  let last;
  for (;;) {
    try {
      last = undefined;
      const found = await probe();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Every child of ours, so that none outlives us, whatever happens. */
const children = new Set();
const folders = new Set();
export function endAll() {
  for (const child of children) kill(child, 'SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

function start(program, args, options) {
  // A group of its own: a browser is many processes.
  const child = spawn(program, args, { ...options, detached: true });
  children.add(child);
  child.on('exit', () => children.delete(child));
  child.on('error', (error) => console.error(`${program}: ${error.message}`));
  return child;
}

function kill(child, signal) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It ended by itself just now.
  }
}

async function ended(child, ms, what) {
  if (child.exitCode === null && child.signalCode === null) {
    await once(child, 'exit', { signal: AbortSignal.timeout(ms) }).catch(() => {
      kill(child, 'SIGKILL');
      throw new Error(`${what} did not end within ${ms} ms`);
    });
  }
  return child.exitCode ?? child.signalCode;
}

function folder() {
  const made = mkdtempSync(join(tmpdir(), 'frontdesk-browser-'));
  folders.add(made);
  return made;
}

/** Secrets that outlive a restart. */
export function secrets() {
  return { JWT_SECRET_KEY: randomBytes(32).toString('base64url'), SESSION_SECRET_KEY: randomBytes(32).toString('base64url') };
}

/** A database with made-up visitors, as a setting. @param {{days: number, sites: number}} of */
export async function madeUp({ days, sites }) {
  const settings = { ANALYTICS_DB_PATH: join(folder(), 'analytics.redb') };
  const child = start(FRONTDESK_BIN, ['analytics', 'demo', '--days', String(days), '--sites', String(sites)], { env: { PATH: process.env.PATH, ...settings }, cwd: folder(), stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (data) => (log += data));
  const code = await ended(child, 60_000, 'frontdesk analytics demo');
  if (code !== 0) throw new Error(`frontdesk analytics demo made nothing:\n${log}`);
  return settings;
}

/** The all-in-one executable. Nothing of the caller's settings reaches it, from the environment or from a `.env`. */
export async function frontdesk(settings = {}) {
  const env = { PATH: process.env.PATH, LOG_LEVEL: 'info', API_PORT: '0', ANALYTICS_ADDR: '127.0.0.1:0', RATE_LIMIT_PER_MINUTE: '0', RATE_LIMIT_CREATE_PER_MINUTE: '0', ...settings };
  const child = start(FRONTDESK_BIN, [], { env, cwd: folder(), stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  let log = '';
  child.stdout.on('data', (data) => (said += data));
  child.stderr.on('data', (data) => (log += data));
  const exited = () => child.exitCode !== null || child.signalCode !== null;
  const address = await until('frontdesk listens', () => exited() || /^listening on (http:\S+)$/m.exec(said)?.[1], 15_000).catch((error) => error);
  if (typeof address !== 'string') {
    kill(child, 'SIGKILL');
    throw new Error(`frontdesk did not start:\n${log}`);
  }
  return {
    url: address,
    port: new URL(address).port,
    /** Where analytics serves its page. Said before the address. */
    dashboard: /dashboard on (http:\S+\/)/.exec(log)?.[1],
    log: () => log,
    /** @returns {Promise<number | string>} exit code or signal */
    async stop(signal = 'SIGTERM', ms = 10_000) {
      kill(child, signal);
      return ended(child, ms, 'frontdesk');
    },
  };
}

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

function close(server) {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
}

/**
 * An n8n whose answers the stories write themselves, line by line, when they want to: what is "in the middle of a reply"
 * is then no question of speed.
 */
export async function scriptedN8n() {
  const calls = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const asked = JSON.parse(body);
    const line = (type, more = {}) => {
      const metadata = { nodeId: 'a', nodeName: 'Agent', itemIndex: 0, runIndex: 0, timestamp: Date.now() };
      response.write(`${JSON.stringify({ type, ...more, metadata })}\n`);
    };
    const call = {
      text: asked.chatInput,
      asked,
      left: false,
      begin() {
        response.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8' });
        line('begin');
        return call;
      },
      say(...items) {
        for (const content of items) line('item', { content });
        return call;
      },
      end() {
        line('end');
        response.end();
        return call;
      },
      /** The connection breaks. */
      cut() {
        response.destroy();
      },
    };
    response.on('close', () => (call.left = !response.writableEnded));
    calls.push(call);
  });
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}/webhook/chat`,
    /** How often a workflow ran for this text. */
    runs: (text) => calls.filter((call) => call.text === text).length,
    /** The `count`th call for this text. */
    asked: (text, count = 1) => until(`n8n is asked "${text.slice(0, 60)}" (${count})`, () => calls.filter((call) => call.text === text)[count - 1]),
    close: () => close(server),
  };
}

/** Who verifies a captcha's answers: `good` is good. */
export async function captchaProvider() {
  const asked = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const form = new URLSearchParams(body);
    asked.push(form.get('response'));
    response.end(JSON.stringify({ success: form.get('response') === 'good' && form.get('secret') === 'a-secret' }));
  });
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}/siteverify`, asked, close: () => close(server) };
}

/** A shop on another site than the chat: its page has this one script tag, and a strict policy of its own. @param {() => string} chat its origin */
export async function foreignShop(chat) {
  const page = () => `<!doctype html><html lang="en"><title>Another shop</title><link rel="icon" href="data:,"><h1>Another shop</h1><script src="${chat()}/widget/embed.js" async></script>`;
  const server = createServer((_, response) => {
    const policy = `default-src 'none'; img-src data:; script-src ${chat()}; frame-src ${chat()}; require-trusted-types-for 'script'`;
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy }).end(page());
  });
  const port = await listen(server);
  // Another registrable name than 127.0.0.1, so to the browser it is another site.
  return { origin: `http://localhost:${port}`, close: () => close(server) };
}

/** Pages of the browser itself that each new window loads for its address line, beside the page that is looked at. */
const OWN_PAGES = ['WebUIOmniboxPopup', 'WebUIOmniboxAimPopup'];

/**
 * A browser with the settings people have, but for its own pages and what else is to be off in it.
 *
 * @param {string[]} flags @param {import('node:child_process').StdioOptions} stdio
 * @param {{env?: Record<string, string>, off?: string[]}} [options] off: features by Chromium's names, which takes one list of them alone
 */
export function startChromium(flags, stdio, { env = {}, off = [] } = {}) {
  const profile = folder();
  const all = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-default-apps', '--no-default-browser-check', '--hide-scrollbars', '--lang=en-GB',
    // Names of the wide world lead nowhere.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost',
    `--disable-features=${[...OWN_PAGES, ...off]}`, ...flags, `--user-data-dir=${profile}`, 'about:blank',
  ];
  return start(CHROMIUM, all, { stdio, env: { ...process.env, HOME: profile, DBUS_SESSION_BUS_ADDRESS: 'disabled:', ...env } });
}

/**
 * A browser that is driven. Playwright's own flags would switch storage partitioning off, and with it all storage in
 * third-party frames.
 *
 * @param {{noStorage?: boolean, flags?: string[], env?: Record<string, string>}} [options] noStorage: with just that
 */
export async function browser({ noStorage = false, flags = [], env = {} } = {}) {
  const denied = noStorage ? ['--test-third-party-cookie-phaseout'] : [];
  const off = noStorage ? ['ThirdPartyStoragePartitioning'] : [];
  const child = startChromium([...denied, ...flags, '--remote-debugging-port=0'], ['ignore', 'ignore', 'pipe'], { env, off });
  let log = '';
  child.stderr.on('data', (data) => (log = (log + data).slice(-20_000)));
  const exited = () => child.exitCode !== null || child.signalCode !== null;
  const address = await until('Chromium opens its port', () => exited() || /DevTools listening on (ws:\S+)/.exec(log)?.[1], 30_000).catch((error) => error);
  if (typeof address !== 'string') {
    kill(child, 'SIGKILL');
    throw new Error(`Chromium did not start:\n${log}`);
  }
  const driver = await chromium.connectOverCDP(address);
  return {
    driver,
    async close() {
      const session = await driver.newBrowserCDPSession();
      await session.send('Browser.close').catch(() => {});
      await ended(child, 10_000, 'Chromium');
    },
  };
}

/**
 * Pages of shops, by path; each host name below localhost is a shop of its own. What their policies forbid is reported here.
 *
 * @param {Record<string, {html?: string, css?: string, policy?: string}>} pages may be filled in later
 */
export async function shops(pages) {
  const reports = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://shop');
    if (request.method === 'POST') {
      let body = '';
      for await (const piece of request) body += piece;
      reports.push(body);
      response.end();
      return;
    }
    const { html, css, policy } = pages[pathname] ?? { html: 'no such page' };
    const headers = { 'Content-Type': `${css ? 'text/css' : 'text/html'}; charset=utf-8`, ...(policy ? { 'Content-Security-Policy': `${policy}; report-uri /reports` } : {}) };
    response.writeHead(pages[pathname] ? 200 : 404, headers).end(css ?? `<!doctype html><html lang="en"><title>A shop</title><link rel="icon" href="data:,">${html}`);
  });
  const port = await listen(server);
  return { origin: (name) => `http://${name}.localhost:${port}`, reports, close: () => close(server) };
}
