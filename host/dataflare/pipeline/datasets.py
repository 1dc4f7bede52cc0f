"""Which datasets the sources and destinations of a pipeline read and write, and how."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Final

import pyarrow as pa
from pydantic import Field

from dataflare.data.columns import no_rows
from dataflare.documents.models import StrictModel
from dataflare.errors import PluginError
from dataflare.pipeline.channel import Stopped
from dataflare.pipeline.failures import DataError
from dataflare.runtime.datasets import (
    Chunk,
    DatasetName,
    Ended,
    Idle,
    ReadingMode,
    ReadProgress,
    Selection,
    Target,
    WritingMode,
)
from dataflare.runtime.destination import Destination
from dataflare.runtime.source import Source

__all__ = ["DatasetReader", "DatasetWriter", "ReadModel", "WriteModel"]

_RETRIES: Final = 5
"""How often in a row a source may say that it wants fewer requests, or is not available."""
_RETRY_S: Final = 0.5
"""The first wait for a source that is not available; it doubles."""

_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class ReadModel(StrictModel):
    """What a source reads. A source of one dataset needs none of it."""

    dataset: _Text | None = Field(default=None, description="The dataset's name; `dataflare discover` lists them.")
    namespace: str = Field(default="", description="Where the dataset lives, such as a database schema.")
    mode: ReadingMode = Field(
        default="full", description="All rows, those that are new by a cursor column, or inserts, updates and deletes."
    )
    cursor: _Text | None = Field(default=None, description="The cursor column, for `incremental`; else the best one.")
    columns: list[_Text] = Field(default=[], description="The columns to read; without it, all.")

    def selection(self) -> Selection | None:
        """What is selected; `None` where nothing is said, for the only dataset that there is."""
        if self.dataset is None:
            return None
        name = DatasetName(self.dataset, self.namespace)
        return Selection(name, self.mode, cursor=self.cursor, columns=self.columns)


class WriteModel(StrictModel):
    """How a destination writes."""

    dataset: _Text | None = Field(default=None, description="The dataset's name; without it, the node's.")
    namespace: str = Field(default="", description="Where the dataset lives, such as a database schema.")
    mode: WritingMode = Field(default="append", description="Add rows, replace all, or insert and update by key.")
    key: list[_Text] | None = Field(
        default=None, description="The columns that tell rows apart; without it, those with the role in the schema."
    )

    def target(self, node: str, schema: pa.Schema) -> Target:
        """What a node writes."""
        return Target(DatasetName(self.dataset or node, self.namespace), schema, key=self.key, mode=self.mode)


class DatasetReader:
    """Reads one dataset of a source; one thread at a time, but `stop` may come from any.

    Args:
        plugin: The source.
        options: What it reads.
    """

    def __init__(self, plugin: Source, options: ReadModel) -> None:
        self._plugin = plugin
        self._options = options
        self._stopped = threading.Event()
        self._state: bytes | None = None

    def stop(self) -> None:
        """End a wait."""
        self._stopped.set()

    def expected_rows(self) -> int | None:
        """How many rows there are; `None` where that is not known."""
        estimate = self._plugin.estimate(self._selection())
        return None if estimate is None else estimate.rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read to the end, or until a read without an end pauses; at least one batch.

        A source that asks for it, or that is not available, is given time: 5 times in a row, then the error is raised.

        Raises:
            ConfigError: The dataset does not exist, or cannot be read in this way.
            DataError: The dataset's columns changed during the read.
            PluginError: The source answered with an error.
            PluginFault: It trapped.
        """
        selection = self._selection()
        unbounded = "unbounded" in self._plugin.dataset(selection).modes
        (schema,) = self._plugin.open(selection)
        none = True
        while not isinstance(progress := self._read(), Ended):
            if isinstance(progress, Chunk):
                self._state = progress.state or self._state
                none = False
                yield progress.rows
            elif isinstance(progress, Idle):
                self._state = progress.state or self._state
                if unbounded:
                    break
                self._wait(progress.retry_after_s)
            elif not progress.schema.equals(schema):
                raise DataError(
                    f"the columns of dataset {str(progress.dataset)!r} changed while it was read",
                    hint="run the pipeline again: it begins with the new columns",
                )
        if none:
            # What follows learns the columns from the first batch.
            yield no_rows(schema)

    def acknowledge(self) -> None:
        """Tell the source that all rows are safe."""
        if self._state is not None:
            self._plugin.acknowledge(self._state)

    def _selection(self) -> Selection | DatasetName | None:
        selection = self._options.selection()
        if selection is None and self._options != ReadModel():
            name = self._plugin.dataset().name
            return self._options.model_copy(update={"dataset": name.name, "namespace": name.namespace}).selection()
        return selection

    def _read(self) -> ReadProgress:
        for attempt in range(_RETRIES):
            try:
                return self._plugin.read()
            except PluginError as error:
                match error.error.case:
                    case "rate-limited":
                        self._wait(error.error.value / 1000)
                    case "unavailable":
                        self._wait(_RETRY_S * 2**attempt)
                    case _:
                        raise
        return self._plugin.read()

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Stopped


class DatasetWriter:
    """One run of a destination, which learns its schema from the first batch; one thread at a time.

    Args:
        plugin: The destination.
        options: How it writes.
        pipeline: The pipeline's name.
        node: The node's name.
    """

    def __init__(self, plugin: Destination, options: WriteModel, *, pipeline: str, node: str) -> None:
        self._plugin = plugin
        self._options = options
        self._pipeline = pipeline
        self._node = node
        self._open = False

    def write(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Write a batch.

        Raises:
            ConfigError: The destination cannot write in this way.
            DataError: The destination rejected a row.
            PluginError: It answered with an error.
            PluginFault: It trapped.
        """
        if not self._open:
            target = self._options.target(self._node, rows.schema)
            pipeline = f"{self._pipeline}/{self._node}"
            self._plugin.open(target, pipeline=pipeline, run=uuid.uuid4().hex, generation=time.time_ns())
            self._open = True
        if rows.num_rows and (rejected := self._plugin.write(rows)):
            first = rejected[0]
            column = "" if first.column is None else f", column {first.column!r}"
            raise DataError(
                f"{len(rejected)} of {rows.num_rows} rows were rejected: row {first.row}{column}: {first.reason}"
            )
        return rows

    def flush(self) -> None:
        """Make safe what was written, as far as the destination can."""
        if self._open:
            self._plugin.flush()

    def finish(self) -> None:
        """End the run: all is safe and visible."""
        if self._open:
            self._plugin.finish()

    def abort(self) -> None:
        """Leave no trace. A plugin that could not even begin need not be made again for it."""
        if self._open:
            self._plugin.abort()
