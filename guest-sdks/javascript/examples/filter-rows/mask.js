// Masks of rows.

/** The comparisons, by their names; a whole number may be a BigInt, which compares with a number by value. */
export const COMPARISONS = {
  '==': (left, right) => left == right,
  '!=': (left, right) => left != right,
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
};

/** One bit a row, 64 rows a word: whether a row holds a value that compares with `constant` as asked. */
export function maskOf(values, validity, compare, constant) {
  const words = new BigUint64Array(Math.ceil(values.length / 64));
  // Half a word at a time: numbers are many times faster than BigInts. WebAssembly is little-endian, and so is this view.
  const halves = new Uint32Array(words.buffer);
  for (let row = 0; row < values.length; row += 1) {
    if (compare(values[row], constant)) halves[row >> 5] |= 1 << (row & 31);
  }
  if (validity) validity.forEach((word, position) => (words[position] &= word));
  return words;
}
