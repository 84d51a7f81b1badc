/**
 * Signs calls, so that a session's token is worth nothing to who steals it: DPoP (RFC 9449), with the body's hash as `bh`.
 *
 * The browser makes the key pair and never gives its private half away, not even to this page. One pair signs for all
 * conversations; the store keeps it, so that it outlives a reload. Without a secure context there is none, and calls go
 * unsigned.
 */

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };

/** @typedef {{method: string, url: URL, token: string, body?: string}} Call */

/** @returns {Promise<CryptoKeyPair>} one that never leaves the browser; none without a secure context */
export async function makeKeys() {
  return /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']));
}

/** @param {() => Promise<CryptoKeyPair>} keys where the key pair lies, or is made */
export function createSigner(keys) {
  /** By how much the edge's clock is ahead of this one, in milliseconds. */
  let ahead = 0;
  /** @type {Promise<CryptoKeyPair | null> | null} */
  let pair = null;
  const known = () => (pair ??= keys().catch(() => null));

  return {
    /** What a new session is bound to; null where there is no key. @returns {Promise<object | null>} */
    async publicKey() {
      const kept = await known();
      if (!kept) return null;
      const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', kept.publicKey);
      return { kty, crv, x, y };
    },

    /** A proof for one call; null where the key is gone. @param {Call} call @returns {Promise<string | null>} */
    async sign({ method, url, token, body = '' }) {
      const [kept, jwk] = await Promise.all([known(), this.publicKey()]);
      if (!kept || !jwk) return null;
      const claims = {
        jti: base64url(crypto.getRandomValues(new Uint8Array(16))),
        htm: method,
        htu: url.origin + url.pathname,
        iat: Math.floor((Date.now() + ahead) / 1000),
        ath: await hash(token),
        bh: await hash(body),
      };
      const part = (/** @type {object} */ it) => base64url(bytes(JSON.stringify(it)));
      const signed = `${part({ typ: 'dpop+jwt', alg: 'ES256', jwk })}.${part(claims)}`;
      const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, kept.privateKey, bytes(signed));
      return `${signed}.${base64url(new Uint8Array(signature))}`;
    },

    /** From now on the keys are others. */
    forget() {
      pair = null;
    },

    /** The edge told its time: from now on calls are signed by that. @param {string} serverTime */
    correct(serverTime) {
      const theirs = Date.parse(serverTime);
      if (Number.isFinite(theirs)) ahead = theirs - Date.now();
    },
  };
}

/** @param {string} text */
function bytes(text) {
  return new TextEncoder().encode(text);
}

/** @param {string} text */
async function hash(text) {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes(text))));
}

/** @param {Uint8Array} array */
function base64url(array) {
  return btoa(String.fromCharCode(...array)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
