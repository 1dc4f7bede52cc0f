"""Reads a sheet of an Excel workbook with openpyxl, in a process of its own: see `excel_reader`."""

from __future__ import annotations

import base64
import codecs
import contextlib
import datetime
import importlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, Any, Final, TypeAlias
from xml.parsers import expat

import pyarrow as pa
from pyarrow import types

from dataflare.data.schemas import parse_type
from dataflare.pipeline.reading.excel_cells import SAVE_AGAIN, checked_parser
from dataflare.pipeline.reading.own_limits import limit_time
from dataflare.pipeline.run_errors import DataError
from dataflare.suggestions import differing_names, known_names
from dataflare.texts import first_repeated

__all__ = ["read_sheet"]

_ESCAPED: Final = re.compile(r"(?:_x[0-9A-Fa-f]{4}_)+")
_MOST_ROWS: Final = 1_048_576  # of a sheet, as Excel has them
_FORMULA: Final = re.compile(rb"[<:]\0?f[\0\s/>]")  # with any prefix, in any encoding
_FORMULA_BYTES: Final = 4
_ENCODINGS: Final = (
    *("cp437", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u", *(f"cp{number}" for number in range(1250, 1259))),
    *(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))),
)
"""What texts and names in a workbook may be in: Python loads each when it is first used."""
_NO_MEMORY: Final = expat.errors.codes[expat.errors.XML_ERROR_NO_MEMORY]
_OLD_WORKBOOK: Final = b"\xd0\xcf\x11\xe0"
_NAME_IT: Final = "name it; or skip_rows: N where the header is further down, header: false where there is none"
_MOST_BATCH: Final = 64 * 2**20
"""About how many bytes a batch may take, and the Python objects that it is made from."""
_CELL_BYTES: Final = 32
_BYTES_A_SECOND: Final = 50_000
"""How little of the expanded workbook is read in a second at the worst: it is a tenth of what a slow machine reads."""
_KINDS: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a text", datetime.datetime: "a date"} | {
    datetime.time: "a time of day",
    datetime.timedelta: "a duration",
}
_Cell: TypeAlias = Mapping[str, Any]
"""What openpyxl's parser makes of a cell: its row, its column, its value, and what kind of value it is."""


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


def read_sheet(file: IO[bytes], request: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what was found out, the schema, then batches. What was found out are the columns whose type is `inferred`,
    those that are `valued`, so that the type is one of values or the options', `notes`, and the number of `rows`.

    The time that this may take is limited before it returns, since a confined process cannot do so: that follows from
    the directory of the archive, which Python's own code reads. All that unpacks or parses comes after.

    Args:
        file: The workbook.
        request: The options; `found`: the columns of the first file of several, as a serialized schema in Base64;
            `sample_only`; `most_bytes`: `max_expanded` in bytes; `least_s`: seconds of computing for any workbook.

    Raises:
        DataError: It is not a valid workbook, or not what the options say.
        MemoryError: The sheet takes too much.
    """
    # One parser, whatever is installed.
    os.environ |= {"OPENPYXL_LXML": "False", "OPENPYXL_DEFUSEDXML": "False"}
    importlib.import_module("openpyxl")
    for each in _ENCODINGS:
        codecs.lookup(each)
    sheet = _Sheet(file, request)
    limit_time(request["least_s"] + sheet.expanded_bytes() // _BYTES_A_SECOND)
    return sheet.parts()


class _Sheet:
    def __init__(self, file: Any, request: Mapping[str, Any]) -> None:
        self._file = file
        self._request = request
        self._types = {name: parse_type(text) for name, text in request["columns"].items()}
        self._has_formulas = False

    def parts(self) -> Iterator[Any]:
        self._look_for_formulas()
        rows = self._rows()
        names = next(rows)
        if absent := [name for name in self._types if name not in names]:
            what = f"there is no column {absent[0]!r}, to which the options give a type"
            raise DataError(what, hint=known_names(absent[0], names))
        guesses: dict[str, _Guess] = {}
        count = 0
        if self._request["found"] is None:
            schema, guesses, count = self._find_out(names, rows)
        else:
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self._request["found"])))
            if difference := differing_names(schema.names, names):
                what = f"has different columns from the first file: it {difference}"
                raise DataError(what, hint="files of one node need the same columns")
        yield {
            "inferred": [name for name in names if name not in self._types],
            "valued": [name for name in names if name not in guesses or guesses[name].kind],
            "notes": {name: guess.note for name, guess in guesses.items() if guess.note},
            "rows": count,
        }
        yield schema
        if not self._request["sample_only"]:
            yield from self._convert(schema)

    def _find_out(self, names: list[str], rows: Iterator[Any]) -> tuple[pa.Schema, dict[str, _Guess], int]:
        guesses = {name: _Guess() for name in names if name not in self._types}
        count = 0
        for number, values in rows:
            count += 1
            for name, value in zip(names, values, strict=False):  # what a row lacks at its end is null
                if value is None or name not in guesses:
                    continue
                guess, kind = guesses[name], _KINDS.get(type(value), "a value of an unknown kind")
                if guess.kind not in ("", kind):
                    hint = f"read all of it as text: columns: {{{name}: string}}"
                    raise DataError(f"column {name!r}: {kind} after {guess.kind}", line=number, hint=hint)
                guess.kind = kind
                guess.add(value)
        found = {name: self._types[name] if name in self._types else guesses[name].type() for name in names}
        return pa.schema(found), guesses, count

    def _convert(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = self._rows()
        names = next(rows)
        places = {name: place for place, name in enumerate(names)}
        order = [places[name] for name in schema.names]
        part: list[tuple[int, list[Any]]] = []
        weight, most = 0, min(_MOST_BATCH, self._request["most_bytes"])
        for row in rows:
            part.append(row)
            # Padded to all columns. Of texts that many cells share, a batch has a copy for each.
            weight += _CELL_BYTES * len(names) + sum(4 * len(value) for value in row[1] if isinstance(value, str))
            if len(part) == self._request["batch_rows"] or weight >= most:
                yield self._batch(schema, order, part)
                part, weight = [], 0
        if part:
            yield self._batch(schema, order, part)

    def _batch(self, schema: pa.Schema, order: list[int], part: list[tuple[int, list[Any]]]) -> pa.RecordBatch:
        arrays = []
        for column, place in zip(schema, order, strict=True):
            converted = []
            for number, values in part:
                value = values[place] if place < len(values) else None
                try:
                    converted.append(None if value is None else _converted(value, column.type))
                except (ValueError, ArithmeticError) as error:
                    hint = "give another type in `columns`: string takes every value"
                    what = f"column {column.name!r}: {value!r} is not {column.type}"
                    raise DataError(what, line=number, hint=hint) from error
            try:
                if types.is_timestamp(column.type):
                    arrays.append(pa.array(converted, pa.timestamp("us")).cast(column.type))
                else:
                    arrays.append(pa.array(converted, column.type))
            except MemoryError:
                raise
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                what = f"column {column.name!r} cannot be {column.type}: {error}"
                raise DataError(what, line=part[0][0], hint="give another type in `columns`") from error
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    # Rows

    def _rows(self) -> Iterator[Any]:
        """Yield the names of the columns, then each row that has a value: its number, and its values."""
        names: list[str] = []
        blank = 0
        for number, cells in enumerate(self._cells(), start=1):
            if number <= self._request["skip_rows"]:
                continue
            values = [self._value(cell, number) for cell in cells]
            while values and values[-1] is None:
                values.pop()
            if not values:
                blank += 1
                continue
            if not names:
                names, blank = self._names(values, number), 0
                kept = [place for place, name in enumerate(names) if name]
                yield [name for name in names if name]
                if self._request["header"]:
                    continue
            if len(values) > len(names):
                what = f"the row has {len(values)} cells, and the header has {len(names)}"
                hint = (
                    "is the header another row? skip_rows: N leaves out N rows before it; else give each column a name"
                )
                raise DataError(what, line=number, hint=hint)
            for place, (name, value) in enumerate(zip(names, values, strict=False), start=1):
                if not name and value is not None:
                    what = f"cell {_place(place, number)} has a value, and its column has no name in the header"
                    raise DataError(what, line=number, hint=_NAME_IT)
            # In a sheet of one column, an empty row between others is a null.
            yield from ((number - blank + n, [None]) for n in range(blank if len(kept) == 1 else 0))
            blank = 0
            yield number, [values[place] for place in kept if place < len(values)]
        if not names:
            raise DataError("the sheet is empty: there is no header", hint="is it the right sheet?")

    def _names(self, values: list[Any], number: int) -> list[str]:
        if not self._request["header"]:
            return [f"column_{n}" for n in range(1, len(values) + 1)]
        names = ["" if value is None else _text(value) for value in values]
        if (twice := first_repeated([name for name in names if name])) is not None:
            what = f"two columns are named {twice!r}"
            raise DataError(what, line=number, hint="rename one, or give `header: false`")
        return names

    def _value(self, cell: tuple[_Cell | None, _Cell | None], number: int) -> Any:
        shown, formula = cell
        if shown is None:
            return None
        value, kind = shown["value"], shown["data_type"]
        if kind == "e" and value is not None:
            if self._request["errors"] == "null":
                return None
            hint = "correct it in Excel, or read such cells as null: errors: null"
            raise DataError(f"cell {_coordinate(shown)} is the error {value}", line=number, hint=hint)
        if value is None and formula is not None and formula["data_type"] == "f":
            hint = "open the file in Excel and save it, which computes it"
            raise DataError(f"the formula in cell {_coordinate(formula)} has no stored value", line=number, hint=hint)
        if isinstance(value, str) and "_x" in value:
            return _ESCAPED.sub(_unescaped, value)
        if type(value) is datetime.date:
            return datetime.datetime.combine(value, datetime.time())
        return value

    def _cells(self) -> Iterator[list[tuple[_Cell | None, _Cell | None]]]:
        """Yield the cells of each row, each beside itself as a formula where the sheet has formulas."""
        import openpyxl

        with _refusing():
            sheets = []
            for data_only in (True, False) if self._has_formulas else (True,):
                book = openpyxl.load_workbook(self._file, read_only=True, keep_links=False, data_only=data_only)
                sheets.append(_rows_of(self._sheet(book)))
            before = 0
            for each in zip(*sheets, strict=True):
                number, shown = each[0]
                formulas = each[-1][1] if len(each) == 2 else {}
                yield from ([] for _ in range(before + 1, number))
                before = number
                width = max(shown, default=0)
                yield [(shown.get(column), formulas.get(column)) for column in range(1, width + 1)]

    def _sheet(self, book: Any) -> Any:
        wanted, names = self._request["sheet"], book.sheetnames
        if isinstance(wanted, str) and wanted in names:
            sheet = book[wanted]
        elif isinstance(wanted, int) and 1 <= wanted <= len(names):
            sheet = book[names[wanted - 1]]
        else:
            raise DataError(f"there is no sheet {wanted!r}", hint=f"sheets: {', '.join(names)}; or a number from 1")
        if not hasattr(sheet, "reset_dimensions"):
            raise DataError(f"sheet {wanted!r} is a chart", hint=f"name one of the others: {', '.join(names)}")
        return sheet

    def expanded_bytes(self) -> int:
        """Bound what the file expands to before any of it is expanded; a part never gives more than it declares."""
        if self._file.read(4) == _OLD_WORKBOOK:
            what = "is a workbook of Excel 97 to 2003, or has a password"
            raise DataError(what, hint="save it in Excel as .xlsx, without a password")
        with _refusing(), zipfile.ZipFile(self._file) as archive:
            if (size := sum(part.file_size for part in archive.infolist())) > self._request["most_bytes"]:
                what = f"expands to {size} bytes, more than max_expanded = {self._request['max_expanded']}"
                raise DataError(what, hint="set max_expanded to more, if you trust the file")
        return size

    def _look_for_formulas(self) -> None:
        with _refusing(), zipfile.ZipFile(self._file) as archive:
            for part in archive.infolist():
                if part.filename.startswith("xl/worksheets/") and not self._has_formulas:
                    with archive.open(part) as sheet:
                        self._has_formulas = _has_formula(sheet)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn what openpyxl runs into in a damaged file into an error that says so: it lets everything through."""
    try:
        yield
    except (DataError, OSError, MemoryError, GeneratorExit):
        raise
    except Exception as error:
        if getattr(error, "code", None) == _NO_MEMORY:
            raise MemoryError from error
        what = f"is not a workbook, or damaged: {error or type(error).__name__}"
        raise DataError(what, hint=SAVE_AGAIN) from error


def _rows_of(sheet: Any) -> Iterator[tuple[int, dict[int, _Cell]]]:
    """Yield the rows that a sheet has: their numbers, and their cells by column.

    Not by openpyxl's own rows: of rows and cells that are not in order, it leaves out some without a word.
    """
    book, before = sheet.parent, 0
    with sheet._get_source() as file:
        parser = checked_parser()(
            file,
            sheet._shared_strings,
            data_only=book.data_only,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for number, row in parser.parse():
            if number > _MOST_ROWS:
                raise DataError(f"the sheet has more than {_MOST_ROWS} rows", line=number, hint="split it")
            cells = {cell["column"]: cell for cell in row}
            if number <= before or len(cells) < len(row) or any(cell["row"] != number for cell in row):
                raise DataError("a row or a cell is given twice, or out of order", line=number, hint=SAVE_AGAIN)
            before = number
            yield number, cells


def _coordinate(cell: _Cell) -> str:
    return _place(cell["column"], cell["row"])


def _place(column: int, row: int) -> str:
    from openpyxl.utils import get_column_letter

    return f"{get_column_letter(column)}{row}"


def _has_formula(file: Any) -> bool:
    rest = b""
    while part := file.read(2**18):
        if _FORMULA.search(rest + part):
            return True
        rest = part[-_FORMULA_BYTES:]
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
