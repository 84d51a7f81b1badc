/** Enough of JSON Schema to try `widget-config.schema.json`: the paths of all mistakes. A keyword it doesn't know is an error. */

const KINDS = {
  string: (/** @type {unknown} */ it) => typeof it === 'string',
  boolean: (/** @type {unknown} */ it) => typeof it === 'boolean',
  integer: (/** @type {unknown} */ it) => Number.isInteger(it),
  array: (/** @type {unknown} */ it) => Array.isArray(it),
  object: (/** @type {unknown} */ it) => typeof it === 'object' && it !== null && !Array.isArray(it),
};
const KNOWN = ['$schema', 'title', 'description', 'patternErrorMessage', 'type', 'enum', 'required', 'minLength', 'maxLength', 'minimum', 'maximum', 'maxItems', 'maxProperties', 'pattern', 'properties', 'additionalProperties', 'items'];

/** @param {any} schema @param {any} value @param {string} [path] @returns {string[]} */
export function mistakes(schema, value, path = '') {
  for (const keyword of Object.keys(schema)) if (!KNOWN.includes(keyword)) throw new Error(`${path}: ${keyword}`);
  const kinds = [schema.type ?? []].flat();
  if (schema.enum && !schema.enum.includes(value)) return [path];
  if (kinds.length > 0 && !kinds.some((kind) => KINDS[/** @type {'string'} */ (kind)](value))) return [path];
  if (typeof value === 'string') {
    const length = [...value].length;
    const fits = length >= (schema.minLength ?? 0) && length <= (schema.maxLength ?? Infinity);
    return fits && (!schema.pattern || new RegExp(schema.pattern, 'u').test(value)) ? [] : [path];
  }
  if (typeof value === 'number') return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity) ? [] : [path];
  if (Array.isArray(value)) return value.length > (schema.maxItems ?? Infinity) ? [path] : value.flatMap((it, at) => mistakes(schema.items, it, `${path}[${at}]`));
  if (!KINDS.object(value)) return [];
  const below = (/** @type {string} */ key) => (path === '' ? key : `${path}.${key}`);
  if (Object.keys(value).length > (schema.maxProperties ?? Infinity)) return [path];
  const missing = (schema.required ?? []).filter((/** @type {string} */ key) => !Object.hasOwn(value, key)).map(below);
  const others = Object.entries(value).flatMap(([key, it]) => {
    const its = Object.hasOwn(schema.properties ?? {}, key) ? schema.properties[key] : (schema.additionalProperties ?? true);
    if (typeof its === 'boolean') return its ? [] : [below(key)];
    return mistakes(its, it, below(key));
  });
  return [...missing, ...others];
}
