"""Built-in destinations: files that pyarrow writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.json_writer import encode_json_lines
from dataflare.data.shapes import DataFailure
from dataflare.errors import UsageError
from dataflare.pipeline.connectors import ArrowWrite, CsvWrite, JsonlWrite, ParquetWrite, WriteNode
from dataflare.pipeline.failures import DataError
from dataflare.pipeline.outputs import AtomicFile

__all__ = ["FileDestination", "open_destination", "open_listing"]

_ROW_GROUP_BYTES = 128 * 2**20

Sink: TypeAlias = Callable[[pa.RecordBatch | None], None]
"""Takes a batch; `None` ends the contents of the file."""


class FileDestination:
    """Writes batches of one schema into a file, which appears at `finish`; one thread at a time.

    The calls are those of a plugin's destination: `prepare`, any number of `write` and `flush`, `finish` or `abort`.
    """

    kind: ClassVar[str] = "destination"

    def __init__(self, path: Path, make_sink: Callable[[Any, pa.Schema], Sink]) -> None:
        self._path = path
        self._make_sink = make_sink
        self._output: AtomicFile | None = None
        self._sink: Sink | None = None
        self._schema: pa.Schema | None = None

    def prepare(self, schema: pa.Schema) -> None:
        """Begin the file.

        Raises:
            DataError: It cannot be made, or its format does not have a column's type.
        """
        self._output = AtomicFile(self._path)
        with self._translated():
            self._sink = self._make_sink(self._output.file, schema)
        self._schema = schema

    def write(self, rows: pa.RecordBatch) -> None:
        """Add a batch.

        Raises:
            DataError: It cannot be written, or has another schema.
            UsageError: `prepare` did not come first.
        """
        if self._sink is None or self._schema is None:
            raise UsageError(f"{self._path} was not prepared")
        if not rows.schema.equals(self._schema):
            what = f"the schema of the rows changed, from {_columns(self._schema)} to {_columns(rows.schema)}"
            raise DataError(what, file=str(self._path), hint="all batches of a run have the same columns")
        with self._translated():
            self._sink(rows)

    def flush(self) -> None:
        """Do nothing: before `finish` there is no file that could survive a crash."""

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            DataError: That failed; there is no file then, or the one from before.
        """
        if self._output is None:
            raise UsageError(f"{self._path} was not prepared")
        if self._sink is not None:
            with self._translated():
                self._sink(None)
            self._sink = None
        self._output.commit()

    def abort(self) -> None:
        """Remove what was written; does nothing after `finish`."""
        # Arrow's writers hold the file: they must go before it is closed, or they would complete it.
        self._sink = None
        if self._output is not None:
            self._output.abort()

    def close(self) -> None:
        """Let everything go; aborts what was not finished."""
        self.abort()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DataFailure as error:
            raise DataError(error.message, file=str(self._path)) from error
        except pa.ArrowException as error:
            raise DataError(str(error), file=str(self._path)) from error
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror or error}", file=str(self._path)) from error


def open_destination(node: WriteNode, path: Path) -> FileDestination:
    """Make the destination of a node; nothing is touched before its `prepare`."""
    makers: dict[type[WriteNode], Any] = {
        ArrowWrite: _arrow_sink,
        CsvWrite: _csv_sink,
        JsonlWrite: _json_lines_sink,
        ParquetWrite: _parquet_sink,
    }
    make = makers[type(node)]
    return FileDestination(path, lambda file, schema: make(file, schema, node))


def open_listing(path: Path) -> FileDestination:
    """Make a JSON Lines file for what is found on the way."""
    return FileDestination(path, _json_lines_sink)


def _csv_sink(file: Any, schema: pa.Schema, node: CsvWrite) -> Sink:
    writer = arrow_csv.CSVWriter(file, schema, write_options=arrow_csv.WriteOptions(delimiter=node.options.delimiter))
    return lambda rows: writer.close() if rows is None else writer.write_batch(rows)


def _json_lines_sink(file: Any, schema: pa.Schema, node: JsonlWrite | None = None) -> Sink:
    def sink(rows: pa.RecordBatch | None) -> None:
        if rows is not None:
            file.write(encode_json_lines(rows, MAX_BATCH_BYTES))

    return sink


def _arrow_sink(file: Any, schema: pa.Schema, node: ArrowWrite) -> Sink:
    compression = None if node.options.compression == "none" else node.options.compression
    writer = pa.ipc.new_file(file, schema, options=pa.ipc.IpcWriteOptions(compression=compression))
    return lambda rows: writer.close() if rows is None else writer.write_batch(rows)


def _parquet_sink(file: Any, schema: pa.Schema, node: ParquetWrite) -> Sink:
    writer = parquet.ParquetWriter(file, schema, compression=node.options.compression)
    waiting: list[pa.RecordBatch] = []

    def flush() -> None:
        table = pa.Table.from_batches(waiting, schema)
        waiting.clear()
        writer.write_table(table, row_group_size=node.options.row_group_rows)

    def sink(rows: pa.RecordBatch | None) -> None:
        if rows is not None:
            waiting.append(rows)
        # A row group of each small batch would make a file that is large and slow to read.
        enough = sum(batch.num_rows for batch in waiting) >= node.options.row_group_rows
        if waiting and (rows is None or enough or sum(batch.nbytes for batch in waiting) >= _ROW_GROUP_BYTES):
            flush()
        if rows is None:
            writer.close()

    return sink


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
