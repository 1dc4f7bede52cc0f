// Checks that a column is within bounds.
import { Validator, col, invalidConfig } from './dataflare/index.js';

export default class SamplePlugin extends Validator {
  // The configuration: its JSON Schema, and the checks of what the operator writes, come from this.
  static options = {
    column: { type: 'string', description: 'The column to check.' },
    least: { type: 'number', default: 0, description: 'The least value.' },
    greatest: { type: 'number', default: 100, description: 'The greatest value.' },
  };

  checkConfig() {
    if (this.config.least > this.config.greatest) throw invalidConfig('least: it is above greatest');
  }

  /** The rules: expressions, which the host computes. Rows where one is null are good. */
  rules() {
    const { column, least, greatest } = this.config;
    const holds = col(column).call('between', least, greatest);
    return [{ name: 'within', holds, column, description: `${column} is within ${least} and ${greatest}` }];
  }
}
