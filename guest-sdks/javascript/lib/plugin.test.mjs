import assert from 'node:assert/strict';
import test from 'node:test';

import { fail, guarded } from './plugin.js';

/** What a call answers when this is thrown within it. */
function answered(thrown) {
  const { call } = guarded({
    call() {
      throw thrown;
    },
  });
  try {
    return call();
  } catch (error) {
    return error;
  }
}

test('an error of the plugin stays as it is', () => assert.deepEqual(answered(fail('unavailable', 'down')), fail('unavailable', 'down')));

test('an error of a host interface becomes the nearest error of a plugin', () => {
  const cases = {
    denied: ['denied', 'not-granted', 'no-space', 'quota-exceeded'],
    unavailable: ['connection-failed', 'busy', 'input-output', 'faulted', 'unavailable'],
    'invalid-config': ['not-found', 'already-exists', 'wrong-kind', 'invalid-path'],
    other: ['other', 'failed', 'invalid-key'],
  };
  for (const [tag, cause] of Object.entries(cases).flatMap(([tag, causes]) => causes.map((cause) => [tag, cause]))) {
    assert.deepEqual(answered({ payload: { tag: cause, val: 'why' } }), fail(tag, `${cause}: why`));
  }
  assert.deepEqual(answered({ payload: { tag: 'rate-limited', val: 5 } }), fail('rate-limited', 5));
  assert.deepEqual(answered({ payload: { tag: 'timed-out', val: 30 } }), fail('unavailable', 'timed-out: the limit is 30'));
});

test('a limit is told from what is too large for a batch', () => {
  assert.deepEqual(answered({ payload: { tag: 'too-large', val: 10 } }), fail('denied', 'too-large: the limit is 10'));
  assert.deepEqual(answered({ payload: { tag: 'too-large', val: 'memory' } }), fail('data', { tag: 'too-large', val: 'memory' }));
});

test('any other exception is a fault of the plugin', () => {
  const { tag, val } = answered(new TypeError('odd'));
  assert.equal(tag, 'internal');
  assert.match(val, /^TypeError: odd\n/);
});
