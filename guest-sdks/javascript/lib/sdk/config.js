// A plugin's configuration: what `options` of its class say, as a JSON Schema and as checks.
import { fail, parseConfig } from '../plugin.js';

const TYPES = {
  string: ['a text', (value) => typeof value === 'string'],
  number: ['a number', (value) => typeof value === 'number'],
  integer: ['a whole number', Number.isInteger],
  boolean: ['true or false', (value) => typeof value === 'boolean'],
  array: ['a list', Array.isArray],
  object: ['an object', (value) => value !== null && typeof value === 'object' && !Array.isArray(value)],
};

/** The JSON Schema (2020-12) of a configuration. */
export const schemaOf = (options) => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  additionalProperties: false,
  required: Object.keys(options).filter((key) => !('default' in options[key])),
  properties: options,
});

/** Read a configuration; throws `invalid-config`, which names the key. */
export function readConfig(text, options) {
  const given = parseConfig(text, Object.keys(options));
  return Object.fromEntries(Object.entries(options).map(([key, option]) => [key, checked(key, given[key], option)]));
}

function checked(key, value, option) {
  if (value === undefined) {
    if ('default' in option) return option.default;
    throw fail('invalid-config', `${key}: it is missing`);
  }
  const [name, fits] = TYPES[option.type] ?? ['a value', () => true];
  if (!fits(value)) throw fail('invalid-config', `${key}: give ${name}`);
  if (option.enum && !option.enum.includes(value)) throw fail('invalid-config', `${key}: give one of ${option.enum.join(', ')}`);
  if (value < option.minimum) throw fail('invalid-config', `${key}: give at least ${option.minimum}`);
  if (value > option.maximum) throw fail('invalid-config', `${key}: give at most ${option.maximum}`);
  return value;
}
