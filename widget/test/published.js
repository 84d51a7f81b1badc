/** Tests that a vendored library is the one that was published at npm, byte for byte. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

/**
 * @param {object} library
 * @param {string} library.name at npm
 * @param {string} library.version
 * @param {string} library.folder where it lies here
 * @param {Record<string, string>} library.files where each file is in the package; beside them lies only their SHA256SUMS, if anything
 * @param {Record<string, string>} [library.sums] what the bytes hash to; default: as SHA256SUMS says
 */
export function isAsPublished({ name, version, folder, files, sums }) {
  test(`the bytes of ${name} are those that were written down`, () => {
    const written = sums ?? Object.fromEntries(readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trim().split('\n').map((line) => line.split(/\s+/).reverse()));
    const found = readdirSync(folder).filter((it) => it !== 'SHA256SUMS').map((it) => [it, createHash('sha256').update(readFileSync(join(folder, it))).digest('hex')]);
    assert.deepEqual(Object.fromEntries(found), written);
    assert.deepEqual(found.map(([it]) => it).sort(), Object.keys(files).sort());
  });

  test(`the bytes are those of ${name} ${version} at npm`, { timeout: 60_000 }, (t) => {
    const there = mkdtempSync(join(tmpdir(), 'frontdesk-vendor-'));
    try {
      try {
        execFileSync('npm', ['pack', `${name}@${version}`, '--silent', '--fetch-retries=0', '--fetch-timeout=20000'], { cwd: there, stdio: ['ignore', 'pipe', 'pipe'], timeout: 40_000 });
      } catch (error) {
        const why = String(error.stderr || error.message).trim().split('\n')[0];
        return t.skip(`not run (npm could not fetch it: ${why})`);
      }
      execFileSync('tar', ['xzf', `${name}-${version}.tgz`], { cwd: there });
      for (const [it, path] of Object.entries(files)) assert.ok(readFileSync(join(folder, it)).equals(readFileSync(join(there, 'package', path))), it);
    } finally {
      rmSync(there, { recursive: true, force: true });
    }
  });
}
