from __future__ import annotations

import math
import threading

import pytest

from dataflare.capabilities.metrics import Distribution, MemoryMetrics, MetricLimits, PluginMetrics, imports
from dataflare.errors import ConfigError


@pytest.fixture
def sink():
    return MemoryMetrics()


def test_counter_adds_up(sink):
    add = imports(PluginMetrics(sink, "p"))["add-to-counter"]
    add("rows", 2.0, [("b", "1"), ("a", "2")])
    add("rows", 0.5, [("a", "2"), ("b", "1")])
    assert sink.counters() == {("p", "rows", (("a", "2"), ("b", "1"))): 2.5}


def test_gauge_has_the_last_value(sink):
    gauge = imports(PluginMetrics(sink, "p"))["set-gauge"]
    gauge("depth", 2.0, [])
    gauge("depth", -1.0, [])
    assert sink.gauges() == {("p", "depth", ()): -1.0}


def test_histogram_tells_what_it_has_seen(sink):
    record = imports(PluginMetrics(sink, "p"))["record-observation"]
    for value in (3.0, 1.0, 2.0):
        record("wait_s", value, [])
    assert sink.histograms() == {("p", "wait_s", ()): Distribution(3, 6.0, 1.0, 3.0)}


def test_plugins_are_kept_apart(sink):
    PluginMetrics(sink, "p").set_gauge("g", 1.0)
    PluginMetrics(sink, "q").set_gauge("g", 2.0)
    assert sink.gauges() == {("p", "g", ()): 1.0, ("q", "g", ()): 2.0}


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a" * 64, "é", "a\n"])
def test_name_out_of_form_is_dropped_and_counted(sink, name):
    metrics = PluginMetrics(sink, "p")
    metrics.set_gauge(name, 1.0)
    assert (sink.gauges(), metrics.dropped) == ({}, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_dropped(sink, value):
    metrics = PluginMetrics(sink, "p")
    metrics.set_gauge("g", value)
    metrics.add_to_counter("c", value)
    metrics.record_observation("h", value)
    assert metrics.dropped == 3


def test_counter_does_not_go_down(sink):
    metrics = PluginMetrics(sink, "p")
    metrics.add_to_counter("c", -1.0)
    assert (sink.counters(), metrics.dropped) == ({}, 1)


def test_name_keeps_the_kind_that_it_had_first(sink):
    metrics = PluginMetrics(sink, "p")
    metrics.add_to_counter("x", 1.0)
    metrics.set_gauge("x", 1.0)
    assert (len(sink.counters()), sink.gauges(), metrics.dropped) == (1, {}, 1)


def test_names_over_the_limit_are_dropped_and_known_ones_go_on(sink):
    metrics = PluginMetrics(sink, "p", limits=MetricLimits(names=2))
    for name in ("a", "b", "c", "a"):
        metrics.add_to_counter(name, 1.0)
    assert (len(sink.counters()), metrics.dropped) == (2, 1)
    assert sink.counters()["p", "a", ()] == 2.0


def test_series_over_the_limit_are_dropped(sink):
    metrics = PluginMetrics(sink, "p", limits=MetricLimits(series=3))
    for number in range(10):
        metrics.add_to_counter("a", 1.0, [("user", str(number))])
    assert (len(sink.counters()), metrics.dropped) == (3, 7)


@pytest.mark.parametrize(
    "labels", [[("", "x")], [("a b", "x")], [("a", "x" * 257)], [(f"l{i}", "") for i in range(11)]]
)
def test_labels_out_of_form_are_dropped(sink, labels):
    metrics = PluginMetrics(sink, "p")
    metrics.set_gauge("g", 1.0, labels)
    assert metrics.dropped == 1


def test_threads_lose_no_addition(sink):
    metrics = PluginMetrics(sink, "p")
    threads = [
        threading.Thread(target=lambda: [metrics.add_to_counter("c", 1.0) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.counters() == {("p", "c", ()): 4000.0}


def test_limit_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"metrics\.series"):
        MetricLimits(series=-1)
