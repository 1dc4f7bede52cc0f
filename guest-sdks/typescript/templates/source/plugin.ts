// Makes rows of consecutive numbers, and continues where a read ended.
import { type ConfigOf, type Options, Source } from './dataflare/index.js';

// The configuration: its type, its JSON Schema, and the checks of what the operator writes, come from this.
const options = {
  rows: { type: 'integer', default: 10, minimum: 0, description: 'How many rows to make.' },
} as const satisfies Options;

export default class SamplePlugin extends Source<ConfigOf<typeof options>, number> {
  static override options = options;
  static override dataset = 'numbers';
  static override key = ['id'];

  override schema(): Record<string, string> {
    return { id: 'int64', square: 'int64' };
  }

  /** Yield records, each time with the state from which a later read continues. */
  override *read(state: number | null, maxRows: () => number): Generator<{ rows: object[]; state: number }> {
    let begin = state ?? 0;
    while (begin < this.config.rows) {
      const end = Math.min(begin + maxRows(), this.config.rows);
      const rows = Array.from({ length: end - begin }, (_, at) => ({ id: begin + at, square: (begin + at) ** 2 }));
      yield { rows, state: end };
      begin = end;
    }
  }
}
