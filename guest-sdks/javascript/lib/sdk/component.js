// The exports of a component, made from a plugin's class.
import { Batch, closing } from './batch.js';
import { readConfig, schemaOf } from './config.js';
import { toSchema } from './schema.js';
import { described, readingOf, selected } from './selections.js';
import { acknowledged } from './states.js';
import { fail, guarded } from '../plugin.js';
import { formatRecord, parseRecord } from '../records.js';

const MOST_REPORTED = 100;

/** The interfaces that a component exports, by name. `said` has the plugin's `name`, `version`, `kind` and `description`. */
export function exportsOf(Plugin, said) {
  if (typeof Plugin !== 'function' || Plugin.kind !== said.kind) {
    throw new TypeError(`plugin.js: its default export has to be a class of the kind ${said.kind}, as plugin.yaml says`);
  }
  const held = { plugin: null, reading: null, targets: [] };
  const plugin = () => held.plugin ?? refuse('`configure` comes first');
  const lifecycle = guarded({
    getMetadata: () => ({ ...said, configSchema: JSON.stringify(schemaOf(Plugin.options)) }),
    configure(text) {
      const made = new Plugin();
      made.config = readConfig(text, Plugin.options);
      made.checkConfig();
      held.plugin = made;
    },
    initialize: () => plugin().initialize(),
    shutdown: () => plugin().shutdown(),
    healthCheck() {
      const message = plugin().health();
      return { status: message ? 'unhealthy' : 'healthy', message };
    },
  });
  const functions = Object.entries(guarded(KINDS[said.kind](plugin, held)));
  return { lifecycle, [said.kind]: Object.fromEntries(functions.map(([name, call]) => [name, closing(call)])) };
}

const refuse = (message) => {
  throw fail('unsupported', message);
};

const KINDS = {
  processor: (plugin) => ({
    process(input) {
      const changed = processed(plugin(), record(input));
      return changed === null ? undefined : formatRecord(changed);
    },
    processBatch: (input) =>
      changed(input, (batch) => {
        const process = (each, row) => ofRow(row, () => processed(plugin(), each));
        const records = batch.records().map(process).filter((each) => each !== null);
        return Batch.fromRecords(records, fieldsOf(records, batch.fields));
      }),
  }),

  transformer: (plugin) => ({
    outputSchema(input) {
      const empty = Batch.fromRecords([], input.fields);
      return { fields: plugin().transform(empty).fields, metadata: input.metadata };
    },
    transform: (input) => changed(input, (batch) => plugin().transform(batch)),
  }),

  validator: (plugin) => ({
    rules: () => plugin().rules().map(({ name, description = '', severity = 'error' }) => ({ name, description, severity })),
    validate(input) {
      const batch = new Batch(input);
      const rules = plugin().rules();
      const checks = rules.map(({ holds }, at) => [`${at}`, holds.call('invert')]);
      const marked = checks.length > 0 ? batch.withColumns(Object.fromEntries(checks)) : batch;
      const counts = [];
      const violations = [];
      rules.forEach(({ name, column, severity = 'error', description = '' }, at) => {
        const rows = marked.raw.booleanColumn(`${at}`);
        const found = [...rows.keys()].filter((row) => rows[row]);
        counts.push({ rule: name, violations: found.length });
        for (const row of found.slice(0, MOST_REPORTED)) violations.push({ row, column, rule: name, severity, message: description });
      });
      return { rowsChecked: batch.length, counts, violations };
    },
  }),

  source: (plugin, held) => ({
    discover: () => plugin().datasets().map(described),
    split: () => refuse('the dataset cannot be split'),
    estimate: () => undefined,
    open(selections, part, state) {
      if (part !== undefined) throw fail('invalid-state', 'this source has no parts');
      held.reading = readingOf(plugin(), selected(plugin(), selections), state, (rows, fields) => Batch.fromRecords(rows, fields).keep().raw);
      return held.reading.schemas();
    },
    read: (maxRows) => (held.reading ?? refuse('no read is under way: `open` comes first')).next(maxRows),
    acknowledge: (state) => plugin().acknowledge(acknowledged(state)),
    close() {
      held.reading = null;
    },
  }),

  destination: (plugin, held) => ({
    abilities: () =>
      Object.fromEntries(plugin().constructor.abilities.map((name) => [name.replace(/-(.)/g, (_, letter) => letter.toUpperCase()), true])),
    plan: () => [],
    open(run, targets) {
      const found = targets.map(({ dataset: { namespace, name }, schema, key, mode }) => ({
        namespace,
        name,
        fields: schema.fields,
        key,
        mode,
      }));
      const refused = found.find(({ mode }) => !plugin().constructor.abilities.includes(mode));
      if (refused) refuse(`dataset '${refused.name}': rows cannot be written in the mode ${refused.mode}`);
      plugin().open(run, found);
      held.targets = found;
      return undefined;
    },
    write(target, rows) {
      return plugin().write(targetOf(held, target), new Batch(rows)) ?? [];
    },
    changeSchema(target, { fields }) {
      const to = targetOf(held, target);
      requireChange(to, fields, plugin().constructor.abilities);
      to.fields = fields;
    },
    flush: () => false,
    finish: () => plugin().finish(),
    abort: () => plugin().abort(),
  }),
};

function targetOf(held, number) {
  return held.targets[number] ?? refuse(`there is no target ${number}`);
}

/** Refuse a change of columns that is not among the abilities. */
function requireChange(to, fields, abilities) {
  for (const { name, typeName } of fields) {
    const known = to.fields.find((field) => field.name === name);
    if (known?.typeName === typeName) continue;
    const [ability, what] = known ? ['widen-columns', typeName] : ['add-columns', 'added'];
    if (!abilities.includes(ability)) refuse(`dataset '${to.name}': column '${name}' cannot be ${what}`);
  }
}

/** What a processor makes of a record; anything but a record would fail later and elsewhere. */
function processed(plugin, record) {
  const changed = plugin.process(record);
  if (typeof changed === 'object' && !Array.isArray(changed)) return changed;
  throw new TypeError(`process returned ${typeof changed === 'object' ? 'a list' : changed}: return the record, or null to drop it`);
}

/** Say which row an error about the input is about. */
function ofRow(row, call) {
  try {
    return call();
  } catch (thrown) {
    throw thrown?.tag === 'invalid-input' ? fail('invalid-input', `row ${row}: ${thrown.val}`) : thrown;
  }
}

function record(text) {
  try {
    return parseRecord(text);
  } catch (error) {
    throw fail('invalid-input', `the record is not JSON: ${error.message}`);
  }
}

/** The batch that a change of another one gives, as the host gets it. */
const changed = (input, change) => change(new Batch(input)).keep().raw;

/** The fields of records: known ones keep their types, new ones are inferred. */
function fieldsOf(records, given) {
  if (records.length === 0) return given;
  const names = [...new Set(records.flatMap((each) => Object.keys(each)))];
  const known = new Map(given.map((field) => [field.name, field]));
  const fresh = names.filter((name) => !known.has(name));
  if (fresh.length > 0) {
    const only = records.map((each) => Object.fromEntries(fresh.map((name) => [name, each[name] ?? null])));
    for (const field of Batch.fromRecords(only).fields) known.set(field.name, field);
  }
  return names.map((name) => known.get(name));
}
