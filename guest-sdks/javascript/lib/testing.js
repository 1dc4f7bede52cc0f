// Unit tests in Node: a plugin's own class, on a host in memory. `dataflare test` and `npm test` run them.
import { Batch } from './sdk/batch.js';
import { readConfig } from './sdk/config.js';
import { readingOf, selected } from './sdk/selections.js';
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

/** All that a source reads from a state on, of a log of changes all there is for now: its rows, and its last state. */
export function readAll(source, state = null, maxRows = 1000, dataset = source.datasets()[0].name) {
  const found = { rows: [], state };
  if (!source.constructor.modes.includes('full')) return readLog(source, found, maxRows, dataset);
  for (const chunk of source.read(state, () => maxRows, dataset)) {
    found.rows.push(...(chunk.rows ?? []));
    found.state = chunk.state ?? found.state;
  }
  return found;
}

function readLog(source, found, maxRows, name) {
  const selections = selected(source, [{ dataset: { namespace: '', name }, mode: { tag: 'changes' }, columns: [] }]);
  const reading = readingOf(source, selections, undefined, (rows) => rows);
  reading.position = found.state;
  for (let next = reading.next(maxRows); next.tag !== 'idle'; next = reading.next(maxRows)) found.rows.push(...(next.val.rows ?? []));
  return { ...found, state: reading.position };
}

/** The rows that break a validator's rules: `{ rule, row }`. */
export function violations(validator, batch) {
  return validator.rules().flatMap(({ name, holds }) => {
    const broken = batch.withColumns({ broken: holds.call('invert') }).raw.booleanColumn('broken');
    return [...broken.keys()].filter((row) => broken[row]).map((row) => ({ rule: name, row }));
  });
}
