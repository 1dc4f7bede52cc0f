"""Workbooks of few bytes that take much memory or time to read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Final

MOST: Final = "16MiB"
"""The `max_expanded` with which they are read."""

MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook(sheet: str, parts: Mapping[str, str] | None = None, *, sheets: str = "", head: str = "") -> bytes:
    """Make a workbook of one sheet.

    Args:
        sheet: What follows the sheet's beginning.
        parts: Other parts, by what follows `xl/` in their names.
        sheets: Further sheets of the workbook.
        head: What comes before the sheet's root.
    """
    others = {name: text for name, text in (parts or {}).items()}
    kinds = "".join(
        f'<Override PartName="/xl/{name}" ContentType="{_TYPE}.{kind}+xml"/>'
        for name, kind in {
            "workbook.xml": "sheet.main",
            "styles.xml": "styles",
            "sharedStrings.xml": "sharedStrings",
        }.items()
        if name == "workbook.xml" or name in others
    )
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>{kinds}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{RELATIONS}"><Relationship Id="r1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        f'<sheet name="One" sheetId="1" r:id="r1"/>{sheets}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{RELATIONS}">'
        f'<Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'{head}<worksheet xmlns="{MAIN}">{sheet}</worksheet>',
        **{f"xl/{name}": text for name, text in others.items()},
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def rows(*cells: str) -> str:
    """A sheet of rows, each of which is given by its cells."""
    return "<sheetData>" + "".join(f"<row>{each}</row>" for each in cells) + "</sheetData>"


def text(value: str) -> str:
    """A cell with a text of its own."""
    return f'<c t="inlineStr"><is><t>{value}</t></is></c>'


HEADER: Final = text("a")
NUMBER: Final = "<c><v>1</v></c>"


def _entities(head: str, *, times: int = 1) -> bytes:
    return workbook(rows(HEADER, text("&z;" * times)), head=head)


_LAUGHS: Final = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghz", strict=True))

GREAT: Final[dict[str, Callable[[], bytes]]] = {
    "cells_of_four_bytes": lambda: workbook(rows(HEADER, "<c/>" * 3_500_000)),
    "styles": lambda: workbook(
        rows(HEADER, NUMBER),
        {"styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs>{"<xf/>" * 3_000_000}</cellXfs></styleSheet>'},
    ),
    "one_text_in_every_column": lambda: workbook(
        rows("".join(text(f"{n:x}") for n in range(200)), '<c t="s"><v>0</v></c>' * 200),
        {"sharedStrings.xml": f'<sst xmlns="{MAIN}"><si><t>{"y" * 4_000_000}</t></si></sst>'},
    ),
}
"""Those whose reading takes more memory than it may."""

ENTITIES: Final[dict[str, Callable[[], bytes]]] = {
    "laughing_entities": lambda: _entities(f'<!DOCTYPE w [<!ENTITY a "ha">{_LAUGHS}]>'),
    "one_long_entity": lambda: _entities(f'<!DOCTYPE w [<!ENTITY z "{"x" * 100_000}">]>', times=50_000),
    "file_as_an_entity": lambda: _entities('<!DOCTYPE w [<!ENTITY z SYSTEM "file:///etc/passwd">]>'),
}
"""Those that say by entities what they do not have."""


def slow() -> bytes:
    """A workbook of a few kilobytes with the format of a number that takes long to understand."""
    formats = f'<numFmts><numFmt numFmtId="200" formatCode="{"[" * 60_000}"/></numFmts>'
    cells = '<cellXfs><xf/><xf numFmtId="200" applyNumberFormat="1"/></cellXfs>'
    styles = f'<styleSheet xmlns="{MAIN}">{formats}{cells}</styleSheet>'
    return workbook(rows(HEADER, NUMBER), {"styles.xml": styles})


def wide(count: int) -> bytes:
    """A workbook with 4,000 columns, and rows that only have the first one."""
    return workbook(rows("".join(text(f"{n:x}") for n in range(4000)), *[NUMBER] * count))
