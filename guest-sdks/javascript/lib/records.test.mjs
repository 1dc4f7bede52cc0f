// node --test
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { NumberText, formatRecord, parseRecord } from './records.js';

const NUMBERS = [
  ...['0', '-0', '-0.0', '1', '1.0', '1.50', '9007199254740993', '-9223372036854775808', '18446744073709551616'],
  ...['0.1', '0.1000000000000000055', '1e400', '5e-324', '1E5', '9007199254740993.5', '123456789012345678901.25'],
];

test('numbers are written as they were, at any depth', () => {
  for (const number of NUMBERS) {
    const record = `{"a":${number},"b":[${number},{"c":${number}}],"t":"${number}"}`;
    assert.equal(formatRecord(parseRecord(record)), record);
  }
});

test('what a double keeps is a number, a long integer a BigInt, and the rest text that compares as a number', () => {
  const record = parseRecord('{"a": 1.5, "b": 9007199254740993, "c": 9.50, "d": 9007199254740991}');
  assert.deepEqual([record.a, record.b, record.d], [1.5, 9007199254740993n, 9007199254740991]);
  assert.ok(record.c instanceof NumberText && record.c < 10 && record.b > 9007199254740992n);
  assert.equal(Number(record.c) + 1, 10.5);
});

test('a text that looks like a mark stays text', () => {
  const record = '{"a":"#0","b":"##0","c":12345678901234567890,"d":"\\u00230"}';
  assert.equal(formatRecord(parseRecord(record)), record.replace('\\u0023', '#'));
});

test('texts with numbers, quotes and backslashes are left alone', () => {
  const record = '{"9007199254740993":"x 9007199254740993 \\\\","q":"\\"9007199254740993.0\\"","n":1e0}';
  assert.equal(formatRecord(parseRecord(record)), record);
});

test('what JSON has no form for is refused', () => {
  assert.throws(() => formatRecord({ a: NaN }), /"NaN"/);
  assert.throws(() => formatRecord({ a: -Infinity }), /"-Infinity"/);
  assert.throws(() => formatRecord({ a: () => 1 }), TypeError);
  assert.throws(() => JSON.stringify(parseRecord('{"a":1.50}')), /the number 1\.50: use formatRecord/);
  assert.throws(() => parseRecord('[1]'), SyntaxError);
  assert.throws(() => parseRecord('{"l":[{"a":1,"a":2}]}'), /twice/);
  assert.equal(formatRecord({ a: undefined, b: null, c: [undefined] }), '{"b":null,"c":[null]}');
});

test('a text of any length and any escapes is one value', () => {
  const texts = ['x y '.repeat(3_000_000), '\\"'.repeat(1_000_000), '\\\\'.repeat(1_000_000), '\\\\\\"1.50:'.repeat(100_000)];
  for (const text of texts) {
    const record = `{"a":"${text}","b":1.50,"c\\"":[":",{"d":" :"}]}`;
    assert.equal(formatRecord(parseRecord(record)), record);
  }
});

test('a key is told from a text whatever stands around it', () => {
  assert.deepEqual(parseRecord('{"a" : ":", "b":["x", ":y"] , "c":{"d"\t:\n"e"}}'), { a: ':', b: ['x', ':y'], c: { d: 'e' } });
  assert.throws(() => parseRecord('{"a" : 1, "b":{"a":2,"a" :3}}'), SyntaxError);
});

test('what says how it is written as JSON is written so', () => {
  assert.equal(formatRecord({ at: new Date(0) }), '{"at":"1970-01-01T00:00:00.000Z"}');
});
