// A record processor that trims and collapses white space in texts and lower-cases the names of fields.
import { isText } from '../../lib/columns.js';
import { fail, guarded, healthy, parseConfig } from '../../lib/plugin.js';
import { lowercaseNames, normalizeColumn, normalizeRecord } from './normalize.js';

const CONFIG_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  properties: {
    lowercase_keys: { description: 'Whether to lower-case the names of fields.', type: 'boolean', default: true },
  },
};

let lowercaseKeys = true;

export const lifecycle = guarded({
  getMetadata: () => ({
    name: 'normalize-records',
    version: '1.0.0',
    kind: 'processor',
    description: 'Trims and collapses white space in texts and lower-cases the names of fields',
    configSchema: JSON.stringify(CONFIG_SCHEMA),
  }),
  configure(text) {
    const { lowercase_keys: value = true } = parseConfig(text, ['lowercase_keys']);
    if (typeof value !== 'boolean') throw fail('invalid-config', 'lowercase_keys: give true or false');
    lowercaseKeys = value;
  },
  initialize() {},
  shutdown() {},
  healthCheck: healthy,
});

export const processor = guarded({
  process: (record) => asInputError(() => normalizeRecord(record, lowercaseKeys)),

  processBatch(input) {
    let batch = input;
    const replace = (next) => {
      // Handles are freed when the collector runs, which knows nothing of the batches behind them.
      batch[Symbol.dispose]();
      batch = next;
    };
    try {
      const { fields } = batch.schema();
      const names = fields.map((field) => field.name);
      const newNames = lowercaseKeys ? asInputError(() => lowercaseNames(names)) : names;
      for (const { name, typeName } of fields.filter(({ typeName }) => isText(typeName))) {
        const column = batch.textColumn(name);
        const normalized = normalizeColumn(column);
        if (normalized === column) continue;
        replace(batch.withTextColumn(name, normalized, batch.validity(name)));
        if (typeName !== 'string') replace(batch.castColumn(name, typeName));
      }
      names.forEach((name, position) => {
        if (name !== newNames[position]) replace(batch.renameColumn(name, newNames[position]));
      });
      return batch;
    } catch (error) {
      batch[Symbol.dispose]();
      throw error;
    }
  },
});

function asInputError(call) {
  try {
    return call();
  } catch (error) {
    throw fail('invalid-input', error.message);
  }
}
