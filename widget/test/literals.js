/**
 * Finds the strings of a script, and which of them a visitor would read. Knows just enough of the language for that: comments,
 * strings, templates, regular expressions and brackets.
 *
 * @typedef {{open: string, name: string, argument: number, first?: string, key?: string}} Around a bracket, what it is called by, and where in it we are
 * @typedef {{text: string, line: number, around: Around[], before: string}} Literal before: the code of the same statement up to it
 */

/** A script without its comments, and without lines and spaces that say nothing. @param {string} source */
export function codeOf(source) {
  /** @type {string[]} */
  const comments = [];
  literalsOf(source, comments);
  let code = '';
  let at = 0;
  for (const comment of comments) {
    const found = source.indexOf(comment, at);
    code += source.slice(at, found);
    at = found + comment.length;
  }
  return (code + source.slice(at)).replace(/[ \t]+$/gm, '').replace(/\n+/g, '\n');
}

/** @param {string} source @param {string[]} [comments] filled with those that are in it @returns {Literal[]} */
export function literalsOf(source, comments = []) {
  /** @type {Literal[]} */
  const found = [];
  let at = 0;
  let line = 1;

  read([], '');
  return found;

  /** Reads to the end, or to the bracket that closes a template's hole. @param {Around[]} outer @param {string} end */
  function read(outer, end) {
    const around = [...outer];
    let before = '';
    while (at < source.length) {
      const rest = source.slice(at);
      const char = source[at];
      const comment = /^(?:\/\/[^\n]*|\/\*[\s\S]*?\*\/)/.exec(rest)?.[0];
      const regex = char === '/' && /(?:^|[(,=:[!&|?{};+]|\b(?:return|typeof|case|of|in))\s*$/.test(before) && /^\/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n])+\/\w*/.exec(rest)?.[0];
      if (comment) comments.push(pass(comment));
      else if (regex) before += pass(regex).replace(/[^]/g, '~');
      else if (char === "'" || char === '"') {
        const quoted = /^(?:'(?:\\[^]|[^'\\])*'|"(?:\\[^]|[^"\\])*")/.exec(rest)?.[0] ?? char;
        before = note(quoted.slice(1, -1), quoted, around, before);
        pass(quoted);
      } else if (char === '`') before = template(around, before);
      else if (char === end && around.length === outer.length) return;
      else {
        if ('([{'.includes(char)) around.push({ open: char, name: /([\w$]+)(?:\?\.)?\s*$/.exec(before)?.[1] ?? '', argument: 0 });
        else if (')]}'.includes(char)) around.pop();
        else if (char === ',' && around.length > 0) {
          around[around.length - 1] = { ...around[around.length - 1], argument: around[around.length - 1].argument + 1, key: undefined };
        } else if (char === ':' && around.at(-1)?.open === '{') {
          const key = /(?:[{,]|^)\s*['"]?([\w-]+)['"]?\s*$/.exec(before)?.[1];
          if (key) around[around.length - 1] = { ...around[around.length - 1], key };
        }
        before = char === ';' ? '' : before + char;
        pass(char);
      }
    }
  }

  /** @param {Around[]} around @param {string} before */
  function template(around, before) {
    const start = line;
    let text = '';
    pass('`');
    while (at < source.length && source[at] !== '`') {
      if (source.startsWith('${', at)) {
        pass('${');
        read([...around, { open: '`', name: '', argument: 0 }], '}');
        pass('}');
        text += '{}';
      } else text += pass(source[at] === '\\' ? source.slice(at, at + 2) : source[at]);
    }
    pass('`');
    return note(text, `\`${text}\``, around, before, start);
  }

  /** @param {string} text @param {string} code @param {Around[]} around @param {string} before @param {number} [where] */
  function note(text, code, around, before, where = line) {
    const inner = around.at(-1);
    found.push({ text, line: where, around: [...around], before });
    if (inner?.argument === 0) around[around.length - 1] = { ...inner, first: text };
    return before + code;
  }

  /** @param {string} what */
  function pass(what) {
    at += what.length;
    line += what.split('\n').length - 1;
    return what;
  }
}

const SHOWN_PROPERTIES = ['textContent', 'innerText', 'title', 'placeholder', 'alt', 'ariaLabel', 'ariaDescription', 'ariaRoleDescription', 'ariaValueText', 'label'];
const SHOWN_ATTRIBUTES = ['aria-label', 'aria-description', 'aria-roledescription', 'aria-valuetext', 'title', 'placeholder', 'alt', 'label'];
/** What shows its arguments, from which one on. */
const SHOWING_CALLS = { append: 0, prepend: 0, replaceChildren: 0, before: 0, after: 0, createTextNode: 0, alert: 0, confirm: 0, element: 2, name: 1, set: 1 };
/** For developers, not for visitors. */
const TOLD_TO_DEVELOPERS = /^(?:Error|TypeError|RangeError|Problem|Unreachable|DOMException|warn|error|info|log|debug)$/;
/** Names that only look like words: of styles, events, and selectors. */
const NAMED = /^(?:class|type|why|d|mode|key|kind)$/;
const NAMING_CALLS = /^(?:matchMedia|supports|querySelector|querySelectorAll|closest|matches|replaceSync|request|createPolicy|locator|add|toggle|contains)$/;

/** Where a literal is shown to visitors, or would be read by them wherever it ends up; else undefined. @param {Literal} literal @returns {string | undefined} */
export function shownAs({ text, around, before }) {
  if (!/\p{L}/u.test(text.replaceAll('{}', ''))) return undefined;
  if (/(?:[!=]==?|\bcase|\btypeof [\w.]+ [!=]=+)\s*$/.test(before)) return undefined;
  if (around.some(({ open, name }) => open === '(' && TOLD_TO_DEVELOPERS.test(name))) return undefined;
  const inner = around.at(-1);
  const call = inner?.open === '(' ? inner : undefined;
  if (call?.name === 'setAttribute' && call.argument === 1 && SHOWN_ATTRIBUTES.includes(call.first ?? '')) return `attribute ${call.first}`;
  const from = Object.hasOwn(SHOWING_CALLS, call?.name ?? '') ? SHOWING_CALLS[/** @type {keyof typeof SHOWING_CALLS} */ (call?.name)] : Infinity;
  // `set('consent', 'denied')` is no `set(node, text)`.
  if (call && call.argument >= from && !(from > 0 && call.first !== undefined && call.name !== 'element')) return `${call.name}()`;
  if (inner?.open === '{' && SHOWN_ATTRIBUTES.includes(inner.key ?? '')) return `attribute ${inner.key}`;
  const assigned = new RegExp(String.raw`\.(${SHOWN_PROPERTIES.join('|')})\s*(?:\?\?|\|\||\+)?=(?![=>])`).exec(statementOf(before));
  if (assigned && (!call || call.name === '')) return `.${assigned[1]}`;
  const named = (inner?.open === '{' && NAMED.test(inner.key ?? '')) || NAMING_CALLS.test(call?.name ?? '') || /\.className\s*=[^=]*$/.test(statementOf(before));
  // Two words, or one that begins large and goes on small.
  if (!named && /\p{L}{2,}[,.…:!?]? [\p{L}{]|^\p{Lu}\p{Ll}+[.…!?]?$|[\p{Ll}}][…!?]$/u.test(text)) return 'prose';
  return undefined;
}

/** @param {string} before */
function statementOf(before) {
  return before.slice(Math.max(before.lastIndexOf('\n'), before.lastIndexOf('{'), before.lastIndexOf('}')) + 1);
}

/** Words that stand in a page. @param {string} html @returns {string[]} */
export function wordsOf(html) {
  const plain = html.replace(/<!--[^]*?-->|<!doctype[^>]*>|<(script|style|noscript|title)\b[^>]*>[^]*?<\/\1>/gi, '');
  const attributes = [...plain.matchAll(/\s(?:aria-label|aria-description|title|placeholder|alt|value)="([^"]*)"/g)].map(([, value]) => value);
  const nodes = plain.replace(/<[^>]*>/g, '\n').split('\n');
  return [...attributes, ...nodes].map((words) => words.trim()).filter((words) => /\p{L}/u.test(words));
}
