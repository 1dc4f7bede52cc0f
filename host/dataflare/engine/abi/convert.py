"""Conversions of single values from Python to WIT. Compiled codecs and the messages to workers both use them."""

from __future__ import annotations

import array as arrays
import operator
from collections.abc import Mapping, Sequence
from enum import Flag
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dataflare.values import Err, Ok, Some, Variant

__all__ = [
    "DTYPES",
    "HELPERS",
    "MISFITS",
    "FlagSets",
    "MadeFlags",
    "as_bool",
    "as_bytes",
    "as_char",
    "as_float",
    "as_int",
    "as_numbers",
    "as_utf8",
    "flag_bits",
    "list_items",
    "made_bits",
    "no_payload",
    "result_parts",
    "some",
]

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "bool": np.dtype(np.bool_),
    "s8": np.dtype("<i1"),
    "u8": np.dtype("<u1"),
    "s16": np.dtype("<i2"),
    "u16": np.dtype("<u2"),
    "s32": np.dtype("<i4"),
    "u32": np.dtype("<u4"),
    "s64": np.dtype("<i8"),
    "u64": np.dtype("<u8"),
    "f32": np.dtype("<f4"),
    "f64": np.dtype("<f8"),
}
"""Element types whose lists are numpy arrays, with the dtype of each."""

_BUFFERS: Final = (bytes, bytearray, memoryview, pa.Buffer)
_NO_LISTS: Final = (str, *_BUFFERS, Mapping, set, frozenset)
"""What has items, or an order, that a list does not mean."""


class FlagSets(dict[int, frozenset[str]]):
    """The set of flag names for each number, made when the number first occurs."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def __missing__(self, bits: int) -> frozenset[str]:
        made = frozenset(name for i, name in enumerate(self._names) if bits >> i & 1)
        if len(self) < 4096:
            self[bits] = made
        return made


class MadeFlags(dict[int, Flag]):
    """The members of a `Flag` class for each number, made when the number first occurs; ignores unknown bits."""

    def __init__(self, made: type[Flag]) -> None:
        self._made = made
        self._all = sum(member.value for member in made)

    def __missing__(self, bits: int) -> Flag:
        found = self._made(bits & self._all)
        if len(self) < 4096:
            self[bits] = found
        return found


def as_int(value: Any) -> int:
    """Convert to an integer; refuse a bool."""
    if isinstance(value, bool | np.bool_):
        raise TypeError("a bool is not an integer")
    return operator.index(value)


def as_float(value: Any) -> float:
    """Convert a number to a float; refuse a bool."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.floating | np.integer):
        raise TypeError(f"a {type(value).__name__} is not a number")
    return float(value)


def as_bool(value: Any) -> bool:
    """Convert a Python or numpy bool."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"a {type(value).__name__} is not a bool")


def as_char(value: Any) -> int:
    """Return the code point of a single character."""
    if not isinstance(value, str) or len(value) != 1:
        raise TypeError("not a single character")
    code = ord(value)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("half of a surrogate pair")
    return code


def as_utf8(value: Any) -> bytes | memoryview:
    """Return the UTF-8 of a text: of a `str`, or a contiguous buffer of bytes, which is checked."""
    if isinstance(value, str):
        return str.encode(value)  # the characters themselves, whatever a subclass says of them
    data = _byte_buffer(value)
    if data is None:
        raise TypeError(f"a {type(value).__name__} is not a text")
    if isinstance(value, pa.Buffer):
        ends = pa.py_buffer(np.array([0, value.size], np.int64))
        pa.LargeStringArray.from_buffers(1, ends, value).validate(full=True)
    else:
        str(data, "utf-8")
    return data


def as_bytes(value: Any) -> bytes | memoryview:
    """Return the bytes of a `list<u8>`: of a contiguous buffer of bytes, or of a list of numbers."""
    data = _byte_buffer(value)
    return as_numbers(value, DTYPES["u8"]).data if data is None else data


def _byte_buffer(value: Any) -> bytes | memoryview | None:
    """Return the bytes of a buffer; `None` if its items are not bytes, or not one after the other."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, _BUFFERS):
        return None
    view = memoryview(value)
    if not view.contiguous or view.ndim != 1 or view.format != ("b" if isinstance(value, pa.Buffer) else "B"):
        return None
    return view.cast("B")


def as_numbers(values: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Convert to a contiguous array of exactly this element type; a value that does not fit is an error."""
    listed = None
    if type(values) is np.ndarray:
        array = values
    elif isinstance(values, pa.Array | pa.ChunkedArray):
        if values.null_count:
            raise TypeError(f"an array with {values.null_count} nulls")
        array = values.to_numpy(zero_copy_only=False)
    elif isinstance(values, arrays.array) or (
        isinstance(values, memoryview) and (values.format != "B" or dtype == DTYPES["u8"])
    ):
        array = np.asarray(values)
    else:
        array = listed = _from_list(list_items(values), dtype)
    if array.ndim != 1:
        raise TypeError(f"an array of {array.ndim} dimensions, not 1")
    if array is not listed and array.dtype == np.dtype(object) and dtype.kind in "iu":
        array = _from_list(array, dtype)  # numpy would cut 1.5 to 1, and read "5" as 5
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    if len(array) == 0:
        return np.empty(0, dtype)
    if not _same_family(array.dtype, dtype):
        raise TypeError(f"an array of {array.dtype}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise OverflowError(f"{low if low < limits.min else high} is out of range")
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    if dtype == np.float32 and bool((np.isinf(made) & np.isfinite(array)).any()):
        raise OverflowError("a number is out of range")
    return made


def _from_list(values: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind == "b":
        return np.array([v if v is True or v is False else as_bool(v) for v in values], dtype)
    if dtype.kind == "f":
        return np.array([as_float(v) for v in values], np.float64)
    return np.array([as_int(v) for v in values], object) if len(values) else np.empty(0, dtype)


def _same_family(have: np.dtype[Any], want: np.dtype[Any]) -> bool:
    if want.kind == "b":
        return have.kind == "b"
    if want.kind == "f":
        return have.kind in "fiu"
    return have.kind in "iu" or have == np.dtype(object)


def flag_bits(bits: Mapping[str, int], value: Any) -> int:
    if isinstance(value, (str, *_BUFFERS)):
        raise TypeError(f"a {type(value).__name__} is not a set of flags")
    total = 0
    for name in value:
        total |= bits[name]
    return total


def made_bits(made: type[Flag], value: Any) -> int:
    if type(value) is not made:
        raise TypeError(f"a {type(value).__name__} is not a {made.__name__}")
    bits: int = value.value
    return bits


def some(value: Any) -> Any:
    if type(value) is not Some:
        raise TypeError("an option within an option is None or Some(value)")
    return value.value


def result_parts(value: Any) -> tuple[int, Any]:
    if type(value) is Ok:
        return 0, value.value
    if type(value) is Err:
        return 1, value.error
    raise TypeError("a result is Ok(value) or Err(error)")


def no_payload(value: Any) -> None:
    if value is not None:
        raise TypeError("there is no payload here")


def no_items(value: Any) -> None:
    if len(list_items(value)):
        raise TypeError("a tuple of no items")


def list_items(value: Any) -> Sequence[Any]:
    """Return the items of a list or a tuple: of any sequence, except texts, buffers, mappings and sets."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, _NO_LISTS) or not hasattr(value, "__len__"):
        raise TypeError(f"a {type(value).__name__} is not a list")
    return tuple(value)


def same_length(end: int, expected: int) -> None:
    if end != expected:
        raise TypeError("a list that changed during the call")


def load_case(names: Any, loaders: Any, m: Any, number: int, address: int) -> Any:
    load = loaders[number]
    return Variant(names[number], load(m, address) if load is not None else None)


def load_made(classes: Any, loaders: Any, m: Any, number: int, address: int) -> Any:
    load = loaders[number]
    return classes[number](load(m, address)) if load is not None else classes[number]()


def store_case(store: Any, m: Any, address: int, value: Any) -> None:
    if store is None:
        no_payload(value)
    else:
        store(m, address, value)


HELPERS: Final = {
    f.__name__: f
    for f in (
        as_int,
        as_float,
        as_bool,
        as_char,
        flag_bits,
        made_bits,
        some,
        result_parts,
        no_payload,
        no_items,
        list_items,
        same_length,
        load_case,
        load_made,
        store_case,
    )
}
"""The functions that the source of codecs calls by name."""

MISFITS: Final = (TypeError, ValueError, OverflowError, AttributeError, KeyError)
"""What writing a value that does not fit may raise, in addition to `struct.error`."""
