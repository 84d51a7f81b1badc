/**
 * Every word of the page. Another language is another object of this form.
 *
 * Sentences that stress something are lists: what stands at odd places is stressed.
 */

/** @typedef {'24h' | '7d' | '30d' | '90d' | '365d' | 'custom'} Choice */

/** Days of one's own are named in the place of a `period`. @type {Record<Choice, {button: string, long: string, period: string, before: string}>} */
const RANGES = {
  '24h': { button: '24 h', long: 'The last 24 hours', period: 'In the last 24 hours', before: 'the 24 hours before' },
  '7d': { button: '7 d', long: 'The last 7 days', period: 'In the last 7 days', before: 'the 7 days before' },
  '30d': { button: '30 d', long: 'The last 30 days', period: 'In the last 30 days', before: 'the 30 days before' },
  '90d': { button: '90 d', long: 'The last 90 days', period: 'In the last 90 days', before: 'the 90 days before' },
  '365d': { button: 'Year', long: 'The last 365 days', period: 'In the last 365 days', before: 'the 365 days before' },
  custom: { button: 'Custom', long: 'Days of your choice', period: '', before: 'as much time before' },
};

/** @type {Record<string, {title: string, why: string, todo: string}>} */
const FAILURES = {
  upstream_unreachable: { title: 'n8n could not be reached', why: 'Nobody answered at the address of your workflow.', todo: 'Check that n8n runs, that the workflow is published, and that N8N_WEBHOOK_URL is its production address.' },
  upstream_timeout: { title: 'n8n took too long', why: 'The workflow was silent for longer than Frontdesk waits.', todo: 'Look in n8n’s executions which step is slow. If answers need that long, raise N8N_FIRST_TOKEN_TIMEOUT or N8N_IDLE_TIMEOUT.' },
  upstream_error: { title: 'The workflow failed', why: 'n8n reported an error, or its answer broke off.', todo: 'Open n8n’s executions: the failed run shows the step that went wrong. Often it is the key or the quota of the AI model.' },
  upstream_invalid: { title: 'The answer could not be read', why: 'n8n answered in a form that holds no reply.', todo: 'Let the workflow end in a chat answer: switch streaming on in the webhook, or respond with a field “output” or “text”.' },
  upstream_empty: { title: 'The workflow answered nothing', why: 'n8n ran the workflow, and it gave back no text.', todo: 'Check that each path of the workflow leads to the agent or to a node that responds.' },
  upstream_unauthorized: { title: 'n8n refused the key', why: 'The webhook asks for another key than Frontdesk has.', todo: 'Make N8N_API_KEY and the webhook’s Header Auth the same.' },
  circuit_open: { title: 'Paused, because n8n kept failing', why: 'After many failures Frontdesk leaves n8n in peace for a few seconds at a time.', todo: 'Mend the cause, which is among the other failures here. Frontdesk then goes on by itself.' },
  interrupted: { title: 'Frontdesk was stopped meanwhile', why: 'A process ended while it wrote a reply: a restart, or a crash.', todo: 'A few at an update are normal. If there are more, look into the log for why it restarts.' },
  queue_timeout: { title: 'Waited too long for their turn', why: 'More visitors wrote at once than are answered at once.', todo: 'Raise WORKER_CONCURRENCY, start another worker, or make the workflow faster.' },
  too_large: { title: 'The answer was too long', why: 'A reply grew over the limit and was cut.', todo: 'Ask the model for shorter answers, or raise REPLY_MAX_BYTES.' },
};

/** @type {Record<string, {title: string, why: string}>} */
const REFUSALS = {
  limit_ip_minute: { title: 'Too many calls from one address', why: 'One address called more often than allowed in a minute. Mostly programs; an office shares an address, too (RATE_LIMIT_PER_MINUTE).' },
  limit_ip_day: { title: 'Daily budget of one address used up', why: 'One address sent more messages than it may in a day (MESSAGES_PER_DAY_IP).' },
  limit_ip_streams: { title: 'Too many open chats from one address', why: 'One address held more connections open than it may (STREAMS_PER_IP).' },
  limit_session_minute: { title: 'A visitor wrote too fast', why: 'One visitor sent more messages than allowed in a minute (RATE_LIMIT_SESSION_PER_MINUTE).' },
  limit_session_day: { title: 'Daily budget of a visitor used up', why: 'One visitor sent more messages than allowed in a day (MESSAGES_PER_DAY_SESSION).' },
  limit_session_streams: { title: 'A visitor had too many tabs open', why: 'One chat was open in more places than allowed (STREAMS_PER_SESSION).' },
  limit_site_minute: { title: 'The whole shop was too busy', why: 'All visitors together sent more messages than allowed in a minute. Real visitors are turned away: raise RATE_LIMIT_SITE_PER_MINUTE if your workflow can take it.' },
  limit_site_day: { title: 'The shop’s daily budget is used up', why: 'All visitors together used up the messages of a day. Real visitors are turned away until tomorrow: see MESSAGES_PER_DAY_SITE.' },
  bot_challenge: { title: 'Asked to prove they are people', why: 'Something spoke for a program, so the browser had to solve a task first. People pass without noticing, and are counted here as well.' },
  bot_refuse: { title: 'Looked like a program', why: 'The bot rules turned them away. If these were people, see BOT_REFUSE_AT.' },
  bot_reject: { title: 'Messages that looked like spam', why: 'The content rules did not let them through (SPAM_*).' },
  origin: { title: 'From a page that is not yours', why: 'A page that is not in ALLOWED_ORIGINS tried to use the chat. If it is yours, add it there.' },
  token: { title: 'Without a valid visit', why: 'Calls that belong to no visit of this chat: mostly programs that try.' },
  proof: { title: 'With a wrong signature', why: 'Calls that the browser which began the visit did not sign: somebody tried to use another’s.' },
  identity: { title: 'Customers who could not be recognised', why: 'Your shop’s sign-in token was missing, old or wrong (IDENTITY_*).' },
  busy: { title: 'Wrote before the answer was over', why: 'A second message came while the first was still being answered.' },
  overloaded: { title: 'Frontdesk was full', why: 'More was asked at once than it can take: start another edge or worker.' },
  invalid: { title: 'Calls that made no sense', why: 'Empty or too long messages, and calls of the wrong form.' },
  limit_create_minute: { title: 'Too many new chats from one address', why: 'One address began more chats than allowed in a minute (RATE_LIMIT_CREATE_PER_MINUTE).' },
};

/** A word nobody foresaw, made readable. @param {string} code */
const readable = (code) => code.charAt(0).toUpperCase() + code.slice(1).replaceAll('_', ' ');

/** @param {number} count @param {string} one @param {string} many */
const count = (count, one, many) => (count === 1 ? one : many);

const EN = {
  language: 'en',
  title: 'Frontdesk analytics',
  brand: 'Frontdesk',
  product: 'Analytics',

  signIn: {
    title: 'How is your chat doing?',
    lead: 'Sign in to see visitors, answers and busy hours.',
    user: 'Account',
    token: 'Access token',
    hint: 'It is ADMIN_TOKEN, or your site’s part of SITE_TOKENS, in the settings of Frontdesk. Started on your own computer without them, Frontdesk makes one and says it in its log.',
    button: 'Sign in',
    busy: 'Signing in…',
    memory: 'The token stays in the memory of this tab and is written nowhere. After a reload you sign in again.',
    missing: 'Enter your access token first.',
    wrong: 'Frontdesk does not know this token. Check that you copied all of it.',
    ended: 'You were signed out: Frontdesk does not know your token any more.',
    disabled: 'Analytics is running, but nobody may ask it: set ADMIN_TOKEN or SITE_TOKENS for it, and start it again.',
    forbidden: 'This token may not see any site.',
    away: 'Analytics does not answer. Is it running?',
    often: 'Too many wrong tokens came from your address. Wait a minute.',
    other: 'Frontdesk refused the sign-in.',
  },

  head: {
    site: 'Site',
    allSites: 'All sites',
    range: 'Time',
    from: 'From',
    until: 'To',
    apply: 'Show',
    refresh: 'Refresh now',
    auto: 'Refresh every 30 seconds',
    autoShort: 'Auto',
    dark: 'Dark colours',
    out: 'Sign out',
    skip: 'Skip to the figures',
  },
  ranges: RANGES,
  rangeErrors: { missing: 'Choose two days.', order: 'The first day is after the last one.', long: 'That is more than three years: choose fewer days.' },

  updated: (/** @type {string} */ ago) => `Updated ${ago}`,
  loading: 'Loading…',
  stale: (/** @type {string} */ ago) => `Figures from ${ago}`,

  banner: {
    demo: 'Demo data',
    demoWhy: 'These visitors are made up, so that you can look around.',
    away: 'Analytics does not answer.',
    awayKept: 'You see the last figures. Trying again by itself.',
    refused: 'Frontdesk could not answer that.',
    again: 'Try now',
  },
  trouble: {
    awayTitle: 'Analytics does not answer',
    away: 'The page is here, but the figures are not. Frontdesk may be restarting; this page tries again by itself.',
    disabledTitle: 'Analytics is switched off',
    disabled: 'Set ADMIN_TOKEN or SITE_TOKENS for analytics, and start it again.',
    forbiddenTitle: 'Not your site',
    forbidden: 'Your token may not see this site.',
    refusedTitle: 'Frontdesk could not answer',
  },

  glance: {
    title: 'At a glance',
    days: (/** @type {string} */ first, /** @type {string} */ last) => (first === last ? `On ${first}` : `From ${first} to ${last}`),
    /** @param {string} period @param {string} visitors @param {string} messages @param {number} sessions @param {number} sent */
    traffic: (period, visitors, messages, sessions, sent) => [`${period}, `, `${visitors} ${count(sessions, 'visitor', 'visitors')}`, ' opened the chat and sent ', `${messages} ${count(sent, 'message', 'messages')}`, '.'],
    /** @param {string} answered @param {string} time */
    answers: (answered, time) => [' ', answered, ' of the replies came to their end; the first word usually came after ', time, '.'],
    /** @param {string} answered */
    answersOnly: (answered) => [' ', answered, ' of the replies came to their end.'],
    /** @param {string} day @param {string} hour */
    busiest: (day, hour) => [' Your busiest hour is ', `${day} at ${hour}`, '.'],
    failing: (/** @type {string} */ share, /** @type {string} */ title) => `${share} of the replies failed. Most often: ${title.charAt(0).toLowerCase() === title.charAt(0) ? title : title.charAt(0).toLowerCase() + title.slice(1)}.`,
    slow: (/** @type {string} */ time) => `One visitor in twenty waits longer than ${time} for the first word.`,
    unhelpful: (/** @type {string} */ share) => `${share} of the ratings say “not helpful”.`,
    limited: (/** @type {string} */ times) => `Visitors were turned away ${times} times because the whole shop was over its limit.`,
    look: 'See what to do',
    lookShort: 'Look',
  },

  tiles: {
    live: { title: 'Live now', hint: 'chats active in the last 5 minutes' },
    sessions: { title: 'Visitors', hint: (/** @type {string} */ known) => `opened the chat, ${known} signed in` },
    messages: { title: 'Messages', hint: (/** @type {string} */ each) => `${each} per visitor` },
    answered: { title: 'Answered', hint: (/** @type {string} */ ended, /** @type {string} */ all) => `${ended} of ${all} replies` },
    first: { title: 'First word after', hint: 'usually (median)' },
    helpful: { title: 'Helpful', hint: (/** @type {string} */ ratings, /** @type {number} */ n) => `of ${ratings} ${count(n, 'rating', 'ratings')}`, none: 'no ratings yet' },
    none: '–',
    /** @param {string} change @param {string} before */
    change: (change, before) => `${change} against ${before}`,
    same: 'same as before',
    noBefore: 'no comparison yet',
    points: (/** @type {string} */ it) => `${it} pts`,
  },

  card: { table: 'Show as table', inside: (/** @type {string} */ title) => `${title}, step by step`, csv: 'Download CSV', saving: 'Preparing the file…', stop: 'Stop', stopLong: 'Stop the download', stopped: 'Stopped.', failed: 'The file could not be made. Try again.' },

  traffic: { title: 'Visitors and messages', hint: { minute: 'by minute', hour: 'by hour', day: 'by day (UTC)' }, messages: 'Messages', sessions: 'Visitors', time: 'Time', file: 'frontdesk-over-time' },
  first: { title: 'Waiting for the first word', hint: 'How long visitors wait until an answer begins', p50: 'Usually (median)', p95: 'Slowest 5 % (p95)' },
  plot: { keys: 'Use the arrow keys to move through time.', inAll: 'in all of it' },

  outcomes: {
    title: 'How replies ended',
    ended: 'Answered',
    cancelled: 'Stopped by the visitor',
    failed: 'Failed',
    none: 'No replies in this time.',
    clean: 'No reply failed. Nothing to do.',
    why: 'Why replies failed',
    todo: 'What to do',
    show: 'Show these sessions',
    failures: FAILURES,
    /** @param {string} code */
    failure: (code) => FAILURES[code] ?? { title: readable(code), why: 'Frontdesk names it', todo: 'Look for this word in the log of the worker.' },
  },

  busy: {
    title: 'Busy hours',
    /** @param {string} zone @param {string} [since] where hours are not kept of all the time */
    hint: (zone, since) => `Messages by hour of the week, in your time zone (${zone})${since ? `. Hours are kept for 400 days: these are from ${since} on` : ''}`,
    notKept: 'Hours are kept for 400 days. This time is older.',
    less: 'fewer',
    more: 'more',
    field: (/** @type {string} */ day, /** @type {string} */ hours, /** @type {string} */ messages) => `${day}, ${hours}: ${messages}`,
    messages: (/** @type {string} */ shown, /** @type {number} */ n) => `${shown} ${count(n, 'message', 'messages')}`,
    day: 'Day',
    none: 'No messages in this time.',
  },

  pages: { title: 'Top pages', hint: 'Where visitors opened the chat', other: 'Other pages', none: 'No page is known yet.', show: (/** @type {string} */ path) => `Show the sessions of ${path}`, unknown: 'unknown page' },

  refusals: {
    title: 'Turned away',
    hint: 'Calls that Frontdesk refused, to protect your shop',
    none: 'Nothing was refused.',
    noneWhy: 'No limit was reached, and nothing looked like a program.',
    reasons: REFUSALS,
    /** @param {string} reason @returns {{title: string, why: string}} */
    reason: (reason) => REFUSALS[reason] ?? { title: readable(reason), why: '' },
    times: (/** @type {string} */ n) => `${n}×`,
  },

  comments: {
    title: 'What visitors said',
    hint: 'What they wrote to you with a rating, newest first. Click a time to see the visit.',
    none: 'Nobody wrote anything in this time. After a thumb, the chat asks for a few words.',
    up: 'Helpful',
    down: 'Not helpful',
    more: 'Show more',
    file: 'frontdesk-comments',
  },

  sessions: {
    title: 'Latest visitors',
    hint: 'Newest first. Click one to see what happened. What was written in the chat is not kept.',
    began: 'Began',
    page: 'Page',
    visitor: 'Visitor',
    messages: 'Messages',
    replies: 'Replies',
    first: 'First word',
    rating: 'Rating',
    signedIn: 'signed in',
    likelyBot: 'maybe a program',
    devices: { phone: 'Phone', tablet: 'Tablet', desktop: 'Computer', other: 'Other device' },
    unknown: 'unknown',
    answered: (/** @type {string} */ n) => `${n} answered`,
    stopped: (/** @type {string} */ n) => `${n} stopped`,
    failed: (/** @type {string} */ n) => `${n} failed`,
    silent: 'wrote nothing',
    waiting: 'no reply yet',
    up: (/** @type {string} */ n) => `${n} helpful`,
    down: (/** @type {string} */ n) => `${n} not helpful`,
    more: 'Show more',
    further: 'Look further back',
    none: 'No visitors in this time.',
    noneFiltered: 'No visitors match these filters.',
    file: 'frontdesk-visitors',
    open: (/** @type {string} */ when) => `What happened, ${when}`,
  },
  filters: {
    title: 'Filters',
    outcome: 'Replies',
    outcomes: { '': 'All', ended: 'Answered', cancelled: 'Stopped', failed: 'Failed' },
    codes: 'Failed because',
    identified: 'Visitor',
    identifieds: { '': 'All', true: 'Signed in', false: 'Not signed in' },
    device: 'Device',
    anyDevice: 'All',
    rating: 'Rating',
    ratings: { '': 'All', up: 'Helpful', down: 'Not helpful' },
    page: 'Page begins with',
    country: 'Country code',
    clear: 'Clear filters',
  },

  session: {
    title: 'One visit',
    close: 'Close',
    loading: 'Loading…',
    failed: 'This visit could not be loaded.',
    gone: 'This visit is not kept any more.',
    id: 'Session',
    site: 'Site',
    page: 'Page',
    device: 'Device',
    country: 'Country',
    language: 'Language',
    customer: 'Customer',
    signedIn: 'Signed in',
    anonymous: 'Not signed in',
    program: 'Program?',
    programs: { clear: 'No sign of it', doubtful: 'Some signs', likely: 'Likely' },
    lasted: 'Lasted',
    privacy: 'What was written in the chat is not here: Frontdesk does not keep it.',
    cut: 'More happened than is kept.',
    later: (/** @type {string} */ time) => `+${time}`,
    started: 'Opened the chat',
    asked: (/** @type {string} */ chars, /** @type {number} */ n) => `Sent a message of ${chars} ${count(n, 'character', 'characters')}`,
    askedPlain: 'Sent a message',
    ended: (/** @type {string} */ time) => `Answered within ${time}`,
    cancelled: 'Stopped the answer',
    first: (/** @type {string} */ time) => `first word after ${time}`,
    failure: (/** @type {string} */ title) => `No answer: ${title}`,
    pushed: 'Your workflow sent a message by itself',
    up: 'Rated an answer as helpful',
    down: 'Rated an answer as not helpful',
    other: readable,
  },

  empty: {
    title: 'No visitors yet',
    lead: 'As soon as somebody opens the chat on your pages, you see here how it goes. It needs one line on them:',
    where: 'Address of your chat',
    whereHint: 'Where visitors reach Frontdesk, its PUBLIC_URL.',
    copy: 'Copy',
    copied: 'Copied',
    byHand: 'Select the line and copy it.',
    steps: [
      ['Add the line', ' to the template of your shop, just before </body>.'],
      ['Allow your shop', ': start Frontdesk with ALLOWED_ORIGINS set to its address, such as https://shop.example.'],
      ['Open your shop and say hello.', ' This page notices within half a minute.'],
    ],
    demo: 'Only want to look around? Stop Frontdesk, and start it with made-up visitors:',
    rangeTitle: 'Nobody in this time',
    range: 'There were no visitors in the time you chose. There are some in the last 365 days.',
    showYear: 'Show the year',
  },
};

export const texts = EN;
