"""Nodes whose calls fail: new instances take over, plugins are quarantined, and outages are waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.errors import CallCancelled, ConfigError, GuestPanic, PluginError
from dataflare.pipeline import batching
from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.parallel_map import map_in_order
from dataflare.pipeline.retries import OutOfTime, Retries
from dataflare.pipeline.row_errors import OnErrorModel
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import json_schema
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.datasets import Chunk, Ended
from dataflare.runtime.plugin_errors import plugin_error
from dataflare.values import Variant
from pipeline_fakes import NAME, FakeDestination, FakeHost, FakeProcessor, FakeSource, FakeValidator, rows_of

PANIC = GuestPanic("unreachable")


@pytest.fixture(autouse=True)
def small_batches_stay(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_ROWS", 1)


class FakeTime:
    """A clock that only moves when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self.before_wait: Callable[[], object] = lambda: None

    def wait_for(self, event: threading.Event, seconds: float) -> bool:
        self.before_wait()
        self.waits.append(seconds)
        self.now_s += seconds
        return event.is_set()

    def retries(self, most: int = 0, **more: Any) -> Retries:
        return Retries(most, monotonic_s=lambda: self.now_s, wait_for=self.wait_for, **more)


def unavailable(wait_ms: int | None = None) -> PluginError:
    made = Variant("unavailable", "away") if wait_ms is None else Variant("rate-limited", wait_ms)
    return plugin_error(made, plugin="p", export="process")


def answers(*outcomes: Any) -> Callable[[], Any]:
    """A call with these outcomes, one after the other; the last of them for ever."""
    left = list(outcomes)

    def call() -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return call


def test_outage_is_waited_for_with_a_trial_each_minute():
    clock = FakeTime()
    retries = clock.retries(2, max_outage_s=600.0)
    assert retries.call(answers(*[unavailable()] * 5, "here")) == "here"
    first, second, *trials = clock.waits
    assert 0.5 <= first <= 0.625 and 1 <= second <= 1.25
    assert len(trials) == 3 and all(60 <= each <= 75 for each in trials)
    assert retries.count == 5 and retries.outage_s == pytest.approx(sum(trials))


def test_outage_that_is_too_long_fails_after_a_last_trial():
    clock = FakeTime()
    retries = clock.retries(0, max_outage_s=100.0)
    with pytest.raises(PluginError, match="away"):
        retries.call(answers(unavailable()))
    assert clock.now_s == retries.outage_s == pytest.approx(100)
    with pytest.raises(PluginError):
        retries.call(answers(unavailable()))
    assert clock.now_s == pytest.approx(100), "the time is for all outages of a run"


def test_trials_wait_as_long_as_the_plugin_asks():
    clock = FakeTime()
    assert clock.retries(0, max_outage_s=600.0).call(answers(unavailable(200_000), "here")) == "here"
    assert 200 <= clock.waits[0] <= 250


def test_call_is_not_made_before_the_time_that_the_plugin_asks_for():
    clock = FakeTime()
    with pytest.raises(PluginError):
        clock.retries(0, max_outage_s=600.0).call(answers(unavailable(601_000), "early"))
    assert clock.waits == []


def test_plugin_that_asks_for_no_wait_is_not_called_without_end():
    clock = FakeTime()
    with pytest.raises(PluginError):
        clock.retries(3, max_outage_s=200.0).call(answers(unavailable(0)))
    assert len(clock.waits) <= 3 + 4


def test_other_errors_end_an_outage_at_once():
    clock = FakeTime()
    retries = clock.retries(0, max_outage_s=600.0)
    with pytest.raises(GuestPanic):
        retries.call(answers(unavailable(), PANIC))
    assert retries.call(answers("here")) == "here"


def test_new_instance_takes_over_from_one_that_faults_in_a_trial():
    retries = FakeTime().retries(0, max_outage_s=600.0, reloads=1)
    assert retries.call(answers(unavailable(), PANIC, "here")) == "here"
    assert (retries.reloaded, retries.count) == (1, 1)
    with pytest.raises(GuestPanic):
        retries.call(answers(unavailable(), PANIC, unavailable(), PANIC))


@pytest.mark.parametrize("most", [0, 1])
def test_stop_ends_the_wait_for_an_outage(most):
    clock = FakeTime()
    retries = clock.retries(most, max_outage_s=600.0)
    clock.before_wait = retries.stop
    with pytest.raises(Stopped):
        retries.call(answers(unavailable()))
    assert len(clock.waits) == 1


def test_read_ends_in_an_outage_when_its_time_is_over():
    clock = FakeTime()
    retries = clock.retries(0, max_outage_s=3600.0)
    with pytest.raises(OutOfTime):
        retries.call(answers(unavailable()), seconds_left=lambda: 90.0 - clock.now_s)
    assert clock.now_s == pytest.approx(90)


def test_call_is_not_waited_for_beyond_the_time_of_the_run():
    clock = FakeTime()
    retries = clock.retries(0, max_outage_s=3600.0, run_seconds_left=lambda: max(0.0, 90.0 - clock.now_s))
    with pytest.raises(PluginError, match="away"):
        retries.call(answers(unavailable()))
    assert clock.now_s <= 90


def test_one_call_at_a_time_is_made_in_an_outage():
    made: list[int] = []
    is_open = threading.Event()
    others_wait = threading.Event()

    def wait_for(event: threading.Event, seconds: float) -> bool:
        is_open.set()
        assert others_wait.wait(60)
        return event.is_set()

    retries = Retries(0, max_outage_s=600.0, wait_for=wait_for)
    outcomes = {0: answers(unavailable(), unavailable(), "first")}

    def call(number: int) -> Any:
        made.append(number)
        return outcomes.get(number, answers(number))()

    def work(number: int) -> Any:
        if number:
            assert is_open.wait(60)
            if number == 3:
                others_wait.set()
        return retries.call(call, number)

    items: Channel[int | None] = Channel(8)
    for item in (0, 1, 2, 3, None):
        items.put(item)
    assert list(map_in_order(work, items, workers=4, name="test")) == ["first", 1, 2, 3]
    assert made[:3] == [0, 0, 0]
    assert retries.count == 2


def test_workers_end_when_an_outage_is_too_long():
    clock = FakeTime()
    retries = clock.retries(0, max_outage_s=100.0)
    items: Channel[int | None] = Channel(8)
    for item in (0, 1, 2, 3, None):
        items.put(item)
    with pytest.raises(PluginError, match="away"):
        list(map_in_order(lambda _: retries.call(answers(unavailable())), items, workers=4, name="test"))


def test_new_instance_takes_a_call_that_faults():
    retries = Retries(0, reloads=2)
    assert retries.call(answers(PANIC, PANIC, "here")) == "here"
    assert retries.reloaded == 2
    with pytest.raises(GuestPanic):
        retries.call(answers(PANIC, PANIC, PANIC, "late"))
    with pytest.raises(CallCancelled):
        retries.call(answers(CallCancelled("interrupted"), "no"))


CHAIN = """\
  in: {plugin: source.wasm}
  middle: {plugin: %s.wasm, input: in, workers: 1%s}
  out: {plugin: destination.wasm, input: middle}
"""


def panics_on(*values: int) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if set(values) & set(rows.column("x").to_pylist()):
            raise GuestPanic("unreachable")
        return rows

    return change


class Panicking(FakeValidator):
    def validate(self, rows: pa.RecordBatch) -> Any:
        report = super().validate(rows)
        panics_on(2)(rows)
        return report


def letters_of(folder: Path) -> list[tuple[int, str]]:
    lines = [json.loads(line) for line in (folder / "dead.jsonl").read_text().splitlines()]
    return [(line["values"]["x"], line["error"]) for line in lines]


@pytest.mark.parametrize("middle", [FakeProcessor(panics_on(2)), Panicking()])
def test_plugin_in_quarantine_is_not_called_and_its_rows_are_dead_letters(specify, tmp_path, middle, caplog):
    target = FakeDestination()
    host = FakeHost(
        source=FakeSource([rows_of(1, 2, 3), rows_of(4), rows_of(5, 6)]), destination=target, **{middle.kind: middle}
    )
    keys = ", dead_letters: dead.jsonl, on_error: {max_faults: 0, quarantine: true}"
    report = run(specify(CHAIN % (middle.kind, keys)), host=host)
    assert [row["x"] for row in target.rows] == [1]
    assert letters_of(tmp_path) == [(2, "GuestPanic"), *((x, "quarantined") for x in (3, 4, 5, 6))]
    node = report.nodes[1]
    assert (node.rows_in, node.rows_out, node.failed, node.dropped) == (6, 1, 5, 0)
    assert "faulted (a trap or a limit) on 1 rows, more than `max_faults: 0`" in node.quarantined
    assert report.to_json()["nodes"][1]["quarantined"] == node.quarantined
    assert [each for each in caplog.messages if each.startswith("quarantine: the plugin faulted")]
    assert middle.calls.count("process_batch") + middle.calls.count("validate") == 4


def test_what_follows_learns_its_columns_also_from_a_plugin_in_quarantine(specify):
    middle, target = FakeProcessor(panics_on(1)), FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1, 2), rows_of(3)]), destination=target, processor=middle)
    report = run(specify(CHAIN % ("processor", ", on_error: {rows: skip, max_faults: 0, quarantine: true}")), host=host)
    assert (target.rows, report.nodes[1].failed) == ([], 3)
    assert target.schema == rows_of().schema


def test_rows_that_a_plugin_in_quarantine_does_not_get_count_as_errors(specify):
    host = FakeHost(
        source=FakeSource([rows_of(1, 2), rows_of(3, 4, 5)]),
        destination=FakeDestination(),
        processor=FakeProcessor(panics_on(2)),
    )
    keys = ", on_error: {rows: skip, max_faults: 0, quarantine: true, max_errors: 3}"
    with pytest.raises(NodeFailed, match="4 rows failed, more than `max_errors: 3`") as caught:
        run(specify(CHAIN % ("processor", keys)), host=host)
    assert caught.value.report.nodes[1].quarantined


def test_next_run_calls_the_plugin_again(specify, tmp_path):
    keys = ", dead_letters: dead.jsonl, on_error: {max_faults: 0, quarantine: true}"
    targets = []
    for _ in range(2):
        targets.append(FakeDestination())
        middle = FakeProcessor(panics_on(2))
        host = FakeHost(source=FakeSource([rows_of(1, 2, 3)]), destination=targets[-1], processor=middle)
        run(specify(CHAIN % ("processor", keys)), host=host)
    assert [[row["x"] for row in each.rows] for each in targets] == [[1], [1]]
    assert letters_of(tmp_path) == [(2, "GuestPanic"), (3, "quarantined")] * 2


def test_history_and_page_name_the_plugin_in_quarantine(specify, tmp_path):
    from dataflare.cli.report_page import report_page
    from dataflare.pipeline.run_history import recorded_runs

    host = FakeHost(
        source=FakeSource([rows_of(1, 2)]), destination=FakeDestination(), processor=FakeProcessor(panics_on(2))
    )
    keys = ", on_error: {rows: skip, max_faults: 0, quarantine: true}"
    with StateFile(tmp_path / "state", pipeline="test") as state:
        run(specify(CHAIN % ("processor", keys)), host=host, state=state)
        (found,) = recorded_runs(state)
    assert "max_faults" in json.loads(found.report or "")["nodes"][1]["quarantined"]
    page = report_page(found.report or "")
    assert "quarantined: the plugin was not called any more" in page and "in quarantine" in page


def test_processor_that_faults_once_is_asked_again(specify):
    left = [PANIC]

    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if left:
            raise left.pop()
        return rows

    target = FakeDestination()
    host = FakeHost(source=FakeSource([rows_of(1, 2)]), destination=target, processor=FakeProcessor(change))
    report = run(specify(CHAIN % ("processor", ", on_error: {reloads: 1}")), host=host)
    assert [row["x"] for row in target.rows] == [1, 2]
    assert (report.nodes[1].reloads, report.nodes[1].retries, report.nodes[1].failed) == (1, 0, 0)


class Fragile(FakeSource):
    """Faults before some of its chunks, and has a state after some; a state is the number of the next chunk."""

    def __init__(self, faults: list[int], states: set[int]) -> None:
        super().__init__([rows_of(n) for n in range(5)])
        self._faults, self._states = faults, states
        self.opened: list[bytes | None] = []

    def open(self, selections: Any = None, state: bytes | None = None) -> list[pa.Schema]:
        self.opened.append(state)
        self._chunks = self._from(int(state or b"0"))
        return [self._schema]

    def read(self, max_rows: int = 0) -> Chunk | Ended:
        return next(self._chunks, Ended())

    def _from(self, begin: int) -> Iterator[Chunk]:
        for number in range(begin, 5):
            if number in self._faults:
                self._faults.remove(number)
                raise GuestPanic("unreachable")
            yield Chunk(NAME, rows_of(number), str(number + 1).encode() if number in self._states else None)


READ = "  in: {plugin: source.wasm, on_error: {reloads: %d}}\n  out: {plugin: destination.wasm, input: in}\n"


@pytest.mark.parametrize("with_state", [False, True])
def test_source_goes_on_in_a_new_instance_from_its_last_state(specify, tmp_path, with_state):
    source, target = Fragile([0, 2, 2, 4], set(range(5))), FakeDestination()
    host = FakeHost(source=source, destination=target)
    if with_state:
        with StateFile(tmp_path / "state", pipeline="test") as state:
            report = run(specify(READ % 2), host=host, state=state)
    else:
        report = run(specify(READ % 2), host=host)
    assert [row["x"] for row in target.rows] == [0, 1, 2, 3, 4]
    assert source.opened == [None, None, b"2", b"2", b"4"]
    assert report.nodes[0].reloads == 4


def test_source_that_would_give_rows_twice_is_not_reloaded(specify):
    source, target = Fragile([3], {0}), FakeDestination()
    with pytest.raises(NodeFailed, match="unreachable") as caught:
        run(specify(READ % 2), host=FakeHost(source=source, destination=target))
    assert "a new instance would give the last 2 rows once more" in str(caught.value)
    assert source.opened == [None] and "finish" not in target.calls


def test_source_that_faults_too_often_ends_the_run(specify):
    source = Fragile([1, 1, 1], set(range(5)))
    with pytest.raises(NodeFailed, match="unreachable"):
        run(specify(READ % 2), host=FakeHost(source=source, destination=FakeDestination()))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("reloads: -1", "reloads.*0"),
        ("reloads: 1001", "reloads.*1000"),
        ("reloads: true", "reloads: give a whole number"),
        ("reloads: 1.5", "reloads"),
        ("reloads: .nan", "JSON does not have"),
        ('reloads: "2"', "reloads: give a whole number"),
        ("reloads: 99999999999999999999999", "does not fit 64 bits"),
        ("max_outage: -5min", "not a duration"),
        ("max_outage: 300", "has no unit"),
        ("max_outage: true", "max_outage: give a text"),
        ("max_outage: .inf", "JSON does not have"),
        ("max_outage: soon", "not a duration"),
        ("max_outage: 9999999999999999h", "not a duration"),
        ("quarantine: 3", "quarantine: give"),
        ('quarantine: "yes"', "quarantine: give"),
        ("quarantine: true, rows: fail", "ends the run on the first error"),
        ("max_error_share: .nan", "JSON does not have"),
        ("max_faults: true", "max_faults: give a whole number"),
        ("quarantines: true", "quarantine"),
    ],
)
def test_nonsense_is_refused(specify, keys, message):
    keys = keys if "rows" in keys else f"{keys}, rows: skip"
    with pytest.raises(ConfigError, match=message):
        run(specify(CHAIN % ("processor", f", on_error: {{{keys}}}")), host=all_fakes())


def all_fakes() -> FakeHost:
    return FakeHost(source=FakeSource([rows_of(1)]), processor=FakeProcessor(), destination=FakeDestination())


@pytest.mark.parametrize(
    ("read", "write", "message"),
    [
        (", on_error: {quarantine: true}", "", "is a source"),
        ("", ", on_error: {rows: skip, quarantine: true}", "is a destination"),
        ("", ", on_error: {reloads: 1}", "rows are lost that it had not made safe"),
        (", source: {parallel: 2}, on_error: {reloads: 1}", "", "reads in parts"),
    ],
)
def test_policies_that_would_lose_rows_are_refused(specify, read, write, message):
    nodes = f"  in: {{plugin: source.wasm{read}}}\n  out: {{plugin: destination.wasm, input: in{write}}}\n"
    with pytest.raises(ConfigError, match=message):
        run(specify(nodes), host=all_fakes())


@pytest.mark.parametrize(
    ("read", "write", "message"),
    [
        ("reloads: 1", "retries: 1", "`reloads` is not for this node"),
        ("rows: skip", "retries: 1", "`rows` is not for this node"),
        ("retries: 1", "quarantine: true", "`quarantine` is not for this node"),
        ("max_outage: 1h", "max_errors: 1, rows: fail}, dead_letters: d, key: [x", "rows that fail end the run"),
    ],
)
def test_policies_of_databases_are_about_rows_and_outages(specify, read, write, message):
    tables = (
        f"  in: {{connector: sql, database: db, read: t, on_error: {{{read}}}}}\n"
        f"  out: {{connector: sql, database: db, write: u, input: in, on_error: {{{write}}}}}\n"
    ).replace("key: [x}}", "key: [x]}")
    with pytest.raises(ConfigError, match=message):
        specify(tables)


def test_editors_know_the_bounds_of_policies():
    keys = json_schema()["$defs"]["OnErrorModel"]["properties"]
    assert (keys["reloads"]["minimum"], keys["reloads"]["maximum"]) == (0, 1000)
    assert keys["quarantine"]["type"] == "boolean"
    assert keys["max_outage"]["pattern"]


def test_policy_is_told_in_one_line():
    policy = OnErrorModel(rows="skip", max_outage="30min", reloads=2, quarantine=True, max_faults=3)
    assert policy.shown("dead.jsonl") == (
        "rows that fail go to dead.jsonl; calls stop in an outage of up to 30min; a new instance takes over 2 times in "
        "a row; quarantine after more than 3 faults"
    )
    assert OnErrorModel().shown(None) == ""


@pytest.mark.parametrize("keys", ["", ", on_error: {rows: skip, max_errors: 0}"])
def test_rows_of_a_run_that_fails_are_not_told_as_dropped(specify, keys):
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        if 3 in rows.column("x").to_pylist():
            raise plugin_error(Variant("invalid-input", "no"), plugin="p", export="process")
        return rows.filter(pa.array([x != 1 for x in rows.column("x").to_pylist()]))

    host = FakeHost(
        source=FakeSource([rows_of(1, 2), rows_of(3, 4, 5)]),
        destination=FakeDestination(),
        processor=FakeProcessor(change),
    )
    with pytest.raises(NodeFailed) as caught:
        run(specify(CHAIN % ("processor", keys)), host=host)
    assert caught.value.report.nodes[1].dropped == 1


def test_rows_that_a_validator_stopped_at_are_not_told_as_dropped(specify):
    host = FakeHost(
        source=FakeSource([rows_of(1, 2), rows_of(3, -4, 5)]), destination=FakeDestination(), validator=FakeValidator()
    )
    with pytest.raises(NodeFailed, match="break 'positive'") as caught:
        run(specify(CHAIN % ("validator", "")), host=host)
    node = caught.value.report.nodes[1]
    assert (node.rows_in, node.rows_out, node.dropped) == (5, 2, 0)
