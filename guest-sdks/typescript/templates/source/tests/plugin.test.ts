import assert from 'node:assert/strict';
import test from 'node:test';

import { make, readAll } from '../dataflare/testing.js';
import SamplePlugin from '../plugin.js';

test('a read continues where another one ended', () => {
  const plugin = make(SamplePlugin, { rows: 3 });
  assert.deepEqual(readAll(plugin), { rows: [{ id: 0, square: 0 }, { id: 1, square: 1 }, { id: 2, square: 4 }], state: 3 });
  assert.deepEqual(readAll(plugin, 2), { rows: [{ id: 2, square: 4 }], state: 3 });
});
