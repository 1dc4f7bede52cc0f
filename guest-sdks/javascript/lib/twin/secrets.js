import { host, refusal } from './host.js';

export function get(name) {
  if (!host.secrets.has(name)) throw refusal('not-granted', name);
  return host.secrets.get(name);
}
