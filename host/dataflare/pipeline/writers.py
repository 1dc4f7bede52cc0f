"""Built-in destinations: files, and folders of files, of rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

import pyarrow as pa

from dataflare.data.shapes import DataFailure
from dataflare.errors import UsageError
from dataflare.interruptible import undisturbed
from dataflare.pipeline.connectors.registry import sink_maker
from dataflare.pipeline.guarantees import Promise
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.outputs import AppendLog, AtomicFile, IfExists, Place, as_named, cannot_write, open_output
from dataflare.pipeline.partitions import PartitionedFolder
from dataflare.pipeline.pending_appends import PendingAppends
from dataflare.pipeline.report import OutputReport
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.sinks import MakeSink, Sink, json_lines_sink

_PART_BYTES = 2**20
_OTHER_FORMAT = "write another format: Arrow holds every type"

__all__ = ["FileDestination", "FileWriter", "open_destination", "open_letters", "open_listing"]


class _Contents(Protocol):
    """What a run writes: a file or a folder. `commit` or `abort` ends it."""

    def write(self, rows: pa.RecordBatch) -> None: ...

    def commit(self) -> OutputReport: ...

    def abort(self) -> None: ...


class FileDestination:
    """Writes batches of one schema into a file or a folder, which appears at `finish`; one thread at a time.

    A run is `prepare`, any number of `write` and `flush`, then `finish` or `abort`.

    Args:
        path: The file or the folder.
        begin: Begins it, given the schema.
        mixed: Whether rows may have other columns than the first ones, as in JSON Lines.
    """

    kind: ClassVar[str] = "destination"

    def __init__(self, path: Path, begin: Callable[[pa.Schema], _Contents], *, mixed: bool = False) -> None:
        self._path = path
        self._mixed = mixed
        self._begin = begin
        self._contents: _Contents | None = None
        self._schema: pa.Schema | None = None
        self.published: OutputReport | None = None
        """What `finish` did; `None` before."""

    @property
    def prepared(self) -> bool:
        """Whether `prepare` was called, and the output is not finished or aborted."""
        return self._contents is not None

    def prepare(self, schema: pa.Schema) -> None:
        """Begin the output.

        Raises:
            DataError: It cannot be made, or its format does not have a column's type.
        """
        with self._translated():
            self._contents = self._begin(schema)
        self._schema = schema

    def write(self, rows: pa.RecordBatch) -> None:
        """Add a batch.

        Raises:
            DataError: It cannot be written, or has another schema.
            UsageError: `prepare` was not called first.
        """
        if self._contents is None or self._schema is None:
            raise UsageError(f"{self._path} was not prepared")
        if not self._mixed and not rows.schema.equals(self._schema):
            what = f"the schema of the rows changed, from {_columns(self._schema)} to {_columns(rows.schema)}"
            hint = "a file has the same columns in all rows: keep them with `schema: discard-column`, or run again"
            raise DataError(what, file=str(self._path), hint=hint)
        with self._translated():
            self._contents.write(rows)

    def flush(self) -> None:
        """Do nothing: before `finish` there is no file that could survive a crash."""

    def finish(self) -> None:
        """Complete the output and give it its name; idempotent.

        Raises:
            DataError: That failed; there is no output then, or the one from before.
        """
        if self.published is not None:
            return
        if self._contents is None:
            raise UsageError(f"{self._path} was not prepared")
        contents = self._contents

        def commit() -> None:
            self.published = contents.commit()
            self._contents = None

        with self._translated():
            undisturbed(commit)

    def rescue(self, path: Path, place: Place) -> bool:
        """Before `abort`, keep what was written in another file, and replace that file's contents.

        Args:
            path: The other file.
            place: Where it is; as in `open_destination`.

        Returns:
            Whether anything was written.

        Raises:
            DataError: It cannot be written.
        """
        contents = self._contents
        if not isinstance(contents, _SingleFile):
            return False
        with self._translated():
            undisturbed(lambda: contents.rescue(path, place))
        return True

    def abort(self) -> None:
        """Remove what was written; does nothing after `finish`."""

        def abort() -> None:
            contents, self._contents = self._contents, None
            if contents is not None:
                contents.abort()

        undisturbed(abort)

    def close(self) -> None:
        """Release everything; abort what was not finished."""
        self.abort()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DataFailure as error:
            raise DataError(error.message, file=str(self._path), hint=_OTHER_FORMAT) from error
        except pa.ArrowException as error:
            raise DataError(str(error), file=str(self._path), hint=_OTHER_FORMAT) from error
        except OSError as error:
            raise cannot_write(self._path, error) from error


class FileWriter:
    """Writes a file, which learns its schema from the first batch; one thread at a time.

    Args:
        destination: The file.
        promise: How often it has each row, whatever stops the run.
    """

    def __init__(self, destination: FileDestination, promise: Promise) -> None:
        self.promise = promise
        self._destination = destination
        self._prepared = False

    def write(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Write a batch, and return it.

        Raises:
            DataError: It cannot be written, or has another schema.
        """
        if not self._prepared:
            self._destination.prepare(rows.schema)
            self._prepared = True
        if rows.num_rows:
            self._destination.write(rows)
        return rows

    @property
    def published(self) -> OutputReport | None:
        """What was done to the file, once it is in its place."""
        return self._destination.published

    def flush(self) -> None:
        """Do nothing: the file is safe at the end."""
        self._destination.flush()

    def finish(self) -> None:
        """Complete the file and give it its name."""
        self._destination.finish()

    def abort(self) -> None:
        """Remove what was written."""
        self._destination.abort()


def open_destination(
    node: WriteNode, path: Path, place: Place = as_named, appends: PendingAppends | None = None
) -> FileDestination:
    """Make the destination of a node; nothing is touched before its `prepare`.

    Args:
        node: What is written, and how.
        path: Where it is named to be.
        place: Where it is; a host with a policy finds that itself.
        appends: Records what is added to existing files; `None`: it is not recorded.
    """
    make_sink = sink_maker(node)
    if node.partition_by:
        of_folder = None if appends is None else appends.of_folder(path)
        return FileDestination(path, lambda schema: PartitionedFolder(path, schema, node, make_sink, place, of_folder))
    log = None if appends is None else appends.of_file(path)
    return FileDestination(path, lambda schema: _SingleFile(path, schema, make_sink, node.if_exists, place, log=log))


def open_listing(path: Path, place: Place = as_named, *, if_exists: IfExists = "replace") -> FileDestination:
    """Make a JSON Lines file for what a node finds; `place` as in `open_destination`."""
    return FileDestination(path, lambda schema: _SingleFile(path, schema, json_lines_sink, if_exists, place))


def open_letters(path: Path, place: Place, *, repeated: Callable[[bytes], bool]) -> FileDestination:
    """Make a JSON Lines file that is added to.

    Args:
        path: The file.
        place: As in `open_destination`.
        repeated: Tells from the beginning of an existing line whether this run writes it again: it is taken out.
    """
    return FileDestination(
        path, lambda schema: _SingleFile(path, schema, json_lines_sink, "append", place, repeated=repeated), mixed=True
    )


class _SingleFile:
    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        make_sink: MakeSink,
        if_exists: IfExists,
        place: Place,
        *,
        repeated: Callable[[bytes], bool] | None = None,
        log: AppendLog | None = None,
    ) -> None:
        self._output = open_output(path, if_exists=if_exists, place=place, repeated=repeated, log=log)
        try:
            self._sink: Sink | None = make_sink(self._output, schema)
        except BaseException:
            self._output.abort()
            raise

    def write(self, rows: pa.RecordBatch) -> None:
        assert self._sink is not None
        self._sink.write(rows)

    def rescue(self, path: Path, place: Place) -> None:
        file = self._output.file
        file.flush()
        at = self._output.begin if isinstance(self._output, AtomicFile) else 0
        other = open_output(path, place=place)
        try:
            while part := os.pread(file.fileno(), _PART_BYTES, at):
                other.file.write(part)
                at += len(part)
            other.commit()
        finally:
            other.abort()

    def commit(self) -> OutputReport:
        if self._sink is not None:
            self._sink.end()
            self._sink = None
        self._output.commit()
        return OutputReport(str(self._output.path), self._output.action)

    def abort(self) -> None:
        if self._sink is not None:
            self._sink.abandon()
            self._sink = None
        self._output.abort()


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
