import { host } from './host.js';

export const isEnabled = () => true;
export function log(level, message, fields) {
  host.logged.push({ level, message, fields });
}
