/**
 * Pictures of the chat in all its states, for whoever changes how it looks. Needs no edge and no build:
 *
 *   CHROMIUM=/usr/bin/chromium MODULES=~/.cache/frontdesk-browser/… SCREENSHOTS=/tmp/shots node widget/test/look/shots.js [STATE…]
 *
 * MODULES is where run.sh has put playwright-core and axe-core. Says what axe, the console and the policy complain of.
 */
import { createReadStream, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { CHROMIUM, MODULES, SCREENSHOTS } = process.env;
const require = createRequire(join(MODULES, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const folder = fileURLToPath(new URL('../..', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
/** As services/edge/src/assets.rs has it, and one shop's pictures. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: https://images.shop.example; worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types frontdesk-worker; frame-ancestors 'self'";

const LOOKS = {
  light: { width: 408, height: 704 },
  dark: { width: 408, height: 704, theme: 'dark' },
  rtl: { width: 408, height: 704, dir: 'rtl' },
  narrow: { width: 320, height: 568 },
  touch: { width: 390, height: 780, touch: true },
  zoomed: { width: 320, height: 256 },
};

const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://x').pathname.slice(1);
  const file = path === 'js/main.js' ? join(folder, 'test/look/main.js') : join(folder, path);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'text/plain', 'content-security-policy': POLICY });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${server.address().port}/modern-widget.html`;
const driver = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--font-render-hinting=none'] });
mkdirSync(SCREENSHOTS, { recursive: true });

const lamp = (shade, foot, ground) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 172 112"><rect width="172" height="112" fill="${ground}"/><g transform="translate(44 14)"><path d="M28 14h28l9 26H19z" fill="${shade}"/><rect x="40" y="40" width="4" height="26" fill="${foot}"/><rect x="26" y="66" width="32" height="5" rx="2.5" fill="${foot}"/></g></svg>`;
const PICTURES = { alba: lamp('#fff7e6', '#a07a45', '#eadcc4'), fern: lamp('#f3fbf6', '#4d6b5c', '#d2dfd7'), otto: lamp('#b58660', '#9a6b43', '#e5d6ca') };

const { studioStates } = await import('../../js/studio-states.js');
const wanted = process.argv.slice(2);
const states = Object.keys(studioStates(0)).filter((name) => wanted.length === 0 || wanted.includes(name));
let bad = 0;
for (const [look, { width, height, theme = 'light', dir = 'ltr', touch = false }] of Object.entries(LOOKS)) {
  const context = await driver.newContext({ viewport: { width, height }, deviceScaleFactor: 1.5, hasTouch: touch, isMobile: touch, reducedMotion: 'reduce', bypassCSP: false });
  await context.route('https://images.shop.example/**', (route) => route.fulfill({ contentType: 'image/svg+xml', body: PICTURES[/(\w+)\.svg/.exec(route.request().url())?.[1]] ?? '' }));
  for (const state of states) {
    const page = await context.newPage();
    const complain = (text) => {
      bad += 1;
      console.log(`${look} ${state}: ${text}`);
    };
    page.on('console', (said) => ['error', 'warning'].includes(said.type()) && complain(said.text()));
    page.on('pageerror', (error) => complain(error.stack));
    await page.goto(`${base}?state=${state}&theme=${theme}&dir=${dir}&framed`);
    await page.waitForFunction(() => document.documentElement.classList.contains('ready') && !document.querySelector('.card-skeleton:not(.growing *)'), undefined, { timeout: 5000 }).catch(() => complain('is never ready'));
    await page.evaluate(() => document.fonts.ready);
    await page.waitForTimeout(120);
    const wide = await page.evaluate(() => [document.documentElement, document.getElementById('log')].some((it) => it.scrollWidth > it.clientWidth));
    if (wide) complain('sticks out');
    await page.screenshot({ path: join(SCREENSHOTS, `${state}-${look}.png`) });
    await page.evaluate(axe).catch(() => {});
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    for (const it of violations) complain(`axe ${it.id}: ${it.nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ''}`).join(' | ')}`);
    await page.close();
  }
  await context.close();
}
await driver.close();
server.close();
console.log(`${states.length} states, ${Object.keys(LOOKS).length} looks, ${bad} complaints, in ${SCREENSHOTS}`);
