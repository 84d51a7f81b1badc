/**
 * What the menu offers, worked out from the state alone: nothing that would do nothing.
 *
 * @typedef {import('./state.js').State} State
 * @typedef {'new' | 'chats' | 'search' | 'text' | 'json' | 'sound' | 'keep' | 'erase' | 'erase_all'} Entry
 *
 * @typedef {object} Offer the part of a shop's settings that decides about it
 * @property {{history?: boolean, search?: boolean, export?: boolean, sound?: boolean}} [features] all on unless `false`
 * @property {'none' | 'ask'} [consent]
 */

/** @param {Pick<State, 'exchanges' | 'conversation' | 'conversations' | 'consent'>} state @param {Offer} offer @returns {Entry[]} */
export function entries({ exchanges, conversation, conversations, consent }, { features = {}, consent: asks }) {
  const talked = exchanges.length > 0;
  const others = conversations.some(({ id }) => id !== conversation);
  /** @type {[Entry, boolean][]} */
  const all = [
    ['new', talked],
    ['chats', others && features.history !== false],
    ['search', (talked || others) && features.search !== false],
    ['text', talked && features.export !== false],
    ['json', talked && features.export !== false],
    ['sound', features.sound !== false],
    // Saying no must be as easy as it was to say yes, and the other way round.
    ['keep', asks === 'ask' && consent !== 'unasked'],
    ['erase', talked],
    ['erase_all', others],
  ];
  return all.filter(([, offered]) => offered).map(([entry]) => entry);
}

/** How many unread messages a name carries, for a title or a button. No word, so no language. @param {string} name @param {number} unread */
export function counted(name, unread) {
  return unread > 0 ? `(${unread}) ${name}` : name;
}
