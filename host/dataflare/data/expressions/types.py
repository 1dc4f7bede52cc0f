"""Classes of Arrow types that functions accept, and the check of arguments against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

__all__ = [
    "ANY",
    "BINARY",
    "BOOLEAN",
    "COMPARABLE",
    "DATE",
    "DURATION",
    "FLAT",
    "INTEGER",
    "LIST",
    "NUMBER",
    "NUMERIC",
    "STRUCT",
    "TEXT",
    "TEXT_OR_BINARY",
    "TIME",
    "TIMESTAMP",
    "Signature",
    "TypeClass",
    "accepting",
    "one_of",
    "plain",
    "typed_nulls",
    "whole",
    "widened",
]


@dataclass(frozen=True, slots=True)
class TypeClass:
    """A set of Arrow types, by their ids, with the name that the reference uses."""

    name: str
    ids: frozenset[int]

    def __str__(self) -> str:
        return self.name

    def holds(self, data_type: pa.DataType) -> bool:
        """Whether the class contains this type."""
        return data_type.id in self.ids


def one_of(*classes: TypeClass, name: str = "") -> TypeClass:
    """Make the class of all types of some classes."""
    name = name or " or ".join(each.name for each in classes)
    return TypeClass(name, frozenset().union(*(each.ids for each in classes)))


def _of(name: str, *samples: pa.DataType) -> TypeClass:
    return TypeClass(name, frozenset(each.id for each in samples))


_INTEGERS: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_NULL_ID: Final = pa.null().id
_NARROW_IDS: Final = frozenset((pa.decimal32(1).id, pa.decimal64(1).id))
INTEGER: Final = _of("integer", *_INTEGERS)
# Few of Arrow's functions accept half floats.
NUMBER: Final = _of("number", *_INTEGERS, pa.float32(), pa.float64())
NUMERIC: Final = one_of(NUMBER, _of("decimal", pa.decimal128(1), pa.decimal256(1)), name="numeric")
TEXT: Final = _of("text", pa.string(), pa.large_string())
BINARY: Final = _of("binary", pa.binary(), pa.large_binary())
BOOLEAN: Final = _of("boolean", pa.bool_())
DATE: Final = _of("date", pa.date32(), pa.date64())
TIMESTAMP: Final = _of("timestamp", pa.timestamp("us"))
TIME: Final = _of("time", pa.time32("s"), pa.time64("us"))
DURATION: Final = _of("duration", pa.duration("us"))
LIST: Final = _of("list", pa.list_(pa.null()), pa.large_list(pa.null()))
STRUCT: Final = _of("struct", pa.struct([]))
ANY: Final = TypeClass("any", frozenset(range(128)))
"""More ids than Arrow has."""
COMPARABLE: Final = (NUMERIC, TEXT, BINARY, BOOLEAN, DATE, TIMESTAMP, TIME, DURATION)
"""Values of the same class can be compared; values of different classes cannot."""
FLAT: Final = one_of(*COMPARABLE, name="flat")
TEXT_OR_BINARY: Final = one_of(TEXT, BINARY)
"""Values of any length, one after another in one buffer."""

_PLAINEST: Final = {
    "integer": pa.int64(),
    "number": pa.int64(),
    "numeric": pa.int64(),
    "text": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "duration": pa.duration("us"),
    "time": pa.time64("us"),
}
"""The type of an untyped null if no other argument decides it, by the class's name."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One form of a function's arguments: a class of types for each.

    With `variadic` the last class stands for one or more arguments.
    """

    parameters: tuple[TypeClass, ...]
    variadic: bool = False

    def __str__(self) -> str:
        return ", ".join(map(str, self.parameters)) + (", ..." if self.variadic else "")

    def takes(self, arguments: Sequence[pa.DataType]) -> bool:
        """Whether arguments of these types fit. The null type always fits."""
        wanted = self.parameters
        if self.variadic:
            wanted += wanted[-1:] * (len(arguments) - len(wanted))
        if len(wanted) != len(arguments):
            return False
        for kind, given in zip(wanted, arguments, strict=True):
            if given.id not in kind.ids and given.id != _NULL_ID:
                return False
        return True


def accepting(forms: Sequence[Signature], arguments: Sequence[pa.DataType]) -> Signature | None:
    """Return the first form of a function that accepts arguments of these types; `None` if there is none."""
    for form in forms:
        if form.takes(arguments):
            return form if _zones_agree(arguments) else None
    return None


def typed_nulls(signature: Signature, arguments: Sequence[Any]) -> list[Any]:
    """Give untyped nulls the type of another argument of their class, or the default type of their class."""
    if not any(each.type.id == _NULL_ID for each in arguments):
        return list(arguments)
    kinds = [signature.parameters[min(at, len(signature.parameters) - 1)] for at in range(len(arguments))]
    known = {id(kind): each.type for kind, each in zip(kinds, arguments, strict=True) if not types.is_null(each.type)}
    typed = []
    for kind, each in zip(kinds, arguments, strict=True):
        wanted = known.get(id(kind)) or _PLAINEST.get(kind.name)
        if not types.is_null(each.type) or wanted is None:
            typed.append(each)
        elif isinstance(each, pa.Scalar):
            typed.append(pa.scalar(None, wanted))
        else:
            typed.append(pa.nulls(len(each), wanted))
    return typed


def _zones_agree(arguments: Sequence[pa.DataType]) -> bool:
    """Whether all timestamps have a zone or none has: Arrow cannot compare a mix."""
    zones = {each.tz is None for each in arguments if types.is_timestamp(each)}
    return len(zones) < 2


def plain(array: pa.Array) -> pa.Array:
    """Return what functions get: the storage of an extension type, the values of a dictionary, decimals of 128 bits."""
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return plain(array.dictionary_decode())
    return widened(array)


def widened(value: Any) -> Any:
    """Return a decimal of 32 or 64 bits as one of 128, for which Arrow has functions; anything else as it is."""
    if value.type.id in _NARROW_IDS:
        return value.cast(pa.decimal128(value.type.precision, value.type.scale))
    return value


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Combine the chunks of a column into one array; a single chunk is not copied."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
