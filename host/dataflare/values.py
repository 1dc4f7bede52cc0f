"""The Python shapes of WIT values.

| WIT | Python, given and taken |
| --- | --- |
| `bool`, `string`, `char` | `bool`, `str` (a buffer of UTF-8 is taken), `str` of length 1 |
| `u8` ... `s64` | `int` (never `bool`; anything with `__index__` is taken) |
| `f32`, `f64` | `float` (an `int` is taken) |
| `list<u8>` | given as `bytes`; `bytes`, `bytearray` and pyarrow's `Buffer` are taken, and what the next row names |
| `list<number>`, `list<bool>` | given as a 1-D `numpy.ndarray`; sequences, `memoryview` and pyarrow arrays are taken |
| `list<T>` | `list` (any sequence is taken, except a text) |
| `tuple<...>` | `tuple` |
| `option<T>` | `None` or the value; where `T` is itself an option, `None` or `Some(value)` |
| `result<T, E>` | `Ok(value)` or `Err(error)`, always |
| `variant` | `Variant`: `case` is the WIT name, `value` the payload or `None` |
| `enum` | `str`: the WIT name of the case |
| `flags` | `frozenset[str]` of the WIT names |
| `record` | an object with an attribute a field, in snake case; every such object is taken, so any dataclass fits |
| a handle to a host's resource | the Python object that stands behind it |
| a handle to a plugin's resource | an opaque object, or the class that [bindings](bindings.md) have for it |

The shape depends on the type alone, never on the value. Arrays are taken by their items: a number that does not fit is
refused, and is never read as bytes. The same holds with `isolation: process`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Err", "Ok", "Some", "Variant"]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """The good case of a WIT `result`."""

    value: T_co = None  # type: ignore[assignment]  # result<_, E> has no payload


@dataclass(frozen=True, slots=True)
class Err(Generic[T_co]):
    """The bad case of a WIT `result`."""

    error: T_co = None  # type: ignore[assignment]  # result<T> has no error payload


@dataclass(frozen=True, slots=True)
class Some(Generic[T_co]):
    """The inner option of an `option<option<T>>` that is there."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Variant:
    """A WIT `variant`: the name of the case as in the WIT, and its payload (`None` where it has none)."""

    case: str
    value: Any = None
