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

/** The comparison of texts with a constant: in the order of their code points, as everywhere else. */
export function textComparison(op, constant) {
  // JavaScript orders by units of UTF-16, which differs only where the constant has one from the surrogates on.
  if (!/[\ud800-\uffff]/.test(constant)) return COMPARISONS[op];
  return (left, right) => COMPARISONS[op](order(left, right), 0);
}

function order(left, right) {
  const [one, other] = [[...left], [...right]];
  const place = one.findIndex((each, index) => each !== other[index]);
  if (place < 0) return one.length - other.length;
  return place < other.length ? one[place].codePointAt(0) - other[place].codePointAt(0) : 1;
}

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
