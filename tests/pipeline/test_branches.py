"""Nodes that take what a validator rejects, and graphs of all kinds of nodes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_kit import Clock, Series, Table
from dataflare.errors import ConfigError
from dataflare.pipeline.plan import plan_pipeline
from dataflare.pipeline.replay import replaying
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification, parse_specification
from dataflare.pipeline.state_file import StateFile
from fan_in_kit import A, run_with_deaths
from fan_in_kit import pipeline as numbers_pipeline
from guest_kit import component
from pipeline_fakes import (
    FakeDestination,
    FakeHost,
    FakePlugin,
    FakeProcessor,
    FakeSource,
    FakeTransformer,
    FakeValidator,
    rows_of,
)

CHECK = "  in: {plugin: source.wasm}\n  check: {plugin: validator.wasm, input: in, on_violation: drop, workers: 2}\n"


def pipeline(folder: Path, nodes: str, *plugins: str) -> Specification:
    for name in ("source", "validator", "first", "second", *plugins):
        (folder / f"{name}.wasm").touch()
    return parse_specification(f"name: test\nnodes:\n{nodes}", file=folder / "pipeline.yaml")


def negated(rows: Any) -> Any:
    return rows_of(*(-x for x in rows.column("x").to_pylist()))


def test_rejected_rows_go_another_way_and_counts_add_up(tmp_path):
    nodes = CHECK + "  out: {plugin: first.wasm, input: check}\n  bad: {plugin: second.wasm, input: check.rejected}\n"
    first, second = FakeDestination(), FakeDestination()
    source = FakeSource([rows_of(1, -2, 3), rows_of(-4)])
    made = pipeline(tmp_path, nodes)
    report = run(made, host=FakeHost(source=source, validator=FakeValidator(), first=first, second=second))
    assert [[row["x"] for row in each.rows] for each in (first, second)] == [[1, 3], [-2, -4]]
    check = report.nodes[1]
    assert (check.rows_in, check.rows_out, check.rejected, check.dropped) == (4, 2, 2, 0)
    assert check.to_json()["rejected"] == 2


def test_mended_rows_meet_the_others_again(tmp_path):
    nodes = (
        CHECK
        + "  mend: {plugin: mend.wasm, input: check.rejected}\n  out: {plugin: first.wasm, input: [check, mend]}\n"
    )
    first, made = FakeDestination(), pipeline(tmp_path, nodes, "mend")
    source, mend = FakeSource([rows_of(1, -2, 3)]), FakeTransformer(negated)
    run(made, host=FakeHost(source=source, validator=FakeValidator(), mend=mend, first=first))
    assert sorted(row["x"] for row in first.rows) == [1, 2, 3]


def test_branch_without_rows_has_the_columns(tmp_path):
    nodes = CHECK + "  bad: {connector: csv, write: bad.csv, input: check.rejected}\n"
    run(pipeline(tmp_path, nodes), host=FakeHost(source=FakeSource([rows_of(1)]), validator=FakeValidator()))
    assert (tmp_path / "bad.csv").read_text() == '"x"\n'


def test_rejects_file_and_branch_have_the_same_rows(tmp_path):
    nodes = CHECK.replace("workers: 2", "rejects: rejects.jsonl") + (
        "  bad: {connector: jsonl, write: bad.jsonl, input: check.rejected}\n"
    )
    source = FakeSource([rows_of(1, -2), rows_of(-3)])
    run(pipeline(tmp_path, nodes), host=FakeHost(source=source, validator=FakeValidator()))
    listed = [json.loads(line)["values"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()] == listed


def test_rows_that_no_node_keeps_are_read_to_the_end(tmp_path):
    (tmp_path / "validator.wasm").touch()
    made = numbers_pipeline(tmp_path, A + "  check: {plugin: validator.wasm, input: a}\n", rows=10)
    source = Series("a", Clock(), 60, chunk=5, transaction=1, modes="incremental")
    with StateFile(tmp_path / "state", pipeline="test") as state:
        report = run(made, host=FakeHost(a=source, validator=FakeValidator()), state=state)
    assert (report.nodes[0].rows_out, report.nodes[0].no_checkpoints) == (60, "no node keeps the rows")


def test_plan_knows_the_columns_of_a_branch(tmp_path):
    nodes = CHECK + "  bad: {connector: csv, write: bad.csv, input: [check, check.rejected]}\n"
    host: Any = FakeHost(source=FakeSource([rows_of(1)]), validator=FakeValidator())
    plan = plan_pipeline(pipeline(tmp_path, nodes), host)
    schema = plan.nodes[-1].schema
    assert not plan.problems
    assert schema is not None and schema.names == ["x"]


@pytest.mark.parametrize(
    ("nodes", "message", "hint"),
    [
        (
            "  in: {connector: csv, read: a.csv}\n  out: {connector: csv, write: b.csv, input: in.rejected}\n",
            "'out' takes the rejected rows of 'in', which is not a validator",
            "input: in",
        ),
        (
            CHECK.replace(", on_violation: drop", "")
            + "  out: {connector: csv, write: b.csv, input: check.rejected}\n",
            "'out' takes the rejected rows of 'check', which rejects none",
            "on_violation: drop",
        ),
        (CHECK + "  out: {connector: csv, write: b.csv, input: check.reject}\n", "nodes.out.input", ""),
        (CHECK + "  out: {connector: csv, write: b.csv, input: chek.rejected}\n", "no node 'chek'", "'check'"),
        (
            CHECK + "  out: {connector: csv, write: b.csv, input: [check.rejected, check.rejected]}\n",
            "check.rejected is an input twice",
            "once",
        ),
        (
            "  a: {plugin: validator.wasm, input: b.rejected, on_violation: drop}\n"
            "  b: {plugin: validator.wasm, input: a.rejected, on_violation: drop}\n",
            "nodes go in a circle",
            "",
        ),
    ],
)
def test_branches_that_cannot_be_are_refused(nodes, message, hint, specify):
    with pytest.raises(ConfigError) as caught:
        specify(nodes)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_only_validators_reject_rows(specify):
    made = specify(
        CHECK.replace(", workers: 2", "") + "  out: {connector: csv, write: b.csv, input: [check, check.rejected]}\n"
    )
    with pytest.raises(ConfigError, match="the rejected rows of 'check', a transformer; only validators reject rows"):
        made.check_kinds({"in": "source", "check": "transformer"})


def test_replay_of_what_mends_rejected_rows_takes_the_letters_alone(specify):
    made = specify(
        CHECK + "  mend: {plugin: transformer.wasm, input: check.rejected, dead_letters: dead.jsonl}\n"
        "  out: {connector: csv, write: out.csv, if_exists: append, input: [check, mend, check.rejected]}\n"
    )
    assert replaying(made).pipeline.nodes["out"].taken == ("mend",)


def test_rejected_rows_of_a_plugin_come_as_they_were(tmp_path):
    (tmp_path / "prices.csv").write_text("price\n5\n950\n7\n")
    check = {
        "plugin": component("range-validator"),
        "input": "read",
        "config": {"rules": [{"name": "price", "column": "price", "max": 100}]},
        "on_violation": "drop",
    }
    nodes = {
        "read": {"connector": "csv", "read": "prices.csv"},
        "check": check,
        "good": {"connector": "csv", "write": "good.csv", "input": "check"},
        "wrong": {"connector": "csv", "write": "wrong.csv", "input": "check.rejected"},
    }
    run(build_specification({"name": "prices", "nodes": nodes}, folder=tmp_path))
    written = [(tmp_path / name).read_text() for name in ("good.csv", "wrong.csv")]
    assert written == ['"price"\n5\n7\n', '"price"\n950\n']


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 40), rows=st.integers(1, 25), deaths=st.lists(st.integers(1, 60), max_size=4))
def test_runs_that_die_anywhere_write_each_row_of_each_branch_once(count, rows, deaths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name in ("shift", "check", "mend"):
        (folder / f"{name}.wasm").touch()
    nodes = A + (
        "  shift: {plugin: shift.wasm, input: a}\n"
        "  check: {plugin: check.wasm, input: shift, on_violation: drop, workers: 2}\n"
        "  mend: {plugin: mend.wasm, input: check.rejected}\n"
        "  out: {plugin: first.wasm, input: [check, mend]}\n  bad: {plugin: second.wasm, input: check.rejected}\n"
    )
    made = numbers_pipeline(folder, nodes, rows=rows)
    tables = {name: Table(Clock(), keeps_token=True) for name in ("first", "second")}

    def plugins(clock: Clock) -> dict[str, Any]:
        for table in tables.values():
            table.clock, table.staged = clock, []
        shift = FakeTransformer(lambda given: rows_of(*(x if x % 3 else -x - 1 for x in given.column("x").to_pylist())))
        source = Series("a", clock, count, chunk=7, transaction=1, modes="incremental")
        return {"a": source, "shift": shift, "check": FakeValidator(), "mend": FakeTransformer(negated), **tables}

    run_with_deaths(made, folder / "state", plugins, deaths)
    assert Counter(tables["first"].kept) == Counter(x if x % 3 else x + 1 for x in range(count))
    assert Counter(tables["second"].kept) == Counter(-x - 1 for x in range(count) if x % 3 == 0)


@st.composite
def graphs(draw: Any) -> tuple[str, dict[str, FakePlugin], dict[str, list[int]]]:
    """The YAML of a graph, its plugins, and the rows that come to each destination."""
    lines: list[str] = []
    plugins: dict[str, FakePlugin] = {}
    model: dict[str, list[int]] = {}
    unused: dict[str, None] = {}
    numbers = st.lists(st.integers(-50, 50), max_size=8)
    for number in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(numbers, max_size=4))
        plugins[f"s{number}"] = FakeSource([rows_of(*part) for part in parts] or [rows_of()])
        lines.append(f"  s{number}: {{plugin: s{number}.wasm}}")
        model[f"s{number}"] = [x for part in parts for x in part]
        unused[f"s{number}"] = None

    def take(most: int = 3) -> tuple[str, list[int]]:
        names = draw(st.lists(st.sampled_from(sorted(model)), min_size=1, max_size=most, unique=True))
        for each in names:
            unused.pop(each, None)
        return json.dumps(names), [x for each in names for x in model[each]]

    for number in range(draw(st.integers(0, 5))):
        inputs, rows = take()
        name, shift, divisor = f"p{number}", draw(st.integers(-9, 9)), draw(st.integers(1, 3))
        kind = draw(st.sampled_from(["filter", "map", "check"]))
        more = f", workers: {draw(st.integers(1, 2))}"
        if kind == "check":
            plugins[name] = FakeValidator()
            more += ", on_violation: drop"
            model[f"{name}.rejected"] = [x for x in rows if x < 0]
            model[name] = [x for x in rows if x >= 0]
        elif kind == "filter":

            def keep(given: Any, divisor: int = divisor) -> Any:
                return rows_of(*(x for x in given.column("x").to_pylist() if x % divisor == 0))

            plugins[name] = FakeProcessor(keep)
            model[name] = [x for x in rows if x % divisor == 0]
        else:

            def add(given: Any, shift: int = shift) -> Any:
                return rows_of(*(x + shift for x in given.column("x").to_pylist()))

            plugins[name] = FakeTransformer(add)
            model[name] = [x + shift for x in rows]
        lines.append(f"  {name}: {{plugin: {name}.wasm, input: {inputs}{more}}}")
        unused[name] = None
    wanted: dict[str, list[int]] = {}
    left = list(unused)
    for number in range(max(1, len(left))):
        name = f"d{number}"
        inputs, rows = (json.dumps(left[number]), model[left[number]]) if left else take()
        plugins[name] = FakeDestination()
        lines.append(f"  {name}: {{plugin: {name}.wasm, input: {inputs}}}")
        wanted[name] = rows
    return "\n".join(lines) + "\n", plugins, wanted


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), keeps_state=st.booleans())
def test_graph_delivers_what_a_model_of_it_does(graph, keeps_state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    nodes, plugins, wanted = graph
    made, host = pipeline(folder, nodes, *plugins), FakeHost(**plugins)
    if keeps_state:
        with StateFile(folder / "state", pipeline="test") as state:
            report = run(made, host=host, state=state)
    else:
        report = run(made, host=host)
    for name, rows in wanted.items():
        found = plugins[name]
        assert isinstance(found, FakeDestination)
        assert Counter(row["x"] for row in found.rows) == Counter(rows)
    for node in report.nodes:
        if node.kind == "validator":
            assert node.rows_in == node.rows_out + node.rejected + node.dropped
