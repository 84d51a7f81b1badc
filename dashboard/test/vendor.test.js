/** The library is the one that was published, byte for byte; and the page names nobody but this server. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const VERSION = '1.6.32';
const root = fileURLToPath(new URL('..', import.meta.url));
const vendor = join(root, 'vendor', 'uPlot');
/** Where each file is in the package. */
const FILES = { LICENSE: 'LICENSE', 'uPlot.esm.js': 'dist/uPlot.esm.js', 'uPlot.min.css': 'dist/uPlot.min.css' };

test('the bytes are those that were written down', () => {
  const written = readFileSync(join(vendor, 'SHA256SUMS'), 'utf8').trim().split('\n').map((line) => line.split(/\s+/).reverse());
  const found = readdirSync(vendor).filter((name) => name !== 'SHA256SUMS').sort().map((name) => [name, createHash('sha256').update(readFileSync(join(vendor, name))).digest('hex')]);
  assert.deepEqual(found, written);
  assert.deepEqual(found.map(([name]) => name), Object.keys(FILES));
});

test(`the bytes are those of uplot ${VERSION} at npm`, { timeout: 60_000 }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'frontdesk-vendor-'));
  try {
    try {
      execFileSync('npm', ['pack', `uplot@${VERSION}`, '--silent', '--fetch-retries=0', '--fetch-timeout=20000'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], timeout: 40_000 });
    } catch (error) {
      const why = String(error.stderr || error.message).trim().split('\n')[0];
      return t.skip(`not run (npm could not fetch it: ${why})`);
    }
    execFileSync('tar', ['xzf', `uplot-${VERSION}.tgz`], { cwd: folder });
    for (const [name, path] of Object.entries(FILES)) assert.ok(readFileSync(join(vendor, name)).equals(readFileSync(join(folder, 'package', path))), name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('nothing of another host is named, and nothing needs an inline style or script', () => {
  const own = readdirSync(root, { recursive: true, withFileTypes: true }).filter((it) => it.isFile() && !/\/(vendor|test)(\/|$)/.test(it.parentPath ?? it.path) && /\.(js|css|html)$/.test(it.name));
  assert.ok(own.length > 10);
  for (const { name, parentPath, path } of own) {
    const text = readFileSync(join(parentPath ?? path, name), 'utf8');
    const hosts = [...text.matchAll(/\bhttps?:\/\/[\w.-]+/g)].map(([it]) => it).filter((it) => it !== 'http://www.w3.org' && !/\.example\.?$/.test(it));
    assert.deepEqual(hosts, [], name);
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|localStorage|sessionStorage|indexedDB|document\.cookie/, name);
    if (name.endsWith('.html')) assert.doesNotMatch(text, /<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=/, name);
    if (name.endsWith('.css')) assert.doesNotMatch(text, /@import|url\(/, name);
  }
});
