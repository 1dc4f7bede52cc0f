// node encode.mjs NODE_MODULES MODULE WIT WORLD OUTPUT: make a component from a module that follows the canonical ABI.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, module, witPath, world, output] = process.argv.slice(2);
const tools = join(packages, '@bytecodealliance', 'jco-transpile', 'dist', 'wasm-tools.js');
const { componentEmbed, componentNew } = await import(pathToFileURL(tools));
try {
  const embedded = await componentEmbed({ binary: await readFile(module), witPath, world });
  await writeFile(output, await componentNew(embedded, []));
} catch (error) {
  // What went wrong is a text in the payload; the stack is that of the tool.
  console.error(error.payload ?? error.message);
  process.exit(1);
}
