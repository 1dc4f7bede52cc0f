// Unit tests in Node: a plugin's own class, on a host in memory.
import type { Batch, Json, Row, Source, Validator } from './index.js';

/** A plugin with a configuration, as the host makes it; throws what the host would be told. */
export function make<P>(plugin: new () => P, config?: { [key: string]: Json }): P;
/** A batch of records; without `columns`, which maps names to Arrow types, these are inferred. */
export function rows(records: Row[], columns?: Record<string, string>): Batch;
/** All that a source reads from a state on, of a log of changes all there is for now: its rows, and its last state. */
export function readAll<C, S>(source: Source<C, S>, state?: S | null, maxRows?: number, dataset?: string): { rows: object[]; state: S | null };
/** The rows that break a validator's rules. */
export function violations<C>(validator: Validator<C>, batch: Batch): { rule: string; row: number }[];
/** What the host in memory knows and was told. Fill it before, and look at it after. */
export const host: {
  /** What `http` answers, by URL. */
  answers: Map<string, { status?: number; headers?: [string, string][]; body?: string | Uint8Array }>;
  requests: { method: string; url: string; headers: [string, string][]; body?: Uint8Array }[];
  state: Map<string, Uint8Array>;
  secrets: Map<string, string>;
  files: Map<string, string | Uint8Array>;
  logged: { level: string; message: string; fields: [string, string][] }[];
  figures: Map<string, number>;
  now: { seconds: bigint; nanoseconds: number };
  cancelled: boolean;
};
