/**
 * A coarse, stable name for this browser, to notice when a token is used from another one. It is a hint, not a proof.
 *
 * Left out on purpose: versions (an update would end every conversation) and canvas, fonts and audio (prying).
 */

/**
 * @param {{get(key: string): string | null, set(key: string, value: string): void}} storage for the random name used where there is no crypto.subtle
 * @returns {Promise<string>} 64 hex digits, or 32 random ones on pages that are not secure
 */
export async function fingerprint(storage) {
  if (globalThis.crypto?.subtle) {
    try {
      const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(traits().join('\n')));
      return hex(new Uint8Array(digest));
    } catch {
      // Some browsers show `subtle` and then refuse to use it.
    }
  }
  const kept = storage.get('fingerprint');
  if (kept && /^[0-9a-f]{32}$/.test(kept)) return kept;
  const made = randomId();
  storage.set('fingerprint', made);
  return made;
}

/** 128 random bits: message ids too are made with it. */
export function randomId() {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

function traits() {
  const { language, maxTouchPoints } = navigator;
  const agent = /** @type {{userAgentData?: {platform?: string}}} */ (navigator).userAgentData;
  const { width, height, colorDepth } = screen;
  return [
    'v1',
    language,
    Intl.DateTimeFormat().resolvedOptions().timeZone ?? '',
    // Sorted, so that turning a phone changes nothing; in classes, so that a few pixels don't either.
    [width, height].sort((a, b) => a - b).map((side) => Math.round(side / 100)).join('x'),
    String(colorDepth),
    maxTouchPoints > 0 ? 'touch' : 'no touch',
    agent?.platform ?? /Android|iPhone|iPad|Macintosh|Windows|Linux/.exec(navigator.userAgent)?.[0] ?? '',
  ];
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
