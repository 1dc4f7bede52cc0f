import assert from 'node:assert/strict';
import test from 'node:test';

import { host, make, rows } from '../dataflare/testing.js';
import SamplePlugin from '../plugin.js';

test('rows are kept when the run ends, those without a key are sent back', () => {
  const plugin = make(SamplePlugin);
  const rejected = plugin.write({ namespace: '', name: 'people' }, rows([{ id: 1 }, { id: null }]));
  assert.deepEqual(rejected, [{ row: 1, column: 'id', reason: 'id is null' }]);
  assert.equal(host.state.size, 0);
  plugin.finish();
  assert.deepEqual([...host.state.keys()], ['["","people",1]']);
});
