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

/** Several weeks in one. @param {number[][][]} weeks */
export const added = (weeks) => Array.from({ length: 7 }, (_, day) => Array.from({ length: 24 }, (_, hour) => weeks.reduce((all, week) => all + week[day][hour], 0)));

/** The field with most, the earliest of several. @param {number[][]} counts @returns {{day: number, hour: number, count: number} | undefined} */
export function busiest(counts) {
  const found = { day: 0, hour: 0, count: 0 };
  counts.forEach((day, which) => day.forEach((count, hour) => count > found.count && Object.assign(found, { day: which, hour, count })));
  return found.count > 0 ? found : undefined;
}
