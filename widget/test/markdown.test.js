import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, render, safeHref } from '../js/markdown.js';
import { document } from './fake-document.js';

const print = (markdown, growing = false) =>
  parse(markdown)
    .map((block) => render(block, document, growing).print)
    .join('');

/** Links are printed with their target alone, so that the expectations below stay readable. */
const short = (html) => html.replace(/ title="[^"]*" target="_blank" rel="noopener noreferrer"/g, '').replaceAll('<br></br>', '<br>').replaceAll('<hr></hr>', '<hr>');

function check(name, markdown, expected, growing = false) {
  test(name, () => assert.equal(short(print(markdown, growing)), expected));
}

check('paragraphs and line breaks', 'one\ntwo\n\nthree', '<p>one<br>two</p><p>three</p>');
check('bold, italic, both, struck', '**a** *b* ***c*** __d__ _e_ ~~f~~', '<p><strong>a</strong> <em>b</em> <strong><em>c</em></strong> <strong>d</strong> <em>e</em> <s>f</s></p>');
check('nested marks', '**a *b* c**', '<p><strong>a <em>b</em> c</strong></p>');
check('marks that are none', '2 * 3 * 4, a_b_c, 5**2, ** a', '<p>2 * 3 * 4, a_b_c, 5**2, ** a</p>');
check('code keeps its marks', '`**a** <b>` and ``x`y``', '<p><code>**a** &lt;b></code> and <code>x`y</code></p>');
check('escapes', '\\*a\\* \\[b](c)', '<p>*a* [b](c)</p>');
check('headings start below the chat title', '# A\n## B #\ntext', '<h3>A</h3><h4>B</h4><p>text</p>');
check('fenced code', '```js\n<a>\n\n**b**\n```\nafter', '<pre><code>&lt;a>\n\n**b**</code></pre><p>after</p>');
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
  '<div class="table"><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td></td></tr><tr><td>2</td><td>3</td></tr></tbody></table></div>',
);
check('links', '[a **b**](https://a.example/x_(y) "t") <https://b.example>', '<p><a href="https://a.example/x_(y)">a <strong>b</strong></a> &lt;<a href="https://b.example/">https://b.example</a>></p>');
check('a bare link without the punctuation around it', '(see https://a.example/b_c?d=1).', '<p>(see <a href="https://a.example/b_c?d=1">https://a.example/b_c?d=1</a>).</p>');
check('mail', '[write](mailto:a@b.example)', '<p><a href="mailto:a@b.example">write</a></p>');
check('images are their description', 'x ![lamp](https://a.example/l.png) y', '<p>x lamp y</p>');
check('addresses within the site are text', '[a](/b) [c](//d.example) [e](#f)', '<p>a c e</p>');
check('HTML is text', '<b onclick=x>a</b><script>1</script>', '<p>&lt;b onclick=x>a&lt;/b>&lt;script>1&lt;/script></p>');

check('growing: half a bold', 'a **b c', '<p>a <strong>b c</strong></p>', true);
check('growing: bold about to close', 'a **b*', '<p>a <strong>b</strong></p>', true);
check('growing: half a link shows its label', 'a [b](https://c.exam', '<p>a b</p>', true);
check('growing: half a code', 'a `b', '<p>a <code>b</code></p>', true);
check('done: half a bold is stars', 'a **b c', '<p>a **b c</p>');

test('links open apart and tell nothing', () => {
  assert.equal(print('[a](https://a.example)'), '<p><a href="https://a.example/" title="https://a.example/" target="_blank" rel="noopener noreferrer">a</a></p>');
});

test('blocks before the last keep their source while an answer grows', () => {
  const whole = '# T\n\nHello **you**\n\n- a\n- b\n\n```\nx\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend';
  let before = [];
  for (let end = 1; end <= whole.length; end += 1) {
    const now = parse(whole.slice(0, end)).map((block) => block.source);
    const settled = before.slice(0, -2);
    assert.deepEqual(now.slice(0, settled.length), settled, `after ${end} characters`);
    before = now;
  }
});

const ALLOWED = new Set(['p', 'strong', 'em', 's', 'code', 'pre', 'a', 'ul', 'ol', 'li', 'br', 'hr', 'blockquote', 'div', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'h3', 'h4', 'h5', 'h6']);
const ATTRIBUTES = new Set(['href', 'title', 'target', 'rel', 'class', 'start']);
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
];

test('nothing hostile becomes a link or an element', () => {
  for (const markdown of HOSTILE) {
    for (const growing of [false, true]) {
      for (const block of parse(markdown)) {
        for (const node of render(block, document, growing).all()) {
          assert.ok(ALLOWED.has(node.name), `${node.name} from ${markdown}`);
          for (const name of node.attributes.keys()) assert.ok(ATTRIBUTES.has(name), `${name} from ${markdown}`);
          const href = node.attributes.get('href');
          if (href !== undefined) assert.match(href, /^(https?:\/\/(?![^/]*@)|mailto:)/, `${href} from ${markdown}`);
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
  for (const piece of ['*a ', '**a ', '_a ', '`a ', '```a ', '[', '[a](', '![', '[a](x', '> ', '- ', '  - a\n', '|', '|a', '~~a ', '***a', 'https://a.example/((((', '\\', '<', 'a|b\n-|-\n', '**a*b', '*a**b']) {
    const started = performance.now();
    print(piece.repeat(Math.ceil(long / piece.length)), true);
    const took = performance.now() - started;
    assert.ok(took < 1500, `${JSON.stringify(piece)} took ${Math.round(took)} ms`);
  }
});
