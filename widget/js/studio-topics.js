/** The list of topics in the theme studio: a row for each, to be changed, taken out and added to. */
import { mistakeIn } from './studio-fields.js';

/** @typedef {{icon?: string, label: string, message?: string}} Topic */

/**
 * @param {object} options
 * @param {(tag: string, more?: Record<string, any>, ...children: (Node | string)[]) => any} options.make
 * @param {any} options.schema
 * @param {() => Topic[]} options.get
 * @param {(topics: Topic[]) => void} options.set
 */
export function createTopics({ make, schema, get, set }) {
  const { maxItems, items } = schema.properties.topics;
  const rows = make('div', { className: 'rows' });
  const add = make('button', { type: 'button' }, 'Add a topic');
  const root = make('div', {}, rows, add);

  add.addEventListener('click', () => {
    set([...get(), { label: '' }]);
    refresh();
    rows.lastElementChild.querySelector('input').focus();
  });

  /** @param {Topic} topic @param {number} at */
  function row(topic, at) {
    const change = (/** @type {Partial<Topic>} */ more) => {
      const changed = Object.fromEntries(Object.entries({ ...get()[at], ...more }).filter(([key, value]) => key === 'label' || value));
      set(get().map((it, index) => (index === at ? /** @type {Topic} */ (changed) : it)));
    };
    const icon = make('select', { ariaLabel: `Picture of topic ${at + 1}` }, make('option', { value: '' }, 'chat'), ...items.properties.icon.enum.filter((/** @type {string} */ it) => it !== 'chat').map((/** @type {string} */ it) => make('option', { value: it }, it)));
    icon.value = topic.icon === 'chat' ? '' : (topic.icon ?? '');
    icon.addEventListener('change', () => change({ icon: icon.value }));
    const texts = /** @type {const} */ ([['label', 'Button'], ['message', 'Message, if it is another']]).map(([key, name]) => {
      const input = make('input', { type: 'text', value: topic[key] ?? '', placeholder: name, ariaLabel: `${name}: topic ${at + 1}`, maxLength: items.properties[key].maxLength });
      input.addEventListener('input', () => mistakeIn(items.properties[key], input.value.trim()) === '' && change({ [key]: input.value.trim() }));
      return input;
    });
    const gone = make('button', { type: 'button', ariaLabel: `Take out topic ${at + 1}` }, '✕');
    gone.addEventListener('click', () => {
      set(get().filter((_, index) => index !== at));
      refresh();
      add.focus();
    });
    return make('div', { className: 'row' }, icon, ...texts, gone);
  }

  function refresh() {
    rows.replaceChildren(...get().map(row));
    add.disabled = get().length >= maxItems;
  }

  return { root, refresh };
}
