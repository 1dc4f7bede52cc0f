from __future__ import annotations

import json
import os

import pytest

from dataflare.pipeline.failures import DataError, NodeFailed
from dataflare.pipeline.runner import run
from pipeline_fakes import FakeDestination, FakeHost, FakeSource, FakeValidator, rows_of

BATCHES = [rows_of(1, -2, 3), rows_of(4), rows_of(-5, 6, -7)]


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


def test_rows_that_are_not_named_are_not_let_through(specify):
    with pytest.raises(NodeFailed, match=r"2 rows from 4 on break 'positive', but the plugin named only 1 of them"):
        check(specify, FakeValidator(most=1), ", on_violation: drop")


def test_violations_are_listed_with_their_rows_in_the_stream(specify, tmp_path):
    check(specify, FakeValidator(severity="info"), ", violations: bad/v.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "bad" / "v.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 4, 6]
    assert lines[0] == {"row": 1, "column": "x", "rule": "positive", "severity": "info", "message": "x is negative"}


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
