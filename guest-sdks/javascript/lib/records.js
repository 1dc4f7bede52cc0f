// Records as plugins see them: JSON objects whose numbers keep every digit.

// What looks like a number begins as one and ends before a separator.
const NUMBER = /-?\d[\d.eE+-]*/g;
const KEY_END = /\s*:/y;
const WHOLE = /^-?[1-9]\d*$/;

/** A number that JavaScript would write in another way, such as `0.1000000000000000055` or `1.50`, as its text. */
export class NumberText {
  constructor(text) {
    this.text = text;
  }

  /** The nearest double: comparisons and arithmetic use it, and may lose digits. */
  valueOf() {
    return Number(this.text);
  }

  toString() {
    return this.text;
  }

  /** JSON.stringify has no form for it, as for a BigInt: it would write an object. */
  toJSON() {
    throw new TypeError(`JSON.stringify cannot write the number ${this.text}: use formatRecord`);
  }
}

/**
 * Read a record. A number that a `number` gives back as it is written is one; a longer whole one is a BigInt; another is
 * a `NumberText`. `Number(value)` makes a number of each. `formatRecord` writes all of them as they were.
 *
 * Throws a SyntaxError for anything but a JSON object, and where one object has a name twice.
 */
export function parseRecord(json) {
  const plain = JSON.parse(json);
  if (plain === null || typeof plain !== 'object' || Array.isArray(plain)) throw new SyntaxError('not a JSON object');
  const kept = [];
  let mark = '';
  const keep = (token) => {
    if (isKept(token)) return token;
    // Such a number is parsed as a text that no value of the record begins with.
    mark ||= unusedMark(JSON.stringify(plain));
    kept.push(WHOLE.test(token) ? BigInt(token) : new NumberText(token));
    return `"${mark}${kept.length - 1}"`;
  };
  let marked = '';
  let fields = 0;
  let at = 0;
  // Texts are stepped over, not looked through: a regular expression that matches a long one runs out of stack.
  for (let quote = json.indexOf('"'); quote >= 0; quote = json.indexOf('"', at)) {
    const end = endOfText(json, quote);
    marked += json.slice(at, quote).replace(NUMBER, keep) + json.slice(quote, end);
    KEY_END.lastIndex = end;
    if (KEY_END.test(json)) fields += 1;
    at = end;
  }
  marked += json.slice(at).replace(NUMBER, keep);
  if (fields !== countFields(plain)) throw new SyntaxError('an object has a name twice');
  if (kept.length === 0) return plain;
  return JSON.parse(marked, (_, value) =>
    typeof value === 'string' && value.startsWith(mark) ? kept[Number(value.slice(mark.length))] : value,
  );
}

/** Write a record as JSON. Throws a TypeError for what JSON has no form for, such as NaN: give its text instead. */
export function formatRecord(value) {
  if (value instanceof NumberText || typeof value === 'bigint') return String(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`JSON has no number ${value}; give the text "${nonFinite(value)}"`);
    return Object.is(value, -0) ? '-0.0' : String(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => formatRecord(item ?? null)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    if (typeof value.toJSON === 'function') return formatRecord(value.toJSON());
    let fields = '';
    for (const name of Object.keys(value)) {
      const field = value[name];
      if (field !== undefined) fields += `,${JSON.stringify(name)}:${formatRecord(field)}`;
    }
    return `{${fields.slice(1)}}`;
  }
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`JSON has no form for a ${typeof value}`);
  return text;
}

/** Whether a number is written again as it was. */
const isKept = (text) => String(Number(text)) === text;

/** Where a text ends that begins with a quote at a place: after its closing quote. */
function endOfText(json, quote) {
  let end = json.indexOf('"', quote + 1);
  while (isEscaped(json, end)) end = json.indexOf('"', end + 1);
  return end + 1;
}

function isEscaped(json, place) {
  let first = place;
  while (json[first - 1] === '\\') first -= 1;
  return (place - first) % 2 === 1;
}

function countFields(value) {
  if (value === null || typeof value !== 'object') return 0;
  const isList = Array.isArray(value);
  const values = isList ? value : Object.values(value);
  let sum = isList ? 0 : values.length;
  for (const item of values) if (typeof item === 'object') sum += countFields(item);
  return sum;
}

function unusedMark(text) {
  let mark = '#';
  while (text.includes(mark)) mark += '#';
  return mark;
}

const nonFinite = (value) => (Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity');
