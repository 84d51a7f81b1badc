/** When something was said, as short as it can be understood. */
import { sayClock, sayDay } from './i18n.js';

/**
 * Today the time, then "Yesterday", then the day, and the year where it is another.
 * @param {import('./i18n.js').Texts} texts @param {number} at @param {number} now @returns {string}
 */
export function when(texts, at, now) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (at >= midnight) return sayClock(texts, at);
  // Noon of the day before, as not every day has 24 hours.
  if (at >= new Date(midnight - 12 * 3_600_000).setHours(0, 0, 0, 0)) return sayDay(texts, at, now);
  const then = new Date(at);
  const year = then.getFullYear() === new Date(now).getFullYear() ? {} : /** @type {const} */ ({ year: 'numeric' });
  return new Intl.DateTimeFormat(texts.tag, { day: 'numeric', month: 'short', ...year }).format(then);
}
