// A read of a source that is under way.
import { toSchema, withKey } from './schema.js';
import { fail } from '../plugin.js';

/**
 * Begins with a state, `undefined` for the beginning. `chosen` has the names of the columns that are read, or none for all;
 * `toBatch` makes a batch of rows and fields.
 */
export class Reading {
  constructor(plugin, dataset, chosen, state, toBatch) {
    Object.assign(this, { plugin, dataset, chosen, toBatch, rows: null, rest: null, sinceState: false, maxRows: 0 });
    const { after = null, schema = dataset.schema.fields } = state === undefined ? {} : parse(state, dataset, chosen);
    this.state = after;
    this.columnsAre(schema);
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
    return { tag: 'rows', val: { selection: 0, rows: batch, state: more || state === undefined ? undefined : this.encoded(state) } };
  }

  pull() {
    if (this.rows === null) {
      if (this.sinceState) throw fail('unsupported', `dataset '${this.dataset.name.name}': the read failed between two states: open it again`);
      this.rows = this.plugin.read(this.state, () => this.maxRows);
    }
    try {
      for (;;) {
        const { value, done } = this.rows.next();
        if (done) return null;
        if (value.schema === undefined) return this.taken(value);
        const before = JSON.stringify(this.fields);
        this.columnsAre(withKey(value.schema, this.dataset.key));
        // Otherwise it is about columns that are not read.
        if (JSON.stringify(this.fields) !== before) return value;
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
    // A read from a state begins with the columns that rows have there.
    this.changed = JSON.stringify(all) === JSON.stringify(dataset.schema.fields) ? {} : { schema: all };
  }

  encoded(after) {
    return new TextEncoder().encode(JSON.stringify({ dataset: this.dataset.name.name, ...columnsOf(this.chosen), ...this.changed, after }));
  }
}

/** The columns that a state is of; none for all. */
const columnsOf = (chosen) => (chosen.length === 0 ? {} : { columns: [...chosen].sort() });

function parse(state, dataset, chosen) {
  let said = null;
  try {
    said = JSON.parse(new TextDecoder().decode(state));
  } catch {
    // As one that is something else.
  }
  const { dataset: name, after, schema = [], columns } = said ?? {};
  const known = name === dataset.name.name && after !== undefined && Array.isArray(schema);
  if (!known || !schema.every((field) => typeof field?.name === 'string' && typeof field.typeName === 'string')) {
    throw fail('invalid-state', `dataset '${dataset.name.name}': the state does not come from this source`);
  }
  if (JSON.stringify(columns) !== JSON.stringify(columnsOf(chosen).columns)) {
    throw fail('invalid-state', `dataset '${dataset.name.name}': the state is of other columns`);
  }
  return said;
}
