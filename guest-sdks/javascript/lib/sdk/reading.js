// A read of one dataset of a source that is under way.
import { isSame, toSchema, withKey } from './schema.js';
import { decoded, encoded } from './states.js';
import { fail } from '../plugin.js';

/**
 * Begins with a state, `undefined` for the beginning. The selection has the `dataset`, the `mode`, and in `chosen` the names of the
 * columns that are read, or none for all; `toBatch` makes a batch of rows and fields.
 */
export class Reading {
  constructor(plugin, selection, state, toBatch) {
    Object.assign(this, { plugin, selection, ...selection, toBatch, rows: null, rest: null, sinceState: false, maxRows: 0 });
    const { after, fields } = state === undefined ? { after: null, fields: this.dataset.schema.fields } : decoded(selection, state);
    this.state = after;
    this.columnsAre(fields);
  }

  /** The columns of the rows that follow, of the only selection. */
  schemas() {
    return [toSchema(this.fields)];
  }

  /** The next rows with the state after them, or the columns that the next ones have. */
  next(maxRows) {
    this.maxRows = maxRows;
    const given = this.rest ?? this.pull();
    this.rest = null;
    if (given === null) return { tag: 'ended' };
    if (given.schema !== undefined) return { tag: 'new-schema', val: { selection: 0, schema: toSchema(this.fields) } };
    const { rows, state } = given;
    const more = rows.length > maxRows;
    // What is held back keeps the state: before it, nothing can continue.
    this.rest = more ? { rows: rows.slice(maxRows), state } : null;
    const batch = this.toBatch(more ? rows.slice(0, maxRows) : rows, this.fields);
    return { tag: 'rows', val: { selection: 0, rows: batch, state: more || state === undefined ? undefined : encoded(this.selection, this.all, state) } };
  }

  pull() {
    if (this.rows === null) {
      if (this.sinceState) throw fail('unsupported', `dataset '${this.dataset.name.name}': the read failed between two states: open it again`);
      this.rows = this.plugin.read(this.state, () => this.maxRows, this.dataset.name.name);
    }
    try {
      for (;;) {
        const { value, done } = this.rows.next();
        if (done) return null;
        if (value.schema === undefined) return this.taken(value);
        const before = this.fields;
        this.columnsAre(withKey(value.schema, this.dataset.key));
        // Otherwise it is about columns that are not read.
        if (!isSame(this.fields, before)) return value;
      }
    } catch (error) {
      // A generator that threw has ended: the host may ask again, and the rest of the rows must come then.
      this.rows = null;
      throw error;
    }
  }

  taken(chunk) {
    // The host would drop what the schema does not name, and say nothing.
    for (const row of chunk.rows) {
      const unknown = Object.keys(row).find((name) => !this.known.has(name));
      if (unknown !== undefined) {
        const what = `dataset '${this.dataset.name.name}': the rows have a column '${unknown}', which its schema lacks`;
        throw fail('invalid-input', `${what}: name it there, leave it out, or yield a new schema first`);
      }
    }
    this.sinceState = chunk.state === undefined;
    if (chunk.state !== undefined) this.state = chunk.state;
    return chunk;
  }

  columnsAre(all) {
    const { chosen, dataset } = this;
    this.known = new Set(all.map(({ name }) => name));
    this.fields = chosen.length === 0 ? all : all.filter(({ name }) => chosen.includes(name) || dataset.key.includes(name));
    this.all = all;
  }
}
