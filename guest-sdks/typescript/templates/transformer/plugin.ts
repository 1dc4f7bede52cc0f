// Adds a column that is a ratio of two others.
import { type Batch, type ConfigOf, type Options, Transformer, col } from './dataflare/index.js';

// The configuration: its type, its JSON Schema, and the checks of what the operator writes, come from this.
const options = {
  of: { type: 'string', description: 'The column above the line.' },
  to: { type: 'string', description: 'The column below it.' },
  column: { type: 'string', default: 'ratio', description: 'The name of the new column.' },
} as const satisfies Options;

export default class SamplePlugin extends Transformer<ConfigOf<typeof options>> {
  static override options = options;

  /** Let the host compute: no value comes into the plugin. */
  override transform(batch: Batch): Batch {
    const { of, to, column } = this.config;
    return batch.withColumns({ [column]: col(of).call('cast', { type: 'double' }).call('divide', col(to)) });
  }
}
