import assert from 'node:assert/strict';
import test from 'node:test';

import { Reading } from './reading.js';
import { withKey } from './schema.js';

const DATASET = { name: { namespace: '', name: 'people' }, key: ['id'], schema: { fields: withKey({ id: 'int64', name: 'string' }, ['id']) } };

const SELECTION = { dataset: DATASET, mode: 'full', chosen: [] };

/** Read to the end, at most `most` rows at a time. */
function read(generator, { chosen = [], state, most = 10 } = {}) {
  const reading = new Reading({ read: generator }, { ...SELECTION, chosen }, state, (rows, fields) => ({ rows, names: fields.map(({ name }) => name) }));
  const found = [];
  for (;;) {
    const progress = reading.next(most);
    if (progress.tag === 'ended') return found;
    found.push(progress);
  }
}

function* growing(state) {
  for (let at = state ?? 0; at < 4; at += 1) {
    if (at === 2) yield { schema: { id: 'int64', name: 'string', age: 'int32' } };
    yield { rows: [at < 2 ? { id: at } : { id: at, age: at }], state: at + 1 };
  }
}

test('a column that the schema lacks is an error that names it', () => {
  const extra = function* () {
    yield { rows: [{ id: 1 }, { id: 2, age: 7 }], state: 1 };
  };
  for (const chosen of [[], ['name']]) {
    assert.throws(() => read(extra, { chosen }), ({ tag, val }) => tag === 'invalid-input' && val.includes("'people': the rows have a column 'age'"));
  }
});

test('a new schema comes before its rows, and a state after it has it', () => {
  const found = read(growing);
  assert.deepEqual(found.map(({ tag }) => tag), ['rows', 'rows', 'new-schema', 'rows', 'rows']);
  assert.deepEqual(found[2].val.schema.fields.map(({ name, metadata }) => [name, metadata.length]), [['id', 1], ['name', 0], ['age', 0]]);
  const rest = read(growing, { state: found[3].val.state });
  assert.deepEqual(rest.map(({ tag, val }) => [tag, val.rows.names]), [['rows', ['id', 'name', 'age']]]);
  assert.equal(read(growing, { state: found[1].val.state })[0].tag, 'new-schema');
});

test('a new schema of columns that are not read is no news', () => {
  const found = read(growing, { chosen: ['name'] });
  assert.deepEqual(found.map(({ tag, val }) => [tag, val.rows.names.join()]), Array(4).fill(['rows', 'id,name']));
});

test('rows that are too many keep their state for the last of them', () => {
  const found = read(function* () {
    yield { rows: [{ id: 1 }, { id: 2 }, { id: 3 }], state: 'end' };
  }, { most: 2 });
  assert.deepEqual(found.map(({ val }) => [val.rows.rows.length, val.state !== undefined]), [[2, false], [1, true]]);
});

test('a read goes on from its last state after an error', () => {
  let asked = 0;
  const limited = function* (state) {
    for (let at = state ?? 0; at < 3; at += 1) {
      if (at === 1 && asked++ === 0) throw { tag: 'rate-limited', val: 5 };
      yield { rows: [{ id: at }], state: at + 1 };
    }
  };
  const reading = new Reading({ read: limited }, SELECTION, undefined, (rows) => rows[0].id);
  const next = () => reading.next(10).val?.rows;
  assert.equal(next(), 0);
  assert.throws(next, { tag: 'rate-limited' });
  assert.deepEqual([next(), next(), next()], [1, 2, undefined]);
});

test('rows without a state cannot be read again', () => {
  const reading = new Reading({ *read() { yield { rows: [{ id: 1 }] }; throw new Error('broken'); } }, SELECTION, undefined, (rows) => rows);
  reading.next(10);
  assert.throws(() => reading.next(10), /broken/);
  assert.throws(() => reading.next(10), { tag: 'unsupported' });
});

test('a state belongs to its columns, in any order', () => {
  const { state } = read(growing, { chosen: ['name', 'id'] })[1].val;
  assert.equal(read(growing, { chosen: ['id', 'name'], state }).length, 2);
  for (const chosen of [[], ['id']]) {
    assert.throws(() => read(growing, { chosen, state }), ({ tag, val }) => tag === 'invalid-state' && val.includes("'people': the state is of other"));
  }
});

test('a state is that of all SDKs', () => {
  const text = (state) => new TextDecoder().decode(state);
  const found = read(growing, { chosen: ['name'] });
  assert.equal(text(found[0].val.state), '{"after":1,"columns":["name"],"dataset":"people","mode":"full"}');
  const { schema, ...of } = JSON.parse(text(read(growing)[3].val.state));
  assert.deepEqual(of, { after: 3, dataset: 'people', mode: 'full' });
  assert.deepEqual(schema[0], { metadata: { 'dataflare.key': '0' }, name: 'id', nullable: true, type: 'int64' });
});

test('positions keep their digits', () => {
  const positions = [2n ** 63n, { at: 9007199254740993n }];
  for (const position of positions) {
    const [{ val: { state } }] = read(function* () {
      yield { rows: [{ id: 1 }], state: position };
    });
    let given;
    read(function* (from) {
      given = from;
    }, { state });
    assert.deepEqual(given, position);
  }
});

test('states of other datasets, and what is no state, are refused', () => {
  for (const text of ['', '{', '3', 'null', '{"after": 1}', '{"dataset": "other", "after": 1}', '{"dataset": "people"}', '{"dataset": "people", "after": 1, "mode": "full", "schema": [{}]}']) {
    assert.throws(() => read(growing, { state: new TextEncoder().encode(text) }), { tag: 'invalid-state' }, text);
  }
});
