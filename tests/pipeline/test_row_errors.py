"""Rows on which a plugin fails are found, left out and written down; all others go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.errors import CallCancelled, CallTimeout, ConfigError, GuestPanic, PluginError
from dataflare.pipeline import batching, retries
from dataflare.pipeline.dead_letters import DeadLetters, Letter
from dataflare.pipeline.outputs import as_named
from dataflare.pipeline.report import NodeReport, RunReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.row_errors import OnErrorModel, RowErrors
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import parse_specification
from dataflare.runtime.plugin_errors import plugin_error
from dataflare.values import Variant
from pipeline_fakes import FakeDestination, FakeHost, FakeProcessor, FakeSource, FakeTransformer, FakeValidator, rows_of


@pytest.fixture(autouse=True)
def no_time_is_lost(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)
    monkeypatch.setattr(retries, "_FIRST_WAIT_S", 0.001)


def error(case: str, value: Any = "no") -> PluginError:
    return plugin_error(Variant(case, value), plugin="p", export="process")


def fails_on(*values: int, failure: Callable[[], Exception] = lambda: error("invalid-input")) -> Any:
    """A change that fails where a batch has one of these values."""

    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if set(values) & set(rows.column("x").to_pylist()):
            raise failure()
        return rows

    return change


def chain(keys: str, kind: str = "processor") -> str:
    return (
        "  in: {plugin: source.wasm}\n"
        f"  middle: {{plugin: {kind}.wasm, input: in{keys}}}\n"
        "  out: {plugin: destination.wasm, input: middle}\n"
    )


def run_with(specify: Any, middle: Any, keys: str, *batches: pa.RecordBatch) -> tuple[RunReport, list[int]]:
    target = FakeDestination()
    host = FakeHost(source=FakeSource(batches), destination=target, **{middle.kind: middle})
    report = run(specify(chain(keys, middle.kind)), host=host)
    return report, [row["x"] for row in target.rows]


def letters_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dead.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", [FakeProcessor, FakeTransformer])
def test_rows_that_a_plugin_fails_on_are_left_out_and_written_down(specify, tmp_path, kind):
    middle = kind(fails_on(2, 5, 6))
    report, rows = run_with(specify, middle, ", dead_letters: dead.jsonl", rows_of(1, 2, 3), rows_of(4, 5, 6, 7))
    assert rows == [1, 3, 4, 7]
    letters = letters_of(tmp_path)
    assert [(each["row"], each["values"]) for each in letters] == [(1, {"x": 2}), (4, {"x": 5}), (5, {"x": 6})]
    assert {each["error"] for each in letters} == {"invalid-input"}
    node = report.nodes[1]
    assert (node.rows_in, node.rows_out, node.failed, node.dropped) == (7, 4, 3, 0)
    assert [each.action for each in node.outputs] == ["created"]


def test_rows_fail_the_run_unless_it_is_said(specify):
    with pytest.raises(NodeFailed, match="invalid-input"):
        run_with(specify, FakeProcessor(fails_on(2)), "", rows_of(1, 2, 3))


def test_rows_that_are_skipped_without_a_file_are_counted(specify, tmp_path):
    report, rows = run_with(specify, FakeProcessor(fails_on(2)), ", on_error: skip", rows_of(1, 2, 3))
    assert (rows, report.nodes[1].failed) == ([1, 3], 1)
    assert not list(tmp_path.glob("*.jsonl"))


def test_letters_are_added_to_those_of_earlier_runs(specify, tmp_path):
    for value in (1, 2):
        run_with(specify, FakeProcessor(fails_on(value)), ", dead_letters: dead.jsonl", rows_of(1, 2, 3))
    assert [each["values"]["x"] for each in letters_of(tmp_path)] == [1, 2]


def test_no_file_is_touched_where_no_row_fails(specify, tmp_path):
    (tmp_path / "dead.jsonl").write_text("before")
    run_with(specify, FakeProcessor(), ", dead_letters: dead.jsonl", rows_of(1, 2, 3))
    assert (tmp_path / "dead.jsonl").read_text() == "before"


def test_failed_run_keeps_its_letters_apart(specify, tmp_path):
    middle = FakeProcessor(fails_on(2))
    target = FakeDestination(fail_in="flush", error=GuestPanic("unreachable"))
    host = FakeHost(source=FakeSource([rows_of(1, 2)]), destination=target, processor=middle)
    with pytest.raises(NodeFailed):
        run(specify(chain(", dead_letters: dead.jsonl")), host=host)
    assert [path.name for path in tmp_path.iterdir() if "dead" in path.name] == ["dead.jsonl.failed"]


@pytest.mark.parametrize("failure", [GuestPanic, CallTimeout])
def test_rows_that_a_plugin_breaks_down_on_are_left_out(specify, tmp_path, failure):
    middle = FakeProcessor(fails_on(3, failure=lambda: failure("unreachable")))
    _, rows = run_with(specify, middle, ", dead_letters: dead.jsonl", rows_of(1, 2, 3, 4))
    assert rows == [1, 2, 4]
    assert [each["error"] for each in letters_of(tmp_path)] == [failure.__name__]


@pytest.mark.parametrize("case", ["invalid-config", "invalid-state", "denied", "superseded", "unsupported"])
def test_errors_that_are_of_no_row_end_the_run(specify, case):
    middle = FakeProcessor(fails_on(2, failure=lambda: error(case)))
    with pytest.raises(NodeFailed, match=case):
        run_with(specify, middle, ", on_error: skip", rows_of(1, 2))
    assert middle.calls.count("process_batch") == 1


def test_outage_never_becomes_dead_letters(specify):
    middle = FakeProcessor(fails_on(2, failure=lambda: error("unavailable")))
    with pytest.raises(NodeFailed, match="unavailable"):
        run_with(specify, middle, ", on_error: {rows: skip, retries: 3}", rows_of(1, 2))
    assert middle.calls.count("process_batch") == 4


def test_outage_that_ends_is_not_seen(specify):
    left = [error("unavailable"), error("rate-limited", 1), error("unavailable")]

    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if left:
            raise left.pop()
        return rows

    report, rows = run_with(specify, FakeProcessor(change), ", workers: 1", rows_of(1, 2))
    assert (rows, report.nodes[1].retries, report.nodes[1].failed) == ([1, 2], 3, 0)


def test_destination_is_asked_again(specify):
    class Busy(FakeDestination):
        left = 2

        def write(self, rows: pa.RecordBatch) -> Any:
            if self.left:
                self.left -= 1
                raise error("unavailable")
            return super().write(rows)

    target = Busy()
    host = FakeHost(source=FakeSource([rows_of(1)]), destination=target)
    nodes = "  in: {plugin: source.wasm}\n  out: {plugin: destination.wasm, input: in}\n"
    report = run(specify(nodes), host=host)
    assert (target.rows, report.nodes[1].retries) == ([{"x": 1}], 2)


def test_interrupted_call_is_of_no_row(specify):
    middle = FakeProcessor(fails_on(2, failure=lambda: CallCancelled("interrupted")))
    with pytest.raises(NodeFailed, match="interrupted"):
        run_with(specify, middle, ", on_error: skip", rows_of(1, 2))


@pytest.mark.parametrize(
    ("limits", "values", "message"),
    [
        ("max_errors: 1", (1, 2), "2 rows failed, more than `max_errors: 1`; the last: .*invalid-input"),
        ("max_errors: 0", (4,), "1 rows failed, more than `max_errors: 0`"),
        ("max_error_share: 0.4", (1, 2), "2 of 4 rows failed, more than `max_error_share: 0.4`"),
    ],
)
def test_too_many_rows_that_fail_end_the_run(specify, tmp_path, limits, values, message):
    keys = f", dead_letters: dead.jsonl, on_error: {{{limits}}}"
    with pytest.raises(NodeFailed, match=message) as caught:
        run_with(specify, FakeProcessor(fails_on(*values)), keys, rows_of(1, 2, 3, 4))
    assert isinstance(caught.value.__cause__, DataError)
    assert not (tmp_path / "dead.jsonl").exists()


def test_share_counts_from_a_thousand_rows_on_or_at_the_end(specify):
    keys = ", workers: 1, on_error: {rows: skip, max_error_share: 0.5}"
    _, rows = run_with(specify, FakeProcessor(fails_on(1, 2)), keys, rows_of(1, 2), rows_of(3, 4))
    assert rows == [3, 4]
    middle = FakeProcessor(fails_on(*range(600)))
    with pytest.raises(NodeFailed, match="of 1000 rows failed"):
        run_with(specify, middle, keys, rows_of(*range(1000)), rows_of(*range(1000, 9000)))


def test_plugin_that_breaks_down_too_often_ends_the_run(specify):
    middle = FakeProcessor(fails_on(1, 2, 3, failure=lambda: GuestPanic("unreachable")))
    keys = ", on_error: {rows: skip, max_faults: 2}"
    with pytest.raises(NodeFailed, match=r"faulted .a trap or a limit. on 3 rows, more than `max_faults: 2`"):
        run_with(specify, middle, keys, rows_of(1, 2, 3, 4))


def test_plugin_that_fails_on_no_rows_too_ends_the_run(specify):
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise error("internal", "always")

    with pytest.raises(NodeFailed, match="always"):
        run_with(specify, FakeProcessor(change), ", on_error: skip", rows_of(1, 2))


def test_violations_keep_their_numbers_beside_rows_that_fail(specify, tmp_path):
    class Frail(FakeValidator):
        def validate(self, rows: pa.RecordBatch) -> Any:
            fails_on(0)(rows)
            return super().validate(rows)

    keys = ", on_error: skip, on_violation: drop, violations: v.jsonl"
    report, rows = run_with(specify, Frail(), keys, rows_of(-1, 0, 2), rows_of(0, -3, 4))
    assert rows == [2, 4]
    assert [json.loads(line)["row"] for line in (tmp_path / "v.jsonl").read_text().splitlines()] == [0, 4]
    assert (report.nodes[1].failed, report.nodes[1].dropped) == (2, 2)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("  in: {plugin: source.wasm, on_error: skip}\n  out: {plugin: destination.wasm, input: in}\n", "no rows"),
        ("  in: {plugin: source.wasm, dead_letters: d}\n  out: {plugin: destination.wasm, input: in}\n", "no rows"),
        (chain(", dead_letters: d, on_error: fail"), "ends the run on the first error"),
        (chain(", on_error: {rows: drop}"), "fail.*skip"),
        (chain(", on_error: {max_error_share: 1.5}"), "less than or equal to 1"),
        (chain(", on_error: {retries: -1}"), "0"),
        (chain(", on_error: {retrys: 1}"), "retries"),
        (chain(", on_error: [skip]"), "on_error"),
        (chain(", dead_letters: processor.wasm"), "would write"),
    ],
)
def test_wrong_settings_are_refused(specify, nodes, message):
    host = FakeHost(source=FakeSource([rows_of(1)]), processor=FakeProcessor(), destination=FakeDestination())
    with pytest.raises(ConfigError, match=message):
        run(specify(nodes), host=host)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=5),
    bad=st.sets(st.integers(0, 30)),
    workers=st.integers(1, 3),
)
def test_every_row_is_handed_on_or_in_a_letter(values, bad, workers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name in ("source", "processor", "destination"):
        (folder / f"{name}.wasm").touch()
    nodes = chain(f", dead_letters: dead.jsonl, workers: {workers}")
    made = parse_specification(f"name: test\nnodes:\n{nodes}", file=folder / "pipeline.yaml")
    target = FakeDestination()
    host = FakeHost(
        source=FakeSource([rows_of(*each) for each in values]),
        processor=FakeProcessor(fails_on(*bad)),
        destination=target,
    )
    run(made, host=host)
    flat = [value for each in values for value in each]
    assert [row["x"] for row in target.rows] == [value for value in flat if value not in bad]
    letters = letters_of(folder) if (folder / "dead.jsonl").exists() else []
    expected = [(row, value) for row, value in enumerate(flat) if value in bad]
    assert [(each["row"], each["values"]["x"]) for each in letters] == expected


def test_finding_a_bad_row_takes_few_calls(tmp_path):
    calls = []

    def work(rows: pa.RecordBatch) -> pa.RecordBatch:
        calls.append(rows.num_rows)
        return fails_on(70_000)(rows)

    tolerant = RowErrors[pa.RecordBatch](work, OnErrorModel(rows="skip"), Retries(), NodeReport("n", "p", "u"), None)
    attempt = tolerant.work(rows_of(*range(2**17)))
    assert sum(rows.num_rows for _, rows in tolerant.results(attempt)) == 2**17 - 1
    assert len(calls) == 2 * 17 + 1


def test_letters_that_come_again_are_taken_out(tmp_path):
    path = tmp_path / "dead.jsonl"
    lines = [
        f'{{"since":"{since}","n":{n}}}\n' for n, since in enumerate(["ab:1", "ab:2", "ab:3", "cd:9", "", "ab:10"])
    ]
    path.write_text("".join(lines))

    class Reading:
        start = ("ab", 2)

    letters = DeadLetters(path, as_named, node="n", plugin="p", checkpoints=Reading())  # type: ignore[arg-type]
    letters.write(rows_of(7), [Letter(0, "internal", "no")])
    letters.finish()
    kept = path.read_text().splitlines(keepends=True)
    assert kept[:-1] == [lines[0], lines[3], lines[4]]
    assert json.loads(kept[-1])["since"] == "ab:2"


def test_letters_hold_the_types_and_roles_of_their_columns(tmp_path):
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False, metadata={"dataflare.key": "0"}),
            pa.field("amount", pa.decimal128(10, 2)),
            pa.field("at", pa.timestamp("us", "Europe/Berlin")),
        ]
    )
    rows = pa.RecordBatch.from_pylist([{"id": 1, "amount": None, "at": 0}], schema=schema)
    letters = DeadLetters(tmp_path / "dead.jsonl", as_named, node="n", plugin="p")
    letters.write(rows, [Letter(0, "internal", "no")])
    letters.finish()
    (letter,) = letters_of(tmp_path)
    assert letter["types"] == {"id": "int64", "amount": "decimal128(10, 2)", "at": "timestamp[us, tz=Europe/Berlin]"}
    assert letter["metadata"] == {"id": {"dataflare.key": "0"}}
