// Keeps rows by key in the state that the host has for the plugin.
import { set } from 'dataflare:host/state@1.0.0';

import {
  type Batch,
  type ConfigOf,
  Destination,
  type Options,
  type RejectedRow,
  type Target,
  formatRecord,
} from './dataflare/index.js';

// The configuration: its type, its JSON Schema, and the checks of what the operator writes, come from this.
const options = {
  key: { type: 'string', default: 'id', description: 'The column whose values rows are kept by.' },
} as const satisfies Options;

export default class SamplePlugin extends Destination<ConfigOf<typeof options>> {
  static override options = options;
  private readonly rows = new Map<string, string>();

  /** Write rows; those without a key are rejected. */
  override write(target: Target, batch: Batch): RejectedRow[] {
    const { key: column } = this.config;
    const rejected: RejectedRow[] = [];
    batch.records().forEach((record, row) => {
      const key = record[column] ?? null;
      if (key === null) rejected.push({ row, column, reason: `${column} is null` });
      else this.rows.set(formatRecord([target.namespace, target.name, key]), formatRecord(record));
    });
    return rejected;
  }

  /** Make them visible. After an error this may come again, and must do no harm. */
  override finish(): void {
    for (const [key, text] of this.rows) set(key, new TextEncoder().encode(text));
    this.rows.clear();
  }

  override abort(): void {
    this.rows.clear();
  }
}
