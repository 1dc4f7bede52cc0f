// A transformer that doubles one column, by its values or by an expression, or hands batches through.
import { withColumns } from 'dataflare:data/expressions@1.0.0';

let column = null;
let by = 'values';

export const lifecycle = {
  getMetadata: () => ({
    name: 'columns-javascript',
    version: '1.0.0',
    kind: 'transformer',
    description: 'Doubles one column, or hands batches through',
    configSchema: '',
  }),
  configure(text) {
    ({ column = null, by = 'values' } = JSON.parse(text));
  },
  initialize() {},
  shutdown() {},
  healthCheck: () => ({ status: 'healthy', message: '' }),
};

export const transformer = {
  outputSchema: (schema) => schema,

  transform(batch) {
    if (column === null) return batch;
    try {
      if (by === 'expressions') {
        const nodes = [
          { tag: 'column', val: column },
          { tag: 'literal', val: { tag: 'float64', val: 2 } },
          { tag: 'call', val: { name: 'multiply', arguments: [0, 1], options: [] } },
        ];
        return withColumns(batch, nodes, [{ name: column, node: 2 }]);
      }
      const values = batch.float64Column(column);
      const rows = values.length;
      for (let row = 0; row < rows; row += 1) values[row] *= 2;
      return batch.withFloat64Column(column, values, undefined);
    } finally {
      batch[Symbol.dispose]();
    }
  },
};
