// Trims a text field, and drops records in which it is empty.
import { type ConfigOf, type Options, Processor, type Row, invalidInput } from './dataflare/index.js';
import { trimmed } from './trimmed.js';

// The configuration: its type, its JSON Schema, and the checks of what the operator writes, come from this.
const options = {
  field: { type: 'string', default: 'name', description: 'The field to trim.' },
} as const satisfies Options;

export default class SamplePlugin extends Processor<ConfigOf<typeof options>> {
  static override options = options;

  /** Return the record, changed; `null` drops it. */
  override process(record: Row): Row | null {
    const { field } = this.config;
    const value = record[field] ?? null;
    if (value !== null && typeof value !== 'string') throw invalidInput(`${field} is not a text`);
    const text = trimmed(value);
    return text === '' ? null : { ...record, [field]: text };
  }
}
