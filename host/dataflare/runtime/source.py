"""Plugins that bring records in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pyarrow as pa

from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin, PluginParts, columns_text, same_columns
from dataflare.runtime.results import Chunk, Dataset, Estimate
from dataflare.texts import cut, cut_name

__all__ = ["Source"]


class Source(Plugin):
    """A plugin that brings records in.

    It has one instance. The state that each chunk comes with says where to go on, so a run outlives its instance.
    """

    kind: ClassVar[str] = "source"

    def __init__(self, parts: PluginParts) -> None:
        super().__init__(parts)
        # Touched only by the thread that has the instance.
        self._expected: pa.Schema | None = None
        self._reading = False

    def discover(self) -> list[Dataset]:
        """Ask what there is to read.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        return [Dataset(cut_name(each.name), cut(each.description), each.resumable) for each in self._call("discover")]

    def schema(self) -> pa.Schema:
        """Ask for the schema of what `read` returns; the chunks of the next run are held to it.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or returned what is no schema.
            UsageError: The plugin is closed.
        """
        with self._lease() as worker:
            schema = self._arrow_schema(worker, "get-schema", worker.call(self._interface, "get-schema"))
            self._expected, self._reading = schema, False
        return schema

    def estimate(self, state: bytes | None = None) -> Estimate | None:
        """Ask how many records are left; `None` where that is not known.

        Args:
            state: Where to count from; `None` for the beginning.

        Raises:
            PluginError: The plugin answered with an error; `invalid-input` for bytes that are no state of it.
            PluginFault: It trapped.
            UsageError: The plugin is closed.
        """
        found = self._call("estimate-record-count", state)
        return None if found is None else Estimate(found.records, found.exact)

    def read(self, state: bytes | None = None) -> Chunk:
        """Read the next records.

        Args:
            state: Where to go on: the `state` of the chunk before. `None` begins a run.

        Raises:
            PluginError: The plugin answered with an error; `invalid-input` for bytes that are no state of it.
            PluginFault: It trapped, or the rows have another schema than those before them or than `schema` said.
            UsageError: The plugin is closed.
        """
        with self._data_lease(0) as worker:
            found = worker.call(self._interface, "read", state)
            rows = self._within_limits(worker, "read", found.rows.arrow)
            if state is None and self._reading:
                self._expected = None
            self._reading = True
            self._check_schema(worker, rows.schema)
            return Chunk(rows, bytes(found.state), found.ended)

    def chunks(self, state: bytes | None = None) -> Iterator[Chunk]:
        """Read chunk by chunk to the end.

        Args:
            state: Where to go on; `None` for the beginning.

        Raises:
            PluginError: As `read`. The iterator has ended then: go on with the state of the last chunk.
            PluginFault: As `read`.
            UsageError: As `read`.
        """
        while True:
            chunk = self.read(state)
            yield chunk
            if chunk.ended:
                return
            state = chunk.state

    def batches(self, state: bytes | None = None) -> Iterator[pa.RecordBatch]:
        """Read batch by batch to the end, those without rows left out; as `chunks`, without the states."""
        return (chunk.rows for chunk in self.chunks(state) if chunk.rows.num_rows)

    def _check_schema(self, worker: Worker, found: pa.Schema) -> None:
        if self._expected is None:
            self._expected = found
        elif not same_columns(self._expected, found):
            expected, self._expected = self._expected, None
            raise self._broken_promise(
                worker,
                "read",
                f"it returned the columns {columns_text(found)}, where those before, or `get-schema`, said "
                f"{columns_text(expected)}",
            )
