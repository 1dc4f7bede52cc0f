"""What others see of a run: the ids in its log events, its spans, and its numbers in the host's metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dataflare.capabilities.metrics import MetricsSink
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.latencies import SHARES
from dataflare.pipeline.report import NodeReport, RunReport
from dataflare.run_ids import RunIds, current_ids
from dataflare.tracing import span, tracer

__all__ = ["next_batch", "observed_node", "observed_run", "working_on"]


@contextmanager
def observed_run(report: RunReport, metrics: MetricsSink) -> Iterator[None]:
    """Observe a run for the length of a `with` block.

    Args:
        report: Its report, which is complete at the end of the block.
        metrics: Where its numbers go then.
    """
    token = current_ids.set(RunIds(report.id, report.pipeline))
    try:
        with span(tracer(), "dataflare.run", {}) as made:
            try:
                yield
            finally:
                if made is not None:
                    _tell(made, status=report.status, rows_in=report.rows_in, rows_out=report.rows_out)
    finally:
        current_ids.reset(token)
        _record(report, metrics)


@contextmanager
def observed_node(node: NodeReport) -> Iterator[None]:
    """Observe the work of a node, in the thread that does it, for the length of a `with` block."""
    with (
        working_on(node.name),
        span(tracer(), "dataflare.node", {"kind": node.kind, "uses": node.uses}, usual=(Stopped,)) as made,
    ):
        try:
            yield
        finally:
            if made is not None:
                _tell(made, rows_in=node.rows_in, rows_out=node.rows_out, batches=node.batches, failed=node.failed)


@contextmanager
def working_on(node: str) -> Iterator[None]:
    """Name a node in what is logged within a `with` block."""
    ids = current_ids.get()
    if ids is None:
        yield
        return
    token = current_ids.set(replace(ids, node=node, batch=0))
    try:
        yield
    finally:
        current_ids.reset(token)


def next_batch(number: int) -> None:
    """Name a batch of the node that this thread works on, from here to the next one."""
    ids = current_ids.get()
    if ids is not None:
        current_ids.set(replace(ids, batch=number))


def _tell(made: Any, **attributes: str | int) -> None:
    made.set_attributes({f"dataflare.{name}": value for name, value in attributes.items()})


def _record(report: RunReport, metrics: MetricsSink) -> None:
    run = (("pipeline", report.pipeline),)
    for name, value in (
        ("run_seconds", report.seconds),
        ("run_load_seconds", report.load_seconds),
        ("run_completed", float(report.status == "completed")),
        ("run_ended_timestamp_seconds", time.time()),
    ):
        metrics.set_gauge("", f"dataflare:{name}", value, run)
    metrics.add_to_counter("", "dataflare:runs", 1, (("pipeline", report.pipeline), ("status", report.status)))
    for node in report.nodes:
        labels = (("kind", node.kind), ("pipeline", report.pipeline))
        for name, value in (
            ("node_rows_in", node.rows_in),
            ("node_rows_out", node.rows_out),
            ("node_batches", node.batches),
            ("node_bytes", node.bytes),
            ("node_failed_rows", node.failed),
            ("node_errors", node.errors),
            ("node_retries", node.retries),
            ("node_reloads", node.reloads),
            ("node_outage_seconds", node.outage_seconds),
            ("node_seconds", node.seconds),
            ("node_input_wait_seconds", node.input_wait_seconds),
            ("node_output_wait_seconds", node.output_wait_seconds),
        ):
            metrics.add_to_counter(node.name, f"dataflare:{name}", value, labels)
        metrics.set_gauge(node.name, "dataflare:node_quarantined", float(bool(node.quarantined)), labels)
        for share in SHARES.values():
            quantile = (*labels, ("quantile", str(share)))
            metrics.set_gauge(node.name, "dataflare:node_batch_seconds", node.latencies.percentile(share), quantile)
        if node.queue is not None:
            metrics.set_gauge(node.name, "dataflare:node_queue_mean_batches", node.queue.mean, labels)
