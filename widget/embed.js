/**
 * Puts the chat on a shop's page: one launcher, and a frame that is not loaded before it is first opened.
 *
 *   <script src="https://chat.shop.example/widget/embed.js" async></script>
 *
 * Optional on the tag: data-site, data-color (#rrggbb), data-label. From the page's own scripts: Frontdesk('open'),
 * Frontdesk('close'), Frontdesk('toggle'), also before this file is here, with
 *   window.Frontdesk = window.Frontdesk || function () { (Frontdesk.q = Frontdesk.q || []).push(arguments) }
 */
(() => {
  const early = window.Frontdesk;
  if (early?.ready) return;

  // Settings from the tag.
  const tag = document.currentScript;
  if (!tag?.src) return;
  const { site, color, label = 'Chat' } = tag.dataset;
  const address = new URL('modern-widget.html', tag.src);
  if (site) address.searchParams.set('site', site);
  const accent = /^#[0-9a-f]{6}$/i.test(color ?? '') ? color : undefined;
  if (accent) address.searchParams.set('color', accent);

  const narrow = matchMedia('(max-width: 480px)');
  const host = document.createElement('frontdesk-chat');
  const root = host.attachShadow({ mode: 'open' });
  const launcher = document.createElement('button');
  const panel = document.createElement('div');
  let frame;
  let open = false;
  let ready = false;
  let pageOverflow = '';

  // An adopted style sheet: the host page's style-src has no say in it, and its rules don't reach in here.
  const style = new CSSStyleSheet();
  style.replaceSync(`
    :host { all: initial; --accent: #0f6b5c; --ink: #fff; --surface: #fff; --shadow: 28 27 25 }
    .launcher, .panel { position: fixed; inset-inline-end: 24px; z-index: 2147483000 }
    .launcher { inset-block-end: 24px; width: 60px; height: 60px; padding: 0; border: 0; border-radius: 20px; display: grid; place-items: center; cursor: pointer;
      background: var(--accent); color: var(--ink); transition: transform .22s cubic-bezier(.2,.8,.2,1);
      box-shadow: inset 0 1px 0 rgb(255 255 255/.18), 0 10px 28px -6px color-mix(in oklab, var(--accent) 60%, #000 30%) }
    .launcher:hover { transform: translateY(-2px) }
    .launcher:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px }
    svg { width: 30px; height: 30px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round }
    .panel { inset-block-end: 100px; width: 408px; height: min(704px, 100dvh - 124px); border-radius: 22px; overflow: hidden; background: var(--surface);
      box-shadow: 0 1px 2px rgb(var(--shadow)/.06), 0 12px 32px -8px rgb(var(--shadow)/.18), 0 32px 72px -24px rgb(var(--shadow)/.28); animation: rise .28s cubic-bezier(.2,.8,.2,1) }
    [hidden] { display: none }
    iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: light dark }
    @keyframes rise { from { opacity: 0; transform: translateY(12px) scale(.985) } }
    @media (prefers-color-scheme: dark) { :host { --accent: #46c3ab; --ink: #06231d; --surface: #171817; --shadow: 0 0 0 } .panel { outline: 1px solid #2c2d2b } }
    @media (max-width: 480px) { .panel { inset: 0; width: auto; height: 100dvh; border-radius: 0; outline: 0 } .open { display: none } }
    @media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important } }
    @media print { :host { display: none } }
  `);
  root.adoptedStyleSheets = [style];
  if (accent) {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(accent.slice(at, at + 2), 16));
    host.style.setProperty('--accent', accent);
    host.style.setProperty('--ink', r * 0.3 + g * 0.59 + b * 0.11 > 150 ? '#101110' : '#fff');
  }

  launcher.type = 'button';
  launcher.setAttribute('aria-controls', 'panel');
  panel.id = 'panel';
  panel.className = 'panel';
  panel.hidden = true;
  panel.setAttribute('role', 'dialog');
  panel.setAttribute('aria-label', label);
  root.append(panel, launcher);
  paint();

  function paint() {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    path.setAttribute('d', open ? 'm6 9 6 6 6-6' : 'M20 11.5a7.5 7.5 0 0 1-11 6.6l-5 1.4 1.4-4.6A7.5 7.5 0 1 1 20 11.5ZM9 11.5h.01M12.5 11.5h.01M16 11.5h.01');
    svg.append(path);
    launcher.replaceChildren(svg);
    launcher.className = open ? 'launcher open' : 'launcher';
    launcher.setAttribute('aria-label', open ? `Close ${label.toLowerCase()}` : `Open ${label.toLowerCase()}`);
    launcher.setAttribute('aria-expanded', String(open));
  }

  /** The frame hears what page it is on and whether to take the focus; never a word of the conversation comes back. */
  function tell(focus) {
    const page = { url: location.href, title: document.title, referrer: document.referrer };
    if (ready) frame.contentWindow?.postMessage({ frontdesk: 'opened', page, focus }, address.origin);
  }

  function show(focus) {
    if (open) return;
    open = true;
    if (!frame) {
      frame = document.createElement('iframe');
      frame.title = label;
      frame.allow = 'clipboard-write';
      // The frame learns the shop's origin from this, even where the shop sends no referrer else.
      frame.referrerPolicy = 'strict-origin-when-cross-origin';
      frame.dataset.focus = String(focus);
      frame.src = address.href;
      panel.append(frame);
    }
    panel.hidden = false;
    paint();
    fit();
    remember('1');
    tell(focus);
  }

  function close() {
    if (!open) return;
    open = false;
    panel.hidden = true;
    paint();
    fit();
    remember('');
    launcher.focus({ preventScroll: true });
  }

  const toggle = () => (open ? close() : show(true));

  /** On a phone the panel is the screen: what the keyboard leaves of it, with the page behind kept still. */
  function fit() {
    const full = open && narrow.matches;
    const seen = window.visualViewport;
    panel.style.height = full && seen ? `${seen.height}px` : '';
    panel.style.top = full && seen ? `${seen.offsetTop}px` : '';
    const page = document.documentElement.style;
    if (full && page.overflow !== 'hidden') {
      pageOverflow = page.overflow;
      page.overflow = 'hidden';
      fit.held = true;
    } else if (!full && fit.held) {
      page.overflow = pageOverflow;
      fit.held = false;
    }
  }

  function remember(value) {
    try {
      sessionStorage.setItem('frontdesk:open', value);
    } catch {
      // Storage is denied: the chat starts closed on the next page.
    }
  }

  function wasOpen() {
    try {
      return sessionStorage.getItem('frontdesk:open') === '1';
    } catch {
      return false;
    }
  }

  launcher.addEventListener('click', toggle);
  root.addEventListener('keydown', (event) => event.key === 'Escape' && close());
  narrow.addEventListener('change', fit);
  window.visualViewport?.addEventListener('resize', fit);
  window.visualViewport?.addEventListener('scroll', fit);
  addEventListener('message', (event) => {
    if (!frame || event.source !== frame.contentWindow || event.origin !== address.origin) return;
    if (event.data?.frontdesk === 'close') close();
    if (event.data?.frontdesk !== 'ready') return;
    // Told anything sooner, the browser complains that nobody of that origin is there yet.
    ready = true;
    if (open) tell(frame.dataset.focus === 'true');
  });

  const commands = { open: () => show(true), close, toggle };
  window.Frontdesk = (command) => commands[command]?.();
  window.Frontdesk.ready = true;

  function start() {
    document.body.append(host);
    if (wasOpen()) show(false);
    for (const [command] of early?.q ?? []) window.Frontdesk(command);
  }
  if (document.body) start();
  else addEventListener('DOMContentLoaded', start);
})();
