// What the host selects of a source's datasets.
import { ChangeReading } from './changes.js';
import { Reading } from './reading.js';
import { withKey } from './schema.js';
import { fail } from '../plugin.js';

/** A dataset of a plugin, as the host has it. */
export function described({ name, schema, key = [], modes = ['full'], description = '' }) {
  const can = { full: modes.includes('full'), changes: modes.includes('changes'), unbounded: modes.includes('changes') };
  return { name: { namespace: '', name }, description, schema: { fields: withKey(schema, key), metadata: [] }, key, cursors: [], modes: can };
}

/** Check what the host selects, against what there is: one dataset, or several of one log of changes. */
export function selected(plugin, selections) {
  const known = plugin.datasets().map(described);
  const found = selections.map((each) => selectedOf(known, each));
  if (found.length === 0 || (found.length > 1 && found.some(({ mode }) => mode !== 'changes'))) {
    throw fail('invalid-config', 'select one dataset: each has a state of its own, apart from those of a log of changes');
  }
  return found;
}

/** The read of what is selected, from a state on; `toBatch` makes a batch of rows and fields. */
export function readingOf(plugin, selections, state, toBatch) {
  if (selections[0].mode === 'changes') return new ChangeReading(plugin, selections, state, toBatch);
  return new Reading(plugin, selections[0], state, toBatch);
}

function selectedOf(known, { dataset: { namespace, name }, mode, columns }) {
  const dataset = known.find((each) => each.name.name === name && !namespace);
  if (dataset === undefined) {
    throw fail('invalid-config', `there is no dataset '${name}', only ${known.map((each) => `'${each.name.name}'`).join(', ')}`);
  }
  if (!dataset.modes[mode.tag]) throw fail('invalid-config', `dataset '${name}': it cannot be read in the mode ${mode.tag}`);
  const unknown = columns.find((each) => !dataset.schema.fields.some((field) => field.name === each));
  if (unknown !== undefined) throw fail('invalid-config', `dataset '${name}': there is no column '${unknown}'`);
  return { dataset, mode: mode.tag, chosen: columns };
}
