"""Other systems' names of types, in Arrow's notation. Only for hints: a guessed type could change values."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["respelled"]

_MAX_CHARACTERS: Final = 256
_WIDEST_DECIMAL128: Final = 38

_NAMES: Final = {
    **dict.fromkeys(("int", "integer", "bigint", "long"), "int64"),
    **dict.fromkeys(("smallint", "short"), "int16"),
    **dict.fromkeys(("tinyint", "byte"), "int8"),
    **dict.fromkeys(("float64", "real", "number", "double precision"), "double"),
    **dict.fromkeys(("float32",), "float"),
    **dict.fromkeys(("float16",), "halffloat"),
    **dict.fromkeys(("str", "text", "varchar", "char", "utf8", "object"), "string"),
    **dict.fromkeys(("large_utf8",), "large_string"),
    **dict.fromkeys(("boolean",), "bool"),
    **dict.fromkeys(("date", "date32"), "date32[day]"),
    **dict.fromkeys(("date64",), "date64[ms]"),
    **dict.fromkeys(("datetime", "timestamp", "datetime64"), "timestamp[us]"),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), "timestamp[us, tz=UTC]"),
    **dict.fromkeys(("time", "time32"), "time32[s]"),
    **dict.fromkeys(("time64",), "time64[us]"),
    **dict.fromkeys(("duration", "interval"), "duration[us]"),
    **dict.fromkeys(("decimal", "numeric", "decimal128"), "decimal128(38, 2)"),
    **dict.fromkeys(("decimal256",), "decimal256(76, 2)"),
    **dict.fromkeys(("bytes", "blob", "bytea", "varbinary"), "binary"),
}

# A whole name: not part of another name, of a field (`date: string`) or of a parameter (`values=`).
_NAME = re.compile(
    rf"(?<![\w.])({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?![\w(\[=]|\s*[:=]| with | precision)"
)
_SIZED_TEXT = re.compile(r"\b(?:var)?char\s*\(\s*[0-9]+\s*\)")
_DECIMAL = re.compile(r"\b(?:decimal|numeric|decimal128)\s*[(\[]\s*([0-9]{1,3})\s*(?:,\s*(-?[0-9]{1,3})\s*)?[)\]]")
_TIMESTAMP = re.compile(
    r"\b(?:timestamp|datetime|datetime64)\s*[(\[]\s*(s|ms|us|ns)\s*(?:,\s*(?:tz\s*=\s*)?['\"]?([^\s)\]'\"]+)['\"]?\s*)?[)\]]",
    re.IGNORECASE,
)
_OTHER_UNITS = re.compile(r"\b(date32|date64|time32|time64|duration)\s*\(\s*(day|s|ms|us|ns)\s*\)")
_LIST = re.compile(r"\b((?:large_)?list)\s*(?:<(?!\w+\s*:)|\[)(.*)[>\]]$", re.DOTALL)
_DICTIONARY = re.compile(r"(dictionary<values=.*, indices=\w+)>")


def respelled(text: str) -> str:
    """Return the probable spelling of a type in Arrow's notation; empty if unknown. The result may not be a valid type.

    Args:
        text: A type as a user wrote it, such as `decimal(10,2)`, `DATE` or `list<string>`.
    """
    if len(text) > _MAX_CHARACTERS:
        return ""
    # Capitals matter in names of fields and zones.
    meant = text.strip() if set(text) & set(":,=") else text.strip().lower()
    meant = _SIZED_TEXT.sub("string", meant)
    meant = _DECIMAL.sub(_decimal, meant)
    meant = _TIMESTAMP.sub(lambda each: f"timestamp[{each[1].lower()}{f', tz={each[2]}' if each[2] else ''}]", meant)
    meant = _OTHER_UNITS.sub(r"\1[\2]", meant)
    meant = _LIST.sub(r"\1<item: \2>", meant)
    meant = _NAME.sub(lambda each: _NAMES[each[1]], meant)
    meant = re.sub(r"\s*([,:])\s*", r"\1 ", re.sub(r"\s+(?=[>)\]])|(?<=[<(\[])\s+|\s+(?=[(\[])", "", meant))
    return _DICTIONARY.sub(r"\1, ordered=0>", meant)


def _decimal(match: re.Match[str]) -> str:
    width = 128 if int(match[1]) <= _WIDEST_DECIMAL128 else 256
    return f"decimal{width}({match[1]}, {match[2] or 0})"
