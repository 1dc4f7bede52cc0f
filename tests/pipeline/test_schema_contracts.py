"""Columns that change between runs, between files, and during a read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare.pipeline.common_types import common_type
from dataflare.pipeline.contract_keys import ContractAction
from dataflare.pipeline.replay import replaying
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification, parse_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import Chunk, DatasetName, NewSchema
from pipeline_fakes import FakeDestination, FakeHost, FakeSource

NAME = DatasetName("rows")
PLUGINS = "  in: {plugin: source.wasm%s}\n  out: {plugin: first.wasm, input: in}\n"


class Columns(FakeSource):
    """Gives batches of different schemas, and says before each what it is."""

    def chunks(self) -> Any:
        last = self._schema
        for number, batch in enumerate(self._batches):
            if not batch.schema.equals(last):
                last = batch.schema
                yield NewSchema(NAME, last)
            yield Chunk(NAME, batch, str(number).encode())


class Evolving(FakeDestination):
    """A destination that takes other columns within a run."""

    def change_schema(self, schema: pa.Schema, dataset: Any = None) -> None:
        self.called("change_schema")


@pytest.fixture
def specify(tmp_path: Path) -> Callable[[str], Specification]:
    def make(nodes: str) -> Specification:
        for name in ("source", "first"):
            (tmp_path / f"{name}.wasm").touch()
        return parse_specification(f"name: test\nnodes:\n{nodes}", file=tmp_path / "pipeline.yaml")

    return make


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def run_batches(made: Specification, *batches: pa.RecordBatch, state: Path | None = None) -> tuple[RunReport, Any]:
    out = Evolving()
    host = FakeHost(source=Columns(batches), first=out)
    if state is None:
        return run(made, host=host), out
    with StateFile(state, pipeline="test") as file:
        return run(made, host=host, state=file), out


def changes(report: RunReport) -> list[tuple[str, str, str]]:
    return [(each.change, each.column, each.result) for each in report.nodes[0].schema_changes]


# Between runs


@pytest.mark.parametrize(
    ("contract", "result", "rows"),
    [
        ("", "evolved", [{"x": 3, "y": "c"}, {"x": 4, "y": None}]),
        (", schema: evolve", "evolved", [{"x": 3, "y": "c"}, {"x": 4, "y": None}]),
        (", schema: discard-column", "column discarded", [{"x": 3}, {"x": 4}]),
        (", schema: discard-row", "rows discarded", [{"x": 4}]),
    ],
)
def test_new_column_becomes_what_the_contract_says(specify, tmp_path, contract, result, rows):
    made = specify(PLUGINS % contract)
    run_batches(made, batch(x=[1, 2]), state=tmp_path / "state")
    report, out = run_batches(made, batch(x=[3, 4], y=["c", None]), state=tmp_path / "state")
    assert out.rows == rows
    assert changes(report) == [("new-column", "y", result)]
    assert report.to_json()["nodes"][0]["schema_changes"][0]["since"] == "run"
    assert report.nodes[0].failed == 2 - len(rows)


@pytest.mark.parametrize(
    ("came", "what"),
    [
        (batch(x=[1], y=["a"], z=[1]), "column 'z' (int64) is new"),
        (batch(x=["one"], y=["a"]), "column 'x' is string, and was int64"),
        (batch(x=[1]), "column 'y' (string) is missing"),
    ],
)
def test_frozen_columns_end_the_run(specify, tmp_path, came, what):
    made = specify(PLUGINS % ", schema: freeze")
    run_batches(made, batch(x=[1], y=["a"]), state=tmp_path / "state")
    with pytest.raises(NodeFailed, match="not those in the last run") as caught:
        run_batches(made, came, state=tmp_path / "state")
    assert what in str(caught.value)
    assert "schema: evolve" in caught.value.hint
    # What was known stays known.
    report, _ = run_batches(made, batch(x=[2], y=["b"]), state=tmp_path / "state")
    assert changes(report) == []


def test_frozen_columns_take_values_that_fit_their_types(specify, tmp_path):
    made = specify(PLUGINS % ", schema: freeze")
    run_batches(made, batch(x=pa.array([1.5])), state=tmp_path / "state")
    report, out = run_batches(made, batch(x=pa.array([2], pa.int32())), state=tmp_path / "state")
    assert out.written[0].schema.types == [pa.float64()]
    assert changes(report) == []


@pytest.mark.parametrize(
    ("contract", "rows"),
    [
        ("discard-column", [{"x": 7}, {"x": None}, {"x": None}, {"x": None}]),
        ("discard-row", [{"x": 7}, {"x": None}]),
    ],
)
def test_values_of_another_type_are_converted_where_nothing_is_lost(specify, tmp_path, contract, rows):
    made = specify(PLUGINS % f", schema: {contract}")
    run_batches(made, batch(x=[1]), state=tmp_path / "state")
    report, out = run_batches(made, batch(x=["7", "x", "007", None]), state=tmp_path / "state")
    assert sorted(map(str, out.rows)) == sorted(map(str, rows))
    assert report.nodes[0].schema_changes[0].before == "int64"


def test_evolved_type_holds_both_kinds_of_values_from_then_on(specify, tmp_path):
    made = specify(PLUGINS % ", schema: evolve")
    for kind, wanted in ((pa.int32(), pa.int32()), (pa.int64(), pa.int64()), (pa.int16(), pa.int64())):
        _, out = run_batches(made, batch(x=pa.array([1], kind)), state=tmp_path / "state")
        assert out.written[0].schema.types == [wanted]


@pytest.mark.parametrize("contract", ["evolve", "discard-column"])
def test_missing_column_is_filled_with_nulls(specify, tmp_path, contract):
    made = specify(PLUGINS % f", schema: {contract}")
    run_batches(made, batch(x=[1], y=["a"]), state=tmp_path / "state")
    _, out = run_batches(made, batch(x=[2]), state=tmp_path / "state")
    assert out.rows == [{"x": 2, "y": None}]


def test_actions_are_given_for_each_difference(specify, tmp_path):
    made = specify(PLUGINS % ", schema: {new_columns: freeze, missing_columns: discard-row}")
    run_batches(made, batch(x=[1], y=["a"]), state=tmp_path / "state")
    report, out = run_batches(made, batch(x=[2]), state=tmp_path / "state")
    assert out.rows == []
    assert report.nodes[0].failed == 1
    with pytest.raises(NodeFailed, match="'z'"):
        run_batches(made, batch(x=[1], y=["a"], z=[1]), state=tmp_path / "state")


def test_full_refresh_forgets_the_columns(specify, tmp_path):
    made = specify(PLUGINS % ", schema: freeze")
    run_batches(made, batch(x=[1]), state=tmp_path / "state")
    with StateFile(tmp_path / "state", pipeline="test") as file:
        run(made, host=FakeHost(source=Columns([batch(z=[1])]), first=Evolving()), state=file, full_refresh=True)
    _, out = run_batches(made, batch(z=[2]), state=tmp_path / "state")
    assert out.rows == [{"z": 2}]


def test_state_keeps_the_columns_and_their_changes(specify, tmp_path):
    made = specify(PLUGINS % ", schema: evolve")
    run_batches(made, batch(x=[1]), state=tmp_path / "state")
    run_batches(made, batch(x=[1], y=["a"]), state=tmp_path / "state")
    with StateFile(tmp_path / "state", pipeline="test") as file:
        kept = file.known_schema("in")
        assert kept is not None
        assert [each["name"] for each in json.loads(kept)] == ["x", "y"]
        ((_, change, _),) = file.schema_changes()
    assert json.loads(change)["column"] == "y"


def test_state_of_the_version_before_is_taken_over(tmp_path):
    StateFile(tmp_path / "state", pipeline="test").close()
    with sqlite3.connect(tmp_path / "state") as connection:
        connection.executescript(
            "DROP TABLE known_schema; DROP TABLE schema_change; DROP TABLE intent; DROP TABLE run; "
            "ALTER TABLE pending DROP COLUMN rows; UPDATE pipeline SET version = 1"
        )
    connection.close()
    with StateFile(tmp_path / "state", pipeline="test") as file:
        assert file.known_schema("in") is None


# Within a run


def test_columns_that_change_during_a_read_reach_the_destination(specify):
    made = specify(PLUGINS % ", schema: evolve")
    report, out = run_batches(made, batch(x=[1]), batch(x=[2], y=["b"]), batch(x=[3]))
    assert out.rows == [{"x": 1}, {"x": 2, "y": "b"}, {"x": 3, "y": None}]
    assert out.calls.count("change_schema") == 1
    assert report.nodes[0].schema_changes[0].since == "read"


def test_columns_that_change_during_a_read_are_an_error_without_a_contract(specify):
    with pytest.raises(NodeFailed, match="changed while it was read"):
        run_batches(specify(PLUGINS % ""), batch(x=[1]), batch(x=[2], y=["b"]))


def test_columns_that_change_during_a_read_are_discarded(specify):
    _, out = run_batches(specify(PLUGINS % ", schema: discard-column"), batch(x=[1]), batch(y=["b"], x=[2]))
    assert out.rows == [{"x": 1}, {"x": 2}]
    assert "change_schema" not in out.calls


# Files


def files(tmp_path: Path, contract: str, *, write: str = "out.csv", more: str = "", read: str = "in/*.csv") -> Any:
    return build_specification(
        {
            "name": "test",
            "nodes": {
                "in": {"connector": Path(read).suffix[1:].replace("xlsx", "excel"), "read": read, "schema": contract}
                | ({"dead_letters": more} if more else {}),
                "out": {"connector": Path(write).suffix[1:], "write": write, "input": "in"},
            },
        },
        folder=tmp_path,
    )


@pytest.fixture
def three(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("id,price\n1,1\n2,2\n")
    (tmp_path / "in/b.csv").write_text("id,price,note\n3,2.5,new\n4,3,\n")
    (tmp_path / "in/c.csv").write_text("price,id\n1.10,A5\n")
    return tmp_path


def test_files_of_other_columns_are_read_as_one(three):
    report = run(files(three, "evolve", write="out.parquet"))
    table = parquet.read_table(three / "out.parquet")
    assert table.to_pylist() == [
        {"id": "1", "price": 1.0, "note": None},
        {"id": "2", "price": 2.0, "note": None},
        {"id": "3", "price": 2.5, "note": "new"},
        {"id": "4", "price": 3.0, "note": None},
        {"id": "A5", "price": 1.1, "note": None},
    ]
    assert {(each.column, Path(each.place).name) for each in report.nodes[0].schema_changes} == {
        ("price", "b.csv"),
        ("note", "b.csv"),
        ("id", "c.csv"),
        ("note", "c.csv"),
    }


def test_values_that_no_evolved_type_holds_end_the_run(tmp_path):
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.table({"a": [1.0, 1.5]}), tmp_path / "in/a.parquet")
    parquet.write_table(pa.table({"a": [2**53 + 1]}), tmp_path / "in/b.parquet")
    made = files(tmp_path, "evolve", read="in/*.parquet")
    with pytest.raises(NodeFailed, match=r"column 'a': the value is not int64, .*: 1\.5 \(double\)") as caught:
        run(made)
    assert "discard-row" in str(caught.value)
    assert not (tmp_path / "out.csv").exists()
    parquet.write_table(pa.table({"a": [1.0, None]}), tmp_path / "in/a.parquet")
    run(made)
    assert (tmp_path / "out.csv").read_text() == '"a"\n1\n\n9007199254740993\n'


def test_rows_that_do_not_fit_go_to_dead_letters_and_are_replayed(three):
    made = files(three, "discard-row", more="dead.jsonl")
    report = run(made)
    assert (three / "out.csv").read_text() == '"id","price"\n1,1\n2,2\n4,3\n'
    assert report.nodes[0].failed == 2
    letters = [json.loads(line) for line in (three / "dead.jsonl").read_text().splitlines()]
    assert [(each["values"]["id"], each["error"]) for each in letters] == [(3, "schema"), ("A5", "schema")]
    assert "'price'" in letters[1]["message"] or "'id'" in letters[1]["message"]


def test_letters_of_a_reading_node_go_to_the_nodes_below(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("id\n1\n")
    (tmp_path / "in/b.csv").write_text("id\n2\nA3\n")
    made = files(tmp_path, "discard-row", more="dead.jsonl", write="out.jsonl")
    run(made)
    assert (tmp_path / "out.jsonl").read_text() == '{"id":1}\n{"id":2}\n'
    report = run(replaying(made, "in"))
    assert (tmp_path / "out.jsonl").read_text() == '{"id":1}\n{"id":2}\n{"id":"A3"}\n'
    assert (tmp_path / "dead.jsonl").read_text() == ""
    assert report.rows_in == 1


def test_file_of_other_columns_is_named_where_columns_are_frozen(three):
    with pytest.raises(NodeFailed, match=r"in/b\.csv: the columns are not those before in this run: .*'price'"):
        run(files(three, "freeze"))
    assert not (three / "out.csv").exists()


def write_part(path: Path, text: str) -> None:
    if path.suffix != ".xlsx":
        path.write_text(text)
        return
    book = pytest.importorskip("openpyxl").Workbook()
    for line in text.splitlines():
        book.active.append([int(each) if each.isdigit() else each or None for each in line.split(",")])
    book.save(path)


@pytest.mark.parametrize("contract", ["evolve", "freeze", "discard-column", "discard-row"])
def test_file_of_json_without_rows_decides_no_columns(tmp_path, contract):
    (tmp_path / "in").mkdir()
    for name, text in {"a": "", "b": '{"id":1,"x":2}\n', "c": "", "d": '{"id":2,"x":3}\n'}.items():
        (tmp_path / f"in/{name}.jsonl").write_text(text)
    report = run(files(tmp_path, contract, read="in/*.jsonl", write="out.jsonl"))
    assert report.nodes[0].schema_changes == []
    assert (tmp_path / "out.jsonl").read_text() == '{"id":1,"x":2}\n{"id":2,"x":3}\n'


@pytest.mark.parametrize("contract", ["evolve", "freeze", "discard-column", "discard-row"])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("in.csv", ["id,x\n1,2\n", "id,x\n2,\n", "id,x\n", "id,x\n3,4\n"]),
        ("in.jsonl", ['{"id":1,"x":2}\n', '{"id":2,"x":null}\n', "", "[]", '{"id":3,"x":4}\n']),
        ("in.xlsx", ["id,x\n1,2\n", "id,x\n2,\n", "id,x\n", "id,x\n3,4\n"]),
    ],
)
def test_column_without_a_value_keeps_its_known_type(tmp_path, contract, name, parts):
    made = files(tmp_path, contract, read=name, write="out.parquet")
    rows: list[dict[str, Any]] = []
    for part in parts:
        write_part(tmp_path / name, part)
        with StateFile(tmp_path / "state", pipeline="test") as file:
            assert run(made, state=file).nodes[0].schema_changes == []
        rows += parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert rows == [{"id": 1, "x": 2}, {"id": 2, "x": None}, {"id": 3, "x": 4}]


def test_columns_of_files_are_known_from_the_last_run(three):
    made = files(three, "evolve", read="in/a.csv")
    with StateFile(three / "state", pipeline="test") as file:
        run(made, state=file)
        (three / "in/a.csv").write_text("id\nA9\n")
        report = run(made, state=file)
    assert (three / "out.csv").read_text() == '"id","price"\n"A9",\n'
    assert changes(report) == [("changed-type", "id", "evolved"), ("missing-column", "price", "filled")]


def test_contract_is_for_nodes_that_read(specify):
    nodes = "  in: {plugin: source.wasm}\n  out: {plugin: first.wasm, input: in, schema: freeze}\n"
    with pytest.raises(ConfigError, match="`schema` is only for sources"):
        specify(nodes).check_kinds({"in": "source", "out": "destination"})


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("frozen", "'frozen' is not one of"),
        ("{new_colums: freeze}", "unknown key"),
        ("{new_columns: stop}", "'stop' is not one of"),
        ("evolve, dead_letters: dead.jsonl", "no rows are left out"),
    ],
)
def test_wrong_contract_is_an_error_with_its_line(specify, value, what):
    nodes = f"  in: {{connector: csv, read: in.csv, schema: {value}}}\n  out: {{plugin: first.wasm, input: in}}\n"
    with pytest.raises(ConfigError, match=r"pipeline\.yaml:3: ") as caught:
        specify(nodes)
    assert what in str(caught.value)


# Types

TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.string(), pa.large_string(), pa.binary(), pa.date32()),
    *(pa.timestamp("ms"), pa.timestamp("us"), pa.bool_()),
]
LIMITS = {
    **{each: [0, 2**each.bit_width - 1] for each in TYPES if pa.types.is_unsigned_integer(each)},
    **{each: [-(2 ** (each.bit_width - 1)), 2 ** (each.bit_width - 1) - 1] for each in TYPES[:4]},
}


@given(one=st.sampled_from(TYPES), other=st.sampled_from(TYPES))
def test_common_type_keeps_the_values_of_both(one, other):
    common = common_type(one, other)
    assert common == common_type(other, one)
    if common is None:
        assert one != other
        return
    for each in (one, other):
        values = pa.array(LIMITS.get(each, []), each)
        assert values.cast(common).cast(each).equals(values)


@pytest.mark.parametrize("action", ["evolve", "freeze", "discard-column", "discard-row"])
def test_same_columns_go_on_as_they_are(specify, tmp_path, action: ContractAction):
    made = specify(PLUGINS % f", schema: {action}")
    for _ in range(2):
        report, out = run_batches(made, batch(x=[1], y=["a"]), state=tmp_path / "state")
        assert out.rows == [{"x": 1, "y": "a"}]
        assert changes(report) == []


def test_columns_that_came_before_a_new_one_miss_nothing(specify):
    made = specify(PLUGINS % ", schema: {missing_columns: discard-row}")
    report, out = run_batches(made, batch(x=[1]), batch(x=[2], y=["b"]), batch(x=[3]))
    assert out.rows == [{"x": 1}, {"x": 2, "y": "b"}, {"x": 3, "y": None}]
    assert changes(report) == [("new-column", "y", "evolved")]
