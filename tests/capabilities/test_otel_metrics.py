from __future__ import annotations

import sys
from typing import Any

import pytest

from dataflare.capabilities.metrics import PluginMetrics
from dataflare.capabilities.otel_metrics import OpenTelemetryMetrics
from dataflare.errors import ConfigError


class Collected:
    """A sink of OpenTelemetry, and what arrived there: values by instrument and attributes."""

    def __init__(self) -> None:
        export = pytest.importorskip("opentelemetry.sdk.metrics.export")
        sdk = pytest.importorskip("opentelemetry.sdk.metrics")
        self._reader = export.InMemoryMetricReader()
        self.sink = OpenTelemetryMetrics(sdk.MeterProvider(metric_readers=[self._reader]))

    def values(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], Any]:
        found = {}
        for resource in self._reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = point.value if hasattr(point, "value") else (point.count, point.sum)
                        found[metric.name, tuple(sorted(point.attributes.items()))] = value
        return found


@pytest.fixture
def collected() -> Collected:
    return Collected()


def test_numbers_of_each_kind_arrive_with_the_plugins_name(collected):
    metrics = PluginMetrics(collected.sink, "p")
    metrics.add_to_counter("rows", 2.0, [("node", "a")])
    metrics.add_to_counter("rows", 0.5, [("node", "a")])
    metrics.set_gauge("depth", -1.0)
    metrics.record_observation("wait_s", 3.0)
    metrics.record_observation("wait_s", 1.0)
    assert collected.values() == {
        ("plugin.rows", (("dataflare.plugin", "p"), ("node", "a"))): 2.5,
        ("plugin.depth", (("dataflare.plugin", "p"),)): -1.0,
        ("plugin.wait_s", (("dataflare.plugin", "p"),)): (2, 4.0),
    }


def test_a_plugin_cannot_name_itself_another(collected):
    PluginMetrics(collected.sink, "p").add_to_counter("rows", 1.0, [("dataflare.plugin", "q")])
    assert collected.values() == {("plugin.rows", (("dataflare.plugin", "p"),)): 1.0}


def test_a_plugin_cannot_write_to_an_instrument_of_the_host(collected):
    collected.sink.add_to_counter("p", "dataflare:limit_exceeded", 1.0, (("limit", "fuel"),))
    for name in ("limit_exceeded", "dataflare.limit_exceeded", "dataflare:limit_exceeded"):
        PluginMetrics(collected.sink, "p").add_to_counter(name, 5.0)
    found = {name: value for (name, _), value in collected.values().items()}
    assert found == {
        "dataflare.limit_exceeded": 1.0,
        "plugin.limit_exceeded": 5.0,
        "plugin.dataflare.limit_exceeded": 5.0,
    }


def test_without_the_api_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        OpenTelemetryMetrics()
    assert "dataflare[opentelemetry]" in str(caught.value.hint)
