"""Checks the cells of a workbook before openpyxl reads them.

openpyxl converts texts with Python's `int` and `float`, and uses numbers as places in Python's lists. So it would take
`1_000` for a thousand, `-1` for the last of the texts, and any number for true. It leaves out what it does not expect.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from dataflare.pipeline.run_errors import DataError

__all__ = ["SAVE_AGAIN", "checked_parser"]

SAVE_AGAIN: Final = "save it again in Excel"
_BLANKS: Final = " \t\r\n"
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TIME: Final = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3}0*)?)?"
_DURATION: Final = r"PT([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]{1,3}0*)?S)?"
_PATTERNS: Final = {
    "n": (_NUMBER, "a number"),
    "s": (re.compile("[0-9]{1,9}"), "the place of a text"),
    "b": (re.compile("[01]"), "0 or 1"),
    "d": (re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(T{_TIME})?Z?|T?{_TIME}Z?|{_DURATION}"), "a date or a time"),
}
_TEXTS: Final = ("str", "e")
_ROW: Final = re.compile(r"-?[0-9]{1,20}(\.0+)?")
_PLACE: Final = re.compile("[A-Za-z]{1,3}[0-9]{1,7}")
_STYLE: Final = re.compile("[0-9]{1,9}")
_SHOWN: Final = 40


def checked_parser() -> Any:
    """Make a class of parsers of sheets that refuse what openpyxl would read as something else."""
    from openpyxl.utils.datetime import WINDOWS_EPOCH
    from openpyxl.worksheet._reader import WorkSheetParser

    class Parser(WorkSheetParser):  # type: ignore[misc]
        def parse_row(self, row: Any) -> Any:
            _check(_ROW, "the number of a row", self.row_counter + 1, row.get("r"))
            return super().parse_row(row)

        def parse_cell(self, element: Any) -> Any:
            line = self.row_counter
            _check(_PLACE, "the place of a cell", line, element.get("r"))
            _check(_STYLE, "the number of a style", line, element.get("s"))
            kind = element.get("t", "n")
            text = _text(element, kind, line)
            if text and kind == "n" and math.isinf(float(text)):
                raise DataError(f"{text[:_SHOWN]!r} is beyond what a cell keeps", line=line, hint=SAVE_AGAIN)
            if text and kind == "s" and int(text) >= (count := len(self.shared_strings)):
                raise DataError(f"a cell has text {text}, and there are {count}", line=line, hint=SAVE_AGAIN)
            cell = super().parse_cell(element)
            if kind == "n" and cell["data_type"] == "e":  # what openpyxl makes of a date that it cannot read
                what = f"{text[:_SHOWN]!r} is shown as a date, and is beyond the year 9999"
                raise DataError(what, line=line, hint="correct it in Excel")
            if kind == "str" and cell["value"] is None and _has_value(element):  # a formula that gives an empty text
                cell["value"] = ""
            is_day = kind == "n" and cell["data_type"] == "d" and cell["style_id"] not in self.timedelta_formats
            if is_day and self.epoch == WINDOWS_EPOCH and 60 <= float(text) < 61:
                hint = "the calendar does not have this day: correct it in Excel"
                raise DataError("a date is 29 February 1900", line=line, hint=hint)
            return cell

    return Parser


def _has_value(element: Any) -> bool:
    return any(each.tag.endswith("}v") for each in element)


def _text(element: Any, kind: str, line: int) -> str:
    """The text of a cell's value, in the form that its kind has; empty for none, or for a text of its own."""
    values = [each for each in element if each.tag.endswith("}v")]
    own = any(each.tag.endswith("}is") for each in element)
    if kind == "inlineStr":
        if any(each.text for each in values):
            raise DataError("a cell with a text of its own has another value", line=line, hint=SAVE_AGAIN)
        return ""
    if kind not in _PATTERNS and kind not in _TEXTS:
        raise DataError(f"a cell is of the unknown kind {kind[:_SHOWN]!r}", line=line, hint=SAVE_AGAIN)
    if own or len(values) > 1 or any(len(each) for each in values):
        raise DataError("a cell has more than one value", line=line, hint=SAVE_AGAIN)
    text = (values[0].text or "") if values else ""
    if text and kind in _PATTERNS:
        _check(*_PATTERNS[kind], line, text)
    return text.strip(_BLANKS)


def _check(pattern: re.Pattern[str], what: str, line: int, text: str | None) -> None:
    if text is not None and pattern.fullmatch(text.strip(_BLANKS)) is None:
        raise DataError(f"{text[:_SHOWN]!r} is not {what}", line=line, hint=SAVE_AGAIN)
