"""Spans of runs, nodes and calls, for programs that want them; and nothing for those that do not."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dataflare import AsyncHost, Host, NodeFailed, OpenTelemetryMetrics, PluginError, run, tracing
from dataflare.run_ids import RunIds, current_ids
from pipeline_fakes import FakeHost, FakeTransformer

COMPONENTS = Path(__file__).resolve().parents[2] / "guest-sdks" / "rust" / "components"
ROWS = pa.record_batch({"n": [1, 2, 3]})


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans of a provider that is set for one test."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def pipeline(folder: Path, **change: Any) -> dict[str, Any]:
    (folder / "in.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(200_000)))
    (folder / "change.wasm").touch()
    nodes = {
        "read": {"connector": "csv", "read": str(folder / "in.csv")},
        "change": {"plugin": str(folder / "change.wasm"), "input": "read", **change},
        "write": {"connector": "csv", "input": "change", "write": str(folder / "out.csv")},
    }
    return {"name": "p", "nodes": nodes}


def of(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [each for each in spans.get_finished_spans() if each.name == name]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return {key.removeprefix("dataflare."): value for key, value in (span.attributes or {}).items()}


@pytest.mark.parametrize("workers", [1, 2])
def test_run_has_a_span_with_one_for_each_node_and_each_call(
    tmp_path: Path, spans: InMemorySpanExporter, workers: int
) -> None:
    mapper = str(COMPONENTS / "json-mapper.wasm")
    with Host() as host:
        report = run(pipeline(tmp_path, plugin=mapper, workers=workers), host=host)
    (whole,) = of(spans, "dataflare.run")
    nodes = {attributes(each)["node"]: each for each in of(spans, "dataflare.node")}
    calls = of(spans, "dataflare.call.processor")
    assert attributes(whole) == {
        "run": report.id,
        "pipeline": "p",
        "status": "completed",
        "rows_in": 200_000,
        "rows_out": 200_000,
    }
    assert set(nodes) == {"read", "change", "write"}
    assert all(each.parent is not None and each.parent.span_id == whole.context.span_id for each in nodes.values())
    assert len(calls) == report.nodes[1].batches > 1
    assert {each.parent.span_id for each in calls if each.parent} == {nodes["change"].context.span_id}
    found = sorted(attributes(each)["batch"] for each in calls)
    assert found == list(range(1, len(calls) + 1))
    first = attributes(calls[0])
    assert (first["run"], first["node"], first["plugin"]) == (report.id, "change", "change")
    assert first["plugin.digest"].startswith("sha256:") and first["rows_in"] > 0
    assert all(each.status.is_unset for each in spans.get_finished_spans())


def test_failure_is_the_status_of_what_failed_and_of_nothing_else(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    def fail(rows: pa.RecordBatch) -> pa.RecordBatch:
        raise PluginError("it fails", error="x")

    with pytest.raises(NodeFailed):
        run(pipeline(tmp_path, workers=1), host=FakeHost(change=FakeTransformer(fail)))
    failed = {
        attributes(each).get("node", "run"): each.status.description
        for each in spans.get_finished_spans()
        if each.status.status_code is trace.StatusCode.ERROR
    }
    assert failed == {"change": "PluginError", "run": "NodeFailed"}
    (whole,) = of(spans, "dataflare.run")
    assert attributes(whole)["status"] == "failed"
    assert [event.name for event in whole.events] == ["exception"]


def test_awaited_call_belongs_to_the_span_of_its_task(spans: InMemorySpanExporter) -> None:
    async def main() -> None:
        async with AsyncHost() as host:
            mapper = await host.load(COMPONENTS / "json-mapper.wasm", kind="processor")
            with trace.get_tracer_provider().get_tracer("mine").start_as_current_span("mine"):
                await mapper.process_batch(ROWS)

    asyncio.run(main())
    (call,), (mine,) = of(spans, "dataflare.call.processor"), of(spans, "mine")
    assert call.parent is not None and call.parent.span_id == mine.context.span_id


def test_no_provider_no_spans() -> None:
    assert tracing.tracer() is None
    with Host() as host, host.load(COMPONENTS / "json-mapper.wasm", kind="processor") as mapper:
        mapper.process_batch(ROWS)
    with tracing.span(None, "x", {}) as made:
        assert made is None


def test_program_without_opentelemetry_does_not_import_it() -> None:
    code = "import sys, dataflare; from dataflare.tracing import tracer; dataflare.run; print(tracer(), *sys.modules)"
    path = str(Path(tracing.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.startswith("None ") and "opentelemetry" not in done.stdout


def test_everything_that_a_node_does_knows_the_run_the_node_and_the_batch(tmp_path: Path) -> None:
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine")
    mine.set("of the caller")
    seen: list[tuple[RunIds | None, str]] = []
    before = current_ids.get()  # a test of interrupts may have left some

    def note(rows: pa.RecordBatch) -> pa.RecordBatch:
        seen.append((current_ids.get(), mine.get("nobody's")))
        return rows

    for workers in (1, 2):
        seen.clear()
        report = run(pipeline(tmp_path, workers=workers), host=FakeHost(change=FakeTransformer(note)))
        ids = sorted((each for each, _ in seen if each is not None), key=lambda each: each.batch)
        assert ids == [RunIds(report.id, "p", "change", number) for number in range(1, len(ids) + 1)]
        assert {whose for _, whose in seen} == {"of the caller"}
    assert current_ids.get() is before


def test_log_events_of_a_node_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found: dict[str, RunIds | None] = {}

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found[record.getMessage().partition(" in ")[0]] = current_ids.get()

    logger, handler = logging.getLogger("dataflare.pipeline"), Noting()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "dataflare"):
            report = run(pipeline(tmp_path), host=FakeHost(change=FakeTransformer(lambda rows: rows)))
    finally:
        logger.removeHandler(handler)
    for node in ("read", "change", "write"):
        of_node = [ids for text, ids in found.items() if text.startswith(f"node '{node}'")]
        assert len(of_node) == 3
        assert {(ids.run, ids.node) for ids in of_node if ids} == {(report.id, node)}


def test_numbers_of_a_run_go_to_the_metrics_of_its_host(tmp_path: Path) -> None:
    host = FakeHost(change=FakeTransformer(lambda rows: rows))
    report = run(pipeline(tmp_path), host=host)
    counters, gauges = host.metrics.counters(), host.metrics.gauges()
    labels = (("kind", "transformer"), ("pipeline", "p"))
    assert counters["change", "dataflare:node_rows_in", labels] == 200_000
    assert counters["", "dataflare:runs", (("pipeline", "p"), ("status", "completed"))] == 1
    assert gauges["", "dataflare:run_completed", (("pipeline", "p"),)] == 1
    assert gauges["", "dataflare:run_seconds", (("pipeline", "p"),)] == report.seconds
    assert gauges["change", "dataflare:node_batch_seconds", (*labels, ("quantile", "0.99"))] > 0
    host.plugins["change"] = FakeTransformer(lambda rows: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        run(pipeline(tmp_path), host=host)
    assert host.metrics.gauges()["", "dataflare:run_completed", (("pipeline", "p"),)] == 0


def test_numbers_of_a_run_reach_instruments_of_opentelemetry(tmp_path: Path) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    host = FakeHost(change=FakeTransformer(lambda rows: rows))
    host.metrics = OpenTelemetryMetrics(MeterProvider([reader]))  # type: ignore[assignment]
    run(pipeline(tmp_path), host=host)
    data = reader.get_metrics_data()
    assert data is not None
    found = {each.name: each for each in data.resource_metrics[0].scope_metrics[0].metrics}
    points = {
        point.attributes["dataflare.plugin"]: point.value for point in found["dataflare.node_rows_in"].data.data_points
    }  # type: ignore[union-attr,index]
    assert points == {"read": 0, "change": 200_000, "write": 200_000}
    assert "dataflare.run_seconds" in found
