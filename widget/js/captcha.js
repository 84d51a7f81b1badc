/** Shows a captcha above the text field until the visitor has answered it. */

/**
 * @param {'turnstile' | 'hcaptcha'} type @param {string} siteKey @param {AbortSignal} [signal]
 * @returns {Promise<string | undefined>} the answer; undefined when there is none
 */
export function captcha(type, siteKey, signal) {
  const place = /** @type {HTMLElement} */ (document.getElementById('captcha'));
  const frame = document.createElement('iframe');
  const url = new URL('captcha.html', location.href);
  url.search = String(new URLSearchParams({ type, site_key: siteKey }));
  frame.src = url.href;
  frame.title = place.dataset.title ?? '';
  frame.className = type;
  return new Promise((resolve, reject) => {
    const stop = () => {
      removeEventListener('message', heard);
      signal?.removeEventListener('abort', aborted);
      frame.remove();
      place.hidden = true;
    };
    const heard = (/** @type {MessageEvent} */ { source, origin, data }) => {
      if (source !== frame.contentWindow || origin !== location.origin) return;
      stop();
      resolve(typeof data?.captcha === 'string' ? `${type}:${data.captcha}` : undefined);
    };
    const aborted = () => {
      stop();
      reject(signal?.reason);
    };
    addEventListener('message', heard);
    signal?.addEventListener('abort', aborted);
    place.replaceChildren(frame);
    place.hidden = false;
    if (signal?.aborted) aborted();
  });
}
