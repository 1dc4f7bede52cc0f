"""Plugins that take records out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, TypeAlias

import pyarrow as pa

from dataflare.errors import UsageError
from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin, PluginParts, columns_text, same_columns
from dataflare.runtime.results import DurablePosition
from dataflare.runtime.tables import batches_of

__all__ = ["Destination", "RunLost"]

_Run: TypeAlias = Literal["none", "writing", "finished", "lost"]


class RunLost(UsageError):
    """The instance that was writing is gone, and with it what it had not made durable: begin again with `prepare`."""


class Destination(Plugin):
    """A plugin that takes records out.

    A run is `prepare`, any number of `write` and `flush`, then `finish` or `abort`. It has one instance, which keeps
    the run: when that is lost within a run, every call but `prepare` and `abort` raises `RunLost`.
    """

    kind: ClassVar[str] = "destination"

    def __init__(self, parts: PluginParts) -> None:
        super().__init__(parts)
        # Touched only by the thread that has the instance.
        self._run: _Run = "none"
        self._schema: pa.Schema | None = None

    def prepare(self, schema: pa.Schema) -> None:
        """Begin a run of batches with this schema.

        Raises:
            PluginError: The plugin answered with an error; `invalid-input` for a schema that it cannot write.
            PluginFault: It trapped.
            UsageError: A run is under way, or the plugin is closed.
        """
        wit_schema = self._wit_schema(schema)
        with self._lease() as worker:
            if self._run == "writing":
                raise self._out_of_order("prepare", "a run is under way", "`finish` or `abort` it first")
            self._run = "none"
            worker.call(self._interface, "prepare", wit_schema)
            self._run, self._schema = "writing", schema

    def write(self, rows: pa.RecordBatch | pa.Table | Iterable[pa.RecordBatch]) -> None:
        """Write a batch. Its records need not be safe before `flush`.

        Args:
            rows: A batch. A table, or an iterable of batches, is written batch by batch.

        Raises:
            PluginError: The plugin answered with an error: none of the batch's records counts as written.
            PluginFault: It trapped; the run is lost.
            RunLost: The run was lost before.
            UsageError: No run is under way, the batch has another schema than `prepare` was given, or the plugin is
                closed.
        """
        if not isinstance(rows, pa.RecordBatch):
            for each in batches_of(rows):
                self.write(each)
            return
        batch = self._wit_batch(rows)
        with self._data_lease(rows.num_rows) as worker:
            self._require_run("write", finished_too=False)
            if self._schema is not None and not same_columns(self._schema, rows.schema):
                raise UsageError(
                    f"plugin {self.name!r}: the batch has the columns {columns_text(rows.schema)}, where the run has "
                    f"{columns_text(self._schema)}",
                    hint="a run has one schema: give `prepare` that of the batches",
                )
            worker.call(self._interface, "write", batch)

    def flush(self) -> DurablePosition:
        """Make all that was written safe, and tell how far. Idempotent.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped; the run is lost.
            RunLost: The run was lost before.
            UsageError: No run was begun, or the plugin is closed.
        """
        with self._lease() as worker:
            self._require_run("flush", finished_too=True)
            return self._position(worker, "flush")

    def finish(self) -> DurablePosition:
        """End the run: all records are safe and to be seen. Idempotent.

        Raises:
            PluginError: The plugin answered with an error; the run is still under way.
            PluginFault: It trapped: whether the records are to be seen is not known.
            RunLost: The run was lost before.
            UsageError: No run was begun, or the plugin is closed.
        """
        with self._lease() as worker:
            self._require_run("finish", finished_too=True)
            position = self._position(worker, "finish")
            self._run = "finished"
            return position

    def abort(self) -> None:
        """End the run and leave no trace of what was not seen yet. Idempotent; does nothing after `finish`.

        Where the run was lost, there is nobody left to be asked, and it only lets `prepare` begin another.

        Raises:
            PluginError: The plugin answered with an error; the run is still under way.
            PluginFault: It trapped; the run is lost.
            UsageError: The plugin is closed.
        """
        self._require_open()
        if self._run == "lost" or (self._run == "none" and not self._pool.size):
            # No instance knows of a run; to make one, which might fail, would help nobody.
            self._run = "none"
            return
        with self._lease() as worker:
            worker.call(self._interface, "abort")
            if self._run != "finished":
                self._run = "none"

    def _position(self, worker: Worker, function: str) -> DurablePosition:
        found = worker.call(self._interface, function)
        return DurablePosition(found.records, bytes(found.token))

    def _instance_lost(self) -> None:
        # A finished run has nothing to lose.
        self._run = "lost" if self._run in ("writing", "lost") else "none"

    def _require_run(self, function: str, *, finished_too: bool) -> None:
        if self._run == "lost":
            raise RunLost(
                f"plugin {self.name!r}: `{function}` in a run whose instance is lost",
                hint="begin again with `prepare`, from the last position that `flush` or `finish` returned",
            )
        if self._run == "none":
            raise self._out_of_order(function, "no run is under way", "`prepare` comes first")
        if self._run == "finished" and not finished_too:
            raise self._out_of_order(function, "the run is finished", "`prepare` begins another")

    def _out_of_order(self, function: str, why: str, hint: str) -> UsageError:
        return UsageError(f"plugin {self.name!r}: `{function}` out of order: {why}", hint=hint)
