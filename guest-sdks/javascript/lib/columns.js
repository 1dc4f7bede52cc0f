// Columns as plugins see them.

/** The rows of a column of texts, as strings; the offsets count UTF-8 bytes. */
export function splitTexts({ offsets, text }) {
  const rows = offsets.length - 1;
  if (text.length === offsets[rows]) {
    return Array.from({ length: rows }, (_, row) => text.slice(offsets[row], offsets[row + 1]));
  }
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return Array.from({ length: rows }, (_, row) => decoder.decode(bytes.subarray(offsets[row], offsets[row + 1])));
}

/** Whether columns of a type, by its name in a schema, are texts. */
export const isText = (typeName) =>
  typeName === 'string' || typeName === 'large_string' || typeName.startsWith('dictionary<values=string');

/** Whether columns of a type are numbers that are not whole. */
export const isReal = (typeName) => ['halffloat', 'float', 'double'].includes(typeName) || typeName.startsWith('decimal');
