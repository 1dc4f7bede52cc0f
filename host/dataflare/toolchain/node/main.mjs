// node main.mjs FOLDER: serve the calls of a plugin's exports. The folder has the plugin with its `component-entry.js`, and
// in `host.json` the URLs of the modules that stand for the host's interfaces.
import { readFileSync } from 'node:fs';
import { findSourceMap, register } from 'node:module';
import { join, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { decode, encode, receive, send } from './channel.mjs';

const [folder] = process.argv.slice(2);
// What is printed is written at once: nothing else runs while the host is awaited.
process.stdout._handle?.setBlocking?.(true);
process.stderr._handle?.setBlocking?.(true);
const own = (path) => path.startsWith(folder + sep) && !path.startsWith(join(folder, 'dataflare') + sep);

// The engine of a component names places in this way too. Only the author's own are of use.
Error.prepareStackTrace = (error, sites) => {
  const found = sites.flatMap((site) => {
    const url = site.getFileName() ?? '';
    const path = url.startsWith('file:') ? fileURLToPath(url) : url;
    return own(path) ? [`${site.getFunctionName() ?? ''}@${place(path, site.getLineNumber(), site.getColumnNumber())}`] : [];
  });
  return found.join('\n');
};

function place(path, line, column) {
  const mapped = findSourceMap(path)?.findOrigin(line, column);
  const { fileName, lineNumber, columnNumber } = mapped?.fileName ? mapped : { fileName: path, lineNumber: line, columnNumber: column };
  const at = fileName.startsWith('file:') ? fileURLToPath(fileName) : fileName;
  return `${at.startsWith(folder + sep) ? at.slice(folder.length + 1) : at}:${lineNumber}:${columnNumber}`;
}

const known = JSON.parse(readFileSync(join(folder, 'host.json'), 'utf8'));
register('./hooks.mjs', import.meta.url, { data: { known, app: `${pathToFileURL(folder)}/` } });
for (const url of Object.values(known)) await import(url);
const plugin = await load();
send({ ready: true });
for (let message = receive(); message !== null; message = receive()) {
  send(answer(message));
  // What was promised goes on between the calls, as in a component.
  await null;
}
process.exit(0);

async function load() {
  try {
    return await import(pathToFileURL(join(folder, 'component-entry.js')));
  } catch (error) {
    // Only Node itself knows where a syntax error is, and it says so as it dies.
    if (error instanceof SyntaxError) throw error;
    send({ failed: String(error), stack: String(error?.stack ?? '') });
    process.exit(1);
  }
}

function answer({ interface: name, function: called, args }) {
  try {
    return { ok: encode(plugin[name][called](...args.map(decode))) };
  } catch (thrown) {
    if (thrown instanceof Error && thrown.payload === undefined) return { trap: String(thrown), stack: String(thrown.stack ?? '') };
    return { err: encode(thrown?.payload ?? thrown) };
  }
}
