// The expressions that plugins use most, row by row. Any other function is an error, so that no test passes by chance.
import { TwinBatch, isWhole, typeOf } from './batches.js';
import { onlyInAComponent, refusal } from './host.js';

const NUMBERS = {
  add_checked: (one, other) => one + other,
  subtract_checked: (one, other) => one - other,
  multiply_checked: (one, other) => one * other,
  divide: (one, other) => one / other,
};
const COMPARED = {
  equal: (one, other) => one == other,
  not_equal: (one, other) => one != other,
  less: (one, other) => one < other,
  less_equal: (one, other) => one <= other,
  greater: (one, other) => one > other,
  greater_equal: (one, other) => one >= other,
  between: (value, least, greatest) => value >= least && value <= greatest,
};
const TEXTS = {
  utf8_lower: (text) => text.toLowerCase(),
  utf8_upper: (text) => text.toUpperCase(),
  utf8_trim_whitespace: (text) => text.trim(),
};
const WITH_NULLS = {
  is_null: (value) => value === null,
  is_valid: (value) => value !== null,
  coalesce: (...values) => values.find((each) => each !== null) ?? null,
  is_in: (value, ...others) => value !== null && others.some((each) => each !== null && each == value),
  and_kleene: (one, other) => (one === false || other === false ? false : one === null || other === null ? null : true),
  or_kleene: (one, other) => (one === true || other === true ? true : one === null || other === null ? null : false),
  if_else: (condition, one, other) => (condition === null ? null : condition ? one : other),
};

export function withColumns(batch, nodes, outputs) {
  const found = evaluated(batch, nodes);
  const fields = [...batch.fields];
  const rows = batch.rows.map((row) => ({ ...row }));
  for (const { name, node } of outputs) {
    const place = fields.findIndex((field) => field.name === name);
    fields.splice(place < 0 ? fields.length : place, 1, { name, typeName: found[node].typeName, nullable: true, metadata: [] });
    rows.forEach((row, at) => (row[name] = found[node].cells[at]));
  }
  return new TwinBatch(fields, rows);
}

export function filter(batch, nodes) {
  const { cells } = evaluated(batch, nodes).at(-1);
  return new TwinBatch(batch.fields, batch.rows.filter((_, at) => cells[at] === true));
}

function evaluated(batch, nodes) {
  const found = [];
  for (const { tag, val } of nodes) found.push(evaluate(batch, tag, val, found));
  return found;
}

function evaluate(batch, tag, val, known) {
  if (tag === 'column') {
    const { name, typeName } = batch.field(val);
    return { typeName, cells: batch.rows.map((row) => row[name]) };
  }
  if (tag === 'literal') {
    const value = val.tag === 'null-value' ? null : val.val;
    const typeName = val.tag === 'float64' ? 'double' : typeOf(value);
    return { typeName, cells: batch.rows.map(() => value) };
  }
  const inputs = [...val.arguments].map((place) => known[place]);
  const options = Object.fromEntries(val.options.map(([key, { val: value }]) => [key, value]));
  const typeName = typeOfResult(val.name, inputs, options);
  return { typeName, cells: batch.rows.map((_, at) => compute(val.name, inputs.map(({ cells }) => cells[at]), inputs, typeName)) };
}

function typeOfResult(name, inputs, options) {
  if (name === 'cast') return options.type;
  if (name in NUMBERS) return inputs.every(({ typeName }) => isWhole(typeName)) ? 'int64' : 'double';
  if (name in TEXTS || name === 'negate_checked' || name === 'abs') return inputs[0].typeName;
  if (name === 'coalesce') return inputs.find(({ typeName }) => typeName !== 'null')?.typeName ?? 'null';
  if (name === 'if_else') return inputs[1].typeName;
  return name === 'utf8_length' ? 'int32' : 'bool';
}

function compute(name, values, inputs, typeName) {
  if (Object.hasOwn(WITH_NULLS, name)) return WITH_NULLS[name](...values);
  if (values.includes(null)) return null;
  const wrong = () => refusal('wrong-type', { function: name, columns: [], expected: 'a value of another type', found: inputs[0].typeName });
  if (name === 'cast') return converted(values[0], typeName);
  if (Object.hasOwn(COMPARED, name)) return COMPARED[name](...values.map((each) => (typeof each === 'object' ? Number(each) : each)));
  if (Object.hasOwn(NUMBERS, name)) return calculated(name, values, typeName, wrong);
  if (name === 'negate_checked') return calculated('subtract_checked', [0, values[0]], typeName, wrong);
  if (name === 'abs') return values[0] < 0 ? calculated('subtract_checked', [0, values[0]], typeName, wrong) : values[0];
  if (name === 'invert') {
    if (typeof values[0] !== 'boolean') throw wrong();
    return !values[0];
  }
  if (Object.hasOwn(TEXTS, name) || name === 'utf8_length') {
    if (typeof values[0] !== 'string') throw wrong();
    return name === 'utf8_length' ? [...values[0]].length : TEXTS[name](values[0]);
  }
  throw onlyInAComponent(`the function ${name}`);
}

function calculated(name, values, typeName, wrong) {
  if (values.some((each) => typeof each === 'string' || typeof each === 'boolean')) throw wrong();
  if (typeName === 'double') return NUMBERS[name](...values.map(Number));
  const [one, other] = values.map(BigInt);
  const found = name === 'divide' && other === 0n ? undefined : NUMBERS[name](one, other);
  if (found === undefined || BigInt.asIntN(64, found) !== found) throw refusal('out-of-range', `${name}: ${one} and ${other} have no result of 64 bits`);
  return shortest(found);
}

function converted(value, typeName) {
  const isNumber = ['number', 'bigint', 'object'].includes(typeof value);
  if (typeName === 'double' && isNumber) return Number(value);
  if (typeName === 'int64' && isNumber && Number.isInteger(Number(value))) return shortest(BigInt(value));
  if (typeName === 'string' && (typeof value === 'string' || typeOf(value) === 'int64')) return String(value);
  throw onlyInAComponent(`a cast of ${typeOf(value)} to ${typeName}`);
}

const shortest = (whole) => (Number.isSafeInteger(Number(whole)) ? Number(whole) : whole);
