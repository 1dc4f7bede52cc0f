// node encode.mjs NODE_MODULES MODULE WIT WORLD OUTPUT [ADAPTER ADAPTER_WORLD]: make a component from a module that follows the
// canonical ABI. The adapter, a text, has what the module imports from WASI's first preview.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, module, witPath, world, output, adapter, adapterWorld] = process.argv.slice(2);
const tools = join(packages, '@bytecodealliance', 'jco-transpile', 'dist', 'wasm-tools.js');
const { componentEmbed, componentNew, parse } = await import(pathToFileURL(tools));
try {
  const embedded = await componentEmbed({ binary: await readFile(module), witPath, world });
  const adapters = [];
  if (adapter) {
    const binary = await parse(await readFile(adapter, 'utf8'));
    adapters.push(['wasi_snapshot_preview1', await componentEmbed({ binary, witPath, world: adapterWorld })]);
  }
  await writeFile(output, await componentNew(embedded, adapters));
} catch (error) {
  // What went wrong is a text in the payload; the stack is that of the tool.
  console.error(error.payload ?? error.message);
  process.exit(1);
}
