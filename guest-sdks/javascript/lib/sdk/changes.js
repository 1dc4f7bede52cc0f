// A read of a log of changes that is under way: what `Source.changes` yields, in chunks whose rows have their operation.
import { idle } from './events.js';
import { isSame, toSchema, withKey } from './schema.js';
import { decodedChanges, encodedChanges } from './states.js';
import { fail } from '../plugin.js';
import { formatRecord } from '../records.js';

const INSERT = 0;
const UPDATE = 1;
const DELETE = 2;
// A quiet dataset in a busy log: without rows, the host keeps the position after so many events all the same.
const MOST_PASSED = 65_536;
const TYPES = ['insert', 'update', 'delete', 'new-schema', 'commit', 'idle'];

/** A dataset that is read, and the columns that its rows have now: `known` are all, `fields` those that are read. */
class Table {
  constructor({ dataset, chosen }, known) {
    Object.assign(this, { dataset, chosen });
    this.begin(known);
  }

  begin(columns) {
    const { dataset, chosen } = this;
    this.known = withKey(columns, dataset.key);
    this.names = new Set(this.known.map(({ name }) => name));
    this.operation = '_operation';
    while (this.names.has(this.operation)) this.operation += '_';
    const isKey = ({ name }) => dataset.key.includes(name);
    const read = this.known.filter((field) => chosen.length === 0 || isKey(field) || chosen.includes(field.name));
    this.values = read.map(({ name }) => name);
    // Rows that are deleted have the key alone.
    const fields = read.map((field) => ({ ...field, nullable: field.nullable || !isKey(field) }));
    this.fields = [...fields, { name: this.operation, typeName: 'int8', nullable: false, metadata: [['dataflare.role', 'operation']] }];
  }

  /** The rows that say what happened. */
  rows({ type, row, key, oldKey }) {
    if (type === 'delete') return [this.marked(this.key(key), DELETE)];
    const unknown = Object.keys(row).find((name) => !this.names.has(name));
    if (unknown !== undefined) {
      throw this.wrong(`the rows have a column '${unknown}', which its schema lacks: name it there, leave it out, or yield a newSchema first`);
    }
    const now = this.key(row);
    if (type === 'insert') return [this.marked(row, INSERT)];
    const missing = this.values.find((name) => row[name] === undefined);
    if (missing !== undefined) throw this.wrong(`an update lacks the column '${missing}': it has the values of all columns`);
    const before = oldKey == null ? now : this.key(oldKey);
    if (formatRecord(before) === formatRecord(now)) return [this.marked(row, UPDATE)];
    return [this.marked(before, DELETE), this.marked(row, INSERT)];
  }

  key(row) {
    const missing = this.dataset.key.find((name) => row[name] == null);
    if (missing !== undefined) throw this.wrong(`a change lacks the key column '${missing}'`);
    return Object.fromEntries(this.dataset.key.map((name) => [name, row[name]]));
  }

  marked(row, operation) {
    return { ...row, [this.operation]: operation };
  }

  wrong(what) {
    return fail('invalid-input', `dataset '${this.dataset.name.name}': ${what}`);
  }
}

/** A read of some datasets of one log. Begins with a state, `undefined` for the beginning; `toBatch` makes a batch of rows and fields. */
export class ChangeReading {
  constructor(plugin, selections, state, toBatch) {
    const { after, fields } = state === undefined ? { after: null } : decodedChanges(selections, state);
    Object.assign(this, { plugin, toBatch, position: after, events: null });
    this.tables = selections.map((each, place) => new Table(each, fields?.[place] ?? each.dataset.schema.fields));
    this.places = new Map(selections.map(({ dataset }, place) => [dataset.name.name, place]));
    // Events after the last commit: how many were taken, and how many of them come again.
    Object.assign(this, { since: 0, again: 0 });
    // Rows of one table that were not given yet, how many of them the position covers, and what waits until they are given.
    Object.assign(this, { place: 0, rows: [], safe: 0, held: null });
    Object.assign(this, { givenSinceState: false, passed: 0 });
  }

  /** The columns of the rows that follow, of each selection. */
  schemas() {
    return this.tables.map(({ fields }) => toSchema(fields));
  }

  /** What comes next: the log has no end. */
  next(maxRows) {
    for (;;) {
      const isFull = this.rows.length >= maxRows;
      const event = this.held ?? this.pull();
      this.held = null;
      const { type } = event;
      const place = event.dataset === undefined ? undefined : this.placeOf(event.dataset);
      const isOfOthers = place !== undefined && (type === 'new-schema' || place !== this.place);
      // The commit of the last row that fits belongs to the chunk.
      if (this.rows.length > 0 && ((isFull && type !== 'commit') || isOfOthers || type === 'idle')) {
        this.held = event;
        return this.give(maxRows);
      }
      if (type === 'idle') {
        const state = this.position === null || this.givenSinceState ? undefined : this.state();
        return { tag: 'idle', val: { state, retryAfterMs: event.retryAfterMs } };
      }
      if (type === 'commit') {
        Object.assign(this, { position: event.position, safe: this.rows.length });
        if (isFull || (this.rows.length === 0 && (this.givenSinceState || this.passed >= MOST_PASSED))) return this.give(maxRows);
      } else if (place === undefined) {
        this.passed += 1;
      } else if (type === 'new-schema') {
        const table = this.tables[place];
        const before = table.fields;
        table.begin(event.columns);
        // Otherwise it is about columns that are not read.
        if (!isSame(table.fields, before)) {
          this.givenSinceState = true;
          return { tag: 'new-schema', val: { selection: place, schema: toSchema(table.fields) } };
        }
      } else {
        this.rows.push(...this.tables[place].rows(event));
        this.place = place;
      }
    }
  }

  /** Rows, up to the last commit if there is one among them. */
  give(maxRows) {
    const count = Math.min(this.safe || this.rows.length, maxRows);
    const isSafe = count === this.safe;
    const given = this.rows.splice(0, count);
    this.safe = Math.max(this.safe - count, 0);
    Object.assign(this, { givenSinceState: !isSafe, passed: 0 });
    const rows = this.toBatch(given, this.tables[this.place].fields);
    return { tag: 'rows', val: { selection: this.place, rows, state: isSafe ? this.state() : undefined } };
  }

  /** The next event that was not taken yet. After an error or an end, the log begins anew from its last commit. */
  pull() {
    if (this.events === null) {
      this.again = this.since;
      const datasets = this.tables.map(({ dataset }) => dataset.name.name);
      this.events = this.plugin.changes(this.position, datasets)[Symbol.iterator]();
    }
    try {
      for (;;) {
        const { value, done } = this.events.next();
        if (done) break;
        if (!TYPES.includes(value?.type)) throw new TypeError('changes yielded what is no event: yield inserted(...), committed(...) and such');
        if (value.type === 'idle') return value;
        if (this.again > 0) {
          this.again -= 1;
        } else {
          this.since = value.type === 'commit' ? 0 : this.since + 1;
          return value;
        }
      }
    } catch (error) {
      this.events = null;
      throw error;
    }
    this.events = null;
    if (this.again > 0) throw fail('invalid-state', 'the changes after the last commit are not those that were read before');
    return idle();
  }

  /** Which selection a dataset is; `undefined` if it is not read. */
  placeOf(name) {
    if (!this.places.has(name)) {
      const known = this.plugin.datasets().map((each) => each.name);
      if (!known.includes(name)) throw fail('invalid-input', `there is no dataset '${name}', only ${known.join(', ')}`);
      this.places.set(name, undefined);
    }
    return this.places.get(name);
  }

  state() {
    return encodedChanges(this.tables, this.position);
  }
}
