// The types of the SDK, which is the one of plugins in JavaScript.

/** An option of a configuration; what has no `default` is required. */
export interface Option {
  readonly type: 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object';
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
}
/** The options of a configuration, by key. */
export type Options = Readonly<Record<string, Option>>;

interface TypesOfOptions {
  string: string;
  number: number;
  integer: number;
  boolean: boolean;
  array: unknown[];
  object: Record<string, unknown>;
}
/** The configuration that options describe. Write `as const satisfies Options` after them. */
export type ConfigOf<O extends Options> = { readonly [K in keyof O]: TypesOfOptions[O[K]['type']] };

/** What JSON has; a whole number that a `number` does not hold exactly is a `bigint`, any other one a `NumberText`. */
export type Json = null | boolean | number | bigint | string | NumberText | Json[] | { [key: string]: Json };
/** A number, as it was written. */
export interface NumberText {
  readonly text: string;
}
/** A row, by the names of its columns. */
export type Row = { [column: string]: Json };
/** A value as JSON, each number as it was written; `JSON.stringify` throws where a number is a `bigint` or a `NumberText`. */
export function formatRecord(value: Json): string;

/** What the host computes on columns, so that no value is copied into the plugin. */
export interface Expression {
  /** A function of the host, of this expression and of others; a last argument that is a plain object has its options. */
  call(name: string, ...rest: (Operand | Record<string, Constant>)[]): Expression;
}
/** A value in an expression. */
export type Constant = null | boolean | bigint | number | string;
/** What functions of expressions take. */
export type Operand = Expression | Constant;
/** A column. */
export function col(name: string): Expression;
/** A constant: a `bigint` is a whole number, a `number` a double. */
export function lit(value: Constant): Expression;
/** A function of the host; a last argument that is a plain object has its options. */
export function call(name: string, ...inputs: (Operand | Record<string, Constant>)[]): Expression;

/** A column of a batch: its name, and its Arrow type such as `int64`. */
export interface Field {
  name: string;
  typeName: string;
  nullable: boolean;
  metadata: [string, string][];
}

/** Rows of named columns, which the host holds; never changes. A plugin is given batches. */
export interface Batch {
  /** The number of rows. */
  readonly length: number;
  /** The names of the columns, in order. */
  readonly columns: string[];
  readonly fields: Field[];
  /** The rows as objects. */
  records(): Row[];
  /** Add or replace columns by expressions, which the host computes. */
  withColumns(columns: Record<string, Expression>): Batch;
  /** Keep the rows for which an expression holds. */
  filter(condition: Expression): Batch;
  /** Keep these columns, in this order. */
  select(...names: string[]): Batch;
  /** Give a column another name. */
  rename(name: string, to: string): Batch;
  /** Have the batch outlive the call, until `close`: otherwise it ends with the call. */
  keep(): Batch;
  /** Release the handle before the call ends. */
  close(): void;
}

/** An error of a plugin, to be thrown. */
export interface PluginError {
  readonly tag: string;
  readonly val: unknown;
}
/** The configuration is wrong: only the operator can correct it. Name the key. */
export function invalidConfig(message: string): PluginError;
/** This record or batch is wrong; others may be right. */
export function invalidInput(message: string): PluginError;
/** A state or a part does not come from this plugin and its configuration. */
export function invalidState(message: string): PluginError;
/** The host or a service refused something that the plugin needs, or it is too large; a retry does not help. */
export function denied(message: string): PluginError;
/** Something cannot be reached for now; the same call may be made again. */
export function unavailable(message: string): PluginError;
/** The same call may be made again after so many milliseconds. */
export function rateLimited(retryAfterMs: number): PluginError;
/** A newer run has taken this one's place. */
export function superseded(message: string): PluginError;
/** The work ended because it was cancelled. */
export function cancelled(): PluginError;
/** The plugin cannot do this at all. */
export function unsupported(message: string): PluginError;

/** What plugins of all kinds have in common. */
declare abstract class Plugin<Config> {
  /** What the configuration may have; its JSON Schema, and the checks of what the operator writes, come from this. */
  static options: Options;
  readonly config: Config;
  /** Check what `options` cannot say; throw `invalidConfig(...)`. */
  checkConfig(): void;
  /** Prepare for work. Called once, after the configuration. */
  initialize(): void;
  /** Release everything. Called once, at the end. */
  shutdown(): void;
  /** What is wrong, for the operator; empty if nothing is. */
  health(): string;
}

/** Changes records one by one. */
export abstract class Processor<Config = {}, In = Row, Out = In> extends Plugin<Config> {
  /** Return the record, changed or not; `null` drops it. */
  abstract process(record: In): Out | null;
}

/** Changes batches. */
export abstract class Transformer<Config = {}> extends Plugin<Config> {
  /** Return the batch, changed. */
  abstract transform(batch: Batch): Batch;
}

/** A rule that rows must keep. Rows where `holds` is null are good. */
export interface Rule {
  name: string;
  holds: Expression;
  description?: string;
  severity?: 'info' | 'warning' | 'error';
  column?: string;
}
/** Checks batches. */
export abstract class Validator<Config = {}> extends Plugin<Config> {
  /** The rules, the same every time. */
  abstract rules(): Rule[];
}

/** Rows, and the state from which a later read continues; without one, a later read cannot continue from here. */
export interface Rows<State = Json> {
  rows: object[];
  state?: State;
  schema?: undefined;
}
/** The columns of the rows that follow: Arrow types by name, or fields. The key stays that of the dataset. */
export interface NewSchema {
  schema: Record<string, string> | Field[];
}
/** Something that a source can read. */
export interface Dataset {
  name: string;
  /** Its columns: Arrow types by name, or fields. */
  schema: Record<string, string> | Field[];
  /** The columns that identify a row. */
  key?: readonly string[];
  /** How it can be read; by default in full. */
  modes?: readonly Mode[];
  /** One line that describes it. */
  description?: string;
}
/** How a dataset is read: all rows, or inserts, updates and deletes in the order in which they happened. */
export type Mode = 'full' | 'changes';

/** Something that happened in a log of changes. */
export type LogEvent<State = Json> =
  | { readonly type: 'insert'; readonly dataset: string; readonly row: object }
  | { readonly type: 'update'; readonly dataset: string; readonly row: object; readonly oldKey?: object }
  | { readonly type: 'delete'; readonly dataset: string; readonly key: object }
  | { readonly type: 'new-schema'; readonly dataset: string; readonly columns: Record<string, string> | Field[] }
  | { readonly type: 'commit'; readonly position: State }
  | { readonly type: 'idle'; readonly retryAfterMs: number };
/** A row is new in a dataset. */
export function inserted(dataset: string, row: object): LogEvent<never>;
/**
 * A row as it is now, with the values of all columns. `oldKey` has the values of the key's columns before, where they can have
 * changed: if they did, the SDK makes a delete of the old key and an insert of the new one.
 */
export function updated(dataset: string, row: object, oldKey?: object): LogEvent<never>;
/** A row is gone; `key` has the values of the key's columns. Those of others do not count. */
export function deleted(dataset: string, key: object): LogEvent<never>;
/** The columns of a dataset's rows that follow: Arrow types by name, or fields. The key stays that of the dataset. */
export function newSchema(dataset: string, columns: Record<string, string> | Field[]): LogEvent<never>;
/** The end of a transaction, and the position after it: anything that JSON has. Rows count only with it. */
export function committed<State>(position: State): LogEvent<State>;
/** Nothing to read for now; the log goes on from here when the host asks again, after so many milliseconds: 1000 by default. */
export function idle(retryAfterMs?: number): LogEvent<never>;

/**
 * Reads datasets: override `read`, or `changes` for those with the mode `changes`; and `schema` for one dataset or `datasets` for
 * several. `State` is anything that JSON has.
 */
export abstract class Source<Config = {}, State = Json> extends Plugin<Config> {
  static dataset: string;
  static key: readonly string[];
  /** How the only dataset can be read. */
  static modes: readonly Mode[];
  /** Arrow types of the columns, by name. */
  schema(): Record<string, string>;
  /** The datasets that can be read: by default one, which the class describes. */
  datasets(): Dataset[];
  /**
   * Yield rows, each time with the state from which a later read continues; `maxRows()` is what the host takes at a time, and
   * `dataset` the name of what is read. A row may lack columns of the schema, which are null then, but has no others: where the
   * columns change, yield a `NewSchema` first. When it throws, the host may ask again: it is begun anew with the last state that it
   * gave.
   */
  read(state: State | null, maxRows: () => number, dataset: string): Generator<Rows<State> | NewSchema>;
  /**
   * Yield what happened after a position, in order. The position is that of `committed`; `null` stands for the beginning: the rows
   * that exist come first, as inserts. Every transaction ends with `committed`, and so do rows and new schemas outside of one. Of a
   * log of several datasets, `datasets` are the names of those that are read; events of others may be left out. Where nothing more
   * is there for now, it ends, or yields `idle()` to go on from where it is. After an end and after an error it is begun anew, from
   * the last commit; the events since then that were taken before have to come again, and do not count twice. If the changes after
   * the position are gone, throw `invalidState(...)`.
   */
  changes(position: State | null, datasets: string[]): Iterable<LogEvent<State>>;
  /** Take note that all rows up to this state are safe. */
  acknowledge(state: State): void;
}

/** The run that writes: the pipeline's name, the run's name, and a number that rises with every run. */
export interface Run {
  pipeline: string;
  run: string;
  generation: bigint;
}
/** A dataset that is written to: its name, and where it lives, empty if nowhere special. Both together identify it. */
export interface Target {
  namespace: string;
  name: string;
  fields: Field[];
  key: string[];
  mode: 'append' | 'replace' | 'merge';
}
/** A row that is not written, and why. */
export interface RejectedRow {
  row: number;
  reason: string;
  column?: string;
}
/** Writes rows. */
export abstract class Destination<Config = {}> extends Plugin<Config> {
  static abilities: readonly ('append' | 'replace' | 'merge')[];
  /** Begin a run. */
  open(run: Run, targets: Target[]): void;
  /** Write a batch; return the rejected rows. */
  abstract write(target: Target, batch: Batch): RejectedRow[];
  /** End the run: make all rows visible. May be called again after an error. */
  abstract finish(): void;
  /** End the run: remove all its rows. */
  abstract abort(): void;
}
