// node --test
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { COMPARISONS, maskOf } from './mask.js';

test('a mask has one bit a row, across words', () => {
  const values = Float64Array.from({ length: 130 }, (_, row) => row);
  const mask = maskOf(values, undefined, COMPARISONS['>='], 64);
  assert.deepEqual([...mask], [0n, 2n ** 64n - 1n, 3n]);
});

test('nulls are left out, whatever stands in their place', () => {
  const mask = maskOf(new BigInt64Array([0n, 0n, 5n]), new BigUint64Array([0b101n]), COMPARISONS['<'], 3);
  assert.deepEqual([...mask], [0b001n]);
});

test('whole numbers compare with numbers by value', () => {
  assert.deepEqual([...maskOf(new BigInt64Array([2n, -3n]), undefined, COMPARISONS['=='], 2)], [1n]);
});

test('NaN is unequal to everything', () => {
  assert.deepEqual([...maskOf(new Float64Array([NaN]), undefined, COMPARISONS['!='], 1)], [1n]);
});

test('no rows make no words', () => {
  assert.equal(maskOf(new Float64Array(0), undefined, COMPARISONS['<'], 1).length, 0);
});
