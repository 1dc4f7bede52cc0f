from __future__ import annotations

import threading

import pytest

from dataflare.capabilities.clock import ManualClock
from dataflare.capabilities.tasks import (
    CancellationToken,
    LatestProgress,
    MemoryProgress,
    PluginTasks,
    Progress,
    imports,
)
from dataflare.errors import ConfigError

MS = 10**6


@pytest.fixture(params=[MemoryProgress, LatestProgress])
def sink(request):
    return request.param()


@pytest.fixture
def clock():
    return ManualClock()


def test_progress_reaches_its_sink(sink, clock):
    tasks = imports(PluginTasks(sink, "p", CancellationToken(), clock=clock))
    assert sink.latest("p") is None
    assert tasks["report-progress"](3, 10, "reading") is None
    assert sink.latest("p") == Progress(3, 10, "reading")
    assert sink.latest("q") is None


def test_progress_of_plugins_is_kept_apart(sink, clock):
    for number, name in enumerate("pq"):
        PluginTasks(sink, name, CancellationToken(), clock=clock).report_progress(number, 2, name)
    assert (sink.latest("p"), sink.latest("q")) == (Progress(0, 2, "p"), Progress(1, 2, "q"))


def test_reports_over_the_rate_wait_and_the_latest_counts(clock):
    sink = MemoryProgress()
    tasks = PluginTasks(sink, "p", CancellationToken(), reports_per_s=10, clock=clock)
    for done in range(5):
        tasks.report_progress(done, 10, "")
        clock.advance(30 * MS)
    assert [progress.done for _, progress in sink.reports()] == [0, 4]
    tasks.report_progress(5, 10, "")
    tasks.report_progress(6, 10, "")
    assert [progress.done for _, progress in sink.reports()] == [0, 4]
    tasks.flush()
    tasks.flush()
    assert [progress.done for _, progress in sink.reports()] == [0, 4, 6]


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(0, 4, 0.0), (1, 4, 0.25), (4, 4, 1.0), (5, 4, 1.0), (5, 0, None)]
)
def test_fraction_is_known_where_the_total_is(done, total, fraction):
    assert Progress(done, total, "").fraction == fraction


def test_message_is_one_line_of_limited_length(clock):
    sink = MemoryProgress()
    tasks = PluginTasks(sink, "p", CancellationToken(), clock=clock)
    tasks.report_progress(1, 2, "a\nb\x1b[2J" + "x" * 5000)
    message = sink.latest("p").message
    assert message.startswith("a\\nb\\x1b[2Jx") and message.endswith("... (cut)")
    assert len(message) < 4200 and message.isprintable()


def test_cancellation_is_seen_once_it_is_wanted(sink):
    token = CancellationToken()
    is_cancelled = imports(PluginTasks(sink, "p", token))["is-cancelled"]
    assert is_cancelled() is False
    token.cancel()
    token.cancel()
    assert is_cancelled() is True and token.cancelled


def test_waiting_for_a_cancellation_ends_with_it():
    token = CancellationToken()
    assert token.wait(0.001) is False
    thread = threading.Timer(0.02, token.cancel)
    thread.start()
    assert token.wait(5) is True
    thread.join()


def test_threads_lose_no_last_report(sink):
    tasks = PluginTasks(sink, "p", CancellationToken(), reports_per_s=1000)

    def report(offset):
        for done in range(500):
            tasks.report_progress(offset + done, 0, "")

    threads = [threading.Thread(target=report, args=(offset,)) for offset in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks.report_progress(9999, 0, "last")
    tasks.flush()
    assert sink.latest("p") == Progress(9999, 0, "last")


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match=r"tasks\.reports_per_s"):
        PluginTasks(MemoryProgress(), "p", CancellationToken(), reports_per_s=rate)
