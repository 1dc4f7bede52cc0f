"""The suite finds every plugin that is broken on purpose, in the case meant for it, and passes the good ones."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import (
    ConfigError,
    DirectoryGrant,
    Grants,
    Host,
    MemorySecrets,
    PluginError,
    Services,
    Variant,
    parse_grants,
)
from dataflare.conformance import Outcome, Subject, load_cases, load_duties, run_suite
from dataflare.conformance.cases import KINDS, select
from dataflare.conformance.files import probe_file
from dataflare.conformance.random_rows import random_rows
from dataflare.conformance.reports import UNTESTED, verdict_of
from dataflare.conformance.retrying import Patience
from dataflare.conformance.runner import Expectation, SuiteResult, run_case
from dataflare.conformance.steps import STEPS
from dataflare.conformance.values import TooLarge, default_sample, difference, objects, shown, typed_rows
from mutant_kit import module, native_engine, native_host

ROOT = Path(__file__).parents[2]
CASES = load_cases()


NATIVE = [
    # Memory is that of components: natively, one batch is as good as a thousand.
    each.model_copy(update={"steps": [{"memory-flat": {"batches": 3, "handles": 500}}]})
    if each.name == "every/memory"
    else each
    for each in CASES
]
MODULES = {
    **{kind: f"{kind}s" for kind in KINDS},
    "file-destination": "file_destinations",
    "keyed-file-destination": "keyed_destinations",
    "changing-source": "changing_sources",
    "logged-source": "logged_sources",
    "joined-source": "joined_sources",
}
# What stands in for a plugin of the host has no lifecycle.
STAND_INS = {"changing-source", "logged-source", "joined-source"}


def kind_of(group: str) -> str:
    return group.rpartition("-")[2]


def plugins(group: str) -> Iterator[type[Any]]:
    made = module(MODULES[group])
    return (each for each in vars(made).values() if isinstance(each, type) and issubclass(each, made.Good))


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make calls again at once: plugins that always ask for later would be waited for, for 30 s a case."""
    monkeypatch.setattr(Patience.__init__, "__defaults__", (lambda _: None,))


class HostOf(contextlib.nullcontext[Any]):
    """A host whose only plugin stands in for what the host makes of one."""

    def __init__(self, plugin: type[Any], **_: Any) -> None:
        super().__init__(self)
        self.plugin = plugin

    def load(self, *_: Any, **__: Any) -> Any:
        return self.plugin()


@contextmanager
def subject(plugin: type[Any], group: str) -> Iterator[Subject]:
    if group in STAND_INS:
        yield Subject(b"", "source", make_host=functools.partial(HostOf, plugin))
        return
    needs = getattr(plugin, "needs", getattr(module(MODULES[group]), "NEEDS", ()))
    config = {
        "source": {"rows": 20},
        "destination": {"limit": 1000},
        "processor": {"field": "name"},
        "file-destination": {},
        "keyed-file-destination": {},
    }
    with TemporaryDirectory() as folder:
        files = {"out": DirectoryGrant(path=Path(folder), access="write")} if "files" in needs else {}
        yield Subject(
            native_engine(MODULES[group], plugin.__name__).binary,
            kind_of(group),
            config.get(group, {"column": "amount"}),
            sample=default_sample(),
            grants=Grants(state="state" in needs, tasks="tasks" in needs, files=files),
            make_host=functools.partial(native_host, MODULES[group], plugin.__name__),
        )


def run(plugin: type[Any], group: str, *names: str) -> SuiteResult:
    """Run all cases; with names, these and those of `core`."""
    only = ["source"] if group in STAND_INS else []
    cases = select(NATIVE, kind=kind_of(group), profile="full", only=only)
    chosen = [each for each in cases if not names or each.profile == "core" or each.name in names]
    with subject(plugin, group) as tested:
        return run_suite(tested, chosen)


def run_one(plugin: type[Any], kind: str, case: Any, *known: Expectation) -> Any:
    with subject(plugin, kind) as tested:
        return run_case(tested, case, *known)


MUTANT_CASES = [
    pytest.param(group, plugin, id=f"{group}-{plugin.__name__}")
    for group in MODULES
    for plugin in plugins(group)
    if getattr(plugin, "caught_by", "")
]
GOOD = [(group, plugin) for group in MODULES for plugin in plugins(group) if not getattr(plugin, "caught_by", "")]


@pytest.mark.parametrize(("group", "good"), GOOD, ids=lambda each: getattr(each, "__name__", each))
def test_correct_plugins_pass(group, good):
    result = run(good, group)
    bad = [
        (each.case.name, each.message) for each in result.results if each.outcome not in (Outcome.PASS, Outcome.SKIP)
    ]
    assert not bad
    assert result.counts["PASS"] >= (9 if group in STAND_INS else 15)
    if group.endswith("file-destination"):
        skipped = [each.case.name for each in result.results if each.outcome is Outcome.SKIP]
        unfit = {"merged", "deleted", "replaced"} if group == "file-destination" else {"flush", "once", "shut-out"}
        found = {name.removeprefix("destination/files-") for name in skipped if name.startswith("destination/files-")}
        assert found == unfit


@pytest.mark.parametrize(("group", "plugin"), MUTANT_CASES)
def test_broken_plugins_are_caught_by_the_case_meant_for_them(group, plugin):
    result = run(plugin, group, plugin.caught_by)
    failed = {each.case.name for each in result.results if each.outcome is Outcome.FAIL}
    assert plugin.caught_by in failed, [(each.case.name, each.outcome, each.message) for each in result.results]
    assert not result.failed_itself, [each.message for each in result.results if each.outcome is Outcome.ERROR]


@pytest.mark.parametrize(
    ("each", "message"), [({"grow": {"bytes": 65_536}}, "memory grew"), ({"keep-batches": {"count": 1}}, "handles")]
)
def test_components_that_keep_memory_or_handles_are_caught(each, message):
    granted = ["clock", "metrics", "random", "tasks", "state", "secrets:x"]
    granted += ["http:GET:https://x.invalid", "plugins:x", "shared:x"]
    with TemporaryDirectory() as folder:
        leaking = Subject(
            probe_file(),
            "processor",
            {"batch": [each]},
            sample=default_sample(),
            grants=parse_grants([*granted, f"files:x={folder}"]),
            make_host=lambda **options: Host(services=Services(secrets=MemorySecrets()), **options),
        )
        found = run_case(leaking, one("every/memory"))
    assert (found.outcome, message in found.message) == (Outcome.FAIL, True), found.message


# What the SDK does for every source.
CASES_OF_THE_SDK = ["source/strange-state", "source/other-state", "source/other-columns"]


def test_every_case_finds_a_broken_plugin():
    caught = {plugin.caught_by for group, plugin in (each.values for each in MUTANT_CASES)}
    assert {each.name for each in CASES if each.kinds != ["host"]} == {*caught, *CASES_OF_THE_SDK}


@pytest.mark.parametrize("name", CASES_OF_THE_SDK)
def test_sdk_that_takes_any_state_is_caught(name, monkeypatch):
    def decoded(request: Any, data: bytes, key: str) -> Any:
        try:
            return json.loads(data)["after"]
        except (ValueError, KeyError, TypeError):
            return 0

    monkeypatch.setattr("dataflare_plugin.source._decoded", decoded)
    assert run_one(module("sources").Good, "source", one(name)).outcome is Outcome.FAIL


def test_rows_that_fail_are_shortened():
    found = run_one(module("processors").LosesBackslashes, "processor", one("processor/any-rows"))
    assert found.given.startswith("1 rows of ['id', 'name', 'amount']"), found.given


@given(st.integers(0, 2**32))
def test_drawn_rows_are_the_same_for_a_seed_and_fit_the_sample(seed):
    one, other = (random_rows(default_sample(), random.Random(seed), 7) for _ in range(2))
    assert one.equals(other)
    assert (one.schema, one.num_rows) == (default_sample().schema, 7)


def test_rows_of_any_type_can_be_drawn():
    sample = pa.Table.from_batches([typed_rows()])
    assert random_rows(sample, random.Random(1), 20).schema == sample.schema
    nothing = pa.table(
        {"a": pa.nulls(2), "b": pa.array([], pa.int8()).cast(pa.int8()).take(pa.array([None, None], pa.int8()))}
    )
    assert random_rows(nothing, random.Random(1), 3).num_rows == 3


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
    used = set()
    waiting = [step for case in CASES for step in case.steps]
    while waiting:
        for name, arguments in waiting.pop().items():
            used.add(name)
            if name == "drawn":  # which has steps of its own
                waiting += arguments["steps"]
    assert used == set(STEPS)
    assert [name for name in STEPS if f"| `{name}` |" not in text] == []


GUARDS = {
    *("dataflare.json_values", "dataflare.data.batches", "dataflare.data.ipc", "dataflare.data.shapes"),
    *("dataflare.documents.models", "dataflare.documents.reader", "dataflare.printable"),
}
"""What reads JSON and Arrow streams of strangers, here of an adapter, and cases, and what shows their texts; none of it
is part of the public interface."""


def test_suite_uses_the_public_interface_alone():
    allowed = {"dataflare", "pyarrow", "pydantic", "pytest", "yaml", *sys.stdlib_module_names}
    for file in (ROOT / "host" / "dataflare" / "conformance").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    assert name.partition(".")[0] in allowed, (file.name, name)
                    own = name.startswith("dataflare.conformance") or name in GUARDS
                    assert own or not name.startswith("dataflare."), (file.name, name)


def test_cases_have_titles_of_their_own():
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)


def test_core_is_a_part_of_full():
    for kind in KINDS:
        core = {case.name for case in select(CASES, kind=kind, profile="core")}
        assert core < {case.name for case in select(CASES, kind=kind, profile="full")}


def test_retries_are_bounded_and_told():
    waited: list[float] = []
    for hint_ms, waits, note in (
        (None, [0.5, 1.0, 2.0, 4.0, 8.0], "5 after `unavailable`"),
        (10_000, [10.0, 10.0, 10.0], "the plugin asks for 10 s more, and a case waits 30 s at most"),
        (10**9, [], "the plugin asks for 1e+06 s more"),
    ):
        patience, case = Patience(waited.append), "unavailable" if hint_ms is None else "rate-limited"

        def fail(hint_ms: int | None = hint_ms, case: str = case) -> None:
            raise PluginError("no", error=Variant(case, ""), retryable=True, retry_after_ms=hint_ms)

        with pytest.raises(PluginError):
            patience.call(fail)
        assert (waited, note in patience.note) == (waits, True), patience.note
        waited.clear()
    with pytest.raises(PluginError):
        patience.call(lambda: (_ for _ in ()).throw(PluginError("no", error=Variant("data", ""))))
    assert not waited


def test_outcome_says_what_was_asked_again():
    found = run_one(module("sources").OftenBusy, "source", one("source/again"))
    assert (found.outcome, found.message) == (Outcome.PASS, "calls were made again: 5 after `rate-limited`")
    failed = run_one(module("sources").AlwaysBusy, "source", one("source/read"))
    assert failed.message.startswith("dataset 'one', mode `full`: an error that was not due: ")
    assert failed.message.endswith("(calls were made again: 5 after `rate-limited`)")


def one(name: str) -> Any:
    return next(case for case in CASES if case.name == name)


def test_known_failures_and_their_end():
    expectation = Expectation("known", "https://example.org/1")
    bad, good = module("processors").DropsARow, module("processors").Good
    case = one("processor/one-by-one")
    assert run_one(bad, "processor", case, expectation).outcome is Outcome.XFAIL
    passed = run_one(good, "processor", case, expectation)
    assert passed.outcome is Outcome.XPASS
    assert not SuiteResult((passed,)).passed()


def test_case_without_a_sample_is_skipped_and_certification_allows_no_skip():
    with subject(module("destinations").Good, "destination") as good:
        result = SuiteResult((run_case(dataclasses.replace(good, sample=None), one("destination/nulls")),))
    assert result.counts == {"SKIP": 1}
    assert result.passed() and not result.passed(skips=False)


def test_plugin_of_whose_work_nothing_was_seen_is_not_conformant():
    essential = {
        kind: [each.name for each in select(CASES, kind=kind, profile="core") if each.essential] for kind in KINDS
    }
    assert all(len(names) == 1 for names in essential.values()), essential
    rows = pa.table({"name": ["a longer text"] * 8})
    for group, sample in (("destination", None), ("destination", rows), ("processor", pa.table({"name": [1, 2]}))):
        with subject(module(MODULES[group]).Good, group) as good:
            config = {"limit": 1} if group == "destination" else good.config
            given = dataclasses.replace(good, sample=sample, config=config)
            result = run_suite(given, [one("every/metadata"), one(*essential[group])])
        assert result.counts == {"PASS": 1, "SKIP": 1}
        assert [each.case.name for each in result.unseen] == essential[group]
        assert not result.passed()
        assert verdict_of(result, passed=False) == UNTESTED


def test_no_case_at_all_is_no_success():
    assert not SuiteResult(()).passed()


def test_fault_of_the_suite_is_no_fault_of_the_plugin():
    case = one("processor/one-by-one").model_copy(update={"steps": [{"no-such-step": {}}]})
    result = run_one(module("processors").Good, "processor", case)
    assert (result.outcome, "no-such-step" in result.message) == (Outcome.ERROR, True)


def test_whatever_a_plugin_makes_the_suite_stumble_over_is_an_outcome(monkeypatch):
    for failure in (RecursionError("deep"), NotImplementedError("no"), MemoryError(), OverflowError("date")):

        def fail(*_: Any, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setitem(STEPS, "health", fail)
        with subject(module("processors").Good, "processor") as good:
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
        "title: t\ntitle: u\nduties: [A-1]\nkinds: [source]\nsteps: [{read: {}}]",
        "name: other/one\ntitle: t\nduties: [A-1]\nkinds: [source]\nsteps: [{read: {}}]",
        "title: &a t\nduties: [*a]\nkinds: [source]\nsteps: [{read: {}}]",
        "title: t\nduties: [A-1]\nkinds: [source]\nessential: 1\nsteps: [{read: {}}]",
    ],
)
def test_cases_that_are_none(tmp_path, text):
    (tmp_path / "group" / "case").mkdir(parents=True)
    (tmp_path / "group" / "case" / "case.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"case\.yaml:\d"):
        load_cases(tmp_path)


@given(
    values=st.lists(st.one_of(st.none(), st.integers(-5, 5)), max_size=6), other=st.lists(st.integers(0, 3), max_size=6)
)
def test_difference_is_empty_exactly_where_rows_are_equal(values, other):
    one, two = (pa.table({"x": pa.array(each, pa.int64())}) for each in (values, other))
    assert difference(one, one) == ""
    assert (difference(one, two) == "") == (values == other)
