"""Numbers in JSON that a double would change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import types

from dataflare.pipeline.reading.guessing import ColumnGuess, exact_as_double

__all__ = ["JsonPath", "doubles", "inexact_numbers", "number_type", "retyped", "written"]

JsonPath: TypeAlias = tuple[str, ...]
"""Where a value is in a row: names of fields, `[]` for the items of a list."""

_SAFE_DIGITS = 15
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Number(str):
    """A number as it is written."""


def doubles(schema: Any, prefix: JsonPath = ()) -> set[JsonPath]:
    """The paths of all doubles in a schema, or in a struct type."""
    found: set[JsonPath] = set()
    for field in schema:
        found |= _doubles_in(field.type, (*prefix, field.name))
    return found


def _doubles_in(data_type: pa.DataType, path: JsonPath) -> set[JsonPath]:
    if types.is_float64(data_type):
        return {path}
    if types.is_struct(data_type):
        return doubles(data_type, path)
    if types.is_list(data_type):
        return _doubles_in(data_type.value_type, (*path, "[]"))
    return set()


def inexact_numbers(text: bytes, paths: set[JsonPath]) -> Iterator[tuple[int, JsonPath, str]]:
    """Find numbers at some paths that a double does not keep: each one's line in the text, its path and itself."""
    suspects = _long_numbers(text) if paths else []
    if not suspects:
        return
    verdicts = exact_as_double(pa.array([number for _, number in suspects])).to_pylist()
    last = 0
    for (place, number), exact in zip(suspects, verdicts, strict=True):
        if (exact and not _beyond_64_bits(number)) or place < last:
            continue
        begin = text.rfind(b"\n", 0, place) + 1
        end = text.find(b"\n", place)
        last = end = len(text) if end < 0 else end
        line = text.count(b"\n", 0, begin) + 1
        for path, each in written(text[begin:end]):
            if path in paths and (not exact_as_double(pa.array([each]))[0].as_py() or _beyond_64_bits(each)):
                yield line, path, each


def _beyond_64_bits(number: str) -> bool:
    return number.lstrip("-").isdigit() and not -(2**63) <= int(number) < 2**63


def _long_numbers(text: bytes) -> list[tuple[int, str]]:
    """Numbers with so many digits that a double may not keep them, some within strings among them, and their places."""
    data = np.frombuffer(text, np.uint8)
    run = (data - np.uint8(ord("."))) < 12  # a dot, a slash or a digit
    for step in (1, 2, 4, 8):
        run = run[:-step] & run[step:]
    hits = np.flatnonzero(run)
    if not len(hits):
        return []
    found = []
    end = -1
    for hit in hits[np.concatenate([[True], np.diff(hits) > 1])].tolist():
        if hit < end:
            continue
        begin = hit - (text[hit - 1 : hit] == b"-")
        match = _NUMBER.match(text, begin)
        # In a string, a number has a quote or another letter before it, or else it is looked at for nothing.
        if match and text[begin - 1 : begin] in (b":", b",", b"[", b" ", b"\t"):
            found.append((begin, match.group().decode()))
            end = match.end()
    return found


def written(line: bytes) -> Iterator[tuple[JsonPath, str]]:
    """Give every number of a row as it is written, with its path."""
    yield from _numbers(json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=str), ())


def _numbers(value: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    if isinstance(value, _Number):
        yield path, str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, (*path, "[]"))


def number_type(texts: list[str]) -> tuple[pa.DataType, str]:
    """Find a type that keeps all of some numbers, and why it is that; text where there is none."""
    guess = ColumnGuess()
    guess.add(pa.array(texts, pa.string()))
    return guess.type(), guess.note


def retyped(data_type: pa.DataType, path: JsonPath, new: pa.DataType) -> pa.DataType:
    """Change what is at a path within a type."""
    if not path:
        return new
    if path[0] == "[]":
        return pa.list_(retyped(data_type.value_type, path[1:], new))
    fields = [
        pa.field(field.name, retyped(field.type, path[1:], new)) if field.name == path[0] else field
        for field in data_type
    ]
    return pa.struct(fields)
