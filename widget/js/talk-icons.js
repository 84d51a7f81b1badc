/** Pictures that only a conversation and its menu have, as paths for icons.js. */

export const PEN = ['M12 20h8', 'M16.5 4.6a2 2 0 0 1 2.9 2.9L8 19l-4 1 1-4L16.5 4.6Z'];
export const COPY = ['M11 9h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z', 'M5 15a2 2 0 0 1-1-1.7V6a2 2 0 0 1 2-2h7.3A2 2 0 0 1 15 5'];
export const CHECK = ['m5 12.5 4.5 4.5L19 7.5'];
export const UP = ['M7 11v9H4v-9h3Zm0 0 4-7.5a2 2 0 0 1 2.6 2.3L13 9h5.2a2 2 0 0 1 2 2.4l-1.3 7A2 2 0 0 1 17 20H7'];
export const DOWN = ['M17 13V4h3v9h-3Zm0 0-4 7.5a2 2 0 0 1-2.6-2.3L11 15H5.8a2 2 0 0 1-2-2.4l1.3-7A2 2 0 0 1 7 4h10'];

export const ARROW = ['M12 5v14', 'm6 13 6 6 6-6'];
export const SEARCH = ['M11 4.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Z', 'm19.5 19.5-3.8-3.8'];
export const TRASH = ['M4.5 7h15', 'M9.5 7V5a1 1 0 0 1 1-1h3a1 1 0 0 1 1 1v2', 'm6.5 7 .8 11.2A2 2 0 0 0 9.3 20h5.4a2 2 0 0 0 2-1.8L17.5 7'];

/** Of notices, by their names. @type {Record<string, string[]>} */
export const NOTICES = {
  warn: ['M12 8v4.8', 'M12 16.3h.01', 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z'],
  offline: ['M3 3l18 18', 'M8.5 16a5 5 0 0 1 7 0', 'M5 12.5a10 10 0 0 1 4-2.4', 'M19 12.5a10 10 0 0 0-6-2.9', 'M12 20h.01'],
  lock: ['M7.5 10.5h9a2.5 2.5 0 0 1 2.5 2.5v4.5a2.5 2.5 0 0 1-2.5 2.5h-9A2.5 2.5 0 0 1 5 17.5V13a2.5 2.5 0 0 1 2.5-2.5Z', 'M8 10.5V8a4 4 0 0 1 8 0v2.5'],
};
