import assert from 'node:assert/strict';
import test from 'node:test';

import { make, rows } from '../dataflare/testing.js';
import SamplePlugin from '../plugin.js';

test('the ratio is added', () => {
  const plugin = make(SamplePlugin, { of: 'amount', to: 'quantity' });
  const changed = plugin.transform(rows([{ amount: 3, quantity: 2 }]));
  assert.deepEqual(changed.records(), [{ amount: 3, quantity: 2, ratio: 1.5 }]);
});
