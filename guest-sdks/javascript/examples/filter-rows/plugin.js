// A transformer that keeps the rows whose value in one column compares with a constant as asked.
import { isReal, isText, splitTexts } from '../../lib/columns.js';
import { fail, guarded, healthy, parseConfig } from '../../lib/plugin.js';
import { COMPARISONS, maskOf } from './mask.js';

const CONFIG_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  required: ['column', 'op', 'value'],
  properties: {
    column: { description: 'The column to compare.', type: 'string', minLength: 1 },
    op: { enum: Object.keys(COMPARISONS) },
    value: { description: "What to compare with, in the column's own unit.", type: ['string', 'number'] },
  },
};

let config = null;

export const lifecycle = guarded({
  getMetadata: () => ({
    name: 'filter-rows',
    version: '1.0.0',
    kind: 'transformer',
    description: 'Keeps the rows whose value in one column compares with a constant as asked',
    configSchema: JSON.stringify(CONFIG_SCHEMA),
  }),
  configure(text) {
    const { column, op, value } = parseConfig(text, ['column', 'op', 'value']);
    if (typeof column !== 'string' || column === '') throw fail('invalid-config', "column: give a column's name");
    if (!Object.hasOwn(COMPARISONS, op)) {
      throw fail('invalid-config', `op: give one of ${Object.keys(COMPARISONS).join(', ')}`);
    }
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw fail('invalid-config', 'value: give a text or a number');
    }
    config = { column, compare: COMPARISONS[op], value };
  },
  initialize() {},
  shutdown() {},
  healthCheck: healthy,
});

export const transformer = guarded({
  outputSchema(schema) {
    viewFor(schema);
    return schema;
  },

  transform(batch) {
    try {
      const values = viewFor(batch.schema())(batch);
      return batch.filter(maskOf(values, batch.validity(config.column), config.compare, config.value));
    } finally {
      // The collector, which would do it some time, knows nothing of the rows behind a handle.
      batch[Symbol.dispose]();
    }
  },
});

/** What fetches the column's values from a batch of this schema. */
function viewFor({ fields }) {
  const { column, value } = config;
  const field = fields.find(({ name }) => name === column);
  if (field === undefined) throw fail('invalid-input', `there is no column ${JSON.stringify(column)}`);
  if (isText(field.typeName) !== (typeof value === 'string')) {
    throw fail('invalid-input', `column ${JSON.stringify(column)} is ${field.typeName}, which does not compare with ${JSON.stringify(value)}`);
  }
  if (isText(field.typeName)) return (batch) => splitTexts(batch.textColumn(column));
  return isReal(field.typeName) ? (batch) => batch.float64Column(column) : (batch) => batch.int64Column(column);
}
