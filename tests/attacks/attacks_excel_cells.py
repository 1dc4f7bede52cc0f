"""Attacks by cells of Excel workbooks that Python reads in ways of its own."""

from __future__ import annotations

import io
from typing import Any, Final
from unittest import mock

import pyarrow as pa

import hostile_excel
from arena import Arena, Mutation, answers
from attacks_excel import REQUEST, with_excel
from dataflare.pipeline.reading import excel_sheet
from dataflare.pipeline.run_errors import DataError

_STYLES: Final = (
    f'<styleSheet xmlns="{hostile_excel.MAIN}"><numFmts><numFmt numFmtId="200" formatCode="yyyy-mm-dd"/></numFmts>'
    '<cellXfs><xf/><xf numFmtId="200" applyNumberFormat="1"/></cellXfs></styleSheet>'
)
_TEXTS: Final = f'<sst xmlns="{hostile_excel.MAIN}"><si><t>first</t></si><si><t>last</t></si></sst>'
_PARTS: Final = {"styles.xml": _STYLES, "sharedStrings.xml": _TEXTS}


def _rows(sheet: str) -> list[Any]:
    """Read a sheet in this process, which takes no time."""
    request = {**REQUEST, "most_bytes": 2**24, "least_s": 30, "found": None, "sample_only": False}
    with mock.patch.object(excel_sheet, "limit_time"):
        _, schema, *batches = excel_sheet.read_sheet(io.BytesIO(hostile_excel.workbook(sheet, _PARTS)), request)
    return pa.Table.from_batches(batches, schema)["a"].to_pylist()


def _refused(arena: Arena, cell: str, says: str) -> None:
    arena.raises(DataError, lambda: _rows(hostile_excel.rows(hostile_excel.HEADER, cell)), says=says)


@with_excel("files-in")
def excel_cells_that_python_reads_in_its_own_way(arena: Arena) -> None:
    """Count from the end of the texts, group digits by `_`, use digits of another script, or any number as true."""
    for number in ("1_000", "1.5_0", "\u0661\u0662", "\uff11\uff12", "nan", "1e999", "9" * 5000, "0x10"):
        _refused(arena, f"<c><v>{number}</v></c>", "is not a number" if len(number) < 5 or "_" in number else "is ")
    for place in ("-1", "0_1", "+1", "\u0661", "2"):
        _refused(arena, f'<c t="s"><v>{place}</v></c>', "text")
    for flag in ("2", "-1", "0_1", "\u0661"):
        _refused(arena, f'<c t="b"><v>{flag}</v></c>', "is not 0 or 1")
    for moment in ("2020-01-01T00:00:00+05:00", "2020-01-01 to 2020-02-01", "\u0662\u0660\u0662\u0660-01-01"):
        _refused(arena, f'<c t="d"><v>{moment}</v></c>', "is not a date or a time")
    _refused(arena, '<c s="1"><v>60</v></c>', "29 February 1900")
    for style in ("0_1", "\u0661", "-1"):
        _refused(arena, f'<c s="{style}"><v>40000</v></c>', "is not the number of a style")
    _refused(arena, '<c r="A\u0662"><v>1</v></c>', "is not the place of a cell")
    for row in ("2_0", "\u0662", "1e1"):
        sheet = f'<sheetData><row>{hostile_excel.HEADER}</row><row r="{row}">{hostile_excel.NUMBER}</row></sheetData>'
        arena.raises(DataError, lambda sheet=sheet: _rows(sheet), says="is not the number of a row")  # type: ignore[misc]

    good = ("<c><v> 1 </v></c>", '<c t="s"><v>1</v></c>', '<c t="b"><v>1</v></c>', '<c s="1"><v>61</v></c>')
    found = [_rows(hostile_excel.rows(hostile_excel.HEADER, cell))[0] for cell in good]
    assert [str(each) for each in found] == ["1", "last", "True", "1900-03-01"]


@with_excel("files-in")
def excel_values_that_nobody_would_see(arena: Arena) -> None:
    """Give a cell two values, or one where its kind has none, of which openpyxl leaves out some without a word."""
    text = "<is><t>x</t></is>"
    for cell in (
        "<c><v>1</v><v>2</v></c>",
        "<c><v>1<b>2</b></v></c>",
        f"<c>{text}</c>",
        f'<c t="s"><v>1</v>{text}</c>',
    ):
        _refused(arena, cell, "more than one value")
    _refused(arena, '<c t="inlineStr"><v>5</v></c>', "has another value")
    _refused(arena, '<c t="N"><v>5</v></c>', "unknown kind")


def _first_value(element: Any, kind: str, line: int) -> str:
    return next((each.text or "" for each in element if each.tag.endswith("}v") and kind != "inlineStr"), "")


_CELLS: Final = "dataflare.pipeline.reading.excel_cells"
MUTATIONS = [
    Mutation(f"{_CELLS}:_check", answers(None), ("excel_cells_that_python_reads_in_its_own_way",)),
    Mutation(f"{_CELLS}:_text", _first_value, ("excel_values_that_nobody_would_see",)),
]
