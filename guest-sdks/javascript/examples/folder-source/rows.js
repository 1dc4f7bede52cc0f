// Rows of JSON as a batch, column by column.
import { newBatch } from 'dataflare:data/batches@1.0.0';

/** A batch of rows, with columns of these fields. */
export function toBatch(rows, fields) {
  let batch = newBatch(rows.length);
  for (const { name, typeName } of fields) {
    const values = rows.map((row) => row[name] ?? null);
    batch = replaced(batch, withColumn(batch, name, typeName, values));
    // Builders make the widest types; the host makes the column's own of them.
    if (!['int64', 'double', 'bool', 'string'].includes(typeName)) batch = replaced(batch, batch.castColumn(name, typeName));
  }
  return batch;
}

function withColumn(batch, name, typeName, values) {
  const validity = bitmap(values);
  if (typeName === 'double') return batch.withFloat64Column(name, Float64Array.from(values, (value) => value ?? 0), validity);
  if (typeName === 'bool') return batch.withBooleanColumn(name, values.map(Boolean), validity);
  if (/^u?int/.test(typeName)) return batch.withInt64Column(name, BigInt64Array.from(values, (value) => BigInt(value ?? 0)), validity);
  const bytes = values.map((value) => new TextEncoder().encode(value ?? ''));
  const offsets = new Uint32Array(values.length + 1);
  bytes.forEach((each, row) => (offsets[row + 1] = offsets[row] + each.length));
  return batch.withTextColumn(name, { offsets, text: values.map((value) => value ?? '').join('') }, validity);
}

function bitmap(values) {
  if (!values.includes(null)) return undefined;
  const words = new BigUint64Array(Math.ceil(values.length / 64));
  values.forEach((value, row) => {
    if (value !== null) words[row >> 6] |= 1n << BigInt(row & 63);
  });
  return words;
}

function replaced(old, made) {
  old[Symbol.dispose]();
  return made;
}
