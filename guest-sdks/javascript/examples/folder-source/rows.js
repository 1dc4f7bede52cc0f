// Rows of JSON Lines as a batch. The host reads them: JavaScript's own numbers would lose digits.
import { fromJsonLines } from 'dataflare:data/batches@1.0.0';

/** A batch of lines, with the columns of `fields`; the last of them is the partition's, whose value is in every row. */
export function toBatch(lines, fields, value) {
  const own = fromJsonLines(lines.map((line) => `${line}\n`).join(''), { fields: fields.slice(0, -1), metadata: [] });
  const bytes = new TextEncoder().encode(value).length;
  const offsets = Uint32Array.from({ length: lines.length + 1 }, (_, row) => row * bytes);
  const batch = own.withTextColumn(fields.at(-1).name, { offsets, text: value.repeat(lines.length) }, undefined);
  own[Symbol.dispose]();
  return batch;
}
