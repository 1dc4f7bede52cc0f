// Makes rows of consecutive numbers, and continues where a read ended.
import { Source } from './dataflare/index.js';

export default class SamplePlugin extends Source {
  // The configuration: its JSON Schema, and the checks of what the operator writes, come from this.
  static options = { rows: { type: 'integer', default: 10, minimum: 0, description: 'How many rows to make.' } };
  static dataset = 'numbers';
  static key = ['id'];

  schema() {
    return { id: 'int64', square: 'int64' };
  }

  /** Yield records, each time with the state from which a later read continues. */
  *read(state, maxRows) {
    let begin = state ?? 0;
    while (begin < this.config.rows) {
      const end = Math.min(begin + maxRows(), this.config.rows);
      const rows = Array.from({ length: end - begin }, (_, at) => ({ id: begin + at, square: (begin + at) ** 2 }));
      yield { rows, state: end };
      begin = end;
    }
  }
}
