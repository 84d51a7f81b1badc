/** The library is the one that was published, byte for byte; and the page names nobody but this server. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAsPublished } from '../../widget/test/published.js';

const root = fileURLToPath(new URL('..', import.meta.url));

isAsPublished({
  name: 'uplot',
  version: '1.6.32',
  folder: join(root, 'vendor', 'uPlot'),
  files: { LICENSE: 'LICENSE', 'uPlot.esm.d.ts': 'dist/uPlot.d.ts', 'uPlot.esm.js': 'dist/uPlot.esm.js', 'uPlot.min.css': 'dist/uPlot.min.css' },
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
