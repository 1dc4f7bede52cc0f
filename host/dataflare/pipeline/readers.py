"""Built-in sources: files that pyarrow reads, batch by batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.ipc import read_file
from dataflare.data.parquet_footer import check_footer
from dataflare.data.schemas import parse_type
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.connectors import ArrowRead, CsvRead, JsonlRead, ParquetRead, ReadNode
from dataflare.pipeline.csv_lines import QuoteCounter, line_of_record, open_record
from dataflare.pipeline.failures import DataError
from dataflare.pipeline.jsonl_reader import read_json_lines

__all__ = ["FileSource", "open_source"]

_CSV_BLOCK_BYTES = 8 * 2**20
_MAX_ARROW_BYTES = 2 * 2**30  # of one batch
_ROW_IN_MESSAGE = re.compile(r"Row #(\d+): ")


class FileSource:
    """Reads a file batch by batch; one thread at a time.

    Args:
        path: The file.
        batches: Makes the iterator: first the schema, then batches of that schema.
        rows: Rows in a batch, at most.

    Raises:
        DataError: The file cannot be read, or is not what it should be.
    """

    kind: ClassVar[str] = "source"

    def __init__(self, path: Path, batches: Callable[[], Iterator[Any]], rows: int) -> None:
        self._path = path
        self._rows = rows
        self._batches = batches()
        self._schema: pa.Schema = self._next()

    def schema(self) -> pa.Schema:
        """The schema of all batches."""
        return self._schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read on to the end, once.

        Raises:
            DataError: What follows is not what it should be; names the line where the file has lines.
        """
        while (batch := self._next()) is not None:
            vetted = vetted_columns(batch)
            for start in range(0, batch.num_rows, self._rows):
                yield remember(batch.slice(start, self._rows), vetted)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._batches.close()  # type: ignore[attr-defined]  # it is a generator

    def _next(self) -> Any:
        try:
            return next(self._batches, None)
        except (pa.ArrowException, DataFailure) as error:
            raise DataError(str(error), file=str(self._path)) from error
        except UnicodeDecodeError as error:
            raise DataError("the name of a column is not UTF-8", file=str(self._path)) from error
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", file=str(self._path)) from error


def open_source(node: ReadNode, path: Path) -> FileSource:
    """Open the file of a node.

    Raises:
        DataError: It cannot be read, or is not what it should be.
    """
    readers: dict[type[ReadNode], Any] = {
        ArrowRead: _arrow_batches,
        CsvRead: _csv_batches,
        JsonlRead: _json_lines_batches,
        ParquetRead: _parquet_batches,
    }
    read = readers[type(node)]
    return FileSource(path, lambda: read(path, node), node.options.batch_rows)  # type: ignore[attr-defined]


def _arrow_batches(path: Path, node: ArrowRead) -> Iterator[Any]:
    # Read, not mapped: a file that somebody truncates would end the process.
    with path.open("rb") as file:
        yield from read_file(file, _MAX_ARROW_BYTES)


def _parquet_batches(path: Path, node: ParquetRead) -> Iterator[Any]:
    with path.open("rb") as opened:
        check_footer(opened)
    with parquet.ParquetFile(path) as file:
        yield admit_schema(file.schema_arrow)
        for batch in file.iter_batches(batch_size=node.options.batch_rows):
            yield admit_batch(batch)


def _json_lines_batches(path: Path, node: JsonlRead) -> Iterator[Any]:
    columns = {name: parse_type(text) for name, text in node.options.columns.items()}
    return read_json_lines(path, columns)


def _csv_batches(path: Path, node: CsvRead) -> Iterator[Any]:
    delimiter = node.options.delimiter
    types = {name: parse_type(text) for name, text in node.options.columns.items()}
    with path.open("rb") as file:
        try:
            reader, counter = _open_csv(file, node, types)
            _check_header(path, reader.schema, types)
            # What is no UTF-8 is taken for binary, which no text can be meant to be: as a string it is an error.
            if broken := [
                field.name for field in reader.schema if field.type == pa.binary() and field.name not in types
            ]:
                file.seek(0)
                reader, counter = _open_csv(file, node, types | dict.fromkeys(broken, pa.string()))
            yield reader.schema
            yield from reader
        except pa.ArrowException as error:
            raise _csv_error(path, error, delimiter) from error
    if counter.unbalanced and (line := open_record(path, delimiter)):
        raise DataError("a quote that is never closed begins in the record of this line", file=str(path), line=line)


def _open_csv(file: Any, node: CsvRead, types: dict[str, pa.DataType]) -> tuple[Any, QuoteCounter]:
    counter = QuoteCounter(file)
    reader = arrow_csv.open_csv(
        pa.PythonFile(counter, "r"),
        # With threads of its own Arrow does not know which record it complains of.
        read_options=arrow_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
        parse_options=arrow_csv.ParseOptions(delimiter=node.options.delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, null_values=node.options.null_values, strings_can_be_null=True
        ),
    )
    return reader, counter


def _check_header(path: Path, schema: pa.Schema, types: dict[str, pa.DataType]) -> None:
    names = schema.names
    if twice := [name for position, name in enumerate(names) if name in names[:position]]:
        raise DataError(f"two columns are named {twice[0]!r}", file=str(path), line=1)
    if absent := [name for name in types if name not in names]:
        what = f"there is no column {absent[0]!r}, to which the options give a type"
        raise DataError(what, file=str(path), line=1, hint=f"there are {', '.join(names)}")


def _csv_error(path: Path, error: Exception, delimiter: str) -> DataError:
    """Name the line that Arrow complains of; its messages count records, the header as the first."""
    message = str(error).removeprefix("CSV parse error: ")
    hint = ""
    if "conversion error" in message:
        hint = "give the column's type, or the texts that mean null, in `options`"
    if match := _ROW_IN_MESSAGE.search(message):
        line = line_of_record(path, delimiter, int(match.group(1)))
        return DataError(message.replace(match.group(0), "", 1), file=str(path), line=line, hint=hint)
    if "straddling" in message:
        return DataError(f"a record is longer than {_CSV_BLOCK_BYTES} bytes", file=str(path), hint="is a quote open?")
    return DataError(message, file=str(path), hint=hint)
