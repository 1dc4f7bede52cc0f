"""Numbers in JSON that a double would change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.shapes import malformed
from dataflare.data.type_inference import ColumnGuess, exact_as_double

__all__ = [
    "Inexact",
    "JsonPath",
    "guess_numbers",
    "inexact_numbers",
    "number_paths",
    "retyped",
    "with_exact_numbers",
    "written",
]

JsonPath: TypeAlias = tuple[str, ...]
"""Where a value is in a row: names of fields, `[]` for the items of a list."""

Inexact: TypeAlias = dict[JsonPath, tuple[str, int]]
"""Where the type of a column would change numbers: the longest of them, and its line."""

_BYTES_AT_ONCE: Final = 2**17  # of text that is scanned at a time: intermediate results stay in the cache
_PARSED_BYTES: Final = 64  # that a byte of text may take in memory, once it is read into objects
_PARSE_S: Final = 1e-9  # least time to read a byte

_SAFE_DIGITS = 15
_INTEGER_DIGITS = 19  # of 64 bits, at most
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

_BEFORE_VALUES = (b":", b",", b"[", b" ", b"\t")
_NUMBER_BYTES = tuple(bytes([byte]) for byte in b"0123456789.-")
_TINY = re.compile(rb"[eE]-(?:0*[3-9][0-9]{2}|0*[1-9][0-9]{3,})(?![0-9])")
_AFTER_NUMBERS = np.array([byte in b",]} \t\r\n" for byte in range(256)])
_NOT_FINITE = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


class _Number(str):
    """A number as it is written."""


def number_paths(schema: Any, prefix: JsonPath = ()) -> dict[JsonPath, pa.DataType]:
    """The paths of all doubles and integers in a schema, or in a struct type, with their types."""
    found: dict[JsonPath, pa.DataType] = {}
    for field in schema:
        found |= _numbers_in(field.type, (*prefix, field.name))
    return found


def _numbers_in(data_type: pa.DataType, path: JsonPath) -> dict[JsonPath, pa.DataType]:
    if types.is_float64(data_type) or types.is_integer(data_type):
        return {path: data_type}
    if types.is_struct(data_type):
        return number_paths(data_type, path)
    if types.is_list(data_type):
        return _numbers_in(data_type.value_type, (*path, "[]"))
    return {}


def with_exact_numbers(lines: bytes, schema: pa.Schema) -> pa.Schema:
    """Change types that were inferred from JSON Lines so that they keep all numbers: doubles that would round become
    decimals, and integers of which one is `-0` become doubles.

    Returns:
        The same schema if nothing is lost with it.

    Raises:
        DataFailure: `malformed`, with the line, if no type keeps the numbers of a column.
    """
    paths = number_paths(schema)
    if not paths:
        return schema
    numbers: Inexact = {}
    before = 0
    for part in _parts(lines):
        for line, path, number in inexact_numbers(part, paths):
            if len(number) > len(numbers.get(path, ("", 0))[0]):
                numbers[path] = number, before + line
        before += part.count(b"\n")
    fields = {field.name: field.type for field in schema}
    for path, guess in guess_numbers(numbers, _parts(lines)).items():
        kind = guess.type()
        if types.is_string(kind):
            number, line = numbers[path]
            raise malformed(
                f"line {line}: column {'.'.join(path)!r}: no type keeps {number[:60]} and the other numbers; "
                "write them as texts, or give the column a type"
            )
        fields[path[0]] = retyped(fields[path[0]], path[1:], kind)
    return pa.schema(list(fields.items())) if numbers else schema


def _parts(lines: bytes) -> Iterator[bytes]:
    """Give a text in parts of whole lines."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start + _BYTES_AT_ONCE) + 1 or len(lines)
        current().check_time()
        yield lines[start:end]
        start = end


def guess_numbers(paths: Iterable[JsonPath], parts: Iterable[bytes]) -> dict[JsonPath, ColumnGuess]:
    """Find out the types at some paths from all numbers there, as they are written.

    Args:
        paths: Where.
        parts: The text, in parts of whole lines; they are not read without a path.
    """
    guesses = {path: ColumnGuess() for path in paths}
    for part in parts if guesses else ():
        seen: dict[JsonPath, list[str]] = {path: [] for path in guesses}
        for line in part.split(b"\n"):
            for path, number in written(line) if line.strip() else ():
                if path in seen:
                    seen[path].append(number)
        for path, texts in seen.items():
            guesses[path].add(pa.array(texts, pa.string()))
    return guesses


def inexact_numbers(text: bytes, paths: dict[JsonPath, pa.DataType]) -> Iterator[tuple[int, JsonPath, str]]:
    """Find numbers at some paths that the type there does not keep: each one's line in the text, its path and itself.

    Of a double, these are numbers with more digits, whole ones beyond 64 bits, and those that become 0; of an integer,
    `-0`. What else an integer does not keep, Arrow refuses.
    """
    suspects: list[tuple[int, str]] = []
    if any(map(types.is_float64, paths.values())):
        suspects += [*_long_numbers(text), *_tiny_numbers(text)]
    if any(map(types.is_integer, paths.values())):
        suspects += _negative_zeros(text)
    if not suspects:
        return
    suspects.sort()
    verdicts = exact_as_double(pa.array([number for _, number in suspects])).to_pylist()
    last = counted = 0
    line = 1
    found: list[tuple[int, JsonPath, str]] = []
    for (place, number), exact in zip(suspects, verdicts, strict=True):
        if (exact and number != "-0" and not _beyond_64_bits(number)) or place < last:
            continue
        begin = text.rfind(b"\n", 0, place) + 1
        end = text.find(b"\n", place)
        last = end = len(text) if end < 0 else end
        line += text.count(b"\n", counted, begin)
        counted = begin
        found += ((line, path, each) for path, each in written(text[begin:end]) if path in paths)
    verdicts = exact_as_double(pa.array([number for _, _, number in found], pa.string())).to_pylist()
    for (line, path, number), exact in zip(found, verdicts, strict=True):
        if number == "-0" if types.is_integer(paths[path]) else not exact or _beyond_64_bits(number):
            yield line, path, number


def _beyond_64_bits(number: str) -> bool:
    digits = number.lstrip("-")
    return digits.isdigit() and (len(digits) > _INTEGER_DIGITS or not -(2**63) <= int(number) < 2**63)


def _long_numbers(text: bytes) -> list[tuple[int, str]]:
    """Numbers with more digits than a double may keep, and their places. Some are within strings."""
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
        if match and text[begin - 1 : begin] in _BEFORE_VALUES:
            found.append((begin, match.group().decode()))
            end = match.end()
    return found


def _negative_zeros(text: bytes) -> list[tuple[int, str]]:
    data = np.frombuffer(text, np.uint8)
    signs = np.flatnonzero(data[:-2] == ord("-"))
    zeros = signs[(data[signs + 1] == ord("0")) & _AFTER_NUMBERS[data[signs + 2]]]
    return [(place, "-0") for place in zeros.tolist() if text[place - 1 : place] in _BEFORE_VALUES]


def _tiny_numbers(text: bytes) -> list[tuple[int, str]]:
    """Numbers with an exponent so low that a double of them may be 0, and their places."""
    if b"e-" not in text and b"E-" not in text:
        return []
    found = []
    for exponent in _TINY.finditer(text):
        begin = exponent.start()
        while text[begin - 1 : begin] in _NUMBER_BYTES:
            begin -= 1
        if (match := _NUMBER.fullmatch(text, begin, exponent.end())) is not None:
            found.append((begin, match.group().decode()))
    return found


def written(line: bytes) -> Iterator[tuple[JsonPath, str]]:
    """Give every number of a row as it is written, with its path."""
    current().require(_PARSED_BYTES * len(line))
    current().require_time(_PARSE_S * len(line))
    yield from _numbers(json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_not_finite), ())


def _not_finite(name: str) -> _Number:
    return _Number(_NOT_FINITE[name])


def _numbers(value: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    if isinstance(value, _Number):
        yield path, str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, (*path, "[]"))


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
