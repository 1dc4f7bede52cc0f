"""Reads CSV: Arrow splits it into texts; each column is then read as the first type that fits all its texts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, TypeAlias

import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import types
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dataflare.data.guard.types import MAX_COLUMNS
from dataflare.data.schemas import parse_type
from dataflare.data.type_inference import (
    ColumnGuess,
    convert,
    first_misfit,
    fitting_type,
    misfit_reason,
    read_exactly,
)
from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Size, parse_size
from dataflare.interruptible import interruptible
from dataflare.pipeline.reading.common_options import (
    BatchRows,
    Columns,
    CompressionName,
    EncodingName,
    Mark,
    OptionalMark,
    Sample,
)
from dataflare.pipeline.reading.compression import Prefixed
from dataflare.pipeline.reading.csv_records import CsvForm, DataBytes, NumberedLines, RowBytes, read_records
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.reading.text import open_text
from dataflare.pipeline.run_errors import DataError
from dataflare.suggestions import differing_names, known_names
from dataflare.texts import first_repeated

__all__ = ["CsvReadOptions", "read_csv"]

_HEADER_BYTES = 2**16
_VALUE = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?|\d{4}-\d\d-\d\d([T ][\d:.]+Z?)?")
_ROW_IN_MESSAGE = re.compile(r"Row #(\d+): ")
_COLUMN_IN_MESSAGE = re.compile(r"In CSV column #(\d+): ")


class CsvReadOptions(StrictModel):
    """How to read CSV."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    compression: CompressionName = "auto"
    encoding: EncodingName = "utf-8"
    delimiter: Mark = Field(default=",", description="The character between fields.")
    quote: OptionalMark = Field(
        default='"', description="The character around a field, doubled within it; empty: fields have no quotes."
    )
    escape: OptionalMark = Field(
        default="", description="The character before one that is taken literally; empty: none."
    )
    comment: OptionalMark = Field(
        default="", description="The character that begins a comment line, which is skipped; empty: none."
    )
    skip_lines: Annotated[int, Field(ge=0, le=1_000_000, description="Lines before the header to leave out.")] = 0
    header: bool = Field(default=True, description="Whether the first record has the columns' names.")
    names: list[str] = Field(
        default=[], description="The columns' names if there is no header; by default `column_1` and so on."
    )
    nulls: list[str] = Field(
        default=[""], description="All texts that mean null, unless they are in quotes; name the empty text too."
    )
    quoted_nulls: bool = Field(default=False, description="Whether they also mean null in quotes.")
    sample: Sample = "16MiB"
    max_record: Size = Field(default="8MiB", description="The longest record, 2 GiB at most.")

    @model_validator(mode="after")
    def _check(self) -> CsvReadOptions:
        if self.names and self.header:
            hint = "add `header: false`, and `skip_lines: 1` to skip a header"
            raise PydanticCustomError("names", "`names` is for files without a header", {"key": "names", "hint": hint})
        if (twice := first_repeated(self.names)) is not None:
            why = f"two columns are named {twice!r}"
            raise PydanticCustomError("names", "{why}", {"why": why, "key": "names", "hint": "give each its own name"})
        if not 1 <= parse_size(self.max_record) < 2**31:
            raise PydanticCustomError("size", "give 1B to 2GiB", {"key": "max_record"})
        marks = [mark for mark in (self.delimiter, self.quote, self.escape, self.comment) if mark]
        if len(set(marks)) < len(marks):
            raise PydanticCustomError("marks", "delimiter, quote, escape and comment need to be different characters")
        if self.escape and (unread := [text for text in self.nulls if self.escape in text]):
            why = f"the null {unread[0]!r} holds the escape character, which is taken off before texts are compared"
            meant = unread[0].replace(self.escape, "")
            hint = (
                f"leave `escape` out; or give the text without it, {meant!r}, which {meant} in a field then means too"
            )
            raise PydanticCustomError("nulls", "{why}", {"why": why, "key": "nulls", "hint": hint})
        return self


def read_csv(
    source: InputFile, opener: Opener, options: CsvReadOptions, found: FileSchema | None, *, sample_only: bool = False
) -> Iterator[Any]:
    """Read a file: yields what was found out about it (`FileSchema`), then batches.

    Args:
        source: The file, at its beginning.
        opener: Opens it once more where an error must name a line, and where types are inferred from all of it.
        options: How it is written, and types of columns.
        found: What an earlier file of the same node was found to be; this one must have the same columns.
        sample_only: End after what was found out.

    Raises:
        DataError: It is not what it should be; names file, line and column, and what to do.
        OSError: It cannot be read.
    """
    return _CsvFile(source, opener, options).batches(found, sample_only)


_Seen: TypeAlias = tuple[pa.RecordBatch, dict[str, pa.Array] | None]
"""Some rows as texts, and columns that were read already; `None` for rows that no type was inferred from."""


class _CsvFile:
    def __init__(self, source: InputFile, opener: Opener, options: CsvReadOptions) -> None:
        self._source = source
        self._opener = opener
        self._options = options
        self._form = CsvForm(
            options.delimiter, options.quote, options.escape, options.comment, skip_lines=options.skip_lines
        )
        self._block_bytes = parse_size(options.max_record)
        self._types = {name: parse_type(text) for name, text in options.columns.items()}
        self._names: list[str] = []
        self._is_quoted = False
        self._first_line = 1
        """The line that the rows begin in."""
        self._is_later = False
        """Whether an earlier file decided the columns."""

    def batches(self, found: FileSchema | None, sample_only: bool) -> Iterator[Any]:
        rest = self._open_rows(self._source.file)
        self._check_names()
        texts = self._texts(rest)
        if found is None:
            wanted = None if self._options.sample == "all" else parse_size(self._options.sample)
            if wanted is None and self._source.is_regular:
                found, _ = self._find_out(texts, None)
                # Once more from the beginning, now that the types are known.
                with self._opener(self._source.path) as again:
                    texts = self._texts(self._open_rows(again))
                    yield found
                    yield from () if sample_only else self._convert(_chain([], texts), found)
                return
            found, waiting = self._find_out(texts, wanted)
        else:
            self._check_same(found)
            self._is_later = True
            waiting = []
        yield found
        if not sample_only:
            yield from self._convert(_chain(waiting, texts), found)

    # Texts

    def _open_rows(self, file: Any) -> Any:
        """Read up to the first row; returns a stream of the rows."""
        text = open_text(
            self._source.path, file, compression=self._options.compression, encoding=self._options.encoding
        )
        head = text.read(_HEADER_BYTES)
        ended = not head
        while True:
            lines = NumberedLines(io.BytesIO(head), self._form)
            try:
                first = next((record for _, record in read_records(lines, self._form, strict=ended) if record), [])
            except csv.Error as error:
                what, hint = f"the header cannot be read: {error}", self._quote_hint(head)
                raise self._error(what, lines.record_line, hint) from error
            # What ends with the part that was read may go on after it.
            if ended or (first and lines.used_bytes < len(head)):
                break
            if len(head) > self._block_bytes:
                what = f"the first record is longer than max_record = {self._options.max_record}"
                raise self._error(what, lines.record_line, "is a quote open?")
            more = text.read(len(head))
            head, ended = head + more, not more
        line, used = lines.record_line, lines.record_begin
        if self._options.header:
            if not first:
                raise self._error("Empty CSV: there is no header", 0, "is it the right file?")
            self._names = [self._header_name(name, line, place) for place, name in enumerate(first)]
            used, self._first_line = lines.used_bytes, lines.line + 1
            quotes = self._form.quotes()
            record = head[lines.record_begin : used]
            quotes.take(record, last=True)
            self._is_quoted = bool(self._form.quote) and record.startswith(self._form.quote.encode())
            if quotes.misplaced:
                raise self._error(_MISPLACED, line, self._quote_hint(record))
        else:
            self._names = self._options.names or [f"column_{n}" for n in range(1, len(first) + 1)]
            if first and len(first) != len(self._names):
                what = f"the first row has {len(first)} fields, and `names` has {len(self._names)}"
                raise self._error(what, line, "give each column a name, in order")
            if not self._names:
                raise self._error("Empty CSV: there are no rows to count columns in", 0, "give `names`")
            self._first_line = line
            used = used if first else len(head)
        return Prefixed(head[used:], text)

    def _header_name(self, text: str, line: int, place: int) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self._error(f"the name of column {place + 1} in the header is not UTF-8", line, _ENCODING) from error
        return text

    def _other_delimiter(self) -> str:
        """What stands between the names of a header that was taken for one column; empty if it is one, as in quotes."""
        if len(self._names) != 1 or not self._options.header or self._is_quoted:
            return ""
        others = [mark for mark in ";|\t," if mark != self._form.delimiter and mark in self._names[0]]
        return max(others, key=self._names[0].count, default="")

    def _has_values_for_names(self) -> bool:
        """Whether a first row of numbers and dates, not in quotes, was taken for a header that nobody asked for."""
        if not self._options.header or self._is_quoted or "header" in self._options.model_fields_set:
            return False
        return all(map(_VALUE.fullmatch, self._names))

    def _check_names(self) -> None:
        names, line = self._names, max(1, self._first_line - 1)
        if len(names) > MAX_COLUMNS:
            what, hint = f"there are {len(names)} columns, more than {MAX_COLUMNS}", "is the delimiter another one?"
            raise self._error(what, line, hint)
        if (twice := first_repeated(names)) is not None:
            hint = f"name the columns yourself: header: false, skip_lines: {line}, names: [...]"
            raise self._error(f"two columns are named {twice!r}", line, hint)
        if (other := self._other_delimiter()) and "delimiter" not in self._options.model_fields_set:
            what = f"the header is one column, {_shorten(names[0])}: is the delimiter another one?"
            hint = f"{_delimiter(other)}; or delimiter: ',' if it is one column"
            if names[0] == f"sep={other}":  # Excel's
                hint = f"leave out the first line, which names it: skip_lines: {line}, {_delimiter(other)}"
            raise self._error(what, line, hint)
        if self._has_values_for_names():
            what = f"the first row has values where names are expected: {_shorten(', '.join(names))}"
            raise self._error(
                what, line, "header: false if the file has no header; header: true if these are its names"
            )
        known = set(names)
        for absent in (name for name in self._types if name not in known):
            what = f"there is no column {absent!r}, to which the options give a type"
            raise self._error(what, line, known_names(absent, names))

    def _check_same(self, found: FileSchema) -> None:
        if difference := differing_names([column.name for column in found.columns], self._names):
            what = f"has different columns from the first file: it {difference}"
            raise self._error(what, max(1, self._first_line - 1), "files of one node need the same columns")

    def _texts(self, rest: Any) -> Iterator[pa.RecordBatch]:
        """Split rows into texts; nulls are what the options say."""
        data = DataBytes(rest, self._form)
        rows = Prefixed(b"", data)
        begin = rows.read(1)
        if not begin:
            return
        ahead = RowBytes(begin, rows)
        column_types = dict.fromkeys(self._names, pa.string())
        column_types |= {name: pa.binary() for name, kind in self._types.items() if _is_binary(kind)}
        open_rows = partial(
            arrow_csv.open_csv,
            pa.PythonFile(ahead, "r"),
            # With threads of its own Arrow does not know which record it complains of.
            read_options=arrow_csv.ReadOptions(
                column_names=self._names, block_size=self._block_bytes, use_threads=False
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._form.delimiter,
                quote_char=self._form.quote or False,
                escape_char=self._form.escape or False,
                newlines_in_values=True,
                # In a file of one column, an empty line is a row with nothing in it.
                ignore_empty_lines=len(self._names) > 1,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=column_types,
                null_values=self._options.nulls,
                strings_can_be_null=True,
                quoted_strings_can_be_null=self._options.quoted_nulls,
            ),
        )
        try:
            # Arrow waits for a pipe without a look at signals.
            reader = interruptible(open_rows)
            while (texts := interruptible(partial(next, reader, None))) is not None:
                if data.quotes.misplaced:
                    break
                yield texts
        except pa.ArrowException as error:
            located = self._located(error)
            if data.quotes.opened and 0 < (line := self._broken_record("unexpected end of data")) <= located.line:
                located = self._error(_UNCLOSED, line, self._quote_hint())
            raise located from error
        finally:
            ahead.stop()
        if data.quotes.misplaced:
            raise self._error(_MISPLACED, self._broken_record("expected after"), self._quote_hint())
        if data.quotes.opened:
            raise self._error(_UNCLOSED, self._broken_record("unexpected end of data"), self._quote_hint())

    # Types

    def _find_out(self, texts: Iterator[pa.RecordBatch], wanted: int | None) -> tuple[FileSchema, list[_Seen]]:
        """Infer types from this many bytes of rows (`None`: from all), and keep what was read for it."""
        guesses = {name: ColumnGuess() for name in self._names if name not in self._types}
        waiting: list[_Seen] = []
        size = rows = 0
        whole = True
        for batch in texts:
            read = {name: guess.add(batch.column(name)) for name, guess in guesses.items()}
            rows += batch.num_rows
            if wanted is not None:
                waiting.append((batch, {name: values for name, values in read.items() if values is not None}))
                size += batch.nbytes
                if size >= wanted:
                    whole = False
                    break
        columns = tuple(
            FileColumn(name, self._types[name])
            if name in self._types
            else FileColumn(
                name,
                guesses[name].type(),
                inferred=True,
                note=self._name_note(name) or guesses[name].note,
                valued=guesses[name].valued,
            )
            for name in self._names
        )
        return FileSchema(columns, rows, whole), waiting

    def _name_note(self, name: str) -> str:
        """What is odd about a column's name; mostly empty."""
        if other := self._other_delimiter():
            return f"is the delimiter {other!r}?"
        if not name:
            return "it has no name: does each line end with a delimiter?"
        return "its name begins or ends with a space" if name != name.strip() else ""

    def _convert(self, seen: Iterator[_Seen], found: FileSchema) -> Iterator[pa.RecordBatch]:
        rows = 0
        schema = found.schema
        for batch, read in seen:
            arrays = [
                values
                if read and (values := read.get(column.name)) is not None and values.type.equals(column.type)
                else self._values(batch.column(column.name), column, rows, exact=read is None)
                for column in found.columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            rows += batch.num_rows

    def _values(self, texts: pa.Array, column: FileColumn, rows_before: int, *, exact: bool) -> pa.Array:
        # What a type was inferred from fits it, and need not be looked at again.
        read = read_exactly if column.inferred and exact else convert
        try:
            return read(texts, column.type)
        except pa.ArrowNotImplementedError as error:
            what = f"column {column.name!r} cannot be {column.type}: CSV has no form for it"
            raise self._error(what, 0, "give another type in `columns`") from error
        except (pa.ArrowException, ValueError) as error:
            row = first_misfit(texts, column.type, read)
            value = texts[row].as_py()
            fitting = f"{{{column.name}: {fitting_type(value, column.type)}}}"
            hint = f"give its type in `options`: columns: {fitting}"
            hint += "; the first file decides the types" if self._is_later else "; or infer it from all: sample: all"
            if not column.inferred:
                hint = (
                    f"change its type in `columns`: {fitting} takes this value; or say in `nulls` which texts mean null"
                )
                if value == "":
                    hint = "an empty text in quotes is not null: quoted_nulls: true makes it one"
            what = f"column {column.name!r}: {_shorten(value)} {misfit_reason(value, column.type)}"
            raise self._error(what, self._line_of(rows_before + row + 1), hint) from error

    # Errors

    def _error(self, what: str, line: int, hint: str = "") -> DataError:
        return DataError(what, file=str(self._source.path), line=line, hint=hint)

    def _located(self, error: Exception) -> DataError:
        """Name line and column of what Arrow complains of; its messages count records."""
        message = str(error).removeprefix("CSV parse error: ")
        hint, line = "", 0
        if match := _ROW_IN_MESSAGE.search(message):
            line = self._line_of(int(match.group(1)))
            message = message.replace(match.group(0), "", 1)
        if match := _COLUMN_IN_MESSAGE.search(message):
            message = message.replace(match.group(0), f"column {self._names[int(match.group(1))]!r}: ", 1)
        if "invalid UTF8" in message:
            hint = _ENCODING
        elif "straddling" in message:
            message = f"a record is longer than max_record = {self._options.max_record}"
            hint = "is a quote open? Otherwise set max_record to more"
        elif message.startswith("Expected"):
            hint = "correct the row, or are `delimiter` and `quote` others?"
            if other := self._other_delimiter():
                hint = f"is the delimiter another one? {_delimiter(other)}"
            elif not self._form.comment and (self._names[0].startswith("#") or ": #" in message):
                hint = "if `#` begins lines that are comments, say so in `options`: comment: '#'"
        return self._error(message, line, hint)

    def _line_of(self, number: int) -> int:
        """Find the line in which a row begins, from 1; 0 if there is none."""
        rows = self._again(strict=False)
        return next((line for seen, (line, _) in enumerate(rows, start=1) if seen == number), 0)

    def _broken_record(self, message: str) -> int:
        """Find the line in which the first record begins whose quotes are wrong. Returns 0 if all are right."""
        records = self._again(strict=True)
        try:
            for _ in records:
                pass
        except csv.Error as error:
            return self._last_begun if message in str(error) else 0
        return 0

    def _quote_hint(self, header: bytes = b"") -> str:
        quote = self._form.quote
        after = re.search(re.escape(quote.encode()) + rb"([;|\t,])", header)
        if after and (other := after[1].decode()) != self._form.delimiter:
            return f"is the delimiter another one? {_delimiter(other)}"
        return f"within quotes, a quote is written twice: {quote * 2}; in a file without quoted fields, quote: ''"

    def _again(self, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
        """Read the rows once more, with their lines; nothing where the file can be read only once."""
        self._last_begun = 0
        if not self._source.is_regular:
            return
        with self._opener(self._source.path) as file:
            text = open_text(
                self._source.path, file, compression=self._options.compression, encoding=self._options.encoding
            )
            lines = NumberedLines(text, self._form)
            records = read_records(lines, self._form, strict=strict)
            try:
                for line, record in records:
                    if line >= self._first_line and (record or len(self._names) == 1):
                        yield line, record
            except csv.Error:
                self._last_begun = lines.record_line
                raise


_MISPLACED = "something other than a delimiter follows the closing quote of a field"
_UNCLOSED = "a quote that is never closed begins in the record of this line"
_ENCODING = "if it is in another encoding, say so in `options`: encoding: latin-1, windows-1252, utf-16 ..."


def _chain(waiting: list[_Seen], texts: Iterator[pa.RecordBatch]) -> Iterator[_Seen]:
    while waiting:
        yield waiting.pop(0)
    for batch in texts:
        yield batch, None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _delimiter(mark: str) -> str:
    shown = r"\t" if mark == "\t" else mark
    return f"delimiter: '{shown}'"


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
