/** The libraries are those that were published, byte for byte; each in a folder that names its version. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAsPublished } from './published.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const LIBRARIES = [
  {
    name: 'idb',
    version: '8.0.4',
    files: {
      'LICENSE.txt': 'LICENSE',
      'async-iterators.d.ts': 'build/async-iterators.d.ts',
      'database-extras.d.ts': 'build/database-extras.d.ts',
      'entry.d.ts': 'build/entry.d.ts',
      'index.d.ts': 'build/index.d.ts',
      'index.js': 'build/index.js',
    },
    sums: {
      'LICENSE.txt': '873a2f333fda393ec3464f4579209b019d98e97c3bf498b10e85f630162fd708',
      'async-iterators.d.ts': '8e609bb71c20b858c77f0e9f90bb1319db8477b13f9f965f1a1e18524bf50881',
      'database-extras.d.ts': '8e609bb71c20b858c77f0e9f90bb1319db8477b13f9f965f1a1e18524bf50881',
      'entry.d.ts': '34200a82ddb7fdf868d86595bf9729aac18a0e2795034431550551d0a31e7e9b',
      'index.d.ts': '1ab59b972136fb41d90d704d6faeaa695fcc51be2bcd390e3d44f7d8fa055edf',
      'index.js': 'e01b45d2e088a7197e8b41ba9b51a0876969da67cc08e6efbc3d5d7ab6ac836c',
    },
  },
  {
    name: 'eventsource-parser',
    version: '4.1.3',
    files: {
      'LICENSE.txt': 'LICENSE',
      'errors.d.ts': 'dist/errors.d.ts',
      'errors.js': 'dist/errors.js',
      'parse.d.ts': 'dist/parse.d.ts',
      'parse.js': 'dist/parse.js',
      'types.d.ts': 'dist/types.d.ts',
    },
    sums: {
      'LICENSE.txt': '835eb611a23301b27115ca1be9f754c876e643ceb7fe63049c6b50609a1cafeb',
      'errors.d.ts': '53cac2b67530e7ec8c8d4533a291bcd08609e59ccd8ce4363964912a49b2271d',
      'errors.js': 'c41fbafe9095c484c8aca86509adb3a8174284f0a6df65ec5347414856546fa4',
      'parse.d.ts': '295536e32f3c818fe8e6fae93bc014f8f6e1c60aca42f8647da4df87d4936b16',
      'parse.js': '4b246ad5755b7fafbea26f5494a8f57d336f4d5b8a559ff20fb02241038b14e2',
      'types.d.ts': '90972b3c5ff4c0da8bc2f76d02f9ee0ea1e7da062deefd8ddef5cf68e979bc9b',
    },
  },
  {
    name: 'marked',
    version: '18.2.1',
    files: {
      'LICENSE.txt': 'LICENSE',
      'marked.esm.d.ts': 'lib/marked.d.ts',
      'marked.esm.js': 'lib/marked.esm.js',
    },
    sums: {
      'LICENSE.txt': '8e3a3f82f59a60958f56ca08f445647c32a4733dc7ca6c2c46f6eb898471ab9c',
      'marked.esm.d.ts': 'd7d5a034b73c62e4681ad6cb2945e9862a89e56ab92b06fd7d77e2652e667ac5',
      'marked.esm.js': '5371fea86fd0656b4fc7bea7c94c663109d82789b69433eeee78d42895aa44de',
    },
  },
];

const here = LIBRARIES.filter(({ name, version }) => existsSync(join(root, 'vendor', `${name}-${version}`)));
for (const library of here) isAsPublished({ ...library, folder: join(root, 'vendor', `${library.name}-${library.version}`) });

test('nothing else is vendored, and all that is named by a script is', () => {
  assert.deepEqual(readdirSync(join(root, 'vendor')).sort(), here.map(({ name, version }) => `${name}-${version}`).sort());
  for (const script of readdirSync(join(root, 'js'))) {
    const text = readFileSync(join(root, 'js', script), 'utf8');
    for (const [, path] of text.matchAll(/'\.\.\/(vendor\/[^']+)'/g)) assert.ok(existsSync(join(root, path)), `${script}: ${path}`);
  }
});
