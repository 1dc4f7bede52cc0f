import assert from 'node:assert/strict';
import test from 'node:test';

import { committed, deleted, idle, inserted, newSchema, Source, unavailable, updated } from './index.js';
import { readingOf, selected } from './selections.js';

/** A log whose events are given; a position is the number of those before it. */
class Shop extends Source {
  datasets() {
    const modes = ['changes'];
    return [
      { name: 'orders', schema: { id: 'int64', note: 'string' }, key: ['id'], modes },
      { name: 'lines', schema: { order: 'int64', line: 'int64' }, key: ['order', 'line'], modes },
      { name: 'others', schema: { id: 'int64' }, key: ['id'], modes },
    ];
  }

  *changes(position) {
    for (let at = position ?? 0; at < this.events.length; at += 1) {
      if (at === this.failsAt) {
        this.failsAt = undefined;
        throw unavailable('for a moment');
      }
      yield this.events[at];
    }
  }
}

const select = (name, columns = []) => ({ dataset: { namespace: '', name }, mode: { tag: 'changes' }, columns });
const BOTH = [select('orders'), select('lines')];

function opened(events, selections = BOTH, state = undefined) {
  const plugin = Object.assign(new Shop(), { events });
  return readingOf(plugin, selected(plugin, selections), state, (rows) => rows);
}

/** What comes until the log is idle. */
function read(reading, maxRows = 10) {
  const found = [];
  do found.push(reading.next(maxRows));
  while (found.at(-1).tag !== 'idle');
  return found;
}

const rows = (found) => found.flatMap(({ tag, val }) => (tag === 'rows' ? val.rows : []));
const after = ({ val: { state } }) => (state === undefined ? undefined : JSON.parse(new TextDecoder().decode(state)).after);

const EVENTS = [
  inserted('orders', { id: 1, note: 'a' }),
  committed(2),
  inserted('lines', { order: 1, line: 1 }),
  inserted('others', { id: 7 }),
  updated('orders', { id: 2, note: 'b' }, { id: 1 }),
  committed(6),
  deleted('orders', { id: 2, note: 'b' }),
  committed(8),
];
const ROWS = [
  { id: 1, note: 'a', _operation: 0 },
  { order: 1, line: 1, _operation: 0 },
  { id: 1, _operation: 2 },
  { id: 2, note: 'b', _operation: 0 },
  { id: 2, _operation: 2 },
];

test('changes come in order, with a state where a transaction ends', () => {
  for (const maxRows of [1, 2, 10]) assert.deepEqual(rows(read(opened(EVENTS), maxRows)), ROWS);
  const found = read(opened(EVENTS));
  assert.deepEqual(found.map(({ tag, val }) => [tag, val.selection]), [['rows', 0], ['rows', 1], ['rows', 0], ['idle', undefined]]);
  assert.deepEqual(found.map(after), [2, undefined, 8, 8]);
});

test('a log goes on from every state', () => {
  const found = read(opened(EVENTS), 1);
  found.forEach(({ val }, at) => {
    if (val.state === undefined) return;
    assert.deepEqual([...rows(found.slice(0, at + 1)), ...rows(read(opened(EVENTS, BOTH, val.state)))], ROWS);
  });
});

test('a log goes on after an error, wherever it came', () => {
  for (let at = 0; at < EVENTS.length; at += 1) {
    const reading = opened(EVENTS);
    reading.plugin.failsAt = at;
    const found = [];
    assert.throws(() => { for (;;) found.push(reading.next(1)); }, { tag: 'unavailable' });
    assert.deepEqual(rows([...found, ...read(reading, 1)]), ROWS, `${at}`);
  }
});

test('a transaction can pause', () => {
  const events = [...EVENTS.slice(0, 3), idle(20), ...EVENTS.slice(4)];
  const reading = opened(events);
  const found = read(reading);
  assert.deepEqual(found.at(-1), { tag: 'idle', val: { state: undefined, retryAfterMs: 20 } });
  assert.deepEqual(rows([...found, ...read(reading)]), ROWS);
});

test('a new schema comes before its rows', () => {
  const schema = { id: 'int64', note: 'string', paid: 'bool' };
  const events = [newSchema('orders', schema), updated('orders', { id: 1, note: 'a', paid: true }), committed(3)];
  const [change, chunk] = read(opened(events));
  assert.deepEqual(change.val.schema.fields.map(({ name, typeName }) => [name, typeName]), [...Object.entries(schema), ['_operation', 'int8']]);
  assert.equal(opened(events, BOTH, chunk.val.state).schemas()[0].fields.length, 4);
  assert.equal(read(opened(events, [select('orders', ['note'])]))[0].tag, 'rows');
});

test('changes that lose values, and what is no event, are refused', () => {
  for (const [event, message] of [
    [inserted('orders', { id: 1, size: 2 }), /'orders': the rows have a column 'size'/],
    [inserted('orders', { note: 'a' }), /'orders': a change lacks the key column 'id'/],
    [updated('orders', { id: 1 }), /'orders': an update lacks the column 'note'/],
    [deleted('lines', { order: 1, line: null }), /'lines': a change lacks the key column 'line'/],
    [inserted('ordres', { id: 1 }), /no dataset 'ordres', only orders, lines, others/],
  ]) {
    assert.throws(() => read(opened([event, committed(2)])), ({ tag, val }) => tag === 'invalid-input' && message.test(val));
  }
  assert.throws(() => read(opened([{ rows: [] }])), /TypeError: changes yielded/);
});

test('states of other selections, and what is no state, are refused', () => {
  const { state } = read(opened(EVENTS))[0].val;
  for (const selections of [[BOTH[0]], [...BOTH].reverse(), [select('orders', ['note']), BOTH[1]]]) {
    assert.throws(() => opened(EVENTS, selections, state), ({ tag, val }) => tag === 'invalid-state' && /other columns/.test(val));
  }
  for (const text of ['', '3', '[]', '{"after": 1}', '{"after": 1, "mode": "changes", "datasets": [3]}']) {
    assert.throws(() => opened(EVENTS, BOTH, new TextEncoder().encode(text)), { tag: 'invalid-state' }, text);
  }
});

test('a source without changes says so', () => {
  const plugin = Object.assign(new Source(), { datasets: () => [{ name: 'a', schema: { id: 'int64' }, modes: ['changes'] }] });
  const reading = readingOf(plugin, selected(plugin, [select('a')]), undefined, (rows) => rows);
  assert.throws(() => reading.next(1), { tag: 'unsupported' });
  assert.throws(() => selected(plugin, [{ ...select('a'), mode: { tag: 'full' } }]), { tag: 'invalid-config' });
});
