// A transformer that keeps the rows whose value in one column compares with a constant as asked.
import { isReal, isText, splitTexts } from '../../lib/columns.js';
import { fail, guarded, healthy, parseConfig } from '../../lib/plugin.js';
import { NumberText, parseRecord } from '../../lib/records.js';
import { isWide, toScale } from './decimals.js';
import { COMPARISONS, maskOf, textComparison } from './mask.js';

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

const DOUBLE_DIGITS = 15;

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
    const { column, op, value: given } = parseConfig(text, ['column', 'op', 'value'], parseRecord);
    if (typeof column !== 'string' || column === '') throw fail('invalid-config', "column: give a column's name");
    if (!Object.hasOwn(COMPARISONS, op)) {
      throw fail('invalid-config', `op: give one of ${Object.keys(COMPARISONS).join(', ')}`);
    }
    if (given instanceof NumberText && significant(given.text) > DOUBLE_DIGITS) {
      throw fail('invalid-config', `value: ${given} has more digits than a double keeps`);
    }
    const value = given instanceof NumberText ? Number(given) : given;
    if (!['string', 'number', 'bigint'].includes(typeof value)) {
      throw fail('invalid-config', 'value: give a text or a number');
    }
    config = { column, value, compare: typeof value === 'string' ? textComparison(op, value) : COMPARISONS[op] };
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
      const { valuesOf, constant } = viewFor(batch.schema());
      return batch.filter(maskOf(valuesOf(batch), batch.validity(config.column), config.compare, constant));
    } finally {
      // The garbage collector would do it too late: it does not know how many rows a handle keeps.
      batch[Symbol.dispose]();
    }
  },
});

/** What fetches the column's values from a batch of this schema, and what they compare with. */
function viewFor({ fields }) {
  const { column, value } = config;
  const field = fields.find(({ name }) => name === column);
  if (field === undefined) throw fail('invalid-input', `there is no column ${JSON.stringify(column)}`);
  const { typeName } = field;
  if (isText(typeName) !== (typeof value === 'string')) {
    const shown = typeof value === 'string' ? JSON.stringify(value) : value;
    throw fail('invalid-input', `column ${JSON.stringify(column)} is ${typeName}, which does not compare with ${shown}`);
  }
  if (isText(typeName)) return { valuesOf: (batch) => splitTexts(batch.textColumn(column)), constant: value };
  if (isWide(typeName)) return wideDecimals(typeName);
  return { valuesOf: (batch) => (isReal(typeName) ? batch.float64Column(column) : batch.int64Column(column)), constant: value };
}

/** Decimals that a double would round, as BigInts: whole numbers of their last digit, or of that of what they compare with. */
function wideDecimals(typeName) {
  const scale = toScale(typeName, String(config.value));
  const valuesOf = (batch) => {
    const texts = batch.castColumn(config.column, 'string');
    try {
      return splitTexts(texts.textColumn(config.column)).map((text) => (text === '' ? 0n : scale(text)));
    } finally {
      texts[Symbol.dispose]();
    }
  };
  return { valuesOf, constant: scale(String(config.value)) };
}

/** How many digits of a number count. */
const significant = (text) => text.replace(/[eE].*/, '').replace(/\D/g, '').replace(/^0+|0+$/g, '').length;
