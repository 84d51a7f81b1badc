/** What a reply becomes, and what a half-written one is shown as. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { safeHref } from '../js/links.js';
import { createReader, lex } from '../js/markdown.js';
import { mend } from '../js/mend.js';
import { render } from '../js/prose.js';
import { document } from './fake-document.js';

globalThis.document = document;
const t = (key) => key;

const blocks = (markdown, growing = false) => createReader().read(markdown, growing).blocks;
const printOf = (token) => render(token, t).map((node) => node.print).join('');
const print = (markdown, growing = false) =>
  blocks(markdown, growing)
    .flatMap(({ token }) => printOf(token))
    .join('');

/** Without what is the same each time, so that the expectations below stay readable. */
const short = (html) =>
  html
    .replace(/ title="[^"]*" target="_blank" rel="noopener noreferrer nofollow"/g, '')
    .replace(/<div class="code" dir="ltr"><div class="code-head"><span>([^<]*)<\/span><button .*?<\/button><\/div><pre [^>]*>(.*?)<\/pre><\/div>/gs, '<pre $1>$2</pre>')
    .replaceAll('<pre >', '<pre>')
    .replace(/<colgroup>.*?<\/colgroup>/g, '')
    .replaceAll('<div class="table" tabindex="0" role="group" aria-label="table">', '<div>')
    .replace(/<(br|hr)><\/\1>/g, '<$1>');

function check(name, markdown, expected, growing = false) {
  test(name, () => assert.equal(short(print(markdown, growing)), expected));
}

check('paragraphs and line breaks', 'one\ntwo\n\nthree', '<p>one<br>two</p><p>three</p>');
check('bold, italic, both, struck', '**a** *b* ***c*** __d__ _e_ ~~f~~', '<p><strong>a</strong> <em>b</em> <em><strong>c</strong></em> <strong>d</strong> <em>e</em> <s>f</s></p>');
check('nested marks', '**a *b* c**', '<p><strong>a <em>b</em> c</strong></p>');
check('marks that are none', '2 * 3 * 4, a_b_c, 5**2, ** a', '<p>2 * 3 * 4, a_b_c, 5**2, ** a</p>');
check('code keeps its marks', '`**a** <b>` and ``x`y``', '<p><code>**a** &lt;b></code> and <code>x`y</code></p>');
check('escapes', '\\*a\\* \\[b](c)', '<p>*a* [b](c)</p>');
check('headings are one below the chat title', '# A\n### B #\ntext', '<h2>A</h2><h2 class="minor">B</h2><p>text</p>');
check('fenced code', '```\n<a>\n\n**b**\n```\nafter', '<pre><code>&lt;a>\n\n**b**</code></pre><p>after</p>');
check('a fence without an end', '```\nlet a', '<pre><code>let a</code></pre>');
check('a bulleted list after a sentence', 'Two:\n- a\n- **b**\n  more', '<p>Two:</p><ul><li>a</li><li><strong>b</strong><br>more</li></ul>');
check('a numbered list keeps its start', '3. a\n4. b', '<ol start="3"><li>a</li><li>b</li></ol>');
check('a loose list is one list', '1. a\n\n2. b', '<ol><li>a</li><li>b</li></ol>');
check('a list in a list', '- a\n  - b\n  - c\n- d', '<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>');
check('a numbered list with bullets inside', '1. a\n   - b\n2. c', '<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>');
check('text after a list', '- a\n\nb', '<ul><li>a</li></ul><p>b</p>');
check('a year is no list', 'Made in\n2019. Then sold.', '<p>Made in<br>2019. Then sold.</p>');
check('a quote', '> a\n> - b', '<blockquote><p>a</p><ul><li>b</li></ul></blockquote>');
check('a rule', 'a\n\n---\n\nb', '<p>a</p><hr><p>b</p>');
check(
  'a table, with a cell too few and one too many',
  '| a | b |\n|---|--:|\n| 1 |\n| 2 | 3 | 4 |',
  '<div><table><thead><tr><th>a</th><th class="right">b</th></tr></thead><tbody><tr><td>1</td><td class="right"></td></tr><tr><td>2</td><td class="right">3</td></tr></tbody></table></div>',
);
check('links', '[a **b**](https://a.example/x_(y) "t") <https://b.example>', '<p><a href="https://a.example/x_(y)">a <strong>b</strong></a> <a href="https://b.example/">https://b.example</a></p>');
check('a bare link without the punctuation around it', '(see https://a.example/b_c?d=1).', '<p>(see <a href="https://a.example/b_c?d=1">https://a.example/b_c?d=1</a>).</p>');
check('mail and telephone', '[write](mailto:a@b.example) [call](tel:+4930123)', '<p><a href="mailto:a@b.example">write</a> <a href="tel:+4930123">call</a></p>');
check('a list of what is to do', '- [x] a\n- [ ] b', '<ul><li><span class="task done" role="img" aria-label="task_done"></span>a</li><li><span class="task open" role="img" aria-label="task_open"></span>b</li></ul>');
check('a loose list of what is to do', '- [x] a\n\n- b', '<ul><li><span class="task done" role="img" aria-label="task_done"></span>a</li><li>b</li></ul>');
check('a line broken in a cell', '| a |\n|---|\n| b<br>c |', '<div><table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b<br>c</td></tr></tbody></table></div>');
check('the few references models write', 'AT&amp;T &lt;b&gt; `&amp;` &bogus; \\&amp;', '<p>AT&amp;T &lt;b> <code>&amp;amp;</code> &amp;bogus; &amp;amp;</p>');
check('code says what it is in', '```js x\n1\n```', '<pre js>'.replace(' js', ' js') + '<code>1</code></pre>');
check('links named elsewhere stay as written', '[a][b]\n\n[b]: https://c.example', '<p>[a][b]</p><p>[b]: <a href="https://c.example/">https://c.example</a></p>');
check('nested deeper than anybody reads', '> '.repeat(20) + 'a', `${'<blockquote>'.repeat(6)}<p>${'> '.repeat(13)}> a</p>${'</blockquote>'.repeat(6)}`);
check('images are their description', 'x ![lamp](https://a.example/l.png) y', '<p>x lamp y</p>');
check('addresses within the site are text', '[a](/b) [c](//d.example) [e](#f)', '<p>a c e</p>');
check('HTML is text', '<b onclick=x>a</b><script>1</script>', '<p>&lt;b onclick=x>a&lt;/b>&lt;script>1&lt;/script></p>');

/** What is shown of a reply that ends there for now. */
const GROWING = [
  ['a **b c', '<p>a <strong>b c</strong></p>'],
  ['a **b*', '<p>a <strong>b</strong></p>'],
  ['a **b** c **', '<p>a <strong>b</strong> c </p>'],
  ['a **b\n', '<p>a <strong>b</strong></p>'],
  ['a ***b', '<p>a <em><strong>b</strong></em></p>'],
  ['a **b _c', '<p>a <strong>b <em>c</em></strong></p>'],
  ['a ~~b', '<p>a <s>b</s></p>'],
  ['2 * 3, a_b', '<p>2 * 3, a_b</p>'],
  ['a [', '<p>a </p>'],
  ['a [b', '<p>a b</p>'],
  ['a [b]', '<p>a b</p>'],
  ['a [b](https://c.exam', '<p>a b</p>'],
  ['a [b](https://c.example "d', '<p>a b</p>'],
  ['a [**b', '<p>a <strong>b</strong></p>'],
  ['a ![b](https://c.exam', '<p>a b</p>'],
  ['a [b](https://c.example/_d_e) f', '<p>a <a href="https://c.example/_d_e">b</a> f</p>'],
  ['see https://c.example/_d', '<p>see <a href="https://c.example/_d">https://c.example/_d</a></p>'],
  ['see <https://c.exam', '<p>see <a href="https://c.exam/">https://c.exam</a></p>'],
  ['a `b', '<p>a <code>b</code></p>'],
  ['a `b[0', '<p>a <code>b[0</code></p>'],
  ['**a `b', '<p><strong>a <code>b</code></strong></p>'],
  ['a `', '<p>a </p>'],
  ['a<b', '<p>a</p>'],
  ['a &am', '<p>a </p>'],
  ['a\n#', '<p>a</p>'],
  ['a\n-', '<p>a</p>'],
  ['a\n---', '<p>a</p>'],
  ['a\n\n12', '<p>a</p>'],
  ['a\n\n- ', '<p>a</p>'],
  ['a\n\n- [', '<p>a</p>'],
  ['a\n\n- [x]', '<p>a</p>'],
  ['- a\n  - **', '<ul><li>a</li></ul>'],
  ['- a\n- **b', '<ul><li>a</li><li><strong>b</strong></li></ul>'],
  ['a\n\n``', '<p>a</p>'],
  ['a\n\n```fron', '<p>a</p>'],
  ['```\nb\n``', '<pre><code>b</code></pre>'],
  ['```\n**b\n', '<pre><code>**b</code></pre>'],
  ['a\n\n| b', '<p>a</p>'],
  ['a\n\n| b | c |\n', '<p>a</p>'],
  ['a\n\n| b | c |\n|', '<p>a</p>'],
  ['a\n\n| b | c |\n| --- | :-', '<p>a</p>'],
  ['| b |\n|---|\n| **c', '<div><table><thead><tr><th>b</th></tr></thead><tbody><tr><td><strong>c</strong></td></tr></tbody></table></div>'],
];
for (const [markdown, expected] of GROWING) check(`growing: ${JSON.stringify(markdown)}`, markdown, expected, true);
check('done: half a bold is stars', 'a **b c', '<p>a **b c</p>');

test('links open apart and tell nothing', () => {
  assert.equal(print('[a](https://a.example)'), '<p><a href="https://a.example/" title="https://a.example/" target="_blank" rel="noopener noreferrer nofollow">a</a></p>');
});

const WHOLE = [
  '# T\n\nHello **you** and _me_, see [this](https://a.example/x_y) & `that`.\n\n- a\n  - b\n- c\n\n  d\n\n```js\nx\n\ny\n```\n\n| a | b |\n|---|---|\n| 1 | **2** |\n| 3 | 4 |\n\nend',
  '- a\n***b***\n\n1. c\n\n   d\n2. e\n\n    f\n\ng\n---\nh\n\n> i\nj\n\n> k',
  'a\r\nb\r\n\r\nc\r\n* d\r\n* e\r\n\r\n~~~\r\nf\r\n~~~\r\ng',
  '\n\n  a\n    b\n\n    c\n\nd | e\n-|-\nf | g\nh\n\n* * *\n+ i\n\n\n+ j',
  'x\n\n```frontdesk\n{"type":"quick_replies","replies":["a"]}\n```\n\ny\n\n```frontdesk\n{}\n```',
];

test('however it is cut, a reply ends as if it had come at once', () => {
  for (const whole of WHOLE) {
    const reader = createReader();
    for (let end = 1; end < whole.length; end += 1) reader.read(whole.slice(0, end), true);
    const { blocks: grown } = reader.read(whole, false);
    assert.deepEqual(grown.map(({ token }) => printOf(token)), lex(whole).filter((it) => it.type !== 'space').map(printOf), whole);
  }
});

test('blocks before the last two stay as they are while a reply grows', () => {
  for (const whole of WHOLE) {
    const reader = createReader();
    let before = [];
    for (let end = 1; end <= whole.length; end += 1) {
      const { blocks: now, same } = reader.read(whole.slice(0, end), true);
      assert.ok(same >= before.length - 2, `after ${JSON.stringify(whole.slice(0, end))}`);
      assert.deepEqual(now.slice(0, same), before.slice(0, same));
      before = now;
    }
  }
});

test('another text under the same reader starts anew', () => {
  const reader = createReader();
  reader.read('a\n\nb\n\nc\n\nd', true);
  const { blocks: now, same } = reader.read('x\n\ny', true);
  assert.deepEqual([now.map(({ token }) => token.raw), same], [['x', 'y'], 0]);
});

test('a settled block is not read again, however long the reply becomes', () => {
  const reader = createReader();
  const paragraph = `${'word **bold** [link](https://a.example) '.repeat(6)}\n\n`;
  let whole = '';
  let before = [];
  for (let count = 0; count < 50; count += 1) {
    whole += paragraph;
    const { blocks: now } = reader.read(whole, true);
    // The very same objects: they have not been made anew.
    before.slice(0, -2).forEach((block, index) => assert.equal(now[index], block));
    before = now;
  }
  assert.equal(before.length, 50);
});

test('only code without its end is open, and only while the reply grows', () => {
  const open = (markdown, growing) => blocks(markdown, growing).map((block) => block.open);
  assert.deepEqual(open('a\n\n```frontdesk\n{', true), [false, true]);
  assert.deepEqual(open('a\n\n```frontdesk\n{', false), [false, false]);
  assert.deepEqual(open('```frontdesk\n{}\n```', true), [false]);
  assert.deepEqual(open('```frontdesk\n{}\n``', true), [true]);
  assert.deepEqual(open('~~~~\n~~~\n', true), [true]);
});

const ALLOWED = new Set(['p', 'strong', 'em', 's', 'code', 'pre', 'a', 'ul', 'ol', 'li', 'br', 'hr', 'blockquote', 'div', 'span', 'button', 'svg', 'path', 'table', 'thead', 'colgroup', 'col', 'tbody', 'tr', 'th', 'td', 'h2']);
const ATTRIBUTES = new Set(['href', 'title', 'target', 'rel', 'class', 'start', 'dir', 'type', 'tabindex', 'role', 'aria-label', 'aria-hidden', 'viewBox', 'd']);
const TARGETS = [
  'javascript:alert(1)',
  'JaVaScRiPt:alert(1)',
  ' javascript:alert(1)',
  'java\tscript:alert(1)',
  'java\nscript:alert(1)',
  '\u0001javascript:alert(1)',
  'javascript&colon;alert(1)',
  '&#106;avascript:alert(1)',
  'javascript://a.example/%0aalert(1)',
  'data:text/html,<script>alert(1)</script>',
  'data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==',
  'vbscript:msgbox(1)',
  'blob:https://a.example/1',
  'file:///etc/passwd',
  'filesystem:https://a.example/x',
  'view-source:https://a.example',
  'intent://x#Intent;end',
  'https://bank.example@evil.example/',
  'https://user:pw@evil.example/',
  '//evil.example',
  '\\\\evil.example',
  'http://',
  '',
  'sms:+1',
  'ftp://a.example',
  'about:blank',
  'chrome://settings',
  'ws://a.example',
];
const HOSTILE = [
  ...TARGETS.flatMap((target) => [`[a](${target})`, `[a](<${target}>)`, `![a](${target})`, `<${target}>`, `[**a**](${target} "x")`, `| [a](${target}) | b |\n|---|---|\n| [a](${target}) | c |`]),
  '[a](https://x.example" onmouseover="alert(1))',
  "[a](https://x.example' onmouseover='alert(1))",
  '[a](https://x.example "\\" onclick=\\"alert(1)")',
  '<img src=x onerror=alert(1)>',
  '<svg/onload=alert(1)>',
  '<iframe srcdoc="<script>alert(1)</script>">',
  '`<script>`<script>alert(1)</script>',
  '```\n</code></pre><script>alert(1)</script>\n```',
  '[![a](javascript:alert(1))](javascript:alert(2))',
  '[a][b]\n\n[b]: javascript:alert(1)',
  '<!-- --><![CDATA[<script>]]>',
  '[a](javascript:alert(1)//https://x.example)',
  'https://x.example/"><script>alert(1)</script>',
  'https://javascript:alert(1)@x.example',
  '[a](https://x.example/&quot; onclick=&quot;alert(1))',
  '[a](java&#115;cript:alert(1))',
  '[a](javascript&amp;colon;alert(1))',
  '<javascript:alert(1)>',
  '<a href="javascript:alert(1)">[b](javascript:alert(2))</a>',
  '- [x] <img src=x onerror=alert(1)>',
  '> <object data="javascript:alert(1)">',
  '~~~"><script>\nx\n~~~',
  '```"onmouseover="alert(1)\nx\n```',
  '![a" onerror="alert(1)](https://x.example/a.png "t")',
  '[a]: javascript:alert(1)\n\n[a]',
  '1. <svg>\n   <animate onbegin=alert(1)>',
  'a@b.example"onclick=alert(1)',
  'www.x.example/"onclick=alert(1)',
];

test('nothing hostile becomes a link or an element', () => {
  for (const markdown of HOSTILE) {
    for (const growing of [false, true]) {
      for (const { token } of blocks(markdown, growing)) {
        for (const node of render(token, t).flatMap((it) => [...it.all()])) {
          assert.ok(ALLOWED.has(node.name), `${node.name} from ${markdown}`);
          for (const name of node.attributes.keys()) assert.ok(ATTRIBUTES.has(name), `${name} from ${markdown}`);
          const href = node.attributes.get('href');
          if (href !== undefined) assert.match(href, /^(https?:\/\/(?![^/]*@)|mailto:|tel:)/, `${href} from ${markdown}`);
        }
      }
    }
  }
});

test('no hostile target is a safe one', () => {
  for (const target of TARGETS) assert.equal(safeHref(target), undefined, target);
});

test('a long hostile reply costs little', () => {
  const long = 60_000;
  for (const piece of ['*a ', '**a ', '_a ', '`a ', '```a ', '[', '[a](', '![', '[a](x', '> ', '- ', '  - a\n', '|', '|a', '~~a ', '***a', 'https://a.example/((((', '\\', '<', 'a|b\n-|-\n', '**a*b', '*a**b', '>', '> - ', '- - ', '1. > ', '<!--', '<a', '[[', '](', '[](', '_*', '&', '\n\n', '- a\n', '# ', '|-\n', '<https://', '[a](https://x_']) {
    // Of the processor, whoever else wants it.
    const started = process.cpuUsage();
    print(piece.repeat(Math.ceil(long / piece.length)), true);
    const { user, system } = process.cpuUsage(started);
    assert.ok(user + system < 1.5e6, `${JSON.stringify(piece)} took ${Math.round((user + system) / 1000)} ms`);
  }
});
