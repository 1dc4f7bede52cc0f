// Batches in memory.
import { formatRecord, parseRecord } from '../records.js';
import { onlyInAComponent, refusal } from './host.js';

const WHOLE = /^u?int(8|16|32|64)$/;
const KINDS = { bool: ['boolean'], string: ['string'], double: ['number', 'object'], float: ['number', 'object'] };

/** Rows as objects with all columns of `fields`. */
export class TwinBatch {
  constructor(fields, rows) {
    Object.assign(this, { fields, rows });
  }
  numRows = () => this.rows.length;
  columnNames = () => this.fields.map(({ name }) => name);
  schema = () => ({ fields: this.fields, metadata: [] });
  toJsonLines = () => this.rows.map((row) => `{${this.fields.map((field) => written(field, row[field.name])).join(',')}}\n`).join('');
  booleanColumn = (name) => this.rows.map((row) => row[this.field(name).name] === true);
  select = (names) => new TwinBatch(names.map((name) => this.field(name)), this.rows);
  renameColumn(name, to) {
    const place = this.fields.indexOf(this.field(name));
    const fields = this.fields.with(place, { ...this.fields[place], name: to });
    return new TwinBatch(fields, this.rows.map(({ [name]: value, ...rest }) => ({ ...rest, [to]: value })));
  }
  field(name) {
    const found = this.fields.find((each) => each.name === name);
    if (found === undefined) throw refusal('no-such-column', name);
    return found;
  }
  [Symbol.dispose]() {}
}

export function fromJsonLines(text, schema) {
  const records = text.split('\n').slice(0, -1).map(parseRecord);
  const fields = schema?.fields ?? inferred(records);
  return new TwinBatch(fields, records.map((record, row) => Object.fromEntries(fields.map((field) => [field.name, cell(field, record[field.name] ?? null, row)]))));
}

/** The type of a value, as a column of such values has it. */
export function typeOf(value) {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint' || Number.isInteger(value)) return 'int64';
  if (typeof value === 'number' || typeof value?.text === 'string') return 'double';
  if (typeof value === 'string') return 'string';
  throw onlyInAComponent('types of nested values; give the columns their types');
}

export const isWhole = (typeName) => WHOLE.test(typeName);

function inferred(records) {
  const types = new Map();
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) types.set(name, common(name, types.get(name) ?? 'null', typeOf(value)));
  }
  return [...types].map(([name, typeName]) => ({ name, typeName, nullable: true, metadata: [] }));
}

function common(name, one, other) {
  if (one === other || other === 'null') return one;
  if (one === 'null') return other;
  if ([one, other].every((each) => each === 'int64' || each === 'double')) return 'double';
  throw refusal('malformed', `column '${name}' has values of ${one} and of ${other}`);
}

/** A value that its column can hold: the host refuses others too. */
function cell({ name, typeName, nullable }, value, row) {
  const refused = (what) => refusal('malformed', `column '${name}', row ${row}: ${what}`);
  if (value === null) {
    if (nullable === false) throw refused('it is null');
    return value;
  }
  if (isWhole(typeName)) {
    if (typeOf(value) !== 'int64') throw refused(`it is not a whole number: ${value}`);
    const bits = Number(WHOLE.exec(typeName)[1]);
    const fits = typeName.startsWith('u') ? BigInt.asUintN(bits, BigInt(value)) : BigInt.asIntN(bits, BigInt(value));
    if (fits !== BigInt(value)) throw refused(`it does not fit ${typeName}: ${value}`);
    return value;
  }
  const kinds = KINDS[typeName];
  if (kinds && !kinds.includes(typeof value) && !(kinds[0] === 'number' && typeof value === 'bigint')) {
    throw refused(`it is not of the type ${typeName}: ${formatRecord(value)}`);
  }
  return value;
}

/** As the host writes it: a double without a fraction has one of zero. */
function written({ name, typeName }, value) {
  const text = formatRecord(value ?? null);
  return `${JSON.stringify(name)}:${typeName === 'double' && Number.isInteger(value) && !/[.e]/.test(text) ? `${text}.0` : text}`;
}
