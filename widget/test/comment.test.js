/** The form for a few words to the shop: what it sends, what it says, and where the focus goes. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { askForComment } from '../js/comment.js';
import { commentMax } from '../js/keep.js';
import { document } from './fake-document.js';

/** What the form needs of a page beyond what the others need. */
Object.assign(Object.getPrototypeOf(document.createElement('p')), {
  focus() {
    document.activeElement = this;
  },
  click() {
    this.listeners.click();
  },
  scrollIntoView() {},
  contains(node) {
    return [...this.all()].includes(node);
  },
  remove() {
    // As a browser does.
    if (this.contains(document.activeElement)) document.activeElement = document.body;
    for (const parent of pages.flatMap((page) => [...page.all()])) parent.children = parent.children.filter((child) => child !== this);
    if (this.next) this.next.nextElementSibling = null;
  },
  after(node) {
    this.nextElementSibling = node;
    node.next = this;
    pages[0].append(node);
  },
  querySelector(name) {
    return [...this.all()].find((node) => node.name === name) ?? null;
  },
});
Object.defineProperties(Object.getPrototypeOf(document.createElement('p')), {
  id: { get() { return this.attributes.get('id'); } },
  textContent: { get() { return this.print.replace(/<[^>]*>/g, ''); }, set(text) { this.replaceChildren(text); } },
  classList: { get() { return { contains: (name) => this.attributes.get('class') === name, toggle: (name, on) => this.attributes.set('class', on ? name : '') }; } },
});

let pages = [];

/** @param {(...said: any[]) => any} rate @param {boolean} [touch] */
function page(rate, touch = false) {
  const [root, below, up, down] = ['main', 'div', 'button', 'button'].map((name) => document.createElement(name));
  pages = [root];
  Object.assign(globalThis, { document, matchMedia: () => ({ matches: touch }) });
  document.body = document.createElement('body');
  document.activeElement = document.body;
  const field = document.createElement('textarea');
  const panel = document.createElement('main');
  document.getElementById = (id) => ({ field, panel })[id];
  const ask = (rating) => askForComment({ below, thumb: rating === 'up' ? up : down, t: (key) => key, id: 'm1', rating, max: 500, on: { rate } });
  const find = (name) => root.querySelector(name);
  const buttons = () => [...root.all()].filter((node) => node.name === 'button');
  const write = (text) => {
    find('textarea').value = text;
    find('textarea').fire('input');
  };
  return { root, field, panel, up, down, ask, find, buttons, write, send: () => find('form').listeners.submit({ preventDefault() {} }) };
}

afterEach(() => {
  delete globalThis.document;
  delete globalThis.matchMedia;
});

test('what is written is sent with its rating, thanked for, and the focus goes back', async () => {
  const sent = [];
  const it = page(async (...said) => void sent.push(said));
  it.ask('down');
  assert.equal(document.activeElement, it.find('textarea'));
  assert.equal(it.find('textarea').attributes.get('maxlength'), '500');
  assert.equal(it.find('label').attributes.get('for'), it.find('textarea').id);
  assert.equal(it.find('textarea').attributes.get('aria-describedby'), it.find('small').id);
  assert.equal(it.buttons()[0].disabled, true, 'nothing is written');
  await it.send();
  it.write('  Half of it.\n');
  assert.equal(it.buttons()[0].disabled, false);
  await it.send();
  assert.deepEqual(sent, [['m1', 'down', 'Half of it.']]);
  assert.deepEqual([it.find('form'), it.find('p').textContent, document.activeElement === it.down], [null, 'comment_thanks', true]);
});

test('what did not arrive stays in its field, and can be sent again', async () => {
  const answers = [{ status: 400 }, { status: 429 }, { status: 403 }, new Error('no network'), undefined];
  const it = page(async () => answers.shift());
  it.ask('up');
  it.write('kept');
  for (const sentence of ['rejected', 'limited_title', 'error', 'unreachable']) {
    await it.send();
    assert.deepEqual([it.find('p').textContent, it.find('textarea').value, it.buttons()[0].disabled], [sentence, 'kept', false]);
  }
  await it.send();
  assert.deepEqual([it.find('p').textContent, it.find('form')], ['comment_thanks', null]);
});

test('what is too late is said once, and can be copied', async () => {
  for (const status of [401, 410]) {
    let asked = 0;
    const it = page(async () => ({ status, asked: (asked += 1) }));
    it.ask('up');
    it.write('too late');
    it.find('textarea').focus();
    await it.send();
    const [go, skip] = it.buttons();
    assert.deepEqual([it.find('p').textContent, it.find('textarea').value, it.find('textarea').readOnly, go.disabled, skip.disabled], ['comment_late', 'too late', true, true, false]);
    await it.send();
    assert.equal(asked, 1);
    skip.click();
    assert.equal(it.find('form'), null);
  }
});

test('a double click sends once', async () => {
  let sent = 0;
  const it = page(() => new Promise((resolve) => setTimeout(resolve, 5, void (sent += 1))));
  it.ask('up');
  it.write('once');
  await Promise.all([it.send(), it.send()]);
  assert.equal(sent, 1);
});

test('Escape leaves it, and the chat stays open', () => {
  const it = page(async () => assert.fail('nothing is sent'));
  it.ask('up');
  it.write('never mind');
  let prevented = false;
  const key = (event) => it.find('form').listeners.keydown({ preventDefault: () => (prevented = true), ...event });
  key({ key: 'Escape', isComposing: true });
  assert.ok(it.find('form') && !prevented, 'an input method has its own use for it');
  key({ key: 'Escape' });
  assert.deepEqual([it.find('form'), prevented, document.activeElement === it.up], [null, true, true]);
});

test('the other thumb takes along what is written; on a touch screen no keyboard jumps up', async () => {
  const sent = [];
  const it = page(async (...said) => void sent.push(said), true);
  it.ask('up');
  assert.equal(document.activeElement, document.body);
  it.write('half a word');
  it.ask('down');
  assert.deepEqual([[...it.root.all()].filter((node) => node.name === 'textarea').length, it.find('textarea').value], [1, 'half a word']);
  await it.send();
  assert.deepEqual(sent, [['m1', 'down', 'half a word']]);
});

test('where the thumb is gone with a later answer the focus goes to where the visitor writes', async () => {
  for (const [touch, where] of [[false, 'field'], [true, 'panel']]) {
    const it = page(async () => {}, touch);
    it.up.focus = () => {};
    it.ask('up');
    it.find('textarea').focus();
    it.write('a word');
    await it.send();
    assert.equal(document.activeElement, it[where]);
    it.ask('up');
    it.find('textarea').focus();
    it.buttons()[1].click();
    assert.equal(document.activeElement, it[where]);
  }
});

test('words for the shop are asked for while the session of the reply takes them', () => {
  const NOW = 1_800_000_000_000;
  const session = { session_id: 's1', token: 't', fingerprint: 'f', expires_at: NOW + 1, limits: { comment_max_chars: 500 } };
  const check = (it, expected, of = 's1') => assert.equal(commentMax(it, of, NOW), expected);
  check(session, 500);
  check({ ...session, expires_at: NOW }, 0);
  check(session, 0, 's0');
  check(session, 0, '');
  check(null, 0);
  check({ ...session, limits: undefined }, 0);
  check({ ...session, expires_at: undefined }, 500);
});
