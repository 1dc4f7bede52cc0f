// A transformer that doubles one column, or hands batches through.

let column = null;

export const lifecycle = {
  getMetadata: () => ({
    name: 'columns-javascript',
    version: '1.0.0',
    kind: 'transformer',
    description: 'Doubles one column, or hands batches through',
    configSchema: '',
  }),
  configure(text) {
    column = JSON.parse(text).column ?? null;
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
      const values = batch.float64Column(column);
      const rows = values.length;
      for (let row = 0; row < rows; row += 1) values[row] *= 2;
      return batch.withFloat64Column(column, values, undefined);
    } finally {
      batch[Symbol.dispose]();
    }
  },
};
