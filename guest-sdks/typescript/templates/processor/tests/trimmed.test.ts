import assert from 'node:assert/strict';
import test from 'node:test';

import { trimmed } from '../trimmed.js';

test('white space at the ends goes', () => assert.equal(trimmed(' Ada '), 'Ada'));
test('null is an empty text', () => assert.equal(trimmed(null), ''));
