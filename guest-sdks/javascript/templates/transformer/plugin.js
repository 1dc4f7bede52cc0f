// Adds a column that is a ratio of two others.
import { Transformer, col } from './dataflare/index.js';

export default class SamplePlugin extends Transformer {
  // The configuration: its JSON Schema, and the checks of what the operator writes, come from this.
  static options = {
    of: { type: 'string', description: 'The column above the line.' },
    to: { type: 'string', description: 'The column below it.' },
    column: { type: 'string', default: 'ratio', description: 'The name of the new column.' },
  };

  /** Let the host compute: no value comes into the plugin. */
  transform(batch) {
    const { of, to, column } = this.config;
    return batch.withColumns({ [column]: col(of).call('cast', { type: 'double' }).call('divide', col(to)) });
  }
}
