// Where Node finds the host's interfaces.
import { existsSync } from 'node:fs';

const INTERFACE = /^dataflare:(?:data|host)\/([a-z-]+)@/;

export function resolve(specifier, context, next) {
  const found = INTERFACE.exec(specifier);
  if (!found) return next(specifier, context);
  const url = new URL(`./${found[1]}.js`, import.meta.url);
  if (!existsSync(url)) throw new Error(`${specifier} has no twin in memory: test what uses it by a case in tests/cases`);
  return { url: url.href, shortCircuit: true };
}
