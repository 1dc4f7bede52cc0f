from __future__ import annotations

import json
import os

import pytest

from dataflare.pipeline import batching
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.runtime.results import Report
from dataflare.wit_types.validator import Rule, RuleCount, Violation
from guest_kit import component
from pipeline_fakes import FakeDestination, FakeHost, FakeSource, FakeValidator, rows_of


@pytest.fixture(autouse=True)
def batches_stay_as_they_come(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)


BATCHES = [rows_of(1, -2, 3), rows_of(4), rows_of(-5, 6, -7)]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(specify, validator: FakeValidator, keys: str = ""):
    target = FakeDestination()
    host = FakeHost(source=FakeSource(BATCHES), validator=validator, destination=target)
    report = run(
        specify(
            "  in: {plugin: source.wasm}\n"
            f"  check: {{plugin: validator.wasm, input: in{keys}}}\n"
            "  out: {plugin: destination.wasm, input: check}\n"
        ),
        host=host,
    )
    return report.nodes[1], [row["x"] for row in target.rows]


@pytest.mark.parametrize("severity", ["info", "warning"])
def test_rows_that_are_only_suspicious_go_on(specify, severity):
    node, rows = check(specify, FakeValidator(severity=severity))
    assert rows == [1, -2, 3, 4, -5, 6, -7]
    assert (node.violations, node.dropped) == ({"positive": 3}, 0)


def test_wrong_rows_fail_the_run_unless_it_is_said(specify):
    with pytest.raises(NodeFailed) as caught:
        check(specify, FakeValidator())
    assert caught.value.node == "check"
    assert isinstance(caught.value.__cause__, DataError)
    assert "'positive' 1 times" in str(caught.value)
    assert "row 1: x is negative" in str(caught.value)
    assert "on_violation" in caught.value.__cause__.hint


@pytest.mark.parametrize(
    ("keys", "severity", "rows"),
    [
        (", on_violation: drop", "error", [1, 3, 4, 6]),
        (", on_violation: keep", "error", [1, -2, 3, 4, -5, 6, -7]),
        (", on_violation: {warning: drop}", "warning", [1, 3, 4, 6]),
        (", on_violation: {warning: drop, error: keep}", "error", [1, -2, 3, 4, -5, 6, -7]),
    ],
)
def test_rows_are_dropped_or_kept_as_the_pipeline_says(specify, keys, severity, rows):
    node, found = check(specify, FakeValidator(severity=severity), keys)
    assert found == rows
    assert (node.violations, node.dropped) == ({"positive": 3}, 7 - len(rows))


def test_a_batch_that_is_wrong_as_a_whole_is_dropped_as_a_whole(specify):
    _, rows = check(specify, FakeValidator(whole_batch=True), ", on_violation: drop")
    assert rows == [4]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_rows_that_the_validator_does_not_name_are_found_and_dropped(specify, most, tmp_path):
    validator = FakeValidator(most=most)
    node, rows = check(specify, validator, ", on_violation: drop, violations: v.jsonl")
    assert rows == [1, 3, 4, 6]
    assert (node.violations, node.dropped) == ({"positive": 3}, 3)
    assert [line["row"] for line in lines_of(tmp_path / "v.jsonl")] == [1, 4, 6]


def test_what_is_said_of_a_part_as_a_whole_is_not_said_of_its_batch(specify):
    class AtLeastThree(FakeValidator):
        """Says of batches of less than three rows that they are too small, and of others which rows are wrong."""

        def rules(self):
            return [*super().rules(), Rule("size", "there are enough rows", "error")]

        def validate(self, rows):
            report = super().validate(rows)
            small = rows.num_rows < 3
            counts = (*report.counts, RuleCount("size", int(small)))
            more = (Violation(None, None, "size", "error", "too small"),) if small else ()
            return Report(rows.num_rows, counts, (*report.violations, *more))

    # The batch with two wrong rows is divided, since only one of them is named; the one with a single row is dropped.
    _, rows = check(specify, AtLeastThree(most=1), ", on_violation: drop")
    assert rows == [1, 3, 6]


@pytest.mark.parametrize(
    ("most", "is_wrong"),
    [
        (100, lambda n: n % 2),
        (100, lambda n: n > 10_000),
        (100, lambda n: n % 100 < 50),
        (100, lambda n: n % 1000 == 7),
        (10, lambda n: n % 2),
        (100, lambda n: True),
    ],
)
def test_work_to_find_wrong_rows_grows_with_their_number(specify, most, is_wrong):
    validator, target = FakeValidator(most=most), FakeDestination()
    wrong = [n for n in range(20_000) if is_wrong(n)]
    rows = rows_of(*(-1 if is_wrong(n) else n for n in range(20_000)))
    host = FakeHost(source=FakeSource([rows]), validator=validator, destination=target)
    nodes = "  check: {plugin: validator.wasm, input: in, on_violation: drop}\n"
    run(
        specify(f"  in: {{plugin: source.wasm}}\n{nodes}  out: {{plugin: destination.wasm, input: check}}\n"), host=host
    )
    assert sorted([*wrong, *(row["x"] for row in target.rows)]) == list(range(20_000))
    assert validator.calls.count("validate") <= 3 * len(wrong) / most + 1
    assert validator.rows_seen <= 4 * 20_000
    assert validator.listed <= 2 * len(wrong)


@pytest.mark.guests
def test_a_plugin_that_lists_100_violations_drops_every_wrong_row(tmp_path):
    (tmp_path / "in.csv").write_text("n\n" + "".join(f"{n % 3}\n" for n in range(1500)))
    keys = "config: {rules: [{name: small, column: n, max: 1}]}, on_violation: drop, rejects: r.jsonl"
    (tmp_path / "p.yaml").write_text(
        "name: p\nnodes:\n  in: {connector: csv, read: in.csv}\n"
        f"  check: {{plugin: {component('range-validator')}, input: in, {keys}}}\n"
        "  out: {connector: jsonl, input: check, write: out.jsonl}\n"
    )
    report = run(tmp_path / "p.yaml")
    assert (report.nodes[1].violations, report.nodes[1].dropped) == ({"small": 500}, 500)
    assert [line["n"] for line in lines_of(tmp_path / "out.jsonl")] == [0, 1] * 500
    assert [line["row"] for line in lines_of(tmp_path / "r.jsonl")] == list(range(2, 1500, 3))


def test_a_validator_that_contradicts_itself_lets_nothing_through(specify):
    class Forgetful(FakeValidator):
        def validate(self, rows):
            return super().validate(rows) if rows.num_rows > 2 else Report(rows.num_rows, (), ())

    with pytest.raises(NodeFailed, match=r"break 'positive' 2 times, but the plugin named 0, also when"):
        check(specify, Forgetful(most=1), ", on_violation: drop")


def test_violations_are_listed_with_their_rows_in_the_stream_and_the_values(specify, tmp_path):
    check(specify, FakeValidator(severity="info"), ", violations: bad/v.jsonl")
    lines = lines_of(tmp_path / "bad" / "v.jsonl")
    assert [line["row"] for line in lines] == [1, 4, 6]
    assert lines[0] == {
        **{"row": 1, "column": "x", "rule": "positive", "severity": "info", "message": "x is negative"},
        "values": {"x": -2},
    }


def test_a_violation_of_a_whole_batch_has_no_row_and_no_values(specify, tmp_path):
    check(specify, FakeValidator(severity="info", whole_batch=True), ", violations: v.jsonl")
    assert [(line["row"], line["values"]) for line in lines_of(tmp_path / "v.jsonl")] == [(None, None)] * 2


def test_rows_that_are_dropped_are_written_with_their_values_and_rules(specify, tmp_path):
    check(specify, FakeValidator(), ", on_violation: drop, rejects: r.jsonl")
    assert lines_of(tmp_path / "r.jsonl") == [
        {"row": row, "rules": ["positive"], "values": {"x": x}} for row, x in ((1, -2), (4, -5), (6, -7))
    ]


def test_every_row_of_a_batch_that_is_dropped_is_among_the_rejects(specify, tmp_path):
    check(specify, FakeValidator(whole_batch=True), ", on_violation: drop, rejects: r.jsonl")
    assert [line["row"] for line in lines_of(tmp_path / "r.jsonl")] == [0, 1, 2, 4, 5, 6]


def test_rows_that_are_kept_are_no_rejects(specify, tmp_path):
    check(specify, FakeValidator(), ", on_violation: keep, rejects: r.jsonl")
    assert (tmp_path / "r.jsonl").read_text() == ""


def test_a_rule_that_nothing_breaks_is_counted_with_zero(specify, tmp_path):
    node, _ = check(specify, FakeValidator(most=0, severity="info"), ", violations: v.jsonl")
    assert node.violations == {"positive": 3}
    host = FakeHost(source=FakeSource([rows_of(1)]), validator=FakeValidator())
    nodes = "  in: {plugin: source.wasm}\n  check: {plugin: validator.wasm, input: in, violations: w.jsonl}\n"
    assert run(specify(nodes), host=host).nodes[1].violations == {"positive": 0}
    assert (tmp_path / "w.jsonl").read_text() == ""


def test_a_run_that_fails_leaves_no_list(specify, tmp_path):
    with pytest.raises(NodeFailed):
        check(specify, FakeValidator(), ", violations: v.jsonl")
    assert [name for name in os.listdir(tmp_path) if "v.jsonl" in name] == []
