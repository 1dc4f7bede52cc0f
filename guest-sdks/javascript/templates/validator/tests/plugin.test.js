import assert from 'node:assert/strict';
import test from 'node:test';

import { make, rows, violations } from '../dataflare/testing.js';
import SamplePlugin from '../plugin.js';

test('rows out of bounds are found, nulls are not', () => {
  const plugin = make(SamplePlugin, { column: 'age' });
  assert.deepEqual(violations(plugin, rows([{ age: 36 }, { age: -1 }, { age: null }])), [{ rule: 'within', row: 1 }]);
});
