// A source that reads folders of partitioned files, file by file.
import * as files from 'dataflare:host/files@1.0.0';

import { fail, guarded, healthy, parseConfig } from '../../lib/plugin.js';
import { after, divide, filesOf, left } from './files.js';
import { toBatch } from './rows.js';

const CONFIG_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  required: ['path', 'partition', 'key', 'columns'],
  properties: {
    path: { description: 'The folder of the datasets; `name/rest` with a granted directory.', type: 'string', minLength: 1 },
    partition: { description: 'The column that folders are named by.', type: 'string', minLength: 1 },
    key: { description: 'The column that identifies a row.', type: 'string', minLength: 1 },
    columns: { description: 'Arrow types of the columns by name.', type: 'object', additionalProperties: { type: 'string' } },
  },
};
const READ_BYTES = 1 << 20;
// The folder of rows without a value, as Hive names it.
const NO_VALUE = '__HIVE_DEFAULT_PARTITION__';

let config = null;
let reading = null;

export const lifecycle = guarded({
  getMetadata: () => ({
    name: 'folder-source',
    version: '1.0.0',
    kind: 'source',
    description: 'Reads folders of partitioned files',
    configSchema: JSON.stringify(CONFIG_SCHEMA),
  }),
  configure(text) {
    const { path, partition, key, columns } = parseConfig(text, Object.keys(CONFIG_SCHEMA.properties));
    if (![path, partition, key].every((each) => typeof each === 'string' && each !== '')) {
      throw fail('invalid-config', 'path, partition, key: give texts');
    }
    if (columns === null || typeof columns !== 'object' || !Object.hasOwn(columns, key) || Object.hasOwn(columns, partition)) {
      throw fail('invalid-config', 'columns: give types by name, of the key too, but not of the partition');
    }
    config = { path: path.replace(/\/+$/, ''), partition, key, columns };
  },
  initialize() {},
  shutdown() {},
  healthCheck: healthy,
});

export const source = guarded({
  discover() {
    const folders = list(config.path).filter(({ kind }) => kind === 'directory');
    return folders.map(({ name }) => ({
      name: { namespace: '', name },
      description: `${filesOf(`${config.path}/${name}`, config.partition, list).length} files`,
      schema: schemaOf([]),
      key: [config.key],
      cursors: [config.partition],
      modes: { full: true, incremental: true, splittable: true },
    }));
  },

  split(selections, state, atMost) {
    const { tasks } = parse(selections, undefined, state);
    const parts = divide(tasks.flatMap((files, selection) => files.map((file) => ({ ...file, selection }))), atMost);
    const done = tasks.map((files, at) => files.reduce(after, restored(state)?.done[at] ?? null));
    const incremental = selections.every(({ mode }) => mode.tag === 'incremental');
    return {
      parts: parts.map((part) => encode({ reads: signature(selections), files: part })),
      rest: incremental ? encode({ reads: signature(selections), part: null, done, row: 0 }) : undefined,
    };
  },

  estimate: () => undefined,

  open(selections, part, state) {
    const { tasks, done } = parse(selections, part, state);
    reading = {
      selections,
      schemas: selections.map(({ columns }) => schemaOf(columns)),
      part: part === undefined ? null : decode(part),
      queue: tasks.flatMap((files, selection) => files.map((file) => ({ ...file, selection }))),
      done,
      rows: null,
    };
    return reading.schemas;
  },

  read(maxRows) {
    if (reading === null) throw fail('unsupported', 'no read is under way: `open` comes first');
    if (reading.queue.length === 0) return { tag: 'ended' };
    const [file] = reading.queue;
    reading.rows ??= load(file.path);
    const first = file.row;
    const rows = reading.rows.slice(first, first + maxRows);
    file.row += rows.length;
    if (file.row >= reading.rows.length) {
      reading.queue.shift();
      reading.rows = null;
      reading.done[file.selection] = after(reading.done[file.selection], file);
    }
    const batch = batchOf(rows, reading.schemas[file.selection].fields, file, first);
    const row = reading.rows === null ? 0 : file.row;
    const state = { reads: signature(reading.selections), part: reading.part, done: reading.done, row };
    return { tag: 'rows', val: { selection: file.selection, rows: batch, state: encode(state) } };
  },

  acknowledge() {},

  close() {
    reading = null;
  },
});

/** The files that are left for each selection, and what was read of it. */
function parse(selections, part, state) {
  for (const { dataset, mode, columns } of selections) {
    const wrong = (why) => fail('invalid-config', `dataset ${JSON.stringify(dataset.name)}: ${why}`);
    const known = [...Object.keys(config.columns), config.partition];
    if (dataset.namespace !== '') throw wrong('there is no namespace');
    if (mode.tag === 'changes' || (mode.tag === 'incremental' && mode.val !== config.partition)) {
      throw wrong(`it is read in the mode full, or incremental by ${config.partition}`);
    }
    const unknown = columns.find((column) => !known.includes(column));
    if (unknown !== undefined) throw wrong(`there is no column ${JSON.stringify(unknown)}`);
  }
  const { reads, files: chosen } = part === undefined ? { reads: null, files: null } : decode(part);
  const last = restored(state) ?? { reads: null, part: part === undefined ? null : decode(part), done: [], row: 0 };
  for (const each of [reads, last.reads]) {
    if (each !== null && each !== signature(selections)) throw fail('invalid-state', 'it belongs to other selections, another path or another partition');
  }
  if (JSON.stringify(last.part?.files ?? null) !== JSON.stringify(chosen)) throw fail('invalid-state', 'the state is of another part');
  const done = selections.map((_, at) => last.done[at] ?? null);
  const tasks = selections.map(({ dataset }, at) => {
    const all = chosen === null ? filesOf(`${config.path}/${dataset.name}`, config.partition, list) : chosen;
    return left(all.filter(({ selection = at }) => selection === at), done[at]);
  });
  // A state lies at most within the first file that is left.
  const first = tasks.find((files) => files.length > 0)?.[0];
  if (first !== undefined && last.row > 0) first.row = last.row;
  return { tasks, done };
}

function schemaOf(chosen) {
  const { columns, key, partition } = config;
  const names = Object.keys(columns).filter((name) => name === key || chosen.length === 0 || chosen.includes(name));
  const fields = names.map((name) => ({
    name,
    typeName: columns[name],
    nullable: name !== key,
    metadata: name === key ? [['dataflare.key', '0']] : [],
  }));
  fields.push({ name: partition, typeName: 'string', nullable: false, metadata: [['dataflare.role', 'cursor']] });
  return { fields, metadata: [] };
}

/** The lines of a file that are not empty. */
function load(path) {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  const decode = (bytes, stream) => {
    try {
      text += decoder.decode(bytes, { stream });
    } catch {
      throw fail('invalid-input', `${path}: it is not UTF-8`);
    }
  };
  const reader = host(path, () => files.open(path));
  for (let bytes = next(); bytes.length > 0; bytes = next()) decode(bytes, true);
  decode(new Uint8Array(), false);
  reader[Symbol.dispose]();
  return text.split('\n').filter((line) => line.trim() !== '');

  function next() {
    return host(path, () => reader.read(READ_BYTES));
  }
}

/** Lines of a file as a batch; `first` is the row of the first. */
function batchOf(lines, fields, { path, value }, first) {
  if (value === NO_VALUE) throw fail('invalid-input', `${path}: its rows have no value of ${JSON.stringify(config.partition)}`);
  let decoded;
  try {
    decoded = decodeURIComponent(value);
  } catch {
    decoded = value;
  }
  try {
    return toBatch(lines, fields, decoded);
  } catch (error) {
    if (error?.payload?.tag !== 'malformed') throw error;
    throw fail('invalid-input', `${path}, rows from ${first + 1} on: ${error.payload.val}`);
  }
}

const list = (path) => host(path, () => files.listEntries(path));

/** Call the host, and say what its error means for the read. */
function host(path, call) {
  try {
    return call();
  } catch (error) {
    const { tag, val } = error?.payload ?? {};
    if (tag === 'denied') throw fail('denied', `${path}: ${val}`);
    if (tag === 'input-output' || tag === 'busy') throw fail('unavailable', `${path}: ${val}`);
    throw fail('invalid-config', `${path}: ${val ?? error}`);
  }
}

/** What a state is of: a read of the same files, divided in the same way. */
const signature = (selections) =>
  JSON.stringify([config.path, config.partition, selections.map(({ dataset, mode, columns }) => [dataset.name, mode, columns])]);

const encode = (value) => new TextEncoder().encode(JSON.stringify(value));

function decode(bytes) {
  try {
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value?.reads === 'string') return value;
  } catch {
    // Told below.
  }
  throw fail('invalid-state', 'these bytes are not of this source');
}

const restored = (state) => (state === undefined ? undefined : decode(state));
