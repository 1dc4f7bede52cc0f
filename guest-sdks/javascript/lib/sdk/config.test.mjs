import assert from 'node:assert/strict';
import test from 'node:test';

import { readConfig, schemaOf } from './config.js';

const OPTIONS = { name: { type: 'string' }, rows: { type: 'integer', default: 3, minimum: 0 } };
const refused = (message) => ({ tag: 'invalid-config', val: message });

test('a configuration gets its defaults', () => {
  assert.deepEqual(readConfig('{"name":"a"}', OPTIONS), { name: 'a', rows: 3 });
});

test('what has no default is required', () => {
  assert.deepEqual(schemaOf(OPTIONS).required, ['name']);
  assert.throws(() => readConfig('{}', OPTIONS), refused('name: it is missing'));
});

test('a wrong type, a number out of bounds and an unknown key are refused by name', () => {
  assert.throws(() => readConfig('{"name":1}', OPTIONS), refused('name: give a text'));
  assert.throws(() => readConfig('{"name":"a","rows":-1}', OPTIONS), refused('rows: give at least 0'));
  assert.throws(() => readConfig('{"nam":"a"}', OPTIONS), refused('unknown keys: nam; there are name, rows'));
});
