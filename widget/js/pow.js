/**
 * Proofs of work: a counter so that the SHA-256 of `<challenge>:<counter>` begins with enough zero bits.
 *
 * SHA-256 is written out here because `crypto.subtle` answers by promises: a hundred thousand small ones take many times
 * as long as the hashes, and on pages that are not secure it is missing.
 */

const K = new Int32Array(64);
const INITIAL = new Int32Array(8);
for (let n = 2, found = 0; found < 64; n += 1) {
  let prime = true;
  for (let by = 2; by * by <= n; by += 1) prime &&= n % by !== 0;
  if (!prime) continue;
  // The first 32 bits behind the point.
  if (found < 8) INITIAL[found] = (n ** (1 / 2) % 1) * 2 ** 32;
  K[found] = (n ** (1 / 3) % 1) * 2 ** 32;
  found += 1;
}

const W = new Int32Array(64);
/** Most texts here are one block, and a new one for each of a hundred thousand would be work for the collector. */
const ONE = new Uint8Array(64);
const ONE_VIEW = new DataView(ONE.buffer);
const STATE = new Int32Array(8);

/** One block of 64 bytes. @param {Int32Array} state @param {DataView} block @param {number} at */
function compress(state, block, at) {
  for (let i = 0; i < 16; i += 1) W[i] = block.getInt32(at + i * 4);
  for (let i = 16; i < 64; i += 1) {
    const x = W[i - 15];
    const y = W[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[i] = (W[i - 16] + s0 + W[i - 7] + s1) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

/** The hash as eight words of 32 bits, good until the next one. @param {string} text of ASCII */
export function sha256(text) {
  const length = text.length;
  const bytes = length <= 55 ? ONE : new Uint8Array(Math.ceil((length + 9) / 64) * 64);
  if (bytes === ONE) ONE.fill(0, length);
  for (let i = 0; i < length; i += 1) bytes[i] = text.charCodeAt(i);
  bytes[length] = 0x80;
  const view = bytes === ONE ? ONE_VIEW : new DataView(bytes.buffer);
  view.setUint32(bytes.length - 4, length * 8);
  STATE.set(INITIAL);
  for (let at = 0; at < bytes.length; at += 64) compress(STATE, view, at);
  return STATE;
}

/** @param {Int32Array} words */
function zeroBits(words) {
  let bits = 0;
  for (const word of words) {
    bits += Math.clz32(word);
    if (word !== 0) break;
  }
  return bits;
}

/**
 * Tries the counters from `from` to `to`, that one excluded.
 *
 * @param {string} challenge @param {number} difficulty in bits @param {number} from @param {number} to
 * @returns {string | undefined} the answer, if one of them is good
 */
export function search(challenge, difficulty, from, to) {
  for (let counter = from; counter < to; counter += 1) {
    const answer = `${challenge}:${counter}`;
    if (zeroBits(sha256(answer)) >= difficulty) return answer;
  }
  return undefined;
}
