// Keeps rows by key in the state that the host has for the plugin.
import { set } from 'dataflare:host/state@1.0.0';

import { Destination, formatRecord } from './dataflare/index.js';

export default class SamplePlugin extends Destination {
  // The configuration: its JSON Schema, and the checks of what the operator writes, come from this.
  static options = { key: { type: 'string', default: 'id', description: 'The column whose values rows are kept by.' } };
  rows = new Map();

  /** Write rows; those without a key are rejected. */
  write(target, batch) {
    const rejected = [];
    batch.records().forEach((record, row) => {
      const key = record[this.config.key] ?? null;
      if (key === null) rejected.push({ row, column: this.config.key, reason: `${this.config.key} is null` });
      else this.rows.set(formatRecord([target.namespace, target.name, key]), formatRecord(record));
    });
    return rejected;
  }

  /** Make them visible. After an error this may come again, and must do no harm. */
  finish() {
    for (const [key, text] of this.rows) set(key, new TextEncoder().encode(text));
    this.rows.clear();
  }

  abort() {
    this.rows.clear();
  }
}
