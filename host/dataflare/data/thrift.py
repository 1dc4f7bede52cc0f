"""Structs in Thrift's compact form, read so that Thrift cannot read them otherwise.

Thrift keeps 16 bits of a field's number, takes the last of a field that is there twice, and steps over what it does not
know: a field 65538 sets field 2. So a struct is read only if it has the fields of its definition, in ascending order.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from dataflare.data.shapes import malformed

__all__ = ["BINARY", "BOOLEAN", "I32", "I64", "Definition", "read_struct", "walk_struct"]

BOOLEAN, I32, I64, BINARY = 1, 5, 6, 8
_FALSE, _LIST, _STRUCT = 2, 9, 12
_NUMBERS: Final = frozenset({4, I32, I64})
_SIZES: Final = {3: 1, 7: 8}
"""Kinds of a fixed size in bytes: a byte and a double."""
_MOST_LEVELS: Final = 64
_EXTENSION: Final = 32_767
"""The field that Parquet leaves to extensions of any struct.
https://github.com/apache/parquet-format/blob/master/BinaryProtocolExtensions.md"""

Definition: TypeAlias = "dict[int, int | Definition]"
"""What fields a struct may have: the kind of each by its number, or the definition of a struct in it."""


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


def walk_struct(data: bytes, at: int, visit: Callable[[tuple[int, ...], int], object], where: str) -> int:
    """Walk through a struct of any definition, and show its numbers.

    Args:
        data: What it is in.
        at: Where it begins.
        visit: Is given each number (i16, i32, i64) in it, with the fields that lead to it, without places in lists.
        where: What errors say it is.

    Returns:
        Where it ends.

    Raises:
        DataFailure: `malformed`, as when a field is there twice, or has a number that Thrift takes for another.
        IndexError: The data ends early.
    """
    return _walk(data, at, _STRUCT, (), visit, where)


def _walk(
    data: bytes, at: int, kind: int, path: tuple[int, ...], visit: Callable[[tuple[int, ...], int], object], where: str
) -> int:
    if len(path) > _MOST_LEVELS:
        raise malformed(f"{where} is nested too deeply")
    if kind in _NUMBERS:
        value, at = _signed(data, at, 64, where)
        visit(path, value)
    elif kind == BINARY:
        size, at = _varint(data, at, 31, where)
        at += size
    elif kind == _STRUCT:
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
            if head & 15 not in (BOOLEAN, _FALSE):
                at = _walk(data, at, head & 15, (*path, number), visit, where)
        at += 1
    elif kind == _LIST:
        head, at = data[at], at + 1
        size, at = _varint(data, at, 31, where) if head >= 0xF0 else (head >> 4, at)
        if size > len(data) - at:
            raise IndexError(at)
        if head & 15 == _LIST:
            raise malformed(f"{where} has a list of lists, which Parquet does not use")
        if head & 15 in (BOOLEAN, _FALSE):
            return at + size
        for _ in range(size):
            at = _walk(data, at, head & 15, path, visit, where)
    elif kind in _SIZES:
        at += _SIZES[kind]
    else:
        raise malformed(f"{where} has a field of a kind that Parquet does not use: {kind}")
    if at > len(data):
        raise IndexError(at)
    return at


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
