/**
 * A coarse, stable name for this browser, to notice when a token is used from another one. It is a hint, not a proof.
 *
 * Left out on purpose: versions (an update would end every conversation) and canvas, fonts and audio (prying).
 */
import { hex } from './ids.js';

/**
 * @param {string} salt 32 hex digits of this browser's own, so that what is sent says nothing to another shop
 * @returns {Promise<string>} 64 hex digits; on pages that are not secure the salt itself
 */
export async function fingerprint(salt) {
  try {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode([salt, ...traits()].join('\n')));
    return hex(new Uint8Array(digest));
  } catch {
    // No secure context; and some browsers show `subtle` and then refuse to use it.
    return salt;
  }
}

function traits() {
  const { language, maxTouchPoints } = navigator;
  const agent = /** @type {{userAgentData?: {platform?: string}}} */ (navigator).userAgentData;
  const { width, height, colorDepth } = screen;
  return [
    'v2',
    language,
    Intl.DateTimeFormat().resolvedOptions().timeZone ?? '',
    // Sorted, so that turning a phone changes nothing; in classes, so that a few pixels don't either.
    [width, height].sort((a, b) => a - b).map((side) => Math.round(side / 100)).join('x'),
    String(colorDepth),
    maxTouchPoints > 0 ? 'touch' : 'no touch',
    agent?.platform ?? /Android|iPhone|iPad|Macintosh|Windows|Linux/.exec(navigator.userAgent)?.[0] ?? '',
  ];
}
