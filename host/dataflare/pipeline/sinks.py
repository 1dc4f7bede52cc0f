"""Writers of file formats: each writes batches of one schema into an open file."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Sequence
from typing import IO, Annotated, Any, Final, Literal, Protocol, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.joins import join_batches
from dataflare.data.json_writer import encode_json_lines
from dataflare.documents.models import StrictModel
from dataflare.pipeline.columns import ColumnWriter
from dataflare.pipeline.outputs import AtomicFile, Output
from dataflare.pipeline.reading.common_options import Mark
from dataflare.pipeline.reading.csv_quotes import Quotes
from dataflare.pipeline.run_errors import DataError

__all__ = [
    "ArrowSink",
    "ArrowWriteOptions",
    "CsvSink",
    "CsvWriteOptions",
    "JsonLinesSink",
    "MakeSink",
    "NoOptions",
    "ParquetSink",
    "ParquetWriteOptions",
    "Sink",
    "json_lines_sink",
]

_ROW_GROUP_BYTES: Final = 128 * 2**20
_COLLECTED_ROWS: Final = 2**16
_LAST_LINE_BYTES: Final = 64 * 2**20
_FIRST_LINES_BYTES: Final = 8 * 2**20
_PART_BYTES: Final = 2**20
_OTHER_FILE: Final = "write to another file, or replace this one: `if_exists: replace`"
_NOT_WHOLE: Final = f"repair it, {_OTHER_FILE}"


class Sink(Protocol):
    """Writes batches of one schema into a file; one thread at a time."""

    def write(self, rows: pa.RecordBatch) -> None:
        """Add a batch."""
        ...

    def flush(self) -> None:
        """Write everything that waits in memory to the file."""
        ...

    def end(self) -> None:
        """Complete the contents of the file; once."""
        ...

    def abandon(self) -> None:
        """Write nothing from now on; idempotent."""
        ...


def _check_delimiter(text: str) -> str:
    if text == '"':
        raise PydanticCustomError("delimiter", "give one ASCII character, no quote and no line end")
    return text


class CsvWriteOptions(StrictModel):
    """How to write CSV."""

    delimiter: Annotated[Mark, AfterValidator(_check_delimiter)] = ","


class NoOptions(StrictModel):
    """There are none."""


class ParquetWriteOptions(StrictModel):
    """How to write Parquet."""

    compression: Literal["none", "snappy", "gzip", "zstd", "lz4"] = "zstd"
    row_group_rows: Annotated[int, Field(ge=1, le=2**24)] = 262_144


class ArrowWriteOptions(StrictModel):
    """How to write an Arrow IPC file."""

    compression: Literal["none", "zstd", "lz4"] = "none"


MakeSink: TypeAlias = Callable[[Output, pa.Schema], Sink]


def json_lines_sink(output: Output, schema: pa.Schema) -> Sink:
    """Write JSON Lines."""
    return JsonLinesSink(output, schema, None)


class _Gate:
    """A file for Arrow's writers, which complete it even where they are dropped: once shut, nothing goes through."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file: IO[bytes] | None = file

    def write(self, data: Any) -> int:
        return len(data) if self._file is None else self._file.write(data)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def tell(self) -> int:
        return 0 if self._file is None else self._file.tell()

    def shut(self) -> None:
        self._file = None


class CsvSink:
    """Writes CSV."""

    def __init__(self, output: Output, schema: pa.Schema, options: Any) -> None:
        self._columns = ColumnWriter(schema, "CSV", str(output.path))
        goes_on = _has_contents(output)
        if goes_on:
            _check_csv_header(output, schema.names, options.delimiter)
            if isinstance(output, AtomicFile):  # what this run itself wrote before ends as it should
                _check_csv_quotes(output, options.delimiter)
            if not _ends_with_line_feed(output):
                output.file.write(b"\n")
        self._gate = _Gate(output.file)
        self._go_on = arrow_csv.WriteOptions(delimiter=options.delimiter, include_header=False)
        self._writer = arrow_csv.CSVWriter(
            self._gate,
            self._columns.schema,
            write_options=arrow_csv.WriteOptions(delimiter=options.delimiter, include_header=not goes_on),
        )

    def write(self, rows: pa.RecordBatch) -> None:
        rows = self._columns.convert(rows)
        if rows.schema.equals(self._columns.schema):
            self._writer.write_batch(rows)
        else:
            arrow_csv.write_csv(rows, self._gate, self._go_on)

    def flush(self) -> None:
        """Nothing waits."""

    def end(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        self._gate.shut()


class JsonLinesSink:
    """Writes JSON Lines."""

    def __init__(self, output: Output, schema: pa.Schema, options: Any) -> None:
        self._shown = str(output.path)
        self._columns = ColumnWriter(schema, "JSON Lines", self._shown)
        self._schema = schema
        if _has_contents(output):
            _check_json_lines(output)
            if not _ends_with_line_feed(output):
                output.file.write(b"\n")
        self._file = output.file

    def write(self, rows: pa.RecordBatch) -> None:
        if not rows.schema.equals(self._schema):
            self._columns, self._schema = ColumnWriter(rows.schema, "JSON Lines", self._shown), rows.schema
        self._file.write(encode_json_lines(self._columns.convert(rows), MAX_BATCH_BYTES))

    def flush(self) -> None:
        """Nothing waits."""

    def end(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """Nothing is written unless it is asked for."""


class ArrowSink:
    """Writes an Arrow IPC file.

    Batches with dictionaries are collected, as many rows as there are values, and get one dictionary: to look up what
    is new takes time for all values so far.
    """

    def __init__(self, output: Output, schema: pa.Schema, options: Any) -> None:
        _require_file(output, "Arrow")
        self._file = str(output.path)
        self._columns = ColumnWriter(schema, "Arrow", self._file)
        compression = None if options.compression == "none" else options.compression
        # Dictionaries that grow are written as what is new in them.
        ipc = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=True)
        self._gate = _Gate(output.file)
        self._writer = pa.ipc.new_file(self._gate, self._columns.schema, options=ipc)
        encoded = [field.type for field in schema if pa.types.is_dictionary(field.type)]
        self._collects = bool(encoded) and not any(each.ordered for each in encoded)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    def write(self, rows: pa.RecordBatch) -> None:
        if not self._collects:
            self._write_batch(rows)
            return
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._waiting_bytes += rows.nbytes
        enough = max(_COLLECTED_ROWS, self._columns.dictionary_length())
        if self._waiting_rows >= enough or self._waiting_bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def _write_batch(self, rows: pa.RecordBatch) -> None:
        try:
            self._writer.write_batch(self._columns.convert(rows))
        except pa.ArrowInvalid as error:
            if "Dictionary replacement" not in str(error):
                raise
            what = "the dictionaries of a column within another one differ between batches"
            raise DataError(what, file=self._file, hint="write Parquet, which takes them") from error

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._waiting_rows = self._waiting_bytes = 0
        for rows in _with_one_dictionary(waiting):
            self._write_batch(rows)

    def end(self) -> None:
        self.flush()
        self._writer.close()

    def abandon(self) -> None:
        self._gate.shut()


class ParquetSink:
    """Collects batches into row groups: one of each small batch would make a file that is large and slow to read."""

    def __init__(self, output: Output, schema: pa.Schema, options: Any) -> None:
        _require_file(output, "Parquet")
        self._columns = ColumnWriter(schema, "Parquet", str(output.path))
        self._row_group_rows = options.row_group_rows
        self._gate = _Gate(output.file)
        self._writer = parquet.ParquetWriter(self._gate, self._columns.schema, compression=options.compression)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def write(self, rows: pa.RecordBatch) -> None:
        rows = self._columns.convert(rows)
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._waiting_bytes += rows.nbytes
        if self._waiting_rows >= self._row_group_rows or self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._write_out()

    def flush(self) -> None:
        if self._waiting:
            self._write_out()

    def end(self) -> None:
        self.flush()
        self._writer.close()

    def abandon(self) -> None:
        self._gate.shut()

    def _write_out(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._columns.schema)
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0
        self._writer.write_table(table, row_group_size=self._row_group_rows)


def _with_one_dictionary(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Make one batch whose columns have one dictionary each; where Arrow cannot, the batches stay as they are."""
    try:
        return [join_batches(batches)] if batches else []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return batches


def _require_file(output: Output, format_name: str) -> None:
    if output.action == "streamed":
        what = f"is not a regular file, which {format_name} needs"
        raise DataError(what, file=str(output.path), hint="write to a file, or write CSV or JSON Lines")


# What is there already is read by the descriptor that is written to: a name may lead elsewhere by now.
def _size(output: Output) -> int:
    return os.fstat(output.file.fileno()).st_size


def _has_contents(output: Output) -> bool:
    return output.action == "appended" and _size(output) > 0


def _ends_with_line_feed(output: Output) -> bool:
    return os.pread(output.file.fileno(), 1, _size(output) - 1) == b"\n"


def _check_csv_header(output: Output, names: Sequence[str], delimiter: str) -> None:
    """Refuse to add rows to a CSV with other columns."""
    start = os.pread(output.file.fileno(), _FIRST_LINES_BYTES, 0).decode("utf-8-sig", "replace")
    try:
        header = next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter), [])
    except csv.Error:  # a field that is far too long is not a column's name
        header = []
    if header != list(names):
        raise DataError(
            f"cannot be appended to: its header is {_listed(header)}, and the rows have {_listed(names)}",
            file=str(output.path),
            line=1,
            hint=_OTHER_FILE,
        )


def _check_csv_quotes(output: Output, delimiter: str) -> None:
    """Refuse to add rows to a CSV that ends within quotes: they would become a part of its last field."""
    quotes = Quotes(delimiter, '"', "")
    file, place = output.file.fileno(), 0
    if os.pread(file, len(codecs.BOM_UTF8), 0) == codecs.BOM_UTF8:
        place = len(codecs.BOM_UTF8)
    while part := os.pread(file, _PART_BYTES, place):
        quotes.take(part)
        place += len(part)
    quotes.take(b"", last=True)
    if quotes.opened:
        raise DataError(
            "cannot be appended to: its last record is not whole, a quote is open at its end",
            file=str(output.path),
            hint=_NOT_WHOLE,
        )


def _check_json_lines(output: Output) -> None:
    """Refuse to add rows to what is not JSON Lines, or ends within a record."""
    file = output.file.fileno()
    first = os.pread(file, 1, 0)
    last = os.pread(file, _LAST_LINE_BYTES, max(0, _size(output) - _LAST_LINE_BYTES)).rstrip(b"\n").rpartition(b"\n")[2]
    try:
        whole = first == b"{" and isinstance(orjson.loads(last), dict)
    except orjson.JSONDecodeError:
        whole = False
    if not whole:
        raise DataError(
            "cannot be appended to: it is not JSON Lines, or its last line is not a whole record",
            file=str(output.path),
            hint=_NOT_WHOLE,
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20]))
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "") if names else "empty"
