/**
 * From the shop's one colour all that is coloured, so that everything can be read (WCAG 2.2: text 4.5:1, edges of controls
 * 3:1) whatever colour it is: hue and as much of its strength as a screen can show stay, the lightness moves.
 *
 * Computed in OKLCH, where equal steps of lightness look equal in every hue. Pure but for `paintTheme`.
 *
 * @typedef {'light' | 'dark'} Mode
 * @typedef {{accent?: string, mode?: 'auto' | Mode, radius?: number, font?: string}} Theme
 * @typedef {[number, number, number]} Triple red, green, blue from 0 to 1, or lightness, chroma, hue
 */

export const ACCENT = '#0f6b5c';

/** What colours stand on; the same as in widget.css, which a test looks at. @type {Record<Mode, {surface: string, canvas: string, raised: string}>} */
export const GROUNDS = {
  light: { surface: '#ffffff', canvas: '#f7f7f5', raised: '#ffffff' },
  dark: { surface: '#171817', canvas: '#101110', raised: '#1f201f' },
};

/** Text on a colour. */
const INKS = { black: '#101110', white: '#ffffff' };
const TEXT = 4.5;
const EDGE = 3;
/** A search hits its limit, and rounding to a hex colour must not fall below it. */
const SPARE = 0.03;

/** Kinds of fonts, by `data-font` in widget.css: those of the visitor's system, none is loaded. */
export const FONTS = ['system', 'humanist', 'rounded', 'serif', 'mono'];

/** Corners, in shares of what the shop says. */
const CORNERS = { '--fd-r-s': 0.4, '--fd-r-m': 0.7, '--fd-r-l': 1, '--fd-r-panel': 1.1 };

/** Names of the colours in widget.css. @type {Record<keyof ReturnType<typeof palette>, string>} */
const NAMES = {
  accent: '--fd-accent',
  ink: '--fd-accent-ink',
  hover: '--fd-accent-hover',
  text: '--fd-accent-text',
  soft: '--fd-accent-soft',
  ring: '--fd-ring',
  user: '--fd-user',
  userInk: '--fd-user-ink',
};

/** `#rgb` or `#rrggbb`; anything else is our own accent. @param {string | undefined} colour @returns {Triple} */
function parse(colour) {
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/i.exec(colour ?? '');
  const long = short ? `#${short.slice(1).map((digit) => digit + digit).join('')}` : /^#[0-9a-f]{6}$/i.test(colour ?? '') ? String(colour) : ACCENT;
  return /** @type {Triple} */ ([1, 3, 5].map((at) => Number.parseInt(long.slice(at, at + 2), 16) / 255));
}

/** @param {Triple} rgb */
function hex(rgb) {
  return `#${rgb.map((part) => Math.round(Math.min(1, Math.max(0, part)) * 255).toString(16).padStart(2, '0')).join('')}`;
}

const linear = (/** @type {number} */ part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const gamma = (/** @type {number} */ part) => (part <= 0.0031308 ? part * 12.92 : 1.055 * part ** (1 / 2.4) - 0.055);

/** @param {string} colour */
function luminance(colour) {
  const [r, g, b] = parse(colour).map(linear);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** As WCAG counts it, from 1 to 21. @param {string} one @param {string} other */
export function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** @param {Triple} rgb @returns {Triple} lightness, a, b */
function oklab(rgb) {
  const [r, g, b] = rgb.map(linear);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** Some of it may be outside of what a screen shows. @param {Triple} lab @returns {Triple} */
function fromOklab([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return /** @type {Triple} */ ([4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s, -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s].map(gamma));
}

/** @param {string} colour @returns {Triple} lightness, chroma, hue */
export function oklch(colour) {
  const [L, a, b] = oklab(parse(colour));
  return [L, Math.hypot(a, b), Math.atan2(b, a)];
}

/** As strong as a screen can show it at this lightness. @param {Triple} lch */
export function fromOklch([L, chroma, hue]) {
  const at = (/** @type {number} */ c) => fromOklab([L, c * Math.cos(hue), c * Math.sin(hue)]);
  const shows = (/** @type {Triple} */ rgb) => rgb.every((part) => part >= -0.0005 && part <= 1.0005);
  if (shows(at(chroma))) return hex(at(chroma));
  let [low, high] = [0, chroma];
  for (let step = 0; step < 16; step += 1) {
    const middle = (low + high) / 2;
    if (shows(at(middle))) low = middle;
    else high = middle;
  }
  return hex(at(low));
}

/** @param {string} colour @param {string} ground @param {number} share of the colour, from 0 to 1 */
function mix(colour, ground, share) {
  const [one, other] = [oklab(parse(colour)), oklab(parse(ground))];
  return hex(fromOklab(/** @type {Triple} */ (one.map((part, at) => part * share + other[at] * (1 - share)))));
}

/** Black or white, whichever is read better: one of them always is. @param {string} colour */
function inkOn(colour) {
  return contrast(colour, INKS.white) >= TEXT || contrast(colour, INKS.white) >= contrast(colour, INKS.black) ? INKS.white : INKS.black;
}

/**
 * The nearest lightness, in one direction, at which a colour stands out from all these grounds.
 * @param {string} colour @param {readonly string[]} grounds @param {number} least @param {-1 | 1} way
 */
function until(colour, grounds, least, way) {
  const [L, chroma, hue] = oklch(colour);
  let now = colour;
  for (let step = 1; grounds.some((ground) => contrast(now, ground) < least + SPARE); step += 1) {
    const lightness = L + way * step * 0.004;
    if (lightness <= 0 || lightness >= 1) return way < 0 ? '#000000' : '#ffffff';
    now = fromOklch([lightness, chroma, hue]);
  }
  return now;
}

/**
 * @param {string | undefined} colour @param {Mode} mode
 *   accent: what is filled, with `ink` on it; hover: the same under the pointer. text: on the page. soft: a tint of the
 *   page. ring: round what has the focus. user: the visitor's bubble, with `userInk` on it.
 */
export function palette(colour, mode) {
  const brand = hex(parse(colour));
  const { surface, canvas, raised } = GROUNDS[mode];
  const dark = mode === 'dark';
  const way = dark ? 1 : -1;
  const [L, chroma, hue] = oklch(brand);
  // In the dark a deep colour would be a hole, so it is lifted; by day the shop's own is kept unless it were not to be seen.
  const lifted = dark ? fromOklch([Math.max(L, 0.74), L < 0.6 ? chroma * 1.25 : chroma, hue]) : brand;
  let accent = until(lifted, [surface, canvas, raised], dark ? EDGE : 1.15, way);
  let ink = inkOn(accent);
  // Of the colours in the middle neither ink reads well: they give way a little.
  if (contrast(accent, ink) < TEXT + SPARE) accent = until(accent, [ink], TEXT, ink === INKS.white ? -1 : 1);
  const soft = mix(accent, surface, dark ? 0.16 : 0.1);
  const grounds = [surface, canvas, raised, soft];
  const user = dark ? until(fromOklch([Math.min(L, 0.44), Math.min(chroma, 0.11), hue]), [INKS.white], TEXT, -1) : accent;
  const [lightness, strength] = oklch(accent);
  // Away from the ink, but for what is almost white already.
  const step = ink === INKS.white || lightness > 0.86 ? -0.045 : 0.045;
  return {
    accent,
    ink,
    hover: fromOklch([Math.max(0, lightness + step), strength, hue]),
    text: until(accent, grounds, TEXT, way),
    soft,
    ring: until(accent, grounds, EDGE, way),
    user: dark ? until(user, [canvas], 1.15, 1) : user,
    userInk: dark ? INKS.white : ink,
  };
}

/** @type {(() => void) | undefined} */
let follow;

/**
 * Paints a page in the shop's colours: `data-theme` on it says which of the two it is, and where the shop leaves it to the
 * visitor's system, follows that.
 * @param {HTMLElement} root @param {Theme} [theme]
 */
export function paintTheme(root, theme = {}) {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const paint = () => {
    const mode = theme.mode === 'light' || theme.mode === 'dark' ? theme.mode : system.matches ? 'dark' : 'light';
    root.dataset.theme = mode;
    root.style.setProperty('color-scheme', mode);
    const colours = palette(theme.accent, mode);
    for (const [key, name] of Object.entries(NAMES)) root.style.setProperty(name, colours[/** @type {keyof typeof colours} */ (key)]);
  };
  if (follow) system.removeEventListener('change', follow);
  follow = theme.mode === 'light' || theme.mode === 'dark' ? undefined : paint;
  if (follow) system.addEventListener('change', follow);
  paint();
  // What the shop doesn't say is as in the style sheet.
  const { radius, font = FONTS[0] } = theme;
  root.dataset.font = FONTS.includes(font) ? font : FONTS[0];
  for (const [name, share] of Object.entries(CORNERS)) {
    if (typeof radius === 'number') root.style.setProperty(name, `${Math.round(radius * share)}px`);
    else root.style.removeProperty(name);
  }
}
