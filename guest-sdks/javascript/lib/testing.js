// Unit tests in Node: a plugin's own class, on a host in memory. `dataflare test` and `npm test` run them.
import { Batch } from './sdk/batch.js';
import { readConfig } from './sdk/config.js';
import { formatRecord } from './records.js';

export { host } from './twin/host.js';

/** A plugin with a configuration, as the host makes it; throws what the host would be told. */
export function make(Plugin, config = {}) {
  const plugin = new Plugin();
  plugin.config = readConfig(formatRecord(config), Plugin.options);
  plugin.checkConfig();
  plugin.initialize();
  return plugin;
}

/** A batch of records; without `columns`, which maps names to Arrow types, these are inferred. */
export const rows = (records, columns) => Batch.fromRecords(records, columns);

/** All that a source reads from a state on: its rows, and its last state. */
export function readAll(source, state = null, maxRows = 1000) {
  const found = { rows: [], state };
  for (const chunk of source.read(state, () => maxRows)) {
    found.rows.push(...(chunk.rows ?? []));
    found.state = chunk.state ?? found.state;
  }
  return found;
}

/** The rows that break a validator's rules: `{ rule, row }`. */
export function violations(validator, batch) {
  return validator.rules().flatMap(({ name, holds }) => {
    const broken = batch.withColumns({ broken: holds.call('invert') }).raw.booleanColumn('broken');
    return [...broken.keys()].filter((row) => broken[row]).map((row) => ({ rule: name, row }));
  });
}
