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
/** Reads one dataset. `State` is anything that JSON has. */
export abstract class Source<Config = {}, State = Json> extends Plugin<Config> {
  static dataset: string;
  static key: readonly string[];
  /** Arrow types of the columns, by name. */
  abstract schema(): Record<string, string>;
  /**
   * Yield rows, each time with the state from which a later read continues; `maxRows()` is what the host takes at a time. A row may
   * lack columns of the schema, which are null then, but has no others: where the columns change, yield a `NewSchema` first. When it
   * throws, the host may ask again: it is begun anew with the last state that it gave.
   */
  abstract read(state: State | null, maxRows: () => number): Generator<Rows<State> | NewSchema>;
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
