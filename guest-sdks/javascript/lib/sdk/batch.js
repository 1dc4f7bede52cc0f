// Batches as plugins of the SDK's classes have them. Only a component can import this: it needs the host.
import { fromJsonLines } from 'dataflare:data/batches@1.0.0';
import { filter, withColumns } from 'dataflare:data/expressions@1.0.0';

import { nodesOf } from './expressions.js';
import { toSchema } from './schema.js';
import { formatRecord, parseRecord } from '../records.js';

// The batches of the call that is under way. The garbage collector would close them too late: it does not know how many rows
// a handle keeps.
const ofCall = new Set();

/** Have the batches that a function gets or makes end with its call, without those that it keeps. */
export const closing = (call) => (...args) => {
  try {
    return call(...args);
  } finally {
    for (const batch of ofCall) batch.close();
  }
};

/** Rows of named columns, which the host holds; never changes. Its handle is released when the call ends. */
export class Batch {
  constructor(raw) {
    this.raw = raw;
    ofCall.add(this);
  }

  /** Make a batch of records; `columns` maps names to Arrow types, or is a list of fields; without it they are inferred. */
  static fromRecords(records, columns) {
    const lines = records.map((record) => `${formatRecord(record)}\n`).join('');
    return new Batch(fromJsonLines(lines, columns === undefined ? undefined : toSchema(columns)));
  }

  /** The number of rows. */
  get length() {
    return this.raw.numRows();
  }

  /** The names of the columns, in order. */
  get columns() {
    return this.raw.columnNames();
  }

  /** The columns: `name`, `typeName`, `nullable`, `metadata`. */
  get fields() {
    return this.raw.schema().fields;
  }

  /** The rows as objects; a number that a `number` does not hold exactly is a BigInt or a `NumberText`. */
  records() {
    return this.raw.toJsonLines().split('\n').slice(0, -1).map(parseRecord);
  }

  /** Add or replace columns by expressions, which the host computes: `{ ratio: col('a').call('divide', col('b')) }`. */
  withColumns(columns) {
    const { nodes, places } = nodesOf(Object.values(columns));
    return new Batch(withColumns(this.raw, nodes, Object.keys(columns).map((name, at) => ({ name, node: places[at] }))));
  }

  /** Keep the rows for which an expression holds. */
  filter(condition) {
    return new Batch(filter(this.raw, nodesOf([condition]).nodes));
  }

  /** Keep these columns, in this order. */
  select(...names) {
    return new Batch(this.raw.select(names));
  }

  /** Give a column another name. */
  rename(name, to) {
    return new Batch(this.raw.renameColumn(name, to));
  }

  /** Have the batch outlive the call, until `close`. */
  keep() {
    ofCall.delete(this);
    return this;
  }

  /** Release the handle. */
  close() {
    ofCall.delete(this);
    this.raw[Symbol.dispose]();
  }
}
