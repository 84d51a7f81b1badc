/**
 * Answers what the edge asks of a browser that it is not sure of. The visitor sees nothing of it, unless it is a captcha.
 *
 * @typedef {{type: string, algorithm?: string, challenge?: string, difficulty?: number, site_key?: string}} Challenge
 */
/** More bits than the edge's highest setting would never end. */
const HARDEST = 30;
/** Without a worker the page does the work itself, and breathes after so many tries: a few milliseconds. */
const SLICE = 2000;

/**
 * @param {Challenge} challenge
 * @param {AbortSignal} [signal]
 * @returns {Promise<string | undefined>} for the header `X-Challenge-Response`; undefined when there is no answer to it here
 */
export async function answer({ type, algorithm, challenge, difficulty, site_key: siteKey }, signal) {
  if ((type === 'turnstile' || type === 'hcaptcha') && typeof siteKey === 'string') {
    const { captcha } = await import('./captcha.js');
    return captcha(type, siteKey, signal);
  }
  if (type !== 'pow' || algorithm !== 'sha-256' || typeof challenge !== 'string') return undefined;
  if (typeof difficulty !== 'number' || !(difficulty >= 0 && difficulty <= HARDEST)) return undefined;
  return (await inWorker(challenge, difficulty, signal)) ?? inSlices(challenge, difficulty, signal);
}

/** @param {string} challenge @param {number} difficulty @param {AbortSignal} [signal] @returns {Promise<string | undefined>} undefined where no worker runs */
function inWorker(challenge, difficulty, signal) {
  return new Promise((resolve, reject) => {
    /** @type {Worker} */
    let worker;
    try {
      worker = new Worker(scriptUrl(), { type: 'module' });
    } catch {
      // Refused by the browser, or by a policy around the page.
      resolve(undefined);
      return;
    }
    const stop = () => {
      worker.terminate();
      signal?.removeEventListener('abort', aborted);
    };
    const aborted = () => {
      stop();
      reject(signal?.reason);
    };
    worker.addEventListener('message', ({ data }) => (stop(), resolve(data)));
    worker.addEventListener('error', () => (stop(), resolve(undefined)));
    signal?.addEventListener('abort', aborted);
    if (signal?.aborted) aborted();
    else worker.postMessage({ challenge, difficulty });
  });
}

/** The page's policy wants to know who names a script: this file names one, always the same. @returns {any} */
function scriptUrl() {
  const url = new URL('./pow-worker.js', import.meta.url).href;
  const { trustedTypes } = /** @type {any} */ (globalThis);
  policy ??= trustedTypes?.createPolicy('frontdesk-worker', { createScriptURL: () => url });
  return policy ? policy.createScriptURL(url) : url;
}

/** @type {any} */
let policy;

/** @param {string} challenge @param {number} difficulty @param {AbortSignal} [signal] */
async function inSlices(challenge, difficulty, signal) {
  const { search } = await import('./pow.js');
  for (let from = 0; ; from += SLICE) {
    signal?.throwIfAborted();
    const found = search(challenge, difficulty, from, from + SLICE);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve));
  }
}
