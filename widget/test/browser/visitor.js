/** A visitor with a browser of their own: what they see and do, and what they must never notice. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { until } from './processes.js';

/**
 * @param {import('playwright-core').Browser} driver
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function visitor(driver, options = {}) {
  const context = await driver.newContext({ viewport: { width: 1280, height: 860 }, locale: 'en-GB', reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(15_000);
  const noted = { errors: [], policy: [], hosts: new Set(), cookies: [], attacks: [] };

  await context.exposeBinding('noteViolation', (_, text) => noted.policy.push(text));
  await context.exposeBinding('attacked', (_, by) => noted.attacks.push(by));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (it) => globalThis.noteViolation(`${it.violatedDirective} ${it.blockedURI} ${it.sourceFile}:${it.lineNumber} ${it.sample}`));
  });
  context.on('console', (said) => {
    if (said.type() === 'error' || said.type() === 'warning') noted.errors.push(`${said.type()}: ${said.text()} (${said.location().url})`);
  });
  context.on('weberror', (it) => noted.errors.push(`uncaught: ${it.error().stack ?? it.error()}`));
  context.on('dialog', (it) => {
    noted.attacks.push(`dialog ${it.message()}`);
    it.dismiss().catch(() => {});
  });
  context.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:' && protocol !== 'blob:') noted.hosts.add(host);
  });
  context.on('response', async (response) => {
    const header = await response.headerValue('set-cookie').catch(() => null);
    if (header) noted.cookies.push(`${response.url()}: ${header}`);
  });

  return {
    context,
    noted,
    async open(url) {
      const page = await context.newPage();
      await page.goto(url);
      return tab(page);
    },
    /** @param {{hosts: string[], errors?: RegExp}} expected errors: what the browser itself says of a lost connection */
    async isUnharmed({ hosts, errors }) {
      const unexpected = noted.errors.filter((text) => !errors?.test(text));
      assert.deepEqual(unexpected, [], 'console errors');
      assert.deepEqual(noted.policy, [], 'violations of the content security policy');
      assert.deepEqual([...noted.hosts].filter((host) => !hosts.includes(host)), [], 'requests to other hosts');
      assert.deepEqual(noted.attacks, [], 'scripts of an attacker that ran');
      assert.deepEqual([...noted.cookies, ...(await context.cookies())], [], 'cookies');
    },
    close: () => context.close(),
  };
}

/** The chat on one page: in its frame, or alone. @param {import('playwright-core').Page} page */
export function tab(page) {
  const alone = page.url().includes('/widget/modern-widget.html');
  const chat = alone ? page : page.frameLocator('frontdesk-chat iframe');
  const button = (name) => chat.getByRole('button', { name, exact: true });
  const it = {
    page,
    chat,
    button,
    launcher: page.getByRole('button', { name: /^Chat( \d|$)/ }),
    panel: page.getByRole('dialog', { name: 'Chat', exact: true }),
    field: chat.getByRole('textbox', { name: 'Message' }),
    notice: chat.locator('#notice'),
    status: chat.locator('#tagline'),
    questions: chat.locator('.turn.visitor .bubble'),
    answers: chat.locator('.turn.assistant .body:not([hidden])'),
    dots: chat.locator('.turn.assistant .dots:not([hidden])'),

    async openChat() {
      if (!alone) await it.launcher.click();
      await it.field.waitFor();
    },
    async ask(text) {
      await it.field.fill(text);
      await button('Send').click();
      await it.sees(text, it.questions.last());
    },
    /** Waits until this is shown, whole or as part. */
    sees(text, where = chat.locator('#turns'), ms = 15_000) {
      const found = text instanceof RegExp ? (shown) => text.test(shown) : (shown) => shown.includes(text);
      return until(`"${text}" is shown`, async () => found(await where.innerText({ timeout: 500 })), ms);
    },
    isRunning: async () => (await chat.locator('#log').getAttribute('aria-busy')) === 'true',
    isOver: (ms = 15_000) => until('the reply is over', async () => !(await it.isRunning()), ms),
    async shot(name) {
      await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name.replace(/[^A-Za-z0-9]+/g, '-')}.png`) });
    },
  };
  return it;
}

/** What the browser keeps of the one site there is, by store and by key. @param {import('playwright-core').Page} page @returns {Promise<Record<string, Record<string, any>>>} */
export function stores(page) {
  return page.evaluate(async () => {
    const done = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
    const database = await done(indexedDB.open('frontdesk:default'));
    const names = [...database.objectStoreNames];
    const read = async (name) => {
      const store = database.transaction(name).objectStore(name);
      const [keys, rows] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
      return [name, Object.fromEntries(keys.map((key, at) => [key, rows[at]]))];
    };
    const all = await Promise.all(names.map(read));
    database.close();
    if (all.length === 0) throw new Error('nothing was ever kept');
    return Object.fromEntries(all);
  });
}
