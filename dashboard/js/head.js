/** The head: whose figures, of which time, and how fresh they are. */
import { h, icon, say } from './dom.js';
import { CHOICES, DAY, between, dayOf } from './range.js';
import { texts } from './texts.js';

/**
 * @typedef {import('./texts.js').Choice} Choice
 * @param {object} options
 * @param {string[]} options.sites what is known at first
 * @param {Choice} options.choice
 * @param {(site: string | null) => void} options.onSite
 * @param {(choice: Choice, span?: import('./range.js').Span) => void} options.onRange
 * @param {() => void} options.onRefresh
 * @param {(on: boolean) => void} options.onAuto
 * @param {() => void} options.onTheme
 * @param {() => void} options.onOut
 */
export function head({ sites, choice, onSite, onRange, onRefresh, onAuto, onTheme, onOut }) {
  const words = texts.head;
  const updated = h('span.updated', { 'aria-live': 'off' });
  const spin = h('button.round', { type: 'button', title: words.refresh, 'aria-label': words.refresh, onclick: onRefresh }, icon('refresh'));
  const auto = h('button.switch', { type: 'button', role: 'switch', 'aria-checked': 'true', 'aria-label': words.auto, title: words.auto }, h('i'), h('span', {}, words.autoShort));
  auto.addEventListener('click', () => {
    const on = auto.getAttribute('aria-checked') !== 'true';
    auto.setAttribute('aria-checked', String(on));
    onAuto(on);
  });
  const theme = h('button.round', { type: 'button', title: words.dark, 'aria-label': words.dark, 'aria-pressed': 'false', onclick: onTheme }, icon('moon'));
  const out = h('button.round', { type: 'button', title: words.out, 'aria-label': words.out, onclick: onOut }, icon('out'));

  const whose = sitePicker(onSite);
  whose.show(sites);

  const node = h(
    'header.head',
    {},
    h('div.brand', {}, h('img', { src: '/dashboard/icon.svg', alt: '', width: 32, height: 32 }), h('h1', {}, h('b', {}, texts.brand), ' ', h('span', {}, texts.product))),
    whose.node,
    rangePicker(choice, onRange),
    h('div.fresh', {}, updated, spin, auto),
    h('div.corner', {}, theme, out),
  );

  return {
    node,
    /** @param {string} text @param {boolean} loading */
    fresh(text, loading) {
      say(updated, text);
      spin.classList.toggle('spinning', loading);
    },
    /** @param {boolean} dark */
    theme(dark) {
      theme.setAttribute('aria-pressed', String(dark));
      theme.replaceChildren(icon(dark ? 'sun' : 'moon'));
    },
    sites: whose.show,
    /** @param {Choice} now */
    choose(now) {
      /** @type {HTMLInputElement | null} */ (node.querySelector(`input[value="${now}"]`))?.click();
    },
  };
}

/** @param {(site: string | null) => void} onSite */
function sitePicker(onSite) {
  const node = h('div.site');
  const label = h('label.quiet', { for: 'site' }, texts.head.site);
  const select = h('select', { id: 'site', autocomplete: 'off' });
  select.addEventListener('change', () => onSite(select.value || null));
  let shown = '';
  return {
    node,
    /** A site is known from its first visitor on, so there may be more each time. @param {string[]} sites */
    show(sites) {
      const now = JSON.stringify(sites);
      if (now === shown) return;
      shown = now;
      // One is no choice.
      if (sites.length < 2) return node.replaceChildren(h('span.quiet', {}, `${texts.head.site}: `), h('span.only', { hidden: sites.length === 0 }, sites[0] ?? ''));
      const chosen = select.value;
      select.replaceChildren(h('option', { value: '' }, texts.head.allSites), ...sites.map((site) => h('option', { value: site }, site)));
      select.value = chosen;
      if (select.parentNode !== node) node.replaceChildren(label, select);
    },
  };
}

/** @param {Choice} choice @param {(choice: Choice, span?: import('./range.js').Span) => void} onRange */
function rangePicker(choice, onRange) {
  /** What the figures are of. */
  let chosen = choice;
  const from = h('input', { type: 'date', required: true, id: 'from' });
  const until = h('input', { type: 'date', required: true, id: 'until' });
  const error = h('p.error', { role: 'alert', hidden: true, id: 'range-error' });
  const custom = h(
    'form.custom',
    { hidden: true, novalidate: true },
    h('label', { for: 'from' }, texts.head.from),
    from,
    h('label', { for: 'until' }, texts.head.until),
    until,
    h('button.primary', { type: 'submit' }, texts.head.apply),
    error,
  );
  custom.addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const span = between({ from: from.value, until: until.value }, Date.now());
    error.hidden = typeof span !== 'string';
    if (typeof span === 'string') return say(error, texts.rangeErrors[span]);
    chosen = 'custom';
    close();
    onRange('custom', span);
  });
  function open() {
    // The page may have been open for days.
    const now = Date.now();
    from.min = until.min = dayOf(now - 10 * 365 * DAY);
    from.max = until.max = dayOf(now);
    from.value ||= dayOf(now - 13 * DAY);
    until.value ||= until.max;
    error.hidden = true;
    custom.hidden = false;
  }
  /** Back to what is shown. */
  function close() {
    custom.hidden = true;
    const radio = /** @type {HTMLInputElement} */ (node.querySelector(`#range-${chosen}`));
    radio.checked = true;
    radio.focus();
  }
  const radios = [...CHOICES, /** @type {const} */ ('custom')].map((value) => {
    const radio = h('input', { type: 'radio', name: 'range', value, id: `range-${value}`, autocomplete: 'off' });
    radio.checked = value === choice;
    // A click comes by the keyboard, too, and also on what is chosen already: days can be changed.
    radio.addEventListener('click', () => {
      if (value === 'custom') return open();
      custom.hidden = true;
      if (value === chosen) return;
      chosen = value;
      onRange(value);
    });
    return [radio, h('label', { for: `range-${value}`, title: texts.ranges[value].long }, texts.ranges[value].button)];
  });
  const node = h('div.range', {}, h('fieldset.segments', {}, h('legend.quiet', {}, texts.head.range), radios.flat()), custom);
  // Also where the focus is still at what opened it.
  node.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => event.key === 'Escape' && !custom.hidden && close());
  return node;
}

