"""The suite finds every plugin that is broken on purpose, in the case meant for it, and passes the good ones."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Grants, Host
from dataflare.conformance import Outcome, Subject, load_cases, load_duties, run_suite
from dataflare.conformance.cases import KINDS, select
from dataflare.conformance.runner import Expectation, SuiteResult, run_case
from dataflare.conformance.steps import STEPS
from dataflare.conformance.values import TooLarge, default_sample, difference, objects, shown
from dataflare.runtime.ports import Engine
from dataflare.testing.native import _NativeEngine
from mutant_kit import module

ROOT = Path(__file__).parents[2]
CASES = load_cases()


def plugins(kind: str) -> Iterator[type[Any]]:
    made = module(f"{kind}s")
    return (each for each in vars(made).values() if isinstance(each, type) and issubclass(each, made.Good))


def subject(plugin: type[Any], kind: str) -> Subject:
    needs = getattr(module(f"{kind}s"), "NEEDS", ())
    engine = _NativeEngine(plugin, needs)
    config = {"source": {"rows": 20}, "destination": {"limit": 1000}, "processor": {"field": "name"}}
    return Subject(
        engine.binary,
        kind,
        config.get(kind, {"column": "amount"}),
        sample=default_sample(),
        grants=Grants(state="state" in needs),
        make_host=lambda: Host(engine=cast(Engine, engine)),
    )


MUTANT_CASES = [
    pytest.param(kind, plugin, id=f"{kind}-{plugin.__name__}")
    for kind in KINDS
    for plugin in plugins(kind)
    if plugin.__name__ != "Good"
]


@pytest.mark.parametrize("kind", KINDS)
def test_correct_plugins_pass(kind):
    (good,) = (plugin for plugin in plugins(kind) if plugin.__name__ == "Good")
    result = run_suite(subject(good, kind), select(CASES, kind=kind, profile="full"))
    bad = [
        (each.case.name, each.message) for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)
    ]
    assert not bad
    assert result.counts["PASS"] >= 15


@pytest.mark.parametrize(("kind", "plugin"), MUTANT_CASES)
def test_broken_plugins_are_caught_by_the_case_meant_for_them(kind, plugin):
    result = run_suite(subject(plugin, kind), select(CASES, kind=kind, profile="full"))
    failed = {each.case.name for each in result.results if each.outcome is Outcome.FAIL}
    assert plugin.caught_by in failed, [(each.case.name, each.outcome, each.message) for each in result.results]
    assert not result.failed_itself, [each.message for each in result.results if each.outcome is Outcome.ERROR]


@pytest.mark.parametrize("name", ["source/strange-state", "source/other-state"])
def test_sdk_that_takes_any_state_is_caught(name, monkeypatch):
    def decoded(request: Any, data: bytes, key: str) -> Any:
        try:
            return json.loads(data)["after"]
        except (ValueError, KeyError, TypeError):
            return 0

    monkeypatch.setattr("dataflare_plugin.source._decoded", decoded)
    assert run_case(subject(module("sources").Good, "source"), one(name)).outcome is Outcome.FAIL


def test_there_are_ten_broken_plugins_of_each_kind():
    for kind in KINDS:
        assert len(list(plugins(kind))) > 10, kind


def test_every_must_has_a_case_and_every_case_names_duties_that_there_are():
    duties = load_duties()
    tested = {number for case in CASES for number in case.duties}
    assert tested <= set(duties)
    assert {number for number, duty in duties.items() if duty.level == "MUST"} <= tested


def test_every_step_is_described_and_used():
    text = (ROOT / "conformance" / "FORMAT.md").read_text()
    used = {name for case in CASES for step in case.steps for name in step}
    assert used == set(STEPS)
    assert [name for name in STEPS if f"| `{name}` |" not in text] == []


def test_suite_uses_the_public_interface_alone():
    allowed = {"dataflare", "pyarrow", "pydantic", "yaml", *sys.stdlib_module_names}
    for file in (ROOT / "host" / "dataflare" / "conformance").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    assert name.partition(".")[0] in allowed, (file.name, name)
                    assert not name.startswith("dataflare.") or name.startswith("dataflare.conformance"), (
                        file.name,
                        name,
                    )


def test_cases_have_titles_of_their_own():
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)


def test_core_is_a_part_of_full():
    for kind in KINDS:
        core = {case.name for case in select(CASES, kind=kind, profile="core")}
        assert core < {case.name for case in select(CASES, kind=kind, profile="full")}


def one(name: str) -> Any:
    return next(case for case in CASES if case.name == name)


def test_known_failures_and_their_end():
    expectation = Expectation("known", "https://example.org/1")
    bad, good = module("processors").DropsARow, module("processors").Good
    case = one("processor/one-by-one")
    assert run_case(subject(bad, "processor"), case, expectation).outcome is Outcome.XFAIL
    passed = run_case(subject(good, "processor"), case, expectation)
    assert passed.outcome is Outcome.XPASS
    assert not SuiteResult((passed,)).passed()


def test_case_without_a_sample_is_skipped_and_certification_allows_no_skip():
    good = subject(module("destinations").Good, "destination")
    bare = Subject(good.component, "destination", grants=good.grants, make_host=good.make_host)
    result = SuiteResult((run_case(bare, one("destination/run")),))
    assert result.counts == {"SKIP": 1}
    assert result.passed() and not result.passed(skips=False)


def test_no_case_at_all_is_no_success():
    assert not SuiteResult(()).passed()


def test_fault_of_the_suite_is_no_fault_of_the_plugin():
    case = one("processor/one-by-one").model_copy(update={"steps": [{"no-such-step": {}}]})
    result = run_case(subject(module("processors").Good, "processor"), case)
    assert (result.outcome, "no-such-step" in result.message) == (Outcome.ERROR, True)


def test_whatever_a_plugin_makes_the_suite_stumble_over_is_an_outcome(monkeypatch):
    good = subject(module("processors").Good, "processor")
    for failure in (RecursionError("deep"), NotImplementedError("no"), MemoryError(), OverflowError("date")):

        def fail(*_: Any, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setitem(STEPS, "health", fail)
        result = run_suite(good, [one("every/health"), one("every/shutdown-unused")])
        due = Outcome.SKIP if isinstance(failure, OverflowError) else Outcome.ERROR
        assert [each.outcome for each in result.results] == [due, Outcome.PASS]


def test_results_of_any_size_are_looked_at_in_little_memory():
    nested = pa.array([[None] * 3_000_000], pa.list_(pa.null()))
    for column in (nested, pa.array(["x" * 70_000_000]), pa.nulls(3_000_000)):
        rows = pa.RecordBatch.from_arrays([column], ["x"])
        with pytest.raises(TooLarge):
            objects(rows)
        assert len(shown(rows)) < 400
    assert objects(pa.array([[1, None], None])) == [[1, None], None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "title: t",
        "title: t\nduties: []\nkinds: [source]\nsteps: [{read: {}}]",
        "title: t\nduties: [A-1]\nkinds: [sauce]\nsteps: [{read: {}}]",
        "title: t\nduties: [A-1]\nkinds: [source]\nsteps: []",
        "title: t\nduties: [A-1]\nkinds: [source]\nsteps: [{read: {}, split: {}}]",
        "title: t\nduties: [A-1]\nkinds: [source]\nsteps: [{read: {}}]\nmore: 1",
        "title: [",
        "- 1",
    ],
)
def test_cases_that_are_none(tmp_path, text):
    (tmp_path / "group" / "case").mkdir(parents=True)
    (tmp_path / "group" / "case" / "case.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"case\.yaml"):
        load_cases(tmp_path)


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=6), other=st.lists(st.integers(0, 3), max_size=6)
)
def test_difference_is_empty_exactly_where_rows_are_equal(values, other):
    one, two = (pa.table({"x": pa.array(each, pa.int64())}) for each in (values, other))
    assert difference(one, one) == ""
    assert (difference(one, two) == "") == (values == other)
