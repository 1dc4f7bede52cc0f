// node componentize.mjs NODE_MODULES SOURCE WIT WORLD OUTPUT: make a component without WASI imports from a module.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, sourcePath, witPath, worldName, output] = process.argv.slice(2);
const entry = join(packages, '@bytecodealliance', 'componentize-js', 'src', 'componentize.js');
const { componentize } = await import(pathToFileURL(entry));
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName,
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
