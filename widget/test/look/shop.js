/** A shop's page with the launcher, as its query wants it. */
const query = new URLSearchParams(location.search);
const light = query.get('theme');
document.documentElement.style = `color-scheme:${light};font:16px sans-serif`;
document.documentElement.dir = query.get('locale') === 'ar' ? 'rtl' : 'ltr';
const tag = document.createElement('script');
const greeting = query.get('state') === 'greeting' ? { greeting: 'Looking for the right lamp? I can help you choose in a minute.', greetingDelay: '0' } : {};
Object.assign(tag.dataset, { sameOrigin: '', theme: light, ...greeting });
tag.src = 'embed.js';
document.body.append(tag);
tag.onload = () => query.get('state') === 'unread' && globalThis.Frontdesk('unread', { n: 2, text: '2 new messages' });
