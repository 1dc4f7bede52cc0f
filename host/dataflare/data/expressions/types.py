"""Classes of Arrow types that functions take, and whether a function takes some arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from dataflare.data.views import is_text

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
]


@dataclass(frozen=True, slots=True)
class TypeClass:
    """Some of Arrow's types, under a name that the reference uses."""

    name: str
    holds: Callable[[Any], bool]

    def __str__(self) -> str:
        return self.name


def _is_float(data_type: pa.DataType) -> bool:
    # Few of Arrow's functions take halves.
    return bool(types.is_float32(data_type) or types.is_float64(data_type))


def _is_binary(data_type: pa.DataType) -> bool:
    return bool(types.is_binary(data_type) or types.is_large_binary(data_type))


def _is_decimal(data_type: pa.DataType) -> bool:
    return bool(types.is_decimal128(data_type) or types.is_decimal256(data_type))


def _is_flat(data_type: pa.DataType) -> bool:
    return any(each.holds(data_type) for each in _FLAT)


INTEGER: Final = TypeClass("integer", types.is_integer)
NUMBER: Final = TypeClass("number", lambda each: types.is_integer(each) or _is_float(each))
NUMERIC: Final = TypeClass("numeric", lambda each: NUMBER.holds(each) or _is_decimal(each))
TEXT: Final = TypeClass("text", is_text)
BINARY: Final = TypeClass("binary", _is_binary)
BOOLEAN: Final = TypeClass("boolean", types.is_boolean)
DATE: Final = TypeClass("date", types.is_date)
TIMESTAMP: Final = TypeClass("timestamp", types.is_timestamp)
TIME: Final = TypeClass("time", types.is_time)
DURATION: Final = TypeClass("duration", types.is_duration)
_FLAT: Final = (NUMERIC, TEXT, BINARY, BOOLEAN, DATE, TIMESTAMP, TIME, DURATION)
FLAT: Final = TypeClass("flat", _is_flat)
LIST: Final = TypeClass("list", lambda each: types.is_list(each) or types.is_large_list(each))
STRUCT: Final = TypeClass("struct", types.is_struct)
ANY: Final = TypeClass("any", lambda _: True)
COMPARABLE: Final = (NUMERIC, TEXT, BINARY, BOOLEAN, DATE, TIMESTAMP, TIME, DURATION)
"""Values of one of these classes can be compared with each other, not with those of another."""


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
"""What a null becomes where nothing else says its type, by the class's name."""


def one_of(*classes: TypeClass) -> TypeClass:
    """Make the class of all types of some classes."""
    return TypeClass(" or ".join(map(str, classes)), lambda each: any(kind.holds(each) for kind in classes))


TEXT_OR_BINARY: Final = one_of(TEXT, BINARY)
"""Values of any length, one after another in one buffer."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes in one of its forms: a class for each argument.

    With `variadic` the last class stands for one argument or more.
    """

    parameters: tuple[TypeClass, ...]
    variadic: bool = False

    def __str__(self) -> str:
        return ", ".join(map(str, self.parameters)) + (", ..." if self.variadic else "")

    def takes(self, arguments: Sequence[pa.DataType]) -> bool:
        """Whether arguments of these types fit. A null fits everywhere."""
        wanted = list(self.parameters)
        if self.variadic:
            wanted += wanted[-1:] * (len(arguments) - len(wanted))
        return len(wanted) == len(arguments) and all(
            types.is_null(given) or kind.holds(given) for kind, given in zip(wanted, arguments, strict=True)
        )


def accepting(forms: Sequence[Signature], arguments: Sequence[pa.DataType]) -> Signature | None:
    """Find the form of a function that takes arguments of these types; `None` for none."""
    if not _zones_agree(arguments):
        return None
    return next((each for each in forms if each.takes(arguments)), None)


def typed_nulls(signature: Signature, arguments: Sequence[Any]) -> list[Any]:
    """Give untyped nulls the type of another argument of their class, or their class's plainest type."""
    if not any(types.is_null(each.type) for each in arguments):
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
    """Whether timestamps are all of a zone or all of none: Arrow compares no others."""
    zones = {each.tz is None for each in arguments if types.is_timestamp(each)}
    return len(zones) < 2


def plain(array: pa.Array) -> pa.Array:
    """Return the array that functions see: an extension type's storage, a dictionary's values written out."""
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return plain(array.dictionary_decode())
    return array


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Make one array of a column in chunks; one chunk is not copied."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
