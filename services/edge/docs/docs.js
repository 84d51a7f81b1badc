// Shows /openapi.json as a page. Text only ever goes in as text.

/** @param {string} name @param {Record<string, string>} attributes @param {(Node|string)[]} children */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const nameOf = (ref) => ref.split('/').at(-1);

/** A schema in a few words. */
function kind(schema) {
  if (!schema) return '';
  if (schema.$ref) return nameOf(schema.$ref);
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) return several.map(kind).join(' or ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const types = [schema.type ?? 'any'].flat().map((type) => (type === 'array' ? `array of ${kind(schema.items)}` : type));
  return types.join(' or ');
}

function row(name, note, schema, text) {
  const limits = ['minLength', 'maxLength', 'pattern', 'format', 'example'].filter((key) => schema?.[key] !== undefined);
  const small = [note, ...limits.map((key) => `${key} ${schema[key]}`)].filter(Boolean).join(', ');
  return el('tr', {}, el('th', { scope: 'row' }, el('code', {}, name)),
    el('td', {}, kind(schema), ' ', el('small', {}, small), text ? el('div', {}, text) : ''));
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {})
    .map(([name, field]) => row(name, required.has(name) ? 'required' : '', field, field.description));
  return rows.length ? el('table', {}, el('tbody', {}, ...rows)) : el('p', {}, el('code', {}, kind(schema)));
}

function operation(method, path, op) {
  const section = el('section', { id: op.operationId },
    el('h3', {}, el('b', {}, method.toUpperCase()), path), el('p', {}, op.summary ?? op.description ?? ''));
  const add = (title, ...rows) => rows.length
    && section.append(el('h4', {}, title), el('table', {}, el('tbody', {}, ...rows)));
  add('Parameters', ...(op.parameters ?? []).map((p) =>
    row(p.name, [p.in, p.required ? 'required' : ''].filter(Boolean).join(', '), p.schema, p.description)));
  for (const [type, body] of Object.entries(op.requestBody?.content ?? {})) {
    add('Body', row(type, '', body.schema));
  }
  add('Responses', ...Object.entries(op.responses ?? {}).map(([status, response]) => {
    const [type, body] = Object.entries(response.content ?? {})[0] ?? ['', undefined];
    return row(status, type, body?.schema, response.description);
  }));
  return section;
}

function show(api) {
  const nav = document.querySelector('#nav');
  const main = document.querySelector('#main');
  const groups = Map.groupBy
    ? Map.groupBy(operations(api), ({ op }) => op.tags?.[0] ?? 'Other')
    : operations(api).reduce((map, entry) => {
      const tag = entry.op.tags?.[0] ?? 'Other';
      return map.set(tag, [...(map.get(tag) ?? []), entry]);
    }, new Map());
  main.replaceChildren(el('h1', {}, `${api.info.title} API`),
    el('p', {}, `Version ${api.info.version}. As data: `, el('a', { href: '/openapi.json' }, 'openapi.json'), '.'),
    el('p', {}, api.info.description ?? ''));
  for (const [tag, entries] of groups) {
    main.append(el('h2', {}, tag));
    nav.append(el('h2', {}, tag));
    for (const { method, path, op } of entries) {
      main.append(operation(method, path, op));
      nav.append(el('a', { href: `#${op.operationId}` }, `${method.toUpperCase()} ${path}`));
    }
  }
  main.append(el('h2', {}, 'Data'));
  nav.append(el('h2', {}, 'Data'));
  for (const [name, schema] of Object.entries(api.components?.schemas ?? {})) {
    main.append(el('section', { id: `data-${name}` }, el('h3', {}, name), el('p', {}, schema.description ?? ''), fields(schema)));
    nav.append(el('a', { href: `#data-${name}` }, name));
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function operations(api) {
  return Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, op]) => op.responses).map(([method, op]) => ({ method, path, op })));
}

try {
  const response = await fetch('/openapi.json');
  if (!response.ok) throw new Error(`status ${response.status}`);
  show(await response.json());
} catch (error) {
  document.querySelector('#main').replaceChildren(el('p', {}, `The description could not be read: ${error.message}`));
}
