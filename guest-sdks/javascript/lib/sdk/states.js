// States, as the SDKs of all languages write them: JSON, with the read that they belong to.
import { isSame } from './schema.js';
import { fail } from '../plugin.js';
import { formatRecord, parseRecord } from '../records.js';

/** Write a state: the position after rows, and their columns where the dataset has others. */
export function encoded({ dataset, chosen, mode }, fields, after) {
  const changed = isSame(fields, dataset.schema.fields) ? {} : { schema: saved(fields) };
  return bytes({ after, ...belonging(dataset, chosen), mode, ...changed });
}

/** Read a state: `after`, and `fields`, the columns of the rows after it. */
export function decoded({ dataset, chosen, mode }, state) {
  const { after, schema, ...of } = parsed(state, `'${dataset.name.name}'`);
  if (after === undefined) throw wrong(`'${dataset.name.name}'`);
  if (!isSame(sorted(of), { ...belonging(dataset, chosen), mode })) {
    throw fail('invalid-state', `dataset '${dataset.name.name}': the state is of other columns, or of another dataset or mode`);
  }
  return { after, fields: fieldsOf(schema, dataset) };
}

/** Write a state of a log of changes: what its datasets have now can come later in the log, so that it has all their columns. */
export function encodedChanges(tables, after) {
  const datasets = tables.map(({ dataset, chosen, known }) => ({ ...belonging(dataset, chosen), schema: saved(known) }));
  return bytes({ after, datasets, mode: 'changes' });
}

/** Read a state of a log of changes: `after`, and `fields`, the columns of each dataset. */
export function decodedChanges(selections, state) {
  const names = selections.map(({ dataset }) => `'${dataset.name.name}'`).join(', ');
  const { after, datasets, mode } = parsed(state, names);
  if (after === undefined || !Array.isArray(datasets) || !datasets.every((each) => each !== null && typeof each === 'object')) throw wrong(names);
  const of = datasets.map(({ schema, ...rest }) => sorted(rest));
  if (mode !== 'changes' || !isSame(of, selections.map(({ dataset, chosen }) => belonging(dataset, chosen)))) {
    throw fail('invalid-state', `dataset ${names}: the state is of other columns, or of other datasets or another mode`);
  }
  return { after, fields: selections.map(({ dataset }, place) => fieldsOf(datasets[place].schema, dataset)) };
}

/** The position in a state. */
export function acknowledged(state) {
  const { after } = parsed(state, '');
  if (after === undefined) throw wrong('');
  return after;
}

/** The dataset, and the columns that are read of it: none for all. The names are in the order of the alphabet. */
const belonging = ({ name }, chosen) => ({ ...(chosen.length === 0 ? {} : { columns: [...chosen].sort() }), dataset: name.name });

/** What another SDK may have written in another order. */
const sorted = (of) => Object.fromEntries(Object.keys(of).sort().map((key) => [key, of[key]]));

const bytes = (said) => new TextEncoder().encode(formatRecord(said));

const wrong = (names) => fail('invalid-state', `${names && `dataset ${names}: `}the state does not come from this source`);

function parsed(state, names) {
  try {
    return parseRecord(new TextDecoder().decode(state));
  } catch {
    throw wrong(names);
  }
}

const saved = (fields) =>
  fields.map(({ name, typeName, nullable, metadata }) => ({ metadata: Object.fromEntries(metadata), name, nullable, type: typeName }));

function fieldsOf(schema, { name, schema: { fields } }) {
  if (schema === undefined) return fields;
  const isText = (value) => typeof value === 'string';
  const isField = ({ name, type, nullable, metadata } = {}) =>
    isText(name) && isText(type) && typeof nullable === 'boolean' && metadata !== null && typeof metadata === 'object' &&
    Object.values(metadata).every(isText);
  if (!Array.isArray(schema) || !schema.every((each) => isField(each ?? undefined))) throw wrong(`'${name.name}'`);
  return schema.map(({ name, type, nullable, metadata }) => ({ name, typeName: type, nullable, metadata: Object.entries(metadata) }));
}
