/** The arithmetic of the busy hours. */

/** Steps of colour; 0 is none at all. */
export const LEVELS = 6;

/**
 * How strong each field is: 0 only where nothing was, the highest step where most was.
 *
 * @param {number[][]} counts seven days of 24 hours
 */
export function levels(counts) {
  const max = Math.max(...counts.flat());
  return counts.map((day) => day.map((count) => (count > 0 ? Math.max(1, Math.ceil((count / max) * LEVELS)) : 0)));
}

/** The field with most, the earliest of several. @param {number[][]} counts @returns {{day: number, hour: number, count: number} | undefined} */
export function busiest(counts) {
  const found = { day: 0, hour: 0, count: 0 };
  counts.forEach((day, which) => day.forEach((count, hour) => count > found.count && Object.assign(found, { day: which, hour, count })));
  return found.count > 0 ? found : undefined;
}

/** Counts at which the colour changes, for the key: the largest of each step. @param {number[][]} counts */
export function bounds(counts) {
  const max = Math.max(...counts.flat());
  return Array.from({ length: LEVELS }, (_, step) => Math.floor(((step + 1) / LEVELS) * max));
}
