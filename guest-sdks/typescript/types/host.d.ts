// Interfaces of the host. List those that a plugin uses in its `plugin.yaml` under `needs`. A function's error is thrown.

declare module 'dataflare:host/clock@1.0.0' {
  export function now(): { seconds: bigint; nanoseconds: number };
  export function monotonicNow(): { nanoseconds: bigint };
}
declare module 'dataflare:host/files@1.0.0' {
  export interface Position {
    offsetBytes: bigint;
  }
  export interface Entry {
    name: string;
    kind: 'file' | 'directory' | 'other';
    sizeBytes: bigint;
    modifiedMs: bigint;
  }
  export class Reader {
    private constructor();
    read(maxBytes: number): Uint8Array;
    seek(to: Position): void;
    tell(): Position;
    length(): Position;
    [Symbol.dispose](): void;
  }
  export class Writer {
    private constructor();
    write(data: Uint8Array): void;
    writeText(text: string): void;
    tell(): Position;
    sync(): void;
    publish(): void;
    [Symbol.dispose](): void;
  }
  export function granted(): { name: string; writable: boolean }[];
  export function open(path: string): Reader;
  export function create(path: string, replace: boolean): Writer;
  export function append(path: string): Writer;
  export function stat(path: string): Entry;
  export function listEntries(path: string): Entry[];
}
declare module 'dataflare:host/http@1.0.0' {
  export interface Request {
    method: string;
    url: string;
    headers: [string, string][];
    body?: Uint8Array;
    timeoutMs?: number;
  }
  export interface Response {
    status: number;
    headers: [string, string][];
    body: Uint8Array;
  }
  export function send(request: Request): Response;
}
declare module 'dataflare:host/logging@1.0.0' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
  export function log(level: Level, message: string, fields: [string, string][]): void;
  export function isEnabled(level: Level): boolean;
}
declare module 'dataflare:host/metrics@1.0.0' {
  export function addToCounter(name: string, amount: number, labels: [string, string][]): void;
  export function setGauge(name: string, value: number, labels: [string, string][]): void;
  export function recordObservation(name: string, value: number, labels: [string, string][]): void;
}
declare module 'dataflare:host/random@1.0.0' {
  export function getRandomBytes(length: number): Uint8Array;
}
declare module 'dataflare:host/secrets@1.0.0' {
  export function get(name: string): string;
}
declare module 'dataflare:host/state@1.0.0' {
  export function get(key: string): Uint8Array | undefined;
  export function set(key: string, value: Uint8Array): void;
  export function listKeys(prefix: string, after: string | undefined, limit: number): { keys: string[]; more: boolean };
  export function compareAndSwap(key: string, expected?: Uint8Array, replacement?: Uint8Array): boolean;
}
declare module 'dataflare:host/tasks@1.0.0' {
  export function reportProgress(done: number, total: number, message: string): void;
  export function isCancelled(): boolean;
}

// What a component's JavaScript has beside the language itself.
declare class TextEncoder {
  encode(text?: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(data?: Uint8Array): string;
}

// What unit tests use of Node.
declare module 'node:test' {
  export default function test(name: string, run: () => void | Promise<void>): void;
}
declare module 'node:assert/strict' {
  const assert: {
    (value: unknown, message?: string): asserts value;
    equal(actual: unknown, expected: unknown, message?: string): void;
    deepEqual(actual: unknown, expected: unknown, message?: string): void;
    throws(run: () => unknown, expected?: unknown): void;
  };
  export default assert;
}
