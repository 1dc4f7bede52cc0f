"""Dead letters are read, shown and replayed: each row is made again as it was, and goes through the rest once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from arrow_strategies import batches, data_types
from dataflare.cli.app import app
from dataflare.data.shapes import DataFailure
from dataflare.errors import ConfigError, GuestPanic
from dataflare.pipeline.dead_letters import DeadLetters, Letter
from dataflare.pipeline.outputs import as_named
from dataflare.pipeline.replay import LetterFile, replaying
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, parse_specification
from pipeline_fakes import FakeDestination, FakeHost, FakeProcessor, FakeSource, rows_of

CHAIN = (
    "  in: {plugin: source.wasm}\n"
    "  middle: {plugin: processor.wasm, input: in, dead_letters: dead.jsonl}\n"
    "  out: {connector: jsonl, input: middle, write: out.jsonl}\n"
)


def specification(folder: Path, nodes: str = CHAIN) -> Specification:
    for name in ("source", "processor", "second", "validator", "destination"):
        (folder / f"{name}.wasm").touch()
    return parse_specification(f"name: test\nnodes:\n{nodes}", file=folder / "pipeline.yaml")


def failing(*values: int) -> FakeProcessor:
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if set(values) & set(rows.column("x").to_pylist()):
            raise GuestPanic("unreachable")
        return rows

    return FakeProcessor(change)


def host(processor: FakeProcessor, *values: int) -> FakeHost:
    return FakeHost(source=FakeSource([rows_of(*values)]), processor=processor)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def letters(path: Path, node: str | None = None) -> LetterFile:
    return LetterFile(path, lambda: path.open("rb"), node)


def test_replayed_rows_are_added_to_the_output(tmp_path):
    made = specification(tmp_path)
    run(made, host=host(failing(2, 4), 1, 2, 3, 4))
    report = run(replaying(made), host=host(failing()))
    assert [each["x"] for each in lines(tmp_path / "out.jsonl")] == [1, 3, 2, 4]
    assert (tmp_path / "dead.jsonl").read_text() == ""
    assert [(node.name, node.rows_in, node.rows_out) for node in report.nodes] == [
        ("dead-letters", 0, 2),
        ("middle", 2, 2),
        ("out", 2, 2),
    ]


def test_rows_that_fail_again_are_the_ones_that_stay(tmp_path):
    made = specification(tmp_path)
    run(made, host=host(failing(2, 4), 1, 2, 3, 4))
    run(replaying(made, "middle"), host=host(failing(4)))
    assert [each["x"] for each in lines(tmp_path / "out.jsonl")] == [1, 3, 2]
    assert [(each["values"], each["row"]) for each in lines(tmp_path / "dead.jsonl")] == [({"x": 4}, 1)]


def test_letters_of_other_nodes_stay(tmp_path):
    made = specification(tmp_path)
    run(made, host=host(failing(2), 1, 2))
    others = (tmp_path / "dead.jsonl").read_text().replace('"node":"middle"', '"node":"other"')
    with (tmp_path / "dead.jsonl").open("a") as file:
        file.write(others)
    run(replaying(made), host=host(failing()))
    assert (tmp_path / "dead.jsonl").read_text() == others


def test_failed_replay_changes_nothing(tmp_path):
    made = specification(tmp_path)
    run(made, host=host(failing(2), 1, 2))
    before = {name: (tmp_path / name).read_bytes() for name in ("dead.jsonl", "out.jsonl")}
    broken = FakeProcessor(fail_in="process_batch", error=ConfigError("no", where="x"))
    with pytest.raises(NodeFailed):
        run(replaying(made), host=host(broken))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_replay_of_what_a_destination_rejected_begins_there(tmp_path):
    nodes = "  in: {plugin: source.wasm}\n  out: {plugin: destination.wasm, input: in, dead_letters: dead.jsonl}\n"
    made = specification(tmp_path, nodes)
    with DeadRow(tmp_path / "dead.jsonl", "out") as letter:
        letter.write(rows_of(7), [Letter(0, "rejected", "no")])
    target = FakeDestination()
    run(replaying(made), host=FakeHost(source=FakeSource([rows_of(1)]), destination=target))
    assert target.rows == [{"x": 7}]


class DeadRow(DeadLetters):
    """Dead letters that are written at the end of a `with`."""

    def __init__(self, path: Path, node: str = "middle") -> None:
        super().__init__(path, as_named, node=node, plugin="p.wasm")

    def __enter__(self) -> DeadRow:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


@pytest.mark.parametrize(
    ("nodes", "node", "message"),
    [
        (CHAIN, "midle", "there is no node 'midle'"),
        (CHAIN, "in", "node 'in' has no `dead_letters`"),
        (CHAIN, "out", "node 'out' has no `dead_letters`"),
        (CHAIN.replace(", dead_letters: dead.jsonl", ""), None, "no node has `dead_letters`"),
        (
            CHAIN.replace("input: middle", "input: m2")
            + "  m2: {plugin: second.wasm, input: middle, dead_letters: d2.jsonl}\n",
            None,
            "several nodes have `dead_letters`",
        ),
        (
            CHAIN.replace("jsonl, input: middle, write: out.jsonl", "parquet, input: middle, write: out.pq"),
            None,
            "alone",
        ),
        (
            CHAIN.replace(
                "connector: jsonl, input: middle, write: out.jsonl", "plugin: destination.wasm, input: middle"
            ).replace("middle}", "middle, destination: {mode: replace}}"),
            None,
            "alone",
        ),
    ],
)
def test_replay_that_cannot_be_is_refused_before_a_row_moves(tmp_path, nodes, node, message):
    with pytest.raises(ConfigError, match=message) as caught:
        replaying(specification(tmp_path, nodes), node)
    assert caught.value.hint


GOOD = '{"since":"","time":"t","node":"middle","plugin":"p","row":0,"error":"e","message":"m"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no letters of node 'middle'"),
        ("nonsense\n", "dead.jsonl:1: is not JSON"),
        ("[]\n", "dead.jsonl:1: is not a dead letter"),
        (GOOD + "}\n", "dead.jsonl:1: is not a dead letter: values"),
        (GOOD + ',"values":{"x":1},"types":{"x":"int99"}}\n', "row 0"),
        (GOOD + ',"values":{"x":"a"},"types":{"x":"int64"}}\n', "row 0"),
        (GOOD + ',"values":{},"types":{"x":"int64"}}\n', "dead.jsonl:1: `values` and `types` do not .* 'x'"),
        (GOOD + ',"values":{"x":1,"y":2},"types":{"x":"int64"}}\n', "dead.jsonl:1: `values` and `types` do not .* 'y'"),
        (GOOD + ',"values":{"x":1},"types":{"x":"int64"},"more":1}\n', "dead.jsonl:1: is not a dead letter: more"),
        (GOOD + ',"values":{"x":1},"types":{"x":"int64"}}', None),
        ("\n\n" + GOOD + ',"values":{"x":1},"types":{"x":"int64"}}\n', None),
        (GOOD + ',"values":{"x":1},"types":{"x":"int64"}}\n' + GOOD[:40], "dead.jsonl:2: is not JSON"),
    ],
)
def test_files_that_are_not_letters(tmp_path, text, message):
    (tmp_path / "dead.jsonl").write_text(text)
    made = specification(tmp_path)
    if message is None:
        run(replaying(made), host=host(failing()))
        assert lines(tmp_path / "out.jsonl") == [{"x": 1}]
        return
    with pytest.raises(NodeFailed, match=message) as caught:
        run(replaying(made), host=host(failing()))
    assert isinstance(caught.value.__cause__, DataError)
    assert (tmp_path / "dead.jsonl").read_text() == text
    assert not (tmp_path / "out.jsonl").exists()


def test_missing_file_and_pipe_are_errors(tmp_path):

    made = specification(tmp_path)
    with pytest.raises(NodeFailed, match="cannot be read"):
        run(replaying(made), host=host(failing()))
    os.mkfifo(tmp_path / "dead.jsonl")
    with pytest.raises(NodeFailed, match="not a regular file"):
        run(replaying(made), host=host(failing()))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_rows_of_every_type_come_back_as_they_were(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    rows = data.draw(batches(data_types()))
    if not rows.num_rows or not rows.schema or len(set(rows.schema.names)) < len(rows.schema):
        return
    path = folder / "dead.jsonl"
    letters_of = DeadRow(path)
    try:
        letters_of.write(rows, [Letter(n, "internal", "no") for n in range(rows.num_rows)])
    except (DataError, DataFailure):
        letters_of.abort()
        return
    letters_of.finish()
    try:
        back = pa.Table.from_batches(letters(path).batches())
    except DataError:
        return  # said, and the letters are still there
    nullable = pa.schema([field.with_nullable(True) for field in rows.schema])
    assert back.schema.equals(nullable.remove_metadata())
    assert back.to_pylist() == pa.Table.from_batches([rows]).to_pylist() or str(back.to_pylist()) == str(
        rows.to_pylist()
    )


def test_letters_with_other_types_are_left_for_another_replay(tmp_path, caplog):
    made = specification(tmp_path)
    with DeadRow(tmp_path / "dead.jsonl") as dead:
        dead.write(rows_of(1), [Letter(0, "internal", "no")])
    with DeadRow(tmp_path / "dead.jsonl") as dead:
        dead.write(pa.RecordBatch.from_pydict({"x": ["a", "b"]}), [Letter(n, "internal", "no") for n in range(2)])
    run(replaying(made), host=host(failing()))
    assert lines(tmp_path / "out.jsonl") == [{"x": 1}]
    assert [each["values"]["x"] for each in lines(tmp_path / "dead.jsonl")] == ["a", "b"]
    assert "2 letters have other columns or types" in caplog.text
    run(replaying(made), host=host(failing()))
    assert [each["x"] for each in lines(tmp_path / "out.jsonl")] == [1, "a", "b"]
    assert (tmp_path / "dead.jsonl").read_text() == ""


def test_rows_that_fail_again_do_not_end_a_replay_however_many_they_are(tmp_path):
    limits = "dead_letters: dead.jsonl, on_error: {max_errors: 1, max_error_share: 0.01, max_faults: 0}"
    made = specification(tmp_path, CHAIN.replace("dead_letters: dead.jsonl", limits))
    with DeadRow(tmp_path / "dead.jsonl") as dead:
        dead.write(rows_of(*range(20)), [Letter(n, "internal", "no") for n in range(20)])
    run(replaying(made), host=host(failing(*range(19))))
    assert len(lines(tmp_path / "dead.jsonl")) == 19
    assert lines(tmp_path / "out.jsonl") == [{"x": 19}]


def test_run_that_replaces_its_output_replaces_its_letters(tmp_path):
    made = specification(tmp_path)
    for _ in range(3):
        run(made, host=host(failing(2), 1, 2))
    assert [each["values"]["x"] for each in lines(tmp_path / "dead.jsonl")] == [2]
    run(made, host=host(failing(), 1, 2))
    assert (tmp_path / "dead.jsonl").read_text() == ""


def test_run_that_adds_to_its_output_adds_letters(tmp_path):
    made = specification(tmp_path, CHAIN.replace("write: out.jsonl", "write: out.jsonl, if_exists: append"))
    for _ in range(2):
        run(made, host=host(failing(2), 1, 2))
    assert [each["values"]["x"] for each in lines(tmp_path / "dead.jsonl")] == [2, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD + ',"values":{"x":[' + "{}," * 3_000_000 + '{}]},"types":{"x":"int64"}}', "more than 2000000 values"),
        (GOOD + ',"values":{"x":' + "[" * 900 + "]" * 900 + '},"types":{"x":"int64"}}', "nested deeper than 100"),
        (GOOD + ',"values":{"x":' + "[" * 5000 + "]" * 5000 + '},"types":{"x":"int64"}}', "is not JSON"),
        (GOOD + ',"values":{},"types":{' + ",".join(f'"c{n}":"int64"' for n in range(20_000)) + "}}", "20000 columns"),
        (GOOD + ',"values":{},"types":{"' + "k" * 3_000_000 + '":5}}', "is not a dead letter"),
    ],
    ids=["values", "levels", "more levels", "columns", "name"],
)
def test_lines_that_would_take_much_are_refused_in_few_words(tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    Path("dead.jsonl").write_text(line + "\n")
    for words in (["dead-letter", "show", "dead.jsonl"], ["dead-letter", "show", "dead.jsonl", "--json"]):
        shown = CliRunner().invoke(app, words)
        assert (shown.exit_code, message in shown.stderr) == (2, True), shown.stderr[:500]
        assert len(shown.output) < 20_000
    with pytest.raises(NodeFailed, match=message):
        run(replaying(specification(tmp_path)), host=host(failing()))


def test_long_texts_of_letters_are_cut_where_they_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = "t" * 3_000_000
    letter = json.loads(GOOD + ',"values":{"x":1},"types":{"x":"int64"}}')
    Path("dead.jsonl").write_text(json.dumps({**letter, **dict.fromkeys(("time", "node", "error", "message"), long)}))
    for more in ((), ("--json",)):
        shown = CliRunner().invoke(app, ["dead-letter", "show", "dead.jsonl", *more])
        assert shown.exit_code == 0 and len(shown.output) < 50_000


def test_rows_that_cannot_be_letters_say_why(tmp_path):
    rows = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([-800000], pa.date32())], ["x", "d"])
    made = specification(tmp_path)
    with pytest.raises(NodeFailed, match=r"row 0 failed \(.*unreachable.*cannot be written as JSON") as caught:
        run(made, host=FakeHost(source=FakeSource([rows]), processor=failing(1)))
    assert "on_error: skip" in str(caught.value)


def test_letters_are_only_kept_in_regular_files(tmp_path):
    os.mkfifo(tmp_path / "dead.jsonl")
    with pytest.raises(NodeFailed, match="not a regular file"):
        run(specification(tmp_path), host=host(failing(1), 1))


def test_letters_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with DeadRow(Path("dead.jsonl")) as dead:
        dead.write(rows_of(*range(12)), [Letter(n, "invalid-input", "no name", "name") for n in range(12)])
    shown = CliRunner().invoke(app, ["dead-letter", "show", "dead.jsonl", "--limit", "2"])
    assert shown.exit_code == 0, shown.output
    assert "dead.jsonl: 12 dead letters" in shown.output
    assert "middle: 12 rows, invalid-input" in shown.output
    assert "row 1, column name: no name" in shown.output
    assert "... and 10 more" in shown.output
    as_json = json.loads(CliRunner().invoke(app, ["dead-letter", "show", "dead.jsonl", "--json"]).output)
    assert as_json["errors"][0]["rows"] == 12
    assert [each["values"]["x"] for each in as_json["rows"]] == list(range(10))


def test_replay_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    component = Path(__file__).parents[2] / "guest-sdks/rust/components/json-mapper.wasm"
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n')
    pipeline = {
        "name": "again",
        "nodes": {
            "read": {"connector": "jsonl", "read": "in.jsonl"},
            "map": {"plugin": str(component), "input": "read", "dead_letters": "dead.jsonl"},
            "write": {"connector": "csv", "input": "map", "write": "out.csv"},
        },
    }
    (tmp_path / "pipeline.yaml").write_text(json.dumps(pipeline))
    with DeadRow(Path("dead.jsonl"), "map") as dead:
        dead.write(pa.RecordBatch.from_pydict({"a": [7, 8]}), [Letter(n, "internal", "no") for n in range(2)])
    (tmp_path / "out.csv").write_text("a\n1\n")
    done = CliRunner().invoke(app, ["dead-letter", "replay", "pipeline.yaml", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["rows_out"] == 2
    assert (tmp_path / "out.csv").read_text() == "a\n1\n7\n8\n"
    assert (tmp_path / "dead.jsonl").read_text() == ""
    again = CliRunner().invoke(app, ["dead-letter", "replay", "pipeline.yaml"])
    assert again.exit_code == 1
    assert (tmp_path / "out.csv").read_text() == "a\n1\n7\n8\n"
