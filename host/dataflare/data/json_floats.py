"""NaN and infinities in JSON, which has no numbers for them: the texts `"NaN"`, `"Infinity"` and `"-Infinity"`.

The JSON form of protocol buffers uses the same words. Arrow's reader accepts them only without quotes, so the quotes
are removed in columns of floats before it reads.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.budgets import in_time

__all__ = ["other_word", "quoted_words", "without_quotes"]

_WORDS = {b'"NaN"': b"NaN", b'"Infinity"': b"Infinity", b'"-Infinity"': b"-Infinity"}
# Nothing that was read is given back: to remember each character for that takes a hundred bytes.
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_TOKENS = re.compile(_TEXT + rb"|[{}\[\],:]")

_INF, _MINUS_NAN = re.compile(rb"Inf\b"), re.compile(rb"-NaN\b")  # two that begin with a literal are faster than one
_OTHER_OR_TEXT = re.compile(_TEXT + rb"|-?Inf\b|-NaN\b")


def other_word(lines: bytes) -> tuple[int, str] | None:
    """Find the first number that only Arrow reads, and no other reader of JSON here: `Inf`, `-Inf` or `-NaN`.

    Returns:
        Its line and itself.
    """
    # A single byte is found fastest, and most texts do not have both.
    if not (b"I" in lines and _INF.search(lines)) and not (b"N" in lines and _MINUS_NAN.search(lines)):
        return None
    found = (match for match in in_time(_OTHER_OR_TEXT.finditer(lines)) if not match.group().startswith(b'"'))
    return next(((lines.count(b"\n", 0, match.start()) + 1, match.group().decode()) for match in found), None)


def quoted_words(texts: pa.Array) -> pa.Array:
    """Replace `nan`, `inf` and `-inf` among the texts of floats by their JSON form."""
    for text, word in (("nan", '"NaN"'), ("inf", '"Infinity"'), ("-inf", '"-Infinity"')):
        texts = pc.if_else(pc.equal(texts, text), pa.scalar(word, texts.type), texts)
    return texts


def without_quotes(lines: bytes, schema: pa.Schema) -> bytes:
    """Remove the quotes of these words where the schema has a float; does not check that the lines are JSON objects."""
    row = pa.struct(list(schema))
    if not _holds_float(row) or (b'"NaN"' not in lines and b'Infinity"' not in lines):
        return lines
    return b"\n".join(
        _unquoted(line, row) if b'"NaN"' in line or b'Infinity"' in line else line
        for line in in_time(lines.split(b"\n"))
    )


def _holds_float(data_type: pa.DataType) -> bool:
    if _is_float(data_type):
        return True
    return any(_holds_float(data_type.field(i).type) for i in range(data_type.num_fields))


def _is_float(data_type: pa.DataType) -> bool:
    if types.is_dictionary(data_type):
        return _is_float(data_type.value_type)
    return bool(types.is_floating(data_type))


@dataclass(slots=True)
class _Level:
    """An open object (`fields` by name) or list (`item`); `key` is the current key of an object."""

    fields: dict[str, pa.DataType] | None
    item: pa.DataType | None
    key: str = ""
    before_key: bool = True

    def expected(self) -> pa.DataType | None:
        return self.item if self.fields is None else self.fields.get(self.key)


def _unquoted(line: bytes, row: pa.DataType) -> bytes:
    out: list[bytes] = []
    copied = 0
    levels: list[_Level] = []
    for match in in_time(_TOKENS.finditer(line)):
        token = match.group()
        level = levels[-1] if levels else None
        expected = level.expected() if level else row
        if token in (b"{", b"["):
            levels.append(_open(token, expected))
        elif level is None:
            break  # broken: the reader will report it
        elif token in (b"}", b"]"):
            levels.pop()
        elif token == b",":
            level.before_key = True
        elif token == b":":
            level.before_key = False
        elif level.fields is not None and level.before_key:
            level.key = _text(token)
        elif token in _WORDS and expected is not None and _is_float(expected):
            out += [line[copied : match.start()], _WORDS[token]]
            copied = match.end()
    return b"".join([*out, line[copied:]])


def _open(token: bytes, expected: Any) -> _Level:
    if token == b"[":
        item = None
        if expected is not None and types.is_map(expected):
            item = pa.struct([("key", expected.key_type), ("value", expected.item_type)])
        elif expected is not None and hasattr(expected, "value_type") and not types.is_dictionary(expected):
            item = expected.value_type
        return _Level(None, item)
    if expected is not None and types.is_struct(expected):
        return _Level({field.name: field.type for field in expected}, None)
    return _Level({}, None)


def _text(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return ""
