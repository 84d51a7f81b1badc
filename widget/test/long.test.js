/** One block of thousands of words, while it grows: the same as if it had come at once, and each word costs the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extend } from '../js/grow.js';
import { createReader, lex } from '../js/markdown.js';
import { render } from '../js/prose.js';
import { document } from './fake-document.js';

globalThis.document = document;
const t = (key) => key;
const print = (nodes) => nodes.map((node) => node.print).join('');

/** Numbers that are the same in each run. */
function dice(seed) {
  let at = seed;
  return () => (at = (at * 1103515245 + 12345) % 2147483648) / 2147483648;
}

const WORDS = 'the **lamp** has `a` warm [light](https://a.example/x_y) and its _shade_ is **made of linen** <a href c 1. - x # which woven. In \\* &amp; a_b ~~so~~ https://b.example'.split(' ');
const say = (roll, count) => Array.from({ length: count }, () => WORDS[Math.floor(roll() * WORDS.length)]).join(' ');
const rows = (count, write) => Array.from({ length: count }, (_, at) => write(at)).join('');

const SHAPES = {
  'a list': (roll) => rows(300, (at) => `- ${say(roll, 9)}\n${at % 9 === 4 ? `  - ${say(roll, 4)}\n  - ${say(roll, 3)}\n` : ''}${at % 13 === 7 ? `  \`\`\`js\n  ${say(roll, 3)}\n  \`\`\`\n` : ''}`),
  'a list with air': (roll) => rows(250, (at) => `${at + 3}. ${say(roll, 9)}\n\n`),
  'a list with some air': (roll) => rows(200, (at) => `* ${say(roll, 9)}\n${at % 17 === 5 ? '\n' : ''}`),
  'a list of tasks': (roll) => rows(200, (at) => `- [${at % 3 ? 'x' : ' '}] ${say(roll, 6)}\n`),
  'a paragraph': (roll) => rows(300, () => `${say(roll, 9)}. `),
  'a paragraph without an end': (roll) => say(roll, 2500),
  'a paragraph of lines': (roll) => rows(300, () => `${say(roll, 8)}\n`),
  'a paragraph that becomes a heading': (roll) => `${say(roll, 1200)}\n---\n`,
  'a paragraph with a table in it': (roll) => `${say(roll, 1200)}\na | b\n-|-\nc | d\n`,
  code: (roll) => `\`\`\`js\n${rows(400, (at) => (at % 11 === 3 ? '\n'.repeat((at % 3) + 1) : `${say(roll, 7)}\n`))}\`\`\`\n`,
  'code without an end': (roll) => `~~~\n${rows(300, () => `  ${say(roll, 7)}\n`)}`,
  'a table': (roll) => `| a | b |\n|---|--:|\n${rows(300, (at) => `| ${say(roll, 4)} | ${at % 7 ? say(roll, 3) : ''} |\n`)}`,
};

for (const [name, write] of Object.entries(SHAPES)) {
  test(`${name} of thousands of words, however it comes`, () => {
    for (const [round, before, after] of [[1, '', ''], [2, 'first\n\n', '\nlast'], [3, '# first\n', '\n\nlast\n\n- a\n']]) {
      const roll = dice(round);
      const whole = before + write(roll) + after;
      const expected = lex(whole).filter((it) => it.type !== 'space').map((token) => print(render(token, t)));
      const reader = createReader();
      const page = document.createElement('div');
      /** As js/answer.js does it. */
      let shown = [];
      let extended = 0;
      const show = (text, growing) => {
        const { blocks, same } = reader.read(text, growing);
        let from = same;
        if (shown[from] && blocks[from] && extend(shown[from].nodes, shown[from].token, blocks[from].token, t)) {
          shown[from].token = blocks[from].token;
          extended += 1;
          from += 1;
        }
        for (const { nodes } of shown.splice(from)) nodes.forEach((node) => node.remove());
        for (const { token } of blocks.slice(from)) {
          const nodes = render(token, t);
          page.append(...nodes);
          shown.push({ token, nodes });
        }
      };
      for (let end = 1; end < whole.length; end += 1 + Math.floor(roll() * 120)) show(whole.slice(0, end), true);
      show(whole, false);
      assert.deepEqual(shown.map(({ nodes }) => print(nodes)), expected);
      assert.equal(print(page.children), expected.join(''), 'and in this order');
      assert.ok(extended > 20, `${extended} times`);
    }
  });
}

test('what is settled of a long block is the same object as before', () => {
  const roll = dice(7);
  for (const [name, parts] of [['a list', 'items'], ['a table', 'rows'], ['a paragraph', 'tokens']]) {
    const whole = SHAPES[name](roll);
    const reader = createReader();
    let before = [];
    let settled = 0;
    for (let end = 4000; end < whole.length; end += 40) {
      const now = reader.read(whole.slice(0, end), true).blocks[0].token[parts];
      const same = now.findIndex((it, at) => it !== before[at]);
      assert.ok(same < 0 || same >= settled, `${name}: ${same}, and there were ${settled}`);
      if (same >= 0) settled = same;
      before = now;
    }
    assert.ok(settled > before.length / 2, `${name}: ${settled} of ${before.length}`);
  }
});

test('a list or table that has become shorter has no empty group', () => {
  const list = (count) => lex(Array.from({ length: count }, (_, at) => `- ${at}\n`).join(''))[0];
  const table = (count) => lex(`| a |\n|---|\n${Array.from({ length: count }, (_, at) => `| ${at} |\n`).join('')}`)[0];
  for (const [make, from, to] of [[list, 33, 32], [table, 37, 36]]) {
    const nodes = render(make(from), t);
    document.createElement('div').append(...nodes);
    assert.ok(extend(nodes, make(from), make(to), t));
    assert.deepEqual(nodes.map((it) => it.print), render(make(to), t).map((it) => it.print));
  }
});

test('a paragraph of more pieces than a call takes arguments', () => {
  const of = (count) => ({ type: 'paragraph', raw: '', tokens: Array.from({ length: count }, (_, at) => ({ type: 'text', raw: 'a. ', begins: at > 0 })) });
  const [before, now] = [of(150_000), of(150_001)];
  const nodes = render(before, t);
  const page = document.createElement('div');
  page.append(...nodes);
  assert.ok(extend(nodes, before, now, t));
  assert.equal(nodes.reduce((sum, it) => sum + it.childNodes.length, 0), 150_001);
});
