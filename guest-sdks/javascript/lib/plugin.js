// What DataFlare plugins in JavaScript have in common.

const DATA_ERRORS = ['no-such-column', 'no-such-function', 'wrong-type', 'out-of-range', 'malformed', 'too-large', 'other'];

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
  // What a host function answered with, in an error of another realm, which is no instance of this one's Error. Only errors of
  // batches have these names.
  if (DATA_ERRORS.includes(thrown?.payload?.tag)) return fail('data', thrown.payload);
  return fail('internal', thrown?.stack ? `${thrown}\n${thrown.stack}` : String(thrown));
}
