"""Reads one sheet of an Excel workbook (`.xlsx`, `.xlsm`). Needs the extra `excel`.

A cell is a number, a text, a boolean, a time or an error, and stays that: a column of two kinds is refused, unless the
options make it text. A formula counts as the value that Excel stored with it.
"""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pyarrow import types
from pydantic import Field

from dataflare.data.schemas import parse_type
from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Size, parse_size
from dataflare.errors import ConfigError
from dataflare.pipeline.reading.common_options import BatchRows, Columns
from dataflare.pipeline.reading.found import FoundColumn, FoundSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.run_errors import DataError

__all__ = ["ExcelReadOptions", "read_excel"]

_ESCAPED: Final = re.compile(r"(?:_x[0-9A-Fa-f]{4}_)+")
_MOST_ROWS: Final = 1_048_576  # of a sheet, as Excel has them
_OLD_WORKBOOK: Final = b"\xd0\xcf\x11\xe0"
_KINDS: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a text", datetime.datetime: "a date"} | {
    datetime.time: "a time of day",
    datetime.timedelta: "a duration",
}


class ExcelReadOptions(StrictModel):
    """How to read a sheet of an Excel workbook."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    sheet: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)] = Field(
        default=1, description="The sheet, by its name or its number from 1."
    )
    skip_rows: Annotated[int, Field(ge=0, le=1_048_576, description="Rows before the header to leave out.")] = 0
    header: bool = Field(default=True, description="Whether the first row with a value has the columns' names.")
    errors: Literal["fail", "null"] = Field(
        default="fail", description="How to read a cell with an error such as #N/A."
    )
    max_expanded: Size = Field(default="512MiB", description="How large the workbook may be once it is expanded.")


def read_excel(
    source: InputFile,
    opener: Opener,
    options: ExcelReadOptions,
    found: FoundSchema | None,
    *,
    sample_only: bool = False,
) -> Iterator[Any]:
    """Read a file; see `read_csv`. Types are inferred from all rows of the sheet, which is read twice for that."""
    return _Sheet(source, options).batches(found, sample_only)


@dataclass(slots=True)
class _Guess:
    """What a column's cells have in common."""

    kind: str = ""
    whole: bool = True
    largest: int = 0
    exact: bool = True
    days: bool = True
    seen: set[type] = field(default_factory=set)

    def add(self, value: Any) -> None:
        self.seen.add(type(value))
        if isinstance(value, datetime.datetime):
            self.days = self.days and value.time() == datetime.time()
        elif isinstance(value, float):
            self.whole = False
        elif isinstance(value, int):
            self.largest = max(self.largest, abs(value))
            self.exact = self.exact and (abs(value) <= 2**53 or _is_exact(value))

    @property
    def note(self) -> str:
        """Why numbers became text; else empty."""
        return "more digits than a number keeps" if self.kind == "a number" and types.is_string(self.type()) else ""

    def type(self) -> pa.DataType:
        if self.kind == "a number":
            if not self.whole:
                return pa.float64() if self.exact else pa.string()
            if self.largest < 2**63:
                return pa.int64()
            return pa.decimal128(38, 0) if self.largest < 10**38 else pa.string()
        if self.kind == "a date":
            return pa.date32() if self.days else pa.timestamp("us")
        by_kind = {"a boolean": pa.bool_(), "a time of day": pa.time64("us"), "a duration": pa.duration("us")}
        return by_kind.get(self.kind, pa.string())


class _Sheet:
    def __init__(self, source: InputFile, options: ExcelReadOptions) -> None:
        self._source = source
        self._options = options
        self._types = {name: parse_type(text) for name, text in options.columns.items()}

    def batches(self, found: FoundSchema | None, sample_only: bool) -> Iterator[Any]:
        rows = self._rows()
        names = next(rows)
        if absent := [name for name in self._types if name not in names]:
            what = f"there is no column {absent[0]!r}, to which the options give a type"
            raise self._error(what, 0, f"there are {', '.join(names)}")
        if found is None:
            found = self._find_out(names, rows)
        elif sorted(names) != sorted(column.name for column in found.columns):
            hint = "files of one node need the same columns"
            raise self._error(f"has different columns from the first file: {', '.join(names)}", 0, hint)
        yield found
        if not sample_only:
            yield from self._convert(found)

    def _find_out(self, names: list[str], rows: Iterator[Any]) -> FoundSchema:
        guesses = {name: _Guess() for name in names if name not in self._types}
        count = 0
        for number, values in rows:
            count += 1
            for name, value in zip(names, values, strict=True):
                if value is None or name not in guesses:
                    continue
                guess, kind = guesses[name], _KINDS.get(type(value), "a value of an unknown kind")
                if guess.kind not in ("", kind):
                    hint = f"read all of it as text: columns: {{{name}: string}}"
                    raise self._error(f"column {name!r}: {kind} after {guess.kind}", number, hint)
                guess.kind = kind
                guess.add(value)
        columns = [
            FoundColumn(name, self._types[name])
            if name in self._types
            else FoundColumn(name, guesses[name].type(), inferred=True, note=guesses[name].note)
            for name in names
        ]
        return FoundSchema(tuple(columns), count)

    def _convert(self, found: FoundSchema) -> Iterator[pa.RecordBatch]:
        rows = self._rows()
        names = next(rows)
        order = [names.index(column.name) for column in found.columns]
        part: list[tuple[int, list[Any]]] = []
        for row in rows:
            part.append(row)
            if len(part) == self._options.batch_rows:
                yield self._batch(found, order, part)
                part = []
        if part:
            yield self._batch(found, order, part)

    def _batch(self, found: FoundSchema, order: list[int], part: list[tuple[int, list[Any]]]) -> pa.RecordBatch:
        arrays = []
        for column, place in zip(found.columns, order, strict=True):
            converted = []
            for number, values in part:
                value = values[place]
                try:
                    converted.append(None if value is None else _converted(value, column.type))
                except (ValueError, ArithmeticError) as error:
                    hint = "give another type in `columns`: string takes every value"
                    what = f"column {column.name!r}: {value!r} is not {column.type}"
                    raise self._error(what, number, hint) from error
            try:
                if types.is_timestamp(column.type):
                    arrays.append(pa.array(converted, pa.timestamp("us")).cast(column.type))
                else:
                    arrays.append(pa.array(converted, column.type))
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                what = f"column {column.name!r} cannot be {column.type}: {error}"
                raise self._error(what, part[0][0], "give another type in `columns`") from error
        return pa.RecordBatch.from_arrays(arrays, schema=found.schema)

    # Rows

    def _rows(self) -> Iterator[Any]:
        """Yield the names of the columns, then each row that has a value: its number, and its values."""
        names: list[str] = []
        blank = 0
        for number, cells in enumerate(self._cells(), start=1):
            if number <= self._options.skip_rows:
                continue
            values = [self._value(cell, number) for cell in cells]
            while values and values[-1] is None:
                values.pop()
            if not values:
                blank += 1
                continue
            if not names:
                names, blank = self._names(values, number), 0
                yield names
                if self._options.header:
                    continue
            if len(values) > len(names):
                what = f"the row has {len(values)} cells, and the header has {len(names)}"
                hint = (
                    "is the header another row? skip_rows: N leaves out N rows before it; else give each column a name"
                )
                raise self._error(what, number, hint)
            # In a sheet of one column, an empty row between others is a null.
            yield from ((number - blank + n, [None]) for n in range(blank if len(names) == 1 else 0))
            blank = 0
            yield number, values + [None] * (len(names) - len(values))
        if not names:
            raise self._error("the sheet is empty: there is no header", 0, "is it the right sheet?")

    def _names(self, values: list[Any], number: int) -> list[str]:
        if not self._options.header:
            return [f"column_{n}" for n in range(1, len(values) + 1)]
        names = ["" if value is None else _text(value) for value in values]
        if "" in names:
            what = f"column {names.index('') + 1} has no name in the header"
            hint = "name it; or skip_rows: N where the header is further down, header: false where there is none"
            raise self._error(what, number, hint)
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise self._error(f"two columns are named {twice[0]!r}", number, "rename one, or give `header: false`")
        return names

    def _value(self, cell: tuple[Any, Any], number: int) -> Any:
        shown, formula = cell
        if shown.data_type == "e" and shown.value is not None:
            if self._options.errors == "null":
                return None
            hint = "correct it in Excel, or read such cells as null: errors: null"
            raise self._error(f"cell {shown.coordinate} is the error {shown.value}", number, hint)
        if shown.value is None and formula is not None and formula.data_type == "f":
            hint = "open the file in Excel and save it, which computes it"
            raise self._error(f"the formula in cell {formula.coordinate} has no stored value", number, hint)
        if isinstance(shown.value, str) and "_x" in shown.value:
            return _ESCAPED.sub(_unescaped, shown.value)
        return shown.value

    def _cells(self) -> Iterator[list[tuple[Any, Any]]]:
        """Yield the cells of each row, each beside itself as a formula where the sheet has formulas."""
        try:
            import openpyxl
        except ImportError as error:
            hint = "pip install 'dataflare[excel]'"
            raise ConfigError("reading Excel needs the extra `excel`", where="connector", hint=hint) from error
        self._check_archive()
        books = []
        try:
            for data_only in (True, False) if self._has_formulas else (True,):
                books.append(openpyxl.load_workbook(self._source.file, read_only=True, data_only=data_only))
            sheets = [self._sheet(book) for book in books]
            for sheet in sheets:
                sheet.reset_dimensions()  # what the file says of its size need not be so
            for number, rows in enumerate(zip(*(sheet.iter_rows() for sheet in sheets), strict=True), start=1):
                if number > _MOST_ROWS:
                    raise self._error(f"the sheet has more than {_MOST_ROWS} rows", number, "split it")
                yield list(zip(rows[0], rows[1], strict=True)) if len(rows) == 2 else [(cell, None) for cell in rows[0]]
        except (DataError, OSError):
            raise
        except Exception as error:  # openpyxl lets through whatever its parsing of a damaged file runs into
            raise self._damaged(error) from error

    def _sheet(self, book: Any) -> Any:
        wanted, names = self._options.sheet, book.sheetnames
        if isinstance(wanted, str) and wanted in names:
            sheet = book[wanted]
        elif isinstance(wanted, int) and 1 <= wanted <= len(names):
            sheet = book[names[wanted - 1]]
        else:
            raise self._error(f"there is no sheet {wanted!r}", 0, f"sheets: {', '.join(names)}; or a number from 1")
        if not hasattr(sheet, "reset_dimensions"):
            raise self._error(f"sheet {wanted!r} is a chart", 0, f"name one of the others: {', '.join(names)}")
        return sheet

    def _check_archive(self) -> None:
        """Bound what the file expands to before any of it is expanded; a part never gives more than it declares."""
        file: Any = self._source.file
        if not self._source.is_regular:
            raise self._error("a workbook is read from a regular file, not from a pipe", 0, "write it to a file first")
        file.seek(0)
        if file.read(4) == _OLD_WORKBOOK:
            what = "is a workbook of Excel 97 to 2003, or has a password"
            raise self._error(what, 0, "save it in Excel as .xlsx, without a password")
        most, self._has_formulas = parse_size(self._options.max_expanded), False
        try:
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
                if (size := sum(part.file_size for part in parts)) > most:
                    what = f"expands to {size} bytes, more than max_expanded = {self._options.max_expanded}"
                    raise self._error(what, 0, "set max_expanded to more, if you trust the file")
                for part in parts:
                    if part.filename.startswith("xl/worksheets/") and not self._has_formulas:
                        with archive.open(part) as sheet:
                            self._has_formulas = _contains(sheet, b"<f")
        except (DataError, OSError):
            raise
        except Exception as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return self._error(
            f"is not a workbook, or damaged: {error or type(error).__name__}", 0, "save it again in Excel"
        )

    def _error(self, what: str, row: int, hint: str = "") -> DataError:
        return DataError(what, file=str(self._source.path), line=row, hint=hint)


def _contains(file: Any, text: bytes) -> bool:
    rest = b""
    while part := file.read(2**18):
        if text in rest + part:
            return True
        rest = part[-len(text) :]
    return False


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str) else str(value)


def _unescaped(match: re.Match[str]) -> str:
    """Decode characters that a workbook writes by their UTF-16 units; half of a pair stays as it is written."""
    try:
        return bytes.fromhex(match[0].replace("_x", "").replace("_", "")).decode("utf-16-be")
    except UnicodeDecodeError:
        return match[0]


def _is_exact(value: int) -> bool:
    """Whether a double holds an integer."""
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _converted(value: Any, kind: pa.DataType) -> Any:
    """Make what Arrow builds a column from.

    Raises:
        ValueError: The value is of another kind, or would change.
    """
    if types.is_string(kind) or types.is_large_string(kind):
        return _text(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if types.is_boolean(kind) and isinstance(value, bool):
        return value
    if types.is_integer(kind) and is_number and value == int(value):
        return int(value)
    if types.is_floating(kind) and is_number and (isinstance(value, float) or _is_exact(value)):
        return float(value)
    if types.is_decimal(kind) and is_number:
        return Decimal(str(value))
    if isinstance(value, datetime.datetime):
        if types.is_timestamp(kind) and kind.tz is None:
            return value
        if types.is_date(kind) and value.time() == datetime.time():
            return value.date()
    if (types.is_time(kind) and isinstance(value, datetime.time)) or (
        types.is_duration(kind) and isinstance(value, datetime.timedelta)
    ):
        return value
    raise ValueError("another kind of value")
