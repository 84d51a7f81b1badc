/** A conversation as a file for the visitor to keep. */
import { say } from './i18n.js';

/**
 * @param {import('./state.js').Exchange[]} exchanges @param {'text' | 'json'} form @param {{name: string, texts: import('./i18n.js').Texts}} options
 */
export function transcript(exchanges, form, { name, texts }) {
  const said = exchanges.flatMap(({ text, answer, at, rating }) => [
    ...(text === '' ? [] : [{ role: 'user', at: new Date(at).toISOString(), content: text }]),
    ...(answer === '' ? [] : [{ role: 'assistant', at: new Date(at).toISOString(), content: answer, ...(rating ? { rating } : {}) }]),
  ]);
  if (form === 'json') return `${JSON.stringify({ name, messages: said }, null, 2)}\n`;
  const time = new Intl.DateTimeFormat(texts.tag, { dateStyle: 'medium', timeStyle: 'short' });
  const turns = said.map(({ role, at, content }) => `${time.format(new Date(at))}\n${say(texts, role === 'user' ? 'you' : 'assistant')} ${content}\n`);
  return `${name}\n\n${turns.join('\n')}`;
}

/** @param {string} content @param {string} type @param {string} file */
function download(content, type, file) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = file;
  link.click();
  // By then the browser has read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @type {(...what: Parameters<typeof transcript>) => void} */
export function save(exchanges, form, options) {
  const [type, ending] = form === 'json' ? ['application/json', 'json'] : ['text/plain;charset=utf-8', 'txt'];
  download(transcript(exchanges, form, options), type, `chat-${new Date().toISOString().slice(0, 10)}.${ending}`);
}
