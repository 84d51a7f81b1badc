/**
 * The chat in each of its states, as pages without an edge behind them: for shots.js, who looks, and for look.test.js, which
 * compares. Also the launcher on a page of a shop, which loads the real embed.js.
 */
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { studioStates } from '../../js/studio-states.js';

const folder = fileURLToPath(new URL('../..', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
/** As services/edge/src/assets.rs has it, and one shop's pictures. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: https://images.shop.example; worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types frontdesk-worker; frame-ancestors 'self'";
const STAND_INS = { 'js/main.js': 'test/look/main.js', 'shop.html': 'test/look/shop.html', 'shop.js': 'test/look/shop.js' };

/** All that can be shown: the chat's states, what lies over it, and the launcher. */
export const STATES = [...Object.keys(studioStates(0)), 'menu', 'conversations', 'consent'];
export const SHOP = ['greeting', 'unread'];

const lamp = (shade, foot, ground) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 172 112"><rect width="172" height="112" fill="${ground}"/><g transform="translate(44 14)"><path d="M28 14h28l9 26H19z" fill="${shade}"/><rect x="40" y="40" width="4" height="26" fill="${foot}"/><rect x="26" y="66" width="32" height="5" rx="2.5" fill="${foot}"/></g></svg>`;
const PICTURES = { alba: lamp('#fff7e6', '#a07a45', '#eadcc4'), fern: lamp('#f3fbf6', '#4d6b5c', '#d2dfd7'), otto: lamp('#b58660', '#9a6b43', '#e5d6ca') };

/** Serves the widget's folder. @returns {Promise<{base: string, close(): Promise<void>}>} */
export async function stage() {
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://x').pathname.slice(1);
    const file = join(folder, STAND_INS[path] ?? path);
    if (!existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': `${TYPES[extname(file)] ?? 'text/plain'}; charset=utf-8`, ...(path === 'shop.html' ? {} : { 'content-security-policy': POLICY }) });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

/** The shop's pictures, which come from no network. @param {import('playwright-core').BrowserContext} context */
export const hangPictures = (context) =>
  context.route('https://images.shop.example/**', (route) => route.fulfill({ contentType: 'image/svg+xml', body: PICTURES[/(\w+)\.svg/.exec(route.request().url())?.[1]] ?? '' }));

/**
 * Opens one state, and comes back when nothing of it moves any more.
 * @param {import('playwright-core').Page} page @param {string} base @param {string} state
 * @param {{theme?: 'light' | 'dark', locale?: string}} [how]
 */
export async function show(page, base, state, { theme = 'light', locale = 'en' } = {}) {
  if (SHOP.includes(state)) {
    await page.goto(`${base}/shop.html?state=${state}&theme=${theme}&locale=${locale}`);
    await page.locator('frontdesk-chat').getByRole('button').first().waitFor();
    if (state === 'greeting') await page.getByRole('button', { name: 'Dismiss' }).waitFor();
  } else {
    await page.goto(`${base}/modern-widget.html?state=${state}&theme=${theme}&locale=${locale}&framed`);
    await page.waitForFunction(() => document.documentElement.classList.contains('ready') && !document.querySelector('.card-skeleton:not(.growing *)'), undefined, { timeout: 60_000 });
  }
  await page.evaluate(async () => {
    await document.fonts.ready;
    for (const it of document.images) Object.assign(it, { loading: 'eager', decoding: 'sync' });
    await Promise.all([...document.images].map((it) => it.decode()));
    // What the view does in the next frame, such as going to the end.
    for (let frames = 0; frames < 3; frames += 1) await new Promise(requestAnimationFrame);
  });
}
