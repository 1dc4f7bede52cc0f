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
      const values = batch.int64Column(column);
      double(new Uint32Array(values.buffer, values.byteOffset, values.length * 2));
      return batch.withInt64Column(column, values, undefined);
    } finally {
      batch[Symbol.dispose]();
    }
  },
};

/** Double 64-bit integers, given as their halves, the lower one first: numbers are many times faster than BigInts. */
function double(halves) {
  const length = halves.length;
  for (let low = 0; low < length; low += 2) {
    const before = halves[low];
    halves[low + 1] = (halves[low + 1] << 1) | (before >>> 31);
    halves[low] = before << 1;
  }
}
