(() => {
  const early = window.Frontdesk;
  const tag = document.currentScript;
  if (early?.ready || !tag) return;

  const { title = 'Chat', theme, position } = window.ChatWidgetConfig ?? {};
  const options = { label: title, theme, side: position, ...tag.dataset };
  const { label, greeting, site = options.key ?? 'default' } = options;
  const url = new URL(tag.src.replace(/(\/v\/\w+)?\/embed\.js.*/, '/modern-widget.html'));
  const shared = url.origin === location.origin;
  url.search = new URLSearchParams({ site, origin: location.origin });

  const make = (name, more, ...children) => {
    const node = Object.assign(document.createElement(name), more);
    node.append(...children);
    return node;
  };
  const link = make('a', { href: url, target: '_blank' }, label);
  const begun = new Promise((go) => (document.readyState === 'loading' ? addEventListener('DOMContentLoaded', go) : go()));
  if (!document.adoptedStyleSheets || (shared && options.sameOrigin == null)) {
    link.style = 'position:fixed;bottom:24px;right:24px';
    return begun.then(() => document.body.append(link));
  }

  const host = make('frontdesk-chat');
  const root = host.attachShadow({ mode: 'open' });
  root.adoptedStyleSheets = [new CSSStyleSheet()];
  root.adoptedStyleSheets[0].replaceSync(`
    :host{all:initial!important;font:15px system-ui!important;color-scheme:var(--theme,light dark)!important;--accent:#0f6b5c}
    section>*{position:fixed;z-index:2147483000;bottom:100px;inset-inline-end:24px;border-radius:20px;background:Canvas;color:CanvasText;box-shadow:0 12px 40px #0003}
    .start>*{inset-inline:24px auto}
    button{padding:16px;border:0;background:none;color:inherit;font:inherit;text-align:start;cursor:pointer}
    .launcher{bottom:24px;display:grid;place-items:center;width:60px;height:60px;background:var(--accent);color:lch(from var(--accent) calc((60 - l)*99) 0 0)}
    .launcher::before{content:'';width:22px;height:18px;border:2px solid;border-radius:20px 20px 20px 2px;background:radial-gradient(circle,currentColor 1.5px,#0000 2px) 50%/7px}
    .open .launcher::before{width:12px;height:12px;margin-top:-6px;border-width:0 2px 2px 0;border-radius:0;background:none;rotate:45deg}
    b{position:absolute;inset-inline-end:-6px;top:-6px;min-width:22px;border-radius:20px;background:#d22;color:#fff;line-height:22px;text-align:center}
    .panel{width:408px;height:min(704px,100dvh - 124px);overflow:hidden;text-align:center}
    .nudge{display:flex;max-width:296px}
    iframe{display:block;width:100%;height:100%;border:0}
    p{margin:40% 24px}
    .shut .panel,.shut [hidden],b:empty,section:not(.ready) iframe{display:none}
    @media(prefers-color-scheme:dark){:host{--accent:#46c3ab}}
    @media(max-width:480px){section .panel{inset:0;width:auto;border-radius:0}.ready .launcher{display:none}}
    @media print{:host{display:none!important}}
  `);

  const badge = make('b');
  const panel = make('div', { className: 'panel', role: 'dialog', ariaLabel: label });
  const preload = () => mayKeep() && load();
  const launcher = make('button', { className: 'launcher', onclick: () => turn(), onpointerenter: preload, onfocus: preload }, badge);
  const box = make('section', {}, panel, launcher);
  const sight = window.visualViewport;
  const narrow = matchMedia('(max-width:480px)');
  let open = false, urgent = {}, count = '', bare, frame, port, nudge, due, held, seen;
  root.append(box);
  box.addEventListener('keydown', ({ key }) => key === 'Escape' && turn(false));

  const mayKeep = () => !/ask|denied/.test(options.consent);
  const memory = (area, value) => {
    try {
      if (mayKeep()) return value ? (window[area].frontdesk = value) : window[area].frontdesk;
    } catch {}
  };
  const emit = (name, detail) => document.dispatchEvent(new CustomEvent('frontdesk:' + name, { detail }));
  const tell = (...said) => port?.postMessage(said);
  const keep = (name, value) => {
    options[name] = value;
    tell(name, value);
    paint();
    greet();
  };
  const once = (name, value) => {
    if (!port) urgent[name] = value;
    tell(name, value);
    preload();
  };

  function paint() {
    const full = open && narrow.matches;
    box.className = (/start|left/.test(options.side) ? 'start ' : '') + (!open ? 'shut' : port ? 'open ready' : 'open');
    host.style.setProperty('--accent', options.color ?? '');
    host.style.setProperty('--theme', options.theme?.replace('auto', '') ?? '');
    panel.style = full ? `top:${sight.offsetTop}px;height:${sight.height}px` : `width:${options.resize}`;
    const { n, text = '' } = options.unread ?? {};
    bare = document.title.replace(count, '');
    count = n ? `(${n}) ` : '';
    if (document.title !== count + bare) document.title = count + bare;
    badge.textContent = n || '';
    launcher.ariaLabel = `${label} ${text}`;
    launcher.ariaExpanded = open;
    if (full === !!held) return;
    held ??= [...document.body.children].filter((node) => node !== host && !node.inert);
    for (const node of held) node.inert = full;
    document.documentElement.style.overflow = full ? 'hidden' : '';
    if (!full) held = null;
  }

  function load() {
    if (frame) return;
    frame = make('iframe', { src: url, title: label, allow: 'clipboard-write' });
    if (!shared) frame.sandbox = 'allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads';
    panel.append(frame);
    setTimeout(() => {
      if (port) return;
      panel.append(make('p', {}, options.failed ?? 'The chat did not load. ', link));
      emit('error', { code: 'unreachable' });
    }, 9000);
  }

  function turn(on = !open, focus = true) {
    if (on === open) return paint();
    open = on;
    const what = on ? 'open' : 'close';
    memory('sessionStorage', what);
    paint();
    if (on) {
      load();
      dismiss();
      if (port && focus) frame.focus();
    } else if (root.activeElement) launcher.focus();
    options.focus = focus;
    tell(what, focus);
    emit(what);
  }

  function greet() {
    clearTimeout(due);
    const here = (options.greetingPages ?? '*').split(' ').some((it) => (location.pathname + ' ').startsWith((it + ' ').replace('* ', '')));
    if (!greeting || !here || open || nudge || !mayKeep() || memory('sessionStorage') || memory('localStorage')) return;
    due = setTimeout(() => {
      nudge = make('div', { className: 'nudge' }, make('button', { onclick: () => turn(true) }, greeting), make('button', { onclick: dismiss, ariaLabel: options.dismiss ?? 'Dismiss' }, '✕'));
      box.append(nudge);
      memory('sessionStorage', 'close');
    }, (options.greetingDelay ?? 8) * 1000);
  }

  function dismiss() {
    clearTimeout(due);
    nudge?.remove();
    memory('localStorage', 'close');
  }

  function look() {
    paint();
    if (seen !== (seen = location.href + bare)) keep('page', { url: location.href, title: bare, referrer: document.referrer });
  }

  const observer = new MutationObserver(attach);
  function attach() {
    if (host.isConnected || !document.body) return;
    port = held = null;
    document.body.append(host);
    for (const node of [document.documentElement, document.body]) observer.observe(node, { childList: true });
    look();
  }

  addEventListener('message', ({ source, origin, data }) => {
    if (source !== frame?.contentWindow || origin !== url.origin || data?.frontdesk !== 'hello') return;
    const { port1, port2 } = new MessageChannel();
    port = port1;
    port.onmessage = ({ data: [type, value] }) => {
      if (type === 'close') return turn(false);
      if (type === 'navigate') return new URL(value).origin === location.origin && location.assign(value);
      options[type] = value;
      paint();
      emit(type, value);
    };
    source.postMessage({ frontdesk: 'init', v: 1, open, options: { ...options, ...urgent } }, origin, [port2]);
    urgent = {};
    panel.querySelector('p')?.remove();
    paint();
  });

  const commands = {
    open: () => turn(true),
    close: () => turn(false),
    toggle: turn,
    show: () => (launcher.hidden = false),
    hide: () => (launcher.hidden = true),
    send: (text) => turn(true, once('send', text)),
    prefill: (text) => turn(true, once('prefill', text)),
    on: (name, hear) => document.addEventListener('frontdesk:' + name, hear),
    off: (name, hear) => document.removeEventListener('frontdesk:' + name, hear),
    reset() {
      options.identify = options.context = null;
      once('reset', true);
      load();
    },
    shutdown() {
      options.unread = null;
      turn(false);
      observer.disconnect();
      host.remove();
      window.Frontdesk = () => {};
    },
  };
  window.Frontdesk = (name, ...values) => begun.then(() => (commands[name] ? commands[name](...values) : keep(name, ...values)));
  window.Frontdesk.ready = true;

  begun.then(() => {
    attach();
    for (const name of ['popstate', 'focus', 'blur', 'pageshow']) addEventListener(name, look);
    for (const name of ['resize', 'scroll']) sight.addEventListener(name, look);
    window.navigation?.addEventListener('navigatesuccess', look);
    const was = memory('sessionStorage');
    if (was === 'open' || (options.open != null && !was && !narrow.matches)) turn(true, false);
    for (const call of early?.q ?? []) window.Frontdesk(...call);
  });
})();
