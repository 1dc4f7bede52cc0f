// What DataFlare plugins in JavaScript have in common.

const DATA_ERRORS = ['no-such-column', 'no-such-function', 'wrong-type', 'out-of-range', 'malformed', 'too-large'];
// What errors of the host's interfaces become if a plugin does not catch them, by their cases.
const HOST_ERRORS = {
  denied: ['denied', 'not-granted', 'no-space', 'value-too-large', 'quota-exceeded', 'too-large'],
  unavailable: ['unavailable', 'connection-failed', 'timed-out', 'input-output', 'busy', 'faulted'],
  'invalid-config': ['not-found', 'already-exists', 'wrong-kind', 'invalid-path'],
  other: ['other', 'invalid-key', 'invalid-request', 'too-deep', 'failed'],
};

/** A plugin error, to be thrown: `throw fail('invalid-input', 'why')`. */
export const fail = (tag, val) => ({ tag, val });

/** What a plugin without a problem answers to `health-check`. */
export const healthy = () => ({ status: 'healthy', message: '' });

/**
 * The configuration as an object, or `invalid-config`. `known` lists the keys that there are; `parse` may be `parseRecord`, which
 * keeps the digits of numbers.
 */
export function parseConfig(text, known, parse = JSON.parse) {
  let config;
  try {
    config = parse(text);
  } catch (error) {
    throw fail('invalid-config', `the configuration is not JSON: ${error.message}`);
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) {
    throw fail('invalid-config', 'the configuration is not a JSON object');
  }
  const unknown = Object.keys(config).filter((key) => !known.includes(key));
  if (unknown.length > 0) {
    throw fail('invalid-config', `unknown keys: ${unknown.join(', ')}; there are ${known.join(', ')}`);
  }
  return config;
}

/** Guard each function of an exported interface: what is thrown becomes the call's error, where it would trap otherwise. */
export const guarded = (functions) =>
  Object.fromEntries(Object.entries(functions).map(([name, call]) => [name, guard(call)]));

const guard = (call) => (...args) => {
  try {
    return call(...args);
  } catch (thrown) {
    throw toPluginError(thrown);
  }
};

function toPluginError(thrown) {
  if (typeof thrown?.tag === 'string') return thrown;
  // What a host function answered with, in an error of another realm, which is no instance of this one's Error.
  const { tag, val } = thrown?.payload ?? {};
  // A number is the limit that a request or a value is above; a batch has words for it.
  if (DATA_ERRORS.includes(tag) && typeof val !== 'number') return fail('data', thrown.payload);
  if (tag === 'rate-limited') return fail(tag, val);
  const found = Object.keys(HOST_ERRORS).find((name) => HOST_ERRORS[name].includes(tag));
  if (found) return fail(found, `${tag}: ${typeof val === 'number' ? `the limit is ${val}` : val}`);
  return fail('internal', thrown?.stack ? `${thrown}\n${thrown.stack}` : String(thrown));
}
