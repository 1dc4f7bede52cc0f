"""Plugins that map records one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, overload

import pyarrow as pa

from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.tables import map_rows

__all__ = ["Processor"]


class Processor(Plugin):
    """A plugin that maps records one by one."""

    kind: ClassVar[str] = "processor"

    def process(self, record: str) -> str | None:
        """Map one record.

        Args:
            record: A JSON object, as text.

        Returns:
            A JSON object as text, as the plugin wrote it; `None` if it drops the record.

        Raises:
            PluginError: The plugin answered with an error; `invalid-input` if this record is wrong.
            PluginFault: It trapped.
            UsageError: The plugin is closed, or the record is not a text.
        """
        result: str | None
        if self._parts.watch is None:
            result = self._call("process", record)
            return result
        with self._data_lease(1, batch=False) as worker:
            result = worker.call(self._interface, "process", record)
            if worker.observation is not None:
                worker.observation.returned(int(result is not None), len(result or ""))
            return result

    # pyarrow has no type annotations; without stubs, these overloads are the same to a type checker.
    @overload
    def process_batch(self, rows: pa.RecordBatch) -> pa.RecordBatch: ...
    @overload
    def process_batch(self, rows: pa.Table) -> pa.Table: ...  # type: ignore[overload-cannot-match]
    @overload
    def process_batch(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]: ...  # type: ignore[overload-cannot-match]
    def process_batch(self, rows: Any) -> Any:
        """Map each record of a batch, in order; those that it drops are left out.

        Args:
            rows: A batch. For a table, of polars too, the result is a `pyarrow.Table`; for an iterable of batches, such
                as a reader, an iterator that maps each batch when it is taken.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or returned more rows than it was given.
            UsageError: The plugin is closed.
        """
        if not isinstance(rows, pa.RecordBatch):
            return map_rows(rows, self.process_batch)
        batch = self._wit_batch(rows)
        with self._data_lease(rows.num_rows) as worker:
            result: pa.RecordBatch = worker.call(self._interface, "process-batch", batch).arrow
            self._one_by_one(worker, rows, result)
            return self._within_limits(worker, "process-batch", result)

    def _one_by_one(self, worker: Worker, rows: pa.RecordBatch, result: pa.RecordBatch) -> None:
        if result.num_rows > rows.num_rows:
            raise self._broken_promise(
                worker, "process-batch", f"it made {result.num_rows} records of {rows.num_rows}, one by one"
            )
