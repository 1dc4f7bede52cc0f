"""Attacks by Excel workbooks of few bytes, which take much memory or time once they are taken apart."""

from __future__ import annotations

import importlib.util
import io
import resource
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final
from unittest import mock

import hostile_excel
from arena import Arena, Mutation, attack
from attacks_arrow import survives
from attacks_parquet import MOST_GROWN_BYTES, memory_bytes
from dataflare.pipeline.reading import excel_reader, excel_sheet
from dataflare.pipeline.reading.confined import Found
from dataflare.pipeline.run_errors import DataError
from reading_kit import read, source_of

MOST_BYTES: Final = 700 * 2**20
"""What a process may have for `hostile_excel.MOST`, and what it has before it begins."""


REQUEST: Final = excel_reader.ExcelReadOptions().model_dump(mode="json")


def refused(arena: Arena, make: Callable[[], bytes], *, says: str) -> None:
    """Assert that a workbook is refused, and that no process has taken much memory for it."""
    path = arena.folder / "rows.xlsx"
    path.write_bytes(make())

    def run() -> None:
        before = memory_bytes("VmHWM")
        with mock.patch.object(excel_reader, "_LEAST_BYTES", 2**24):
            error = arena.raises(DataError, lambda: read("excel", path, max_expanded=hostile_excel.MOST), says=says)
        assert str(path) in error.message and error.hint, error
        grown = memory_bytes("VmHWM") - before
        other = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        assert grown < MOST_GROWN_BYTES and other < MOST_BYTES, f"{grown} bytes here, {other} in a process"

    survives(run)


def with_excel(promise: str) -> Callable[[Callable[[Arena], None]], Callable[[Arena], None]]:
    """As `attack`, where the extra is installed."""
    if importlib.util.find_spec("openpyxl") is None:
        return lambda function: function
    return attack(promise)


@with_excel("files-in")
def excel_objects_of_a_few_bytes(arena: Arena) -> None:
    """Fill a workbook with millions of the smallest styles, which compress to nothing."""
    refused(arena, hostile_excel.GREAT["styles"], says=f"more memory to read than max_expanded = {hostile_excel.MOST}")


@with_excel("files-in")
def excel_text_that_every_cell_shares(arena: Arena) -> None:
    """Have each of 200 cells of a row refer to the same text of four megabytes."""
    refused(arena, hostile_excel.GREAT["one_text_in_every_column"], says="more memory to read than")


@with_excel("files-in")
def excel_rows_below_a_wide_header(arena: Arena) -> None:
    """Give a header 4,000 columns, and below it thousands of rows of one cell, so that a batch has all their nulls."""
    path = arena.folder / "rows.xlsx"
    path.write_bytes(hostile_excel.wide(300))

    source = source_of("excel", path, max_expanded=hostile_excel.MOST)
    assert next(source.batches()).num_rows < 200
    source.close()


@with_excel("files-in")
def excel_entities(arena: Arena) -> None:
    """Define entities in a sheet that expand to gigabytes, or that are files of the host."""
    for make in hostile_excel.ENTITIES.values():
        refused(arena, make, says="is not a workbook, or damaged")


@with_excel("files-in")
def excel_parts_larger_than_they_say(arena: Arena) -> None:
    """Say in the directory of a workbook that a sheet of 32 MiB has 1,000 bytes."""
    data = io.BytesIO(hostile_excel.workbook(hostile_excel.rows(hostile_excel.HEADER) + " " * 2**25))
    with zipfile.ZipFile(data) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size.to_bytes(4, "little")
    refused(arena, lambda: data.getvalue().replace(size, (1000).to_bytes(4, "little")), says="damaged")


@with_excel("files-in")
def excel_sizes_that_are_not_so(arena: Arena) -> None:
    """Say of a sheet with two rows that it has a million of 16,384 columns, and number its second row 10**9."""
    sheet = f'<dimension ref="A1:XFD1048576"/><sheetData><row r="1">{hostile_excel.HEADER}</row>'
    for number in (2**20 + 1, 10**9):
        far = f'<row r="{number}"><c><v>1</v></c></row></sheetData>'
        refused(arena, lambda far=far: hostile_excel.workbook(sheet + far), says="has more than 1048576 rows")  # type: ignore[misc]
    path = arena.folder / "rows.xlsx"
    path.write_bytes(hostile_excel.workbook(f"{sheet}<row>{hostile_excel.NUMBER}</row></sheetData>"))
    assert read("excel", path).to_pydict() == {"a": [1]}


@with_excel("files-in")
def excel_format_that_takes_long(arena: Arena) -> None:
    """Give a number a format of many brackets, which openpyxl compares with each other."""
    with mock.patch.object(excel_reader, "_LEAST_S", 1):
        refused(arena, hostile_excel.slow, says="more time to read than max_expanded")


@with_excel("files")
def excel_parts_outside_of_the_workbook(arena: Arena) -> None:
    """Let a sheet of a workbook, and a link of it, be a file of the host."""
    secret = arena.folder / "secret.xml"
    secret.write_text(f'<worksheet xmlns="{hostile_excel.MAIN}">{hostile_excel.rows(hostile_excel.HEADER)}</worksheet>')
    for mode, target in (
        ("Internal", f"../../../../..{secret}"),
        ("External", f"file://{secret}"),
        ("Internal", str(secret)),
    ):
        relation = (
            f'<Relationship Id="r1" Type="{hostile_excel.OFFICE}/worksheet" TargetMode="{mode}" Target="{target}"/>'
        )
        relations = f'<Relationships xmlns="{hostile_excel.RELATIONS}">{relation}</Relationships>'
        data = hostile_excel.workbook(hostile_excel.rows(""), {"_rels/workbook.xml.rels": relations})
        refused(arena, lambda data=data: data, says="rows.xlsx")


@with_excel("files-in")
def excel_values_that_others_do_not_see(arena: Arena) -> None:
    """Give a row or a cell twice, or out of order, so that each program reads other values of the same workbook."""
    one, two = ('<c r="A2"><v>1</v></c>', '<c r="A2"><v>2</v></c>')
    head = f'<row r="1">{hostile_excel.HEADER}</row>'
    for rows in (
        f'<row r="2">{one}{two}</row>',
        f'<row r="2">{one}</row><row r="2">{two}</row>',
        f'<row r="3"><c r="A3"><v>1</v></c></row><row r="2">{two}</row>',
        f'<row r="3">{one}</row>',
        '<row r="-2"><c><v>1</v></c></row>',
    ):
        data = hostile_excel.workbook(f"<sheetData>{head}{rows}</sheetData>")
        request = {**REQUEST, "most_bytes": 2**29, "least_s": 30, "found": None, "sample_only": False}
        parts = _in_this_process("", io.BytesIO(data), request)
        arena.raises(DataError, lambda parts=parts: list(parts), says="given twice, or out of order")  # type: ignore[misc]
    # Within a row, nothing is lost.
    cells = '<row r="1"><c r="B1"><v>2</v></c><c r="A1" t="inlineStr"><is><t>a</t></is></c></row>'
    path = arena.folder / "rows.xlsx"
    path.write_bytes(hostile_excel.workbook(f"<sheetData>{cells}</sheetData>"))
    assert read("excel", path, header=False).to_pydict() == {"column_1": ["a"], "column_2": [2]}


def _as_openpyxl_has_them(sheet: Any) -> Iterator[tuple[int, dict[int, Any]]]:
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = {place: each for place, each in enumerate(row, start=1) if each.value is not None}
        yield number, {place: {"value": each.value, "data_type": each.data_type} for place, each in cells.items()}


def _numbered_anew(sheet: Any) -> Iterator[tuple[int, dict[int, Any]]]:
    """Lets a row that is far away be the next one, so that nothing takes long."""
    for number, (_, cells) in enumerate(_ROWS_OF(sheet), start=1):
        yield number, cells


def _in_this_process(_: str, file: IO[bytes], request: Mapping[str, Any], **__: Any) -> Iterator[Any]:
    """Read without a limit of memory or time."""
    with mock.patch.object(excel_sheet, "limit_time"):
        parts = excel_sheet.read_sheet(file, request)
        yield Found(next(parts), ())
        yield from parts


_ROWS_OF: Final = excel_sheet._rows_of
READER: Final = "dataflare.pipeline.reading.excel_reader"
MUTATIONS = [
    Mutation(
        f"{READER}:read_confined",
        _in_this_process,
        ("excel_rows_below_a_wide_header",),
        also={"dataflare.pipeline.reading.excel_sheet:_CELL_BYTES": 0},
    ),
    Mutation(
        f"{READER}:read_confined",
        _in_this_process,
        ("excel_sizes_that_are_not_so",),
        also={
            "dataflare.pipeline.reading.excel_sheet:_MOST_ROWS": 2**40,
            "dataflare.pipeline.reading.excel_sheet:_rows_of": _numbered_anew,
        },
    ),
    Mutation(
        "dataflare.pipeline.reading.excel_sheet:_rows_of",
        _as_openpyxl_has_them,
        ("excel_values_that_others_do_not_see",),
    ),
    Mutation(
        f"{READER}:read_confined",
        _in_this_process,
        ("excel_text_that_every_cell_shares", "excel_format_that_takes_long"),
    ),
    Mutation(
        "dataflare.pipeline.reading.confined:_FIXED_BYTES",
        2**40,
        ("excel_text_that_every_cell_shares",),
    ),
]
