// Trims a text field, and drops records in which it is empty.
import { Processor, invalidInput } from './dataflare/index.js';
import { trimmed } from './trimmed.js';

export default class SamplePlugin extends Processor {
  // The configuration: its JSON Schema, and the checks of what the operator writes, come from this.
  static options = { field: { type: 'string', default: 'name', description: 'The field to trim.' } };

  /** Return the record, changed; `null` drops it. */
  process(record) {
    const { field } = this.config;
    const value = record[field] ?? null;
    if (value !== null && typeof value !== 'string') throw invalidInput(`${field} is not a text`);
    const text = trimmed(value);
    return text === '' ? null : { ...record, [field]: text };
  }
}
