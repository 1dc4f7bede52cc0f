from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities.clock import ManualClock
from dataflare.capabilities.logging import (
    LEVELS,
    LogEvent,
    LogLimits,
    MemoryLogSink,
    PluginLog,
    StandardLogSink,
    imports,
)
from dataflare.errors import ConfigError


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=1)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class StandardHarness:
    """The standard library's logging, seen as a list of events."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.logger = logging.getLogger("dataflare.plugin.under-test")
        self.logger.handlers, self.logger.propagate = [self.recorder], False
        self.sink = StandardLogSink("under-test")
        self.set_level("trace")

    def set_level(self, level: str) -> None:
        self.logger.setLevel(LEVELS[level])

    def events(self) -> list[LogEvent]:
        levels = {number: name for name, number in LEVELS.items()}
        return [LogEvent(levels[r.levelno], r.getMessage(), r.fields) for r in self.recorder.records]  # type: ignore[attr-defined]


class MemoryHarness:
    def __init__(self) -> None:
        self.sink = MemoryLogSink()

    def set_level(self, level: str) -> None:
        self.sink = MemoryLogSink(level=level)

    def events(self) -> list[LogEvent]:
        return self.sink.events


@pytest.fixture(params=[StandardHarness, MemoryHarness])
def harness(request):
    return request.param()


@pytest.mark.parametrize("level", LEVELS)
def test_event_arrives_with_its_level_and_fields(harness, level):
    imports(PluginLog(harness.sink))["log"](level, "100% of {x}", [("a", "1"), ("b", "2"), ("a", "3")])
    assert harness.events() == [LogEvent(level, "100% of {x}", {"a": "3", "b": "2"})]


def test_event_below_the_level_goes_nowhere_but_is_kept_for_reports(harness):
    harness.set_level("warn")
    log = PluginLog(harness.sink)
    functions = imports(log)
    functions["log"]("info", "hello", [])
    assert harness.events() == []
    assert log.last_lines == ("INFO hello",)
    assert [functions["is-enabled"](level) for level in LEVELS] == [False, False, False, True, True]


def test_record_of_the_standard_library_names_the_plugin():
    harness = StandardHarness()
    PluginLog(harness.sink).log("warn", "m", [("message", "x"), ("name", "y")])
    (record,) = harness.recorder.records
    assert (record.name, record.plugin) == ("dataflare.plugin.under-test", "under-test")  # type: ignore[attr-defined]
    assert record.fields == {"message": "x", "name": "y"}  # type: ignore[attr-defined]


def test_events_over_the_rate_are_dropped_and_reported_once(harness):
    clock = ManualClock()
    log = PluginLog(harness.sink, limits=LogLimits(events_per_s=2), clock=clock)
    for number in range(5):
        log.log("info", str(number))
    assert (len(harness.events()), log.dropped) == (2, 3)
    clock.advance(10**9)
    log.log("info", "a")
    log.log("info", "b")
    assert [event.message for event in harness.events()[2:]] == ["log events were dropped", "a", "b"]
    assert harness.events()[2] == LogEvent("warn", "log events were dropped", {"dropped": "3"})


def test_bytes_over_the_rate_are_dropped():
    sink, clock = MemoryLogSink(), ManualClock()
    log = PluginLog(sink, limits=LogLimits(bytes_per_s=100), clock=clock)
    log.log("info", "é" * 40)
    log.log("info", "é" * 40)
    assert (len(sink.events), log.dropped) == (1, 1)
    clock.advance(10**9)
    log.log("info", "é" * 40)
    assert len(sink.events) == 3


def test_allowance_does_not_pile_up():
    sink, clock = MemoryLogSink(), ManualClock()
    log = PluginLog(sink, limits=LogLimits(events_per_s=3), clock=clock)
    clock.advance(3600 * 10**9)
    for _ in range(10):
        log.log("info", "x")
    assert len(sink.events) == 3


def test_last_lines_are_kept_up_to_their_number():
    log = PluginLog(MemoryLogSink(), limits=LogLimits(kept_lines=2))
    for number in range(4):
        log.log("error", str(number), [("k", "v")])
    assert log.last_lines == ("ERROR 2 k='v'", "ERROR 3 k='v'")


def test_line_of_the_standard_error_is_an_event():
    sink = MemoryLogSink()
    PluginLog(sink).write_line("panicked")
    assert sink.events == [LogEvent("info", "panicked", {"stream": "stderr"})]


def test_message_cannot_pretend_to_be_two_lines():
    sink = MemoryLogSink()
    PluginLog(sink).log("info", "a\nERROR b\x1b[2J\u2028c", [("k\n", "v\r")])
    assert sink.events == [LogEvent("info", "a\\nERROR b\\x1b[2J\\u2028c", {"k\\n": "v\\r"})]


def test_huge_message_is_cut():
    sink = MemoryLogSink()
    PluginLog(sink).log("info", "x" * 1_000_000, [("k", "y" * 1_000_000)] * 100)
    assert len(sink.events[0].line()) < 25_000


@given(st.text(), st.lists(st.tuples(st.text(), st.text())))
def test_any_event_is_one_line(message, fields):
    log = PluginLog(MemoryLogSink())
    log.log("info", message, fields)
    assert all(len(line.splitlines()) == 1 for line in log.last_lines)


@pytest.mark.parametrize("name", ["events_per_s", "bytes_per_s", "kept_lines"])
def test_limit_below_one_is_refused(name):
    with pytest.raises(ConfigError, match=name):
        LogLimits(**{name: 0})


def test_flood_is_reported_once_a_second():
    clock, sink = ManualClock(), MemoryLogSink()
    log = PluginLog(sink, limits=LogLimits(events_per_s=10), clock=clock)
    for _ in range(3000):
        log.log("info", "again")
        clock.advance(1_000_000)
    reports = [event for event in sink.events if event.message == "log events were dropped"]
    assert 2 <= len(reports) <= 4
    passed = len(sink.events) - len(reports)
    assert passed <= 10 + 3 * 10 + 1
    assert sum(int(event.fields["dropped"]) for event in reports) <= log.dropped
