/**
 * Pages that are looked at as little as can be, by the protocol of the browser's developer tools: what a driver for tests
 * does in each page and frame takes a quarter of the time in which the chat opens.
 */
import { startChromium } from '../widget/test/browser/processes.js';

/** @typedef {(method: string, params?: object) => Promise<any>} Send */

export function plainBrowser() {
  const { stdio } = startChromium(['--remote-debugging-pipe'], ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']);
  const [, , , asks, answers] = stdio;
  const waiting = new Map();
  const hearers = new Map();
  let last = 0;
  let rest = [];
  answers.on('data', (data) => {
    for (let end; (end = data.indexOf(0)) >= 0; data = data.subarray(end + 1)) {
      const text = Buffer.concat([...rest, data.subarray(0, end)]).toString();
      rest = [];
      const { id, error, result, method, params } = JSON.parse(text);
      if (method) hearers.get(method)?.(params);
      const asked = waiting.get(id);
      waiting.delete(id);
      if (error) asked?.reject(new Error(error.message));
      else asked?.resolve(result);
    }
    rest.push(data);
  });
  // Nobody would answer any more, and whoever asks would wait for ever.
  answers.on('end', () => {
    console.error('the browser is gone');
    process.exit(1);
  });
  asks.on('error', () => {});

  /** @param {string} [sessionId] whose; without it the browser's own @returns {Send} */
  const sender = (sessionId) => (method, params = {}) =>
    new Promise((resolve, reject) => {
      last += 1;
      waiting.set(last, { resolve, reject });
      asks.write(`${JSON.stringify({ id: last, sessionId, method, params })}\0`);
    });
  const send = sender();

  return {
    send,
    /** @param {string} method @param {(params: any) => void} hear the only one for it */
    hear: (method, hear) => hearers.set(method, hear),
    /** A visitor of their own: nothing is in the browser's cache. @param {string} url @param {() => void} watch runs in each page and frame before its own scripts */
    async visit(url, watch) {
      const { browserContextId } = await send('Target.createBrowserContext');
      const { targetId } = await send('Target.createTarget', { url: 'about:blank', browserContextId, width: 1280, height: 860 });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      const page = sender(sessionId);
      await page('Page.enable');
      await page('Page.addScriptToEvaluateOnNewDocument', { source: `(${watch})()` });
      await page('Page.navigate', { url });
      return {
        send: page,
        /** What a function in the page gives. @param {(given: any) => any} run @param {unknown} [given] */
        async evaluate(run, given) {
          const expression = `(${run})(${given === undefined ? '' : JSON.stringify(given)})`;
          const { result, exceptionDetails } = await page('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
          if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
          return result.value;
        },
        /** @param {number} rate how many times slower its processor is */
        slow: (rate) => page('Emulation.setCPUThrottlingRate', { rate }),
        close: () => send('Target.disposeBrowserContext', { browserContextId }),
      };
    },
  };
}
