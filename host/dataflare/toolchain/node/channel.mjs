// The host beyond two pipes: values, calls and handles. A message is its length in four bytes, and JSON.
import { readSync, writeSync } from 'node:fs';

const [FROM_HOST, TO_HOST] = process.env.DATAFLARE_PIPES.split(',').map(Number);
const ARRAYS = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, BigUint64Array, BigInt64Array, Float32Array, Float64Array];
const BY_NAME = Object.fromEntries(ARRAYS.map((each) => [each.name, each]));
const resources = new Map();

/** The host's next message; `null` where it has closed its end. */
export function receive() {
  const length = read(4);
  return length === null ? null : JSON.parse(read(length.readUInt32LE()).toString());
}

function read(length) {
  const data = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const taken = readSync(FROM_HOST, data, at, length - at);
    if (taken === 0) return null;
    at += taken;
  }
  return data;
}

export function send(message) {
  const text = Buffer.from(JSON.stringify(message));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  for (const data of [length, text]) {
    for (let at = 0; at < data.length; ) at += writeSync(TO_HOST, data, at);
  }
}

/** A value as JSON, where objects with `$` stand for what JSON has no form for. */
export function encode(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return { $: 'int', v: String(value) };
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0) ? value : { $: 'float', v: Object.is(value, -0) ? '-0' : String(value) };
  if (typeof value === 'string') return value.toWellFormed();
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'object') throw new TypeError(`a ${typeof value} cannot be given to the host`);
  if (value instanceof Handle) return { $: 'handle', v: value.number };
  if (Array.isArray(value)) return value.map(encode);
  if (ArrayBuffer.isView(value)) return { $: value.constructor.name, v: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, encode(each)]));
}

/** A value of the host, as a component has it. */
export function decode(value) {
  if (value === null) return undefined;
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(decode);
  const { $: kind, v } = value;
  if (kind === undefined) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, decode(each)]));
  if (kind === 'int') return BigInt(v);
  if (kind === 'float') return Number(v);
  if (kind === 'handle') return new (resources.get(v[0]))(v[1]);
  return new BY_NAME[kind](Uint8Array.from(Buffer.from(v, 'base64')).buffer);
}

/** What the host throws: its error is the `payload`. */
class ComponentError extends Error {
  constructor(payload) {
    super(typeof payload === 'string' ? payload : `${payload} (see error.payload)`);
    this.payload = payload;
  }
}

/** A function of a host's interface. */
export const hostFunction = (owner, name) => (...args) => ask({ call: [owner, name], args: args.map(encode) });

function ask(message) {
  send(message);
  const answer = receive();
  // The host has ended the run, and this process is about to be ended.
  if (answer === null) process.exit(1);
  if ('wrong' in answer) throw new TypeError(answer.wrong);
  if ('err' in answer) throw new ComponentError(decode(answer.err));
  return decode(answer.ok);
}

/** A handle of something that the host holds. */
class Handle {
  constructor(number) {
    this.number = number;
  }

  [Symbol.dispose]() {
    if (this.number !== 0) ask({ drop: this.number });
    this.number = 0;
  }
}

/** The class of the handles of a host's resource; `methods` maps names in JavaScript to those of the interface. */
export function resource(owner, name, methods) {
  const made = class extends Handle {};
  for (const [method, full] of Object.entries(methods)) {
    const call = hostFunction(owner, full);
    made.prototype[method] = function (...args) {
      return call(this, ...args);
    };
  }
  resources.set(`${owner}#${name}`, made);
  return made;
}
