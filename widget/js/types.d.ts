/**
 * What the chat knows, as types: read by the type checker and by whoever works on the chat, served to nobody.
 *
 * A conversation is a list of exchanges, each a message of the visitor with the reply to it, or a message that the
 * assistant sent by itself.
 */

/** `sending`: not known to have arrived. `waiting`: arrived, nothing heard yet. `queued`: no assistant is free. */
export type Phase = 'sending' | 'waiting' | 'queued' | 'streaming' | 'done' | 'stopped' | 'failed';

export interface Exchange {
  /** The message_id, made here before anything is sent. */
  id: string;
  /** The assistant said it by itself: `text` is empty, and `id` is the edge's. */
  kind?: 'push';
  /** What the visitor said. */
  text: string;
  /** When, in milliseconds; later than the one before. */
  at: number;
  phase: Phase;
  answer: string;
  /** Index of the chunk expected next: a replay brings old ones again. */
  next: number;
  /** Where to resume. */
  lastEventId: string;
  /** The session it was sent in. */
  session: string;
  /** It was posted at least once, so it may have arrived. */
  tried?: boolean;
  /** Until it has arrived. */
  how?: How;
  /** The rest may take minutes. */
  late?: boolean;
  /** The rest comes by then, in milliseconds. */
  until?: number;
  /** Part of the answer is gone for good. */
  lost?: boolean;
  /** The visitor pressed stop. */
  stopping?: boolean;
  /** What the visitor thinks of the answer. */
  rating?: 'up' | 'down';
  /** The shop was told why. */
  commented?: boolean;
  /** Why it failed. */
  trouble?: Trouble;
}

/** How a message was written. */
export interface How {
  typedMs?: number;
  honeypot?: string;
}

export interface Trouble {
  /** Of problem+json, of a `failed` event, or one of ours. */
  code: string;
  /** Written for the visitor by the server. */
  sentence?: string;
  retryable: boolean;
  /** Not before then, in milliseconds. */
  until?: number;
  maxChars?: number;
}

/** One conversation in the list. */
export interface Summary {
  id: string;
  title: string;
  at: number;
  count: number;
  unread: number;
}

export type Consent = 'unasked' | 'granted' | 'denied';

export interface State {
  /** The one that is shown; one without a message is in no list yet. */
  conversation: string;
  /** Of the one that is shown. */
  exchanges: Exchange[];
  /** Of others in which something was still running when they were left. */
  background: Record<string, Exchange[]>;
  /** Newest first. */
  conversations: Summary[];
  /** Answers, in all conversations. */
  unread: number;
  /** Whether the visitor has the conversation before their eyes. */
  attending: boolean;
  consent: Consent;
  keeping: 'disk' | 'memory';
  sound: boolean;
  online: boolean;
  /** Moves only while something is counted down. */
  now: number;
  /** What keeps the running exchange waiting. */
  delay: {why: 'reconnecting' | 'busy'} | null;
  /** The exchange that the next message takes the place of. */
  editing: string;
  /** Sessions of deleted conversations that the edge could not be told of yet. */
  undeleted: number;
  /** Text to put back into the field. */
  draft: {text: string} | null;
}

/** What changes it. */
export type Event =
  | {type: 'loaded', conversation: string, exchanges: Exchange[], conversations: Summary[]}
  | {type: 'settings', consent?: Consent, keeping?: 'disk' | 'memory', sound?: boolean}
  | {type: 'unfinished', id: string, exchanges: Exchange[]}
  | {type: 'opened conversation', id: string, exchanges: Exchange[]}
  | {type: 'new conversation', id: string}
  | {type: 'deleted conversation', id: string, fresh: string}
  | {type: 'all deleted', fresh: string}
  | {type: 'attention', here: boolean}
  | {type: 'synced', conversation: string, changed: Exchange[], gone: string[]}
  | {type: 'summaries', summaries: Summary[]}
  | {type: 'asked', id: string, text: string, at: number, how?: How}
  | {type: 'retried', id: string, newId: string, at: number}
  | {type: 'pushed', conversation: string, id: string, at: number, session: string, eventId?: string}
  | {type: 'trying', id: string}
  | {type: 'accepted', id: string, session: string}
  | {type: 'queued', id: string}
  | {type: 'will follow', id: string, until: number}
  | {type: 'begin', id: string, eventId?: string}
  | {type: 'chunk', id: string, index: number, content: string, eventId?: string}
  | {type: 'end', id: string, finishReason: string, eventId?: string}
  | {type: 'failed', id: string, trouble: Trouble, eventId?: string}
  | {type: 'gap', id: string}
  | {type: 'delayed', why: 'reconnecting' | 'busy' | null}
  | {type: 'stopping', id: string}
  | {type: 'stopped', id: string}
  | {type: 'taken back', id: string}
  | {type: 'editing', id: string}
  | {type: 'prefilled', text: string}
  | {type: 'rated', id: string, rating: 'up' | 'down', commented?: boolean}
  | {type: 'undeleted', left: number}
  | {type: 'online', online: boolean}
  | {type: 'time', now: number};

/** What the visitor can do: the views call these and nothing else. */
export interface Actions {
  /** Whether it was taken. */
  send(text: string, how?: How): boolean;
  stop(): void;
  retry(): void;
  edit(id?: string): void;
  close(): void;
  clear(): void;
  newConversation(): void;
  /** Why it was not taken. */
  rate?(id: string, rating: 'up' | 'down', comment?: string): unknown;
  attach?(): void;
  hostEvent?(name: string, detail: Record<string, unknown>): void;
  /** Whether the page around goes there. */
  navigate?(url: string): boolean | void;
}

/** How a site's chat shall be: widget-config.json, with what it doesn't say as in config.js. */
export interface Config {
  name?: string;
  tagline?: string;
  logo?: string;
  greeting: {title?: string, text?: string};
  topics: {icon?: string, label: string, message?: string}[];
  texts: import('./i18n.js').Sentences;
  footnote?: string;
  privacy?: {label: string, href: string};
  locale?: string;
  theme: import('./theme.js').Theme;
  side: 'start' | 'end';
  size: 'compact' | 'normal' | 'large';
  features: {feedback: boolean, comments: boolean, copy: boolean, history: boolean, search: boolean, export: boolean, sound: boolean, attach: boolean};
  consent: 'none' | 'ask';
  image_hosts: string[];
  proactive?: {text: string, after_seconds?: number, pages?: string[]};
}
