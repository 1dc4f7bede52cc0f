"""Branches of a validator: the rows that go on, as `check`, and those that it rejects, as `check.rejected`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import pyarrow as pa
from pydantic import Field

from dataflare.pipeline.channel import Channel
from dataflare.pipeline.pipeline_state import Checkpoint

__all__ = ["REJECTED", "InputName", "Outlets", "Rejected", "is_rejected", "node_of", "nodes_of"]

REJECTED: Final = ".rejected"
"""What follows the name of a validator where the rows are meant that it rejects."""

InputName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}(\.rejected)?$")]
"""A node whose rows are taken, or a validator whose rejected rows are."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that a validator rejects, on their way out of its node."""

    rows: pa.RecordBatch

    @property
    def num_rows(self) -> int:
        """How many they are."""
        return int(self.rows.num_rows)


def node_of(name: str) -> str:
    """The node that an input names."""
    return name.removesuffix(REJECTED)


def nodes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The nodes that inputs name, each once."""
    return tuple(dict.fromkeys(map(node_of, names)))


def is_rejected(name: str) -> bool:
    """Whether an input names the rejected rows of a node."""
    return name.endswith(REJECTED)


class Outlets:
    """Where the rows of a node go; one thread at a time.

    Args:
        name: The node.
        inlets: For each node of the run, its queues by the names of its inputs.
    """

    def __init__(self, name: str, inlets: Iterable[Mapping[str, Channel[pa.RecordBatch | Checkpoint | None]]]) -> None:
        queues = [(given, queue) for each in inlets for given, queue in each.items()]
        self._takers = [queue for given, queue in queues if given == name]
        self._rejecting = [queue for given, queue in queues if given == f"{name}{REJECTED}"]

    def put(self, item: pa.RecordBatch | Rejected | Checkpoint | None) -> None:
        """Hand an item to all whom it concerns; `None` ends the rows.

        Raises:
            Stopped: A queue is stopped.
        """
        if isinstance(item, Rejected):
            for taker in self._rejecting:
                taker.put(item.rows)
            return
        for taker in self._takers:
            taker.put(item)
        if not isinstance(item, pa.RecordBatch):
            for taker in self._rejecting:
                taker.put(item)
