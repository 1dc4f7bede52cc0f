import { host } from './host.js';

const same = (one, other) => one === other || (one && other && Buffer.compare(one, other) === 0) || false;

export const get = (key) => host.state.get(key);
export function set(key, value) {
  host.state.set(key, Uint8Array.from(value));
}
export function listKeys(prefix, after, limit) {
  const found = [...host.state.keys()].filter((key) => key.startsWith(prefix) && (after === undefined || key > after)).sort();
  return { keys: found.slice(0, limit), more: found.length > limit };
}
export function compareAndSwap(key, expected, replacement) {
  if (!same(host.state.get(key), expected)) return false;
  if (replacement === undefined) host.state.delete(key);
  else set(key, replacement);
  return true;
}
