/** Numbers and dates as the browser's language writes them; words that stand in sentences in the language of the page. */

/** Their symbols are the same everywhere. A space that does not break stands before them. */
const SECOND = '\u00a0s';
const MINUTE = '\u00a0min';
const HOUR = '\u00a0h';

/**
 * @param {string | undefined} locale the browser's own, if undefined
 * @param {string | undefined} timeZone likewise
 * @param {string} words the locale of words
 */
export function createFormat(locale, timeZone, words) {
  const number = new Intl.NumberFormat(locale);
  const small = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const compact = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 });
  const finePercent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const fine = new Intl.NumberFormat(locale, { maximumSignificantDigits: 2 });
  const relative = new Intl.RelativeTimeFormat(words, { numeric: 'auto' });

  /** @param {Intl.DateTimeFormatOptions} options */
  const date = (options) => {
    const own = new Intl.DateTimeFormat(locale, { timeZone, ...options });
    return (/** @type {number} */ ms) => own.format(ms);
  };
  const weekday = new Intl.DateTimeFormat(words, { weekday: 'short', timeZone: 'UTC' });
  const longWeekday = new Intl.DateTimeFormat(words, { weekday: 'long', timeZone: 'UTC' });
  const hour = new Intl.DateTimeFormat(locale, { hour: 'numeric', timeZone: 'UTC' });
  const fullHour = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit', timeZone: 'UTC' });
  // The fifth of January 1970 was a Monday.
  const monday = 4 * 86_400_000;

  return {
    /** @param {number} it */
    number: (it) => number.format(it),
    /** One digit behind the point. @param {number} it */
    small: (it) => small.format(it),
    /** Short enough for an axis and a big tile. @param {number} it */
    compact: (it) => (Math.abs(it) < 10_000 ? number.format(it) : compact.format(it)),
    /** 100 % only where it is all of them, 0 % only where it is none. @param {number} share 0 to 1 */
    percent: (share) => (share > 0 && share < 1 && (share < 0.01 || share > 0.99) ? finePercent.format(Math.min(0.999, Math.max(0.001, share))) : percent.format(share)),
    /** How long something took. @param {number} ms */
    time(ms) {
      if (ms < 9_950) return fine.format(ms / 1000) + SECOND;
      const total = Math.round(ms / 1000);
      if (total < 60) return number.format(total) + SECOND;
      const [whole, unit, rest, part] = total < 3600 ? [Math.floor(total / 60), MINUTE, total % 60, SECOND] : [Math.floor(total / 3600), HOUR, Math.floor((total % 3600) / 60), MINUTE];
      return number.format(whole) + unit + (rest > 0 ? ` ${rest}${part}` : '');
    },
    day: date({ day: 'numeric', month: 'short' }),
    weekdayAndDay: date({ weekday: 'short', day: 'numeric', month: 'short' }),
    fullDay: date({ day: 'numeric', month: 'short', year: 'numeric' }),
    clock: date({ hour: 'numeric', minute: '2-digit' }),
    exactClock: date({ hour: 'numeric', minute: '2-digit', second: '2-digit' }),
    moment: date({ weekday: 'short', day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit' }),
    exactMoment: date({ dateStyle: 'full', timeStyle: 'medium' }),
    /** @param {number} ms @param {number} now */
    ago(ms, now) {
      const past = Math.max(0, Math.round((now - ms) / 1000));
      if (past < 60) return relative.format(-past, 'second');
      if (past < 3600) return relative.format(-Math.round(past / 60), 'minute');
      return relative.format(-Math.round(past / 3600), 'hour');
    },
    /** @param {number} day 0 is Monday */
    weekday: (day) => weekday.format(monday + day * 86_400_000),
    /** @param {number} day 0 is Monday */
    longWeekday: (day) => longWeekday.format(monday + day * 86_400_000),
    /** @param {number} of the day */
    hour: (of) => hour.format(of * 3_600_000),
    /** The same for the middle of a sentence. @param {number} of the day */
    fullHour: (of) => fullHour.format(of * 3_600_000),
    timeZone: () => new Intl.DateTimeFormat(locale, { timeZone }).resolvedOptions().timeZone,
    /** @param {string} code ISO 3166-1 alpha-2 */
    country: (code) => name(words, 'region', code),
    /** Without its region, which stands beside it as a country or is none of ours. @param {string} tag such as `en-GB` */
    language: (tag) => name(words, 'language', tag.split('-')[0]),
    /** The same for days of UTC. */
    inUtc: () => createFormat(locale, 'UTC', words),
  };
}

/** What no browser knows stays as it is. @param {string} locale @param {'region' | 'language'} type @param {string} code */
function name(locale, type, code) {
  try {
    return new Intl.DisplayNames(locale, { type }).of(code) ?? code;
  } catch {
    return code;
  }
}

/** @typedef {ReturnType<typeof createFormat>} Format */
