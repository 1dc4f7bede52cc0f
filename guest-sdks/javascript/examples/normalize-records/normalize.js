// Normalizing texts and JSON records.
import { splitTexts } from '../../lib/columns.js';

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g;

/** Without white space at the ends, and with one space for each run of it within. */
export const normalizeText = (text) => text.trim().replace(/\s+/g, ' ');

/**
 * Normalize the texts and the names of a JSON object's own fields. Everything else stays the text that it was: JavaScript's
 * numbers would lose digits of large ones.
 *
 * Throws a SyntaxError for anything but a JSON object, and an Error where two fields would have one name.
 */
export function normalizeRecord(json, lowercaseKeys) {
  const parsed = JSON.parse(json);
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) {
    throw new SyntaxError('not a JSON object');
  }
  const names = new Set();
  let output = '';
  let depth = 0;
  let isKey = false;
  for (const [token] of json.matchAll(TOKEN)) {
    if (depth === 1 && token.startsWith('"')) {
      const text = JSON.parse(token);
      output += JSON.stringify(isKey ? unique(names, lowercaseKeys ? text.toLowerCase() : text) : normalizeText(text));
    } else {
      output += token;
    }
    if (token === '{' || token === '[') depth += 1;
    if (token === '}' || token === ']') depth -= 1;
    isKey = depth === 1 && (token === '{' || token === ',');
  }
  return output;
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
