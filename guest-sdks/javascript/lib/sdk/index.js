// What a plugin imports: a class for each kind of plugin, errors and expressions. None of it needs the host, so that unit
// tests run in Node alone; the batches that a plugin is given are in `batch.js`.
import { fail } from '../plugin.js';

export { committed, deleted, idle, inserted, newSchema, updated } from './events.js';
export { call, col, lit } from './expressions.js';
export { formatRecord } from '../records.js';

/** The configuration is wrong: only the operator can correct it. Name the key. */
export const invalidConfig = (message) => fail('invalid-config', message);
/** This record or batch is wrong; others may be right. */
export const invalidInput = (message) => fail('invalid-input', message);
/** A state or a part does not come from this plugin and its configuration. */
export const invalidState = (message) => fail('invalid-state', message);
/** The host or a service refused something that the plugin needs, or it is too large; a retry does not help. */
export const denied = (message) => fail('denied', message);
/** Something cannot be reached for now; the same call may be made again. */
export const unavailable = (message) => fail('unavailable', message);
/** The same call may be made again after so many milliseconds. */
export const rateLimited = (retryAfterMs) => fail('rate-limited', retryAfterMs);
/** A newer run has taken this one's place. */
export const superseded = (message) => fail('superseded', message);
/** The work ended because it was cancelled. */
export const cancelled = () => fail('cancelled');
/** The plugin cannot do this at all. */
export const unsupported = (message) => fail('unsupported', message);

/**
 * What plugins of all kinds have in common. `options` describes the configuration: for each key `type` (`string`, `number`,
 * `integer`, `boolean`, `array` or `object`), and perhaps `description`, `default`, `enum`, `minimum`, `maximum`. What has no
 * default is required. The plugin finds the values in `this.config`.
 */
class Plugin {
  static options = {};
  config = {};

  /** Check what `options` cannot say; throw `invalidConfig(...)`. */
  checkConfig() {}
  /** Prepare for work. Called once, after the configuration. */
  initialize() {}
  /** Release everything. Called once, at the end. */
  shutdown() {}
  /** What is wrong, for the operator; empty if nothing is. */
  health() {
    return '';
  }
}

/** Changes records one by one. Override `process`. */
export class Processor extends Plugin {
  static kind = 'processor';

  /** Return the record, changed or not; `null` drops it. */
  process(record) {
    throw unsupported(`process is missing: ${Object.keys(record)}`);
  }
}

/** Changes batches. Override `transform`. */
export class Transformer extends Plugin {
  static kind = 'transformer';

  /** Return the batch, changed. */
  transform(batch) {
    return batch;
  }
}

/** Checks batches. Override `rules`. */
export class Validator extends Plugin {
  static kind = 'validator';

  /** The rules: `{ name, holds, description, severity, column }`; `holds` is an expression. */
  rules() {
    return [];
  }
}

/** Reads datasets. Override `read`, and `schema` for one dataset or `datasets` for several. */
export class Source extends Plugin {
  static kind = 'source';
  static dataset = 'rows';
  static key = [];
  /** How the dataset can be read: `full`, and `changes` with the method of this name. */
  static modes = ['full'];

  /** Arrow types of the columns, by name. */
  schema() {
    return {};
  }

  /** The datasets that can be read: `{ name, schema, key, modes, description }`. By default one, which the class describes. */
  datasets() {
    const { dataset, key, modes } = this.constructor;
    return [{ name: dataset, schema: this.schema(), key, modes }];
  }

  /**
   * Yield `{ rows, state }`: records, and anything JSON has from which a later read continues. The generator begins with the
   * state that the host has kept, or `null`; `maxRows()` is what the host takes at a time, and `dataset` the name of what is read.
   * A record may lack columns of the schema, which are null then, but has no others: where the columns change, yield `{ schema }`
   * first. When it throws, the host may ask again: it is begun anew with the last state that it gave.
   */
  *read(_state, _maxRows, _dataset) {}

  /**
   * Yield what happened after a position, in order: `inserted(...)`, `updated(...)`, `deleted(...)`, `newSchema(...)` and
   * `committed(position)`. The position is that of a commit; `null` stands for the beginning: the rows that exist come first, as
   * inserts. Every transaction ends with a commit, and so do rows and new schemas outside of one. Of a log of several datasets,
   * `datasets` are the names of those that are read; events of others may be left out. Where nothing more is there for now, it ends,
   * or yields `idle()` to go on from where it is. After an end and after an error it is begun anew, from the last commit; the events
   * since then that were taken before have to come again, and do not count twice. If the changes after the position are gone, throw
   * `invalidState(...)`.
   */
  *changes(_position, datasets) {
    throw unsupported(`dataset '${datasets[0]}': the source has no changes`);
  }

  /** Take note that all rows up to this state are safe. */
  acknowledge(_state) {}
}

/** Writes rows. Override `write` and `finish`. */
export class Destination extends Plugin {
  static kind = 'destination';
  /** A target of another mode is refused, and so is a change of columns. */
  static abilities = ['append'];

  /** Begin a run; `targets` have `namespace`, `name` (both together identify one), `fields`, `key` and `mode`. */
  open(_run, _targets) {}
  /** Write a batch; return the rejected rows: `{ row, reason, column }`. */
  write(_target, _batch) {
    return [];
  }
  /** End the run: make all rows visible. May be called again after an error. */
  finish() {}
  /** End the run: remove all its rows. */
  abort() {}
}
