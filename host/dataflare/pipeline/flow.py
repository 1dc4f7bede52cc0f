"""How rows flow between the nodes of a run, for its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from dataflare.pipeline.branches import node_of
from dataflare.pipeline.fan_in import FanIn
from dataflare.pipeline.report import QueueReport, RunReport

__all__ = ["note_moment", "note_queues"]

_Inputs: TypeAlias = Mapping[str, FanIn]
"""The queues, each by the node that takes from it."""


def note_moment(report: RunReport, inputs: _Inputs, seconds: float, *, last: bool) -> None:
    """Note how far the nodes are, these seconds after the beginning; `last`: all of them have ended."""
    rows = {node.name: max(node.rows_in, node.rows_out) for node in report.nodes}
    queued = {name: len(waiting) for name, waiting in inputs.items()}
    report.timeline.add(seconds, rows, queued, last=last)


def note_queues(report: RunReport, inputs: _Inputs, consumers: Callable[[str], Sequence[str]]) -> None:
    """Note what waited between the nodes, and which of them waited.

    Args:
        report: Where it is noted.
        inputs: The queues.
        consumers: The nodes that take the rows of a node.
    """
    for node in report.nodes:
        if (waiting := inputs.get(node.name)) is not None:
            node.queue = QueueReport(waiting.capacity, waiting.found / max(1, waiting.taken), waiting.most)
            node.input_wait_seconds = waiting.empty_s
        # Those of another dataset, whose run has ended, stay as they are.
        inlets = [each for name in consumers(node.name) if name in inputs for each in inputs[name].inlets.items()]
        if full := [inlet.full_s for given, inlet in inlets if node_of(given) == node.name]:
            node.output_wait_seconds = sum(full)
