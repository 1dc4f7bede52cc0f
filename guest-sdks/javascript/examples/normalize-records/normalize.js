// Normalizing texts and JSON records.
import { splitTexts } from '../../lib/columns.js';
import { formatRecord, parseRecord } from '../../lib/records.js';

/** Without white space at the ends, and with one space for each run of it within. */
export const normalizeText = (text) => text.trim().replace(/\s{2,}|[^\S ]/g, ' ');

/**
 * Normalize the texts and the names of a JSON object's own fields. Everything else is written as it was.
 *
 * Throws a SyntaxError for anything but a JSON object, and an Error where two fields would have one name.
 */
export function normalizeRecord(json, lowercaseKeys) {
  const record = Object.entries(parseRecord(json));
  const names = lowercaseKeys ? lowercaseNames(record.map(([name]) => name)) : record.map(([name]) => name);
  const fields = record.map(([, value], position) => [
    names[position],
    typeof value === 'string' ? normalizeText(value) : value,
  ]);
  return formatRecord(Object.fromEntries(fields));
}

/** Normalize a column of texts; the same object comes back where nothing changes. Offsets count UTF-8 bytes. */
export function normalizeColumn(column) {
  const { offsets, text } = column;
  if (!/\s/.test(text)) return column;
  const cells = splitTexts(column).map(normalizeText);
  const joined = cells.join('');
  if (joined === text) return column;
  const encoder = new TextEncoder();
  const isAscii = text.length === offsets[offsets.length - 1];
  const next = new Uint32Array(offsets.length);
  cells.forEach((cell, row) => {
    next[row + 1] = next[row] + (isAscii ? cell.length : encoder.encode(cell).length);
  });
  return { offsets: next, text: joined };
}

/** The new names of columns. Throws an Error where two would have one name. */
export function lowercaseNames(columns) {
  const names = new Set();
  return columns.map((name) => unique(names, name.toLowerCase()));
}

function unique(names, name) {
  if (names.has(name)) throw new Error(`two fields would be named ${JSON.stringify(name)}`);
  names.add(name);
  return name;
}
