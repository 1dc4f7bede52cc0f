"""Unit tests in Node: the host in memory gives what the host gives, or says that it cannot."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.authoring.unit_tests import run_unit_tests
from dataflare.errors import PluginError
from dataflare.testing import native
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.javascript import JavaScriptDriver
from dataflare.toolchain.run_tool import BuildFailed, run
from dataflare_plugin import Batch, Transformer, call, col, lit

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None and os.environ.get("CI") != "true", reason="there is no node"
)

ROWS = [
    {"a": 3, "b": 2, "x": 0.5, "t": " Ada ", "yes": True},
    {"a": -7, "b": 3, "x": -4.0, "t": "BÉLA", "yes": False},
    {"a": None, "b": 1, "x": 1e300, "t": None, "yes": None},
]
COLUMN = {"a": {"col": "a"}, "b": {"col": "b"}, "x": {"col": "x"}, "t": {"col": "t"}, "yes": {"col": "yes"}}
A, B, X, T, YES = COLUMN.values()
EXPRESSIONS: list[list[Any]] = [
    *([name, A, B] for name in ("add_checked", "subtract_checked", "multiply_checked", "divide")),
    *([name, A, X] for name in ("add_checked", "subtract_checked", "multiply_checked", "divide")),
    *([name, A, B] for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")),
    *([name, A, X] for name in ("equal", "less", "greater_equal")),
    *([name, T] for name in ("utf8_lower", "utf8_upper", "utf8_trim_whitespace", "utf8_length", "is_null", "is_valid")),
    *([name, YES, ["less", A, B]] for name in ("and_kleene", "or_kleene")),
    ["between", A, 0, 5],
    ["invert", YES],
    ["negate_checked", A],
    ["abs", X],
    ["coalesce", A, B],
    ["coalesce", T, "none"],
    ["if_else", YES, A, B],
    ["is_in", A, 3, 4],
    ["is_in", T, "BÉLA"],
    ["cast", A, {"type": "double"}],
    ["cast", A, {"type": "string"}],
    ["divide", ["cast", A, {"type": "double"}], B],
]
ERRORS: list[tuple[list[Any], str]] = [
    (["divide", A, 0], "out-of-range"),
    (["multiply_checked", A, 2**62], "out-of-range"),
    (["is_null", {"col": "none"}], "no-such-column"),
    (["invert", A], "wrong-type"),
    (["utf8_lower", A], "wrong-type"),
    (["add_checked", A, T], "wrong-type"),
]
PROGRAM = """
import { rows } from './dataflare/testing.js';
import { call, col, lit } from './dataflare/index.js';

const [records, trees] = JSON.parse(process.env.CASES);
const made = (tree) => {
  if (Array.isArray(tree)) return call(tree[0], ...tree.slice(1).map(made));
  if (tree?.col !== undefined) return col(tree.col);
  return tree?.type !== undefined ? tree : lit(Number.isInteger(tree) ? BigInt(tree) : tree);
};
const found = trees.map((tree) => {
  try {
    const batch = rows(records).withColumns({ found: made(tree) }).select('found');
    return { type: batch.fields[0].typeName, lines: batch.raw.toJsonLines() };
  } catch (error) {
    return { error: error.payload?.tag ?? error.message };
  }
});
console.log(JSON.stringify(found));
"""


def in_the_twin(folder: Path, trees: list[Any]) -> list[dict[str, str]]:
    new_plugin(folder, kind="transformer", language="javascript")
    JavaScriptDriver().prepare(guest_of(folder))
    (folder / "program.mjs").write_text(PROGRAM)
    command = ["node", "--import", "./dataflare/twin/register.js", "program.mjs"]
    found: list[dict[str, str]] = json.loads(run(command, cwd=folder, env={"CASES": json.dumps([ROWS, trees])}))
    return found


def expression(tree: Any) -> Any:
    if isinstance(tree, list):
        options = next((each for each in tree[1:] if isinstance(each, dict) and "type" in each), {})
        return call(tree[0], *(expression(each) for each in tree[1:] if each is not options), **options)
    return col(tree["col"]) if isinstance(tree, dict) else lit(tree)


def in_the_host(tree: Any) -> pa.Array:
    class Adds(Transformer):
        def transform(self, batch: Batch) -> Batch:
            return batch.with_columns(found=expression(tree))

    with native(Adds) as plugin:
        return plugin.transform(pa.RecordBatch.from_pylist(ROWS)).column("found")


def test_expressions_in_the_twin_are_those_of_the_host(tmp_path: Path) -> None:
    for tree, twin in zip(EXPRESSIONS, in_the_twin(tmp_path / "a", EXPRESSIONS), strict=True):
        assert "error" not in twin, (tree, twin)
        host = in_the_host(tree)
        values = [json.loads(line)["found"] for line in twin["lines"].splitlines()]
        assert (twin["type"], values) == (str(host.type), host.to_pylist()), tree


def test_errors_in_the_twin_are_those_of_the_host(tmp_path: Path) -> None:
    found = in_the_twin(tmp_path / "a", [tree for tree, _ in ERRORS])
    assert [each.get("error") for each in found] == [case for _, case in ERRORS]
    for tree, case in ERRORS:
        with pytest.raises(PluginError) as caught:
            in_the_host(tree)
        assert (caught.value.error.case, caught.value.error.value.case) == ("data", case), tree


def test_what_the_twin_lacks_is_an_error_that_says_where_to_test_it(tmp_path: Path) -> None:
    (found,) = in_the_twin(tmp_path / "a", [["sqrt", X]])
    assert found == {"error": "the twin in memory lacks the function sqrt: test it by a case in tests/cases"}


@pytest.mark.parametrize("kind", kinds_of("javascript"))
def test_plugin_of_new_has_tests_that_run_in_node(tmp_path: Path, kind: str) -> None:
    new_plugin(tmp_path / "plug in é" / "a", kind=kind, language="javascript")
    assert run_unit_tests(tmp_path / "plug in é" / "a").startswith("pass ")


def test_tests_run_with_npm_once_the_sdk_is_there(tmp_path: Path) -> None:
    new_plugin(tmp_path / "a", kind="transformer", language="javascript")
    JavaScriptDriver().prepare(guest_of(tmp_path / "a"))
    assert "# pass 1" in run(["npm", "test", "--", "--test-reporter=tap"], cwd=tmp_path / "a")


def test_interfaces_of_the_host_answer_as_the_test_says(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    new_plugin(folder, kind="processor", language="javascript")
    (folder / "tests" / "host.test.js").write_text("""
import assert from 'node:assert/strict';
import test from 'node:test';
import { get as secret } from 'dataflare:host/secrets@1.0.0';
import { create, listEntries, open, stat } from 'dataflare:host/files@1.0.0';
import { send } from 'dataflare:host/http@1.0.0';
import { compareAndSwap, get, listKeys, set } from 'dataflare:host/state@1.0.0';
import { log } from 'dataflare:host/logging@1.0.0';
import { now } from 'dataflare:host/clock@1.0.0';
import { host } from '../dataflare/testing.js';

const text = (bytes) => new TextDecoder().decode(bytes);
const is = (tag) => (error) => error.payload.tag === tag;

test('http', () => {
  host.answers.set('https://a.example/', { body: 'yes' });
  assert.equal(text(send({ method: 'GET', url: 'https://a.example/', headers: [] }).body), 'yes');
  assert.throws(() => send({ method: 'GET', url: 'https://b.example/', headers: [] }), is('denied'));
  assert.deepEqual(host.requests.map(({ url }) => url), ['https://a.example/', 'https://b.example/']);
});
test('state', () => {
  set('b', new Uint8Array([1]));
  set('a', new Uint8Array([2]));
  assert.deepEqual(listKeys('', undefined, 1), { keys: ['a'], more: true });
  assert.equal(compareAndSwap('a', new Uint8Array([9]), undefined), false);
  assert.equal(compareAndSwap('a', new Uint8Array([2]), undefined), true);
  assert.equal(get('a'), undefined);
});
test('files are there when they are published', () => {
  host.files.set('in/a.csv', 'x');
  const writer = create('in/b.csv', false);
  writer.writeText('yz');
  assert.throws(() => open('in/b.csv'), is('not-found'));
  writer.publish();
  assert.equal(text(open('in/b.csv').read(10)), 'yz');
  assert.equal(stat('in/b.csv').sizeBytes, 2n);
  assert.deepEqual(listEntries('in').map(({ name }) => name), ['a.csv', 'b.csv']);
  assert.throws(() => create('in/a.csv', false), is('already-exists'));
});
test('the rest', () => {
  host.secrets.set('token', 't');
  assert.equal(secret('token'), 't');
  assert.throws(() => secret('other'), is('not-granted'));
  log('info', 'hello', []);
  assert.equal(host.logged[0].message, 'hello');
  host.now = { seconds: 5n, nanoseconds: 0 };
  assert.equal(now().seconds, 5n);
});
""")
    assert run_unit_tests(folder) == "pass 6"


def test_interface_without_a_twin_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    new_plugin(folder, kind="processor", language="javascript")
    (folder / "tests" / "host.test.js").write_text("import 'dataflare:host/shared@1.0.0';\n")
    with pytest.raises(BuildFailed, match=r"dataflare:host/shared@1\.0\.0 has no twin in memory"):
        run_unit_tests(folder)


def test_processor_that_returns_no_record_is_told_what_to_return(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    new_plugin(folder, kind="processor", language="javascript")
    (folder / "tests" / "it.test.js").write_text("""
import assert from 'node:assert/strict';
import test from 'node:test';
import { exportsOf } from '../dataflare/sdk/component.js';
import { Processor } from '../dataflare/index.js';

for (const wrong of [undefined, 5, []]) {
  test(`it is ${wrong}`, () => {
    class Wrong extends Processor {
      process() {
        return wrong;
      }
    }
    const { lifecycle, processor } = exportsOf(Wrong, { kind: 'processor' });
    lifecycle.configure('{}');
    assert.throws(() => processor.process('{}'), ({ val }) => /return the record, or null to drop it/.test(val));
  });
}
""")
    assert run_unit_tests(folder) == "pass 5"
