import { host, refusal } from './host.js';

class Reader {
  constructor(data) {
    Object.assign(this, { data, at: 0 });
  }
  read(maxBytes) {
    const found = this.data.slice(this.at, this.at + maxBytes);
    this.at += found.length;
    return found;
  }
  seek({ offsetBytes }) {
    this.at = Number(offsetBytes);
  }
  tell = () => ({ offsetBytes: BigInt(this.at) });
  length = () => ({ offsetBytes: BigInt(this.data.length) });
  [Symbol.dispose]() {}
}

class Writer {
  constructor(path, begin) {
    Object.assign(this, { path, data: [...begin] });
  }
  write(data) {
    for (const byte of data) this.data.push(byte);
  }
  writeText(text) {
    this.write(new TextEncoder().encode(text));
  }
  tell = () => ({ offsetBytes: BigInt(this.data.length) });
  sync() {}
  /** Nobody sees the file before. */
  publish() {
    host.files.set(this.path, Uint8Array.from(this.data));
  }
  [Symbol.dispose]() {}
}

function contents(path) {
  if (!host.files.has(path)) throw refusal('not-found', path);
  const data = host.files.get(path);
  return typeof data === 'string' ? new TextEncoder().encode(data) : data;
}

export const granted = () => [...new Set([...host.files.keys()].map((path) => path.split('/')[0]))].map((name) => ({ name, writable: true }));
export const open = (path) => new Reader(contents(path));
export const append = (path) => new Writer(path, host.files.has(path) ? contents(path) : []);
export function create(path, replace) {
  if (!replace && host.files.has(path)) throw refusal('already-exists', path);
  return new Writer(path, []);
}

const entry = (name, kind, size) => ({ name, kind, sizeBytes: BigInt(size), modifiedMs: 0n });
export const stat = (path) => entry(path.split('/').at(-1), 'file', contents(path).length);
export function listEntries(path) {
  const below = [...host.files.keys()].filter((each) => each.startsWith(`${path}/`));
  const names = [...new Set(below.map((each) => each.slice(path.length + 1).split('/')[0]))].sort();
  return names.map((name) => (host.files.has(`${path}/${name}`) ? stat(`${path}/${name}`) : entry(name, 'directory', 0)));
}
