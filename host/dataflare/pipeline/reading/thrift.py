"""Structs in Thrift's compact form, read so that Thrift cannot read them otherwise.

Thrift keeps 16 bits of a field's number, takes the last of a field that is there twice, and steps over what it does not
know: a field 65538 sets field 2. So a struct is read only if it has the fields of its definition, in ascending order.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from dataflare.data.shapes import malformed

__all__ = ["BINARY", "BOOLEAN", "I32", "I64", "Definition", "read_known", "read_struct"]

BOOLEAN, I32, I64, BINARY = 1, 5, 6, 8
_FALSE, _LIST, _STRUCT = 2, 9, 12
_BITS: Final = {4: 16, I32: 32, I64: 64}
_SIZES: Final = {3: 1, 7: 8}
"""Kinds of a fixed size in bytes: a byte and a double."""
_MOST_LEVELS: Final = 64
_EXTENSION: Final = 32_767
"""The field that Parquet leaves to extensions of any struct.
https://github.com/apache/parquet-format/blob/master/BinaryProtocolExtensions.md"""

Expected: TypeAlias = "int | Definition | list[int | Definition]"
"""The kind of a value; the definition of a struct; or, in a list of one, what a list has."""
Definition: TypeAlias = dict[int, Expected]
"""What fields a struct may have, by their numbers."""


def read_struct(data: bytes, at: int, definition: Definition, where: str) -> tuple[dict[int, Any], int]:
    """Read a struct.

    Args:
        data: What it is in.
        at: Where it begins.
        definition: What it may have.
        where: What errors say it is.

    Returns:
        Its values by field, and where it ends.

    Raises:
        DataFailure: `malformed`.
        IndexError: The data ends early.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head < 16:
            before = number
            number, at = _signed(data, at, 32, where)
            if number <= before:
                raise malformed(f"{where} has a field twice, or fields that do not ascend")
        else:
            number += head >> 4
        kind, expected = head & 15, definition.get(number)
        if expected is None:
            expected = _kind_of_other(number, where)
        if kind == expected:
            raw = data[at]
            if kind == BOOLEAN:
                fields[number] = True
            elif kind == BINARY:
                size, at = _varint(data, at, 31, where)
                fields[number] = data[at : at + size]
                at += size
            elif raw < 0x80:
                fields[number] = (raw >> 1) ^ -(raw & 1)
                at += 1
            else:
                fields[number], at = _signed(data, at, 32 if kind == I32 else 64, where)
        elif kind == _STRUCT and isinstance(expected, dict):
            fields[number], at = read_struct(data, at, expected, where)
        elif kind == _FALSE and expected == BOOLEAN:
            fields[number] = False
        else:
            raise malformed(f"{where} has a field of another kind than Parquet defines: {number}")
    return fields, at + 1


def read_known(data: bytes, at: int, definition: Definition, where: str) -> tuple[dict[int, Any], int]:
    """Read what a definition has of a struct that may also have other fields, which are stepped over as Thrift does.

    Args:
        data: What it is in.
        at: Where it begins.
        definition: What to read. It must have all lists that Parquet defines: Thrift reads them as their definitions
            say, whatever they say of themselves.
        where: What errors say it is.

    Returns:
        Its values by field, and where it ends.

    Raises:
        DataFailure: `malformed`, as when a field is there twice, or has a number that Thrift takes for another.
        IndexError: The data ends early.
    """
    return _value(data, at, _STRUCT, definition, 0, where)


def _value(data: bytes, at: int, kind: int, expected: Expected | None, level: int, where: str) -> tuple[Any, int]:
    """Read a value, and where it ends; of a value that is not expected, find only where that is."""
    if expected is not None and kind != _kind_of(expected):
        raise malformed(f"{where} has a value of another kind than Parquet defines")
    if level > _MOST_LEVELS:
        raise malformed(f"{where} is nested too deeply")
    value: Any = None
    if kind in _BITS:
        value, at = _signed(data, at, _BITS[kind], where)
    elif kind == BINARY:
        size, at = _varint(data, at, 31, where)
        at += size
        value = None if expected is None else data[at - size : at]
    elif kind == _STRUCT:
        value, at = _fields(data, at, expected if isinstance(expected, dict) else {}, level, where)
    elif kind == _LIST:
        value, at = _items(data, at, expected[0] if isinstance(expected, list) else None, level, where)
    elif kind in _SIZES:
        at += _SIZES[kind]
    else:
        raise malformed(f"{where} has a field of a kind that Parquet does not use: {kind}")
    if at > len(data):
        raise IndexError(at)
    return value, at


def _fields(data: bytes, at: int, definition: Definition, level: int, where: str) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        before = number
        if head < 16:
            number, at = _signed(data, at, 32, where)
        else:
            number += head >> 4
        if not before < number <= _EXTENSION:
            raise malformed(f"{where} has a field twice, or fields that do not ascend")
        expected, kind = definition.get(number), head & 15
        if kind not in (BOOLEAN, _FALSE) or expected is not None:
            value, at = _value(data, at, kind, expected, level + 1, where)
            if expected is not None:
                fields[number] = value
    return fields, at + 1


def _items(data: bytes, at: int, expected: Expected | None, level: int, where: str) -> tuple[list[Any], int]:
    head, at = data[at], at + 1
    size, at = _varint(data, at, 31, where) if head >= 0xF0 else (head >> 4, at)
    kind = head & 15
    if size > len(data) - at:
        raise IndexError(at)
    if kind == _LIST and size:
        raise malformed(f"{where} has a list of lists, which Parquet does not use")
    if kind in (BOOLEAN, _FALSE) and expected is None:
        return [], at + size
    values = []
    for _ in range(size):
        value, at = _value(data, at, kind, expected, level + 1, where)
        if expected is not None:
            values.append(value)
    return values, at


def _kind_of(expected: Expected) -> int:
    return _STRUCT if isinstance(expected, dict) else _LIST if isinstance(expected, list) else expected


def _kind_of_other(number: int, where: str) -> int:
    """The kind of a field that no definition has."""
    if number != _EXTENSION:
        raise malformed(f"{where} has a field that Parquet does not define: {number}")
    return BINARY


def _signed(data: bytes, at: int, bits: int, where: str) -> tuple[int, int]:
    raw, at = _varint(data, at, bits, where)
    return (raw >> 1) ^ -(raw & 1), at


def _varint(data: bytes, at: int, bits: int, where: str) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if value >> bits or shift > bits + 6:
            raise malformed(f"{where} has a number of too many bits")
        if byte < 0x80:
            return value, at
