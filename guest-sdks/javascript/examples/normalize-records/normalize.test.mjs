// node --test
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { lowercaseNames, normalizeColumn, normalizeRecord } from './normalize.js';

test('texts and names of own fields are normalized, all else keeps its text', () => {
  const record = '{"A b": " x\\t y ", "N": 123456789012345678901, "f": 1.0, "in": {"K": " z "}, "l": [" w "]}';
  assert.equal(normalizeRecord(record, true), '{"a b":"x y","n":123456789012345678901,"f":1.0,"in":{"K":" z "},"l":[" w "]}');
});

test('names stay where that is configured', () => {
  assert.equal(normalizeRecord('{"A": null, "a": true}', false), '{"A":null,"a":true}');
});

test('a text with quotes, braces and backslashes is one token', () => {
  assert.equal(normalizeRecord('{"a":"\\"{, } \\\\"}', true), '{"a":"\\"{, } \\\\"}');
});

test('two fields of one name are refused', () => {
  assert.throws(() => normalizeRecord('{"A":1,"a":2}', true), /"a"/);
  assert.throws(() => lowercaseNames(['A', 'a']), /"a"/);
});

test('what is no object is refused', () => {
  assert.throws(() => normalizeRecord('[1]', true), SyntaxError);
  assert.throws(() => normalizeRecord('{"a":', true), SyntaxError);
});

test('a column that is clean comes back itself', () => {
  const column = { offsets: new Uint32Array([0, 3, 3]), text: 'a b' };
  assert.equal(normalizeColumn(column), column);
});

test('offsets count bytes', () => {
  const column = { offsets: new Uint32Array([0, 4, 7]), text: ' é ö ' };
  const { offsets, text } = normalizeColumn(column);
  assert.deepEqual([[...offsets], text], [[0, 2, 4], 'éö']);
});
