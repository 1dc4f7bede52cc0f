"""What compiled codecs call: conversions of single values, and the search for the part of a value that does not fit."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from enum import Flag
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dataflare.engine.abi.records import attributes
from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.errors import ValueTypeError
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["DTYPES", "HELPERS", "MISFITS", "FlagSets", "MadeFlags", "as_numbers", "explain"]

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

_INTEGERS: Final = {f"{sign}{bits}": (sign == "s", bits) for sign in "su" for bits in (8, 16, 32, 64)}


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
    if isinstance(value, np.bool_):
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


def as_numbers(values: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Convert to a contiguous array of exactly this element type; a value that does not fit is an error."""
    listed = None
    if type(values) is np.ndarray:
        array = values
    elif hasattr(values, "to_numpy") and hasattr(values, "null_count"):  # a pyarrow array
        if values.null_count:
            raise TypeError(f"an array with {values.null_count} nulls")
        array = values.to_numpy(zero_copy_only=False)
    elif isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise TypeError(f"a {type(values).__name__} is not a list of numbers")
    else:
        array = listed = _from_list(values, dtype)
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
    if isinstance(value, str | bytes):
        raise TypeError("a text is not a set of flags")
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
    if len(value):
        raise TypeError("a tuple of no items")


def list_items(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
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


def explain(ty: Type, value: Any, path: str) -> ValueTypeError | None:
    """Return the error for the first part of a value that does not fit its type; `None` if everything fits."""
    try:
        return _explain(ty, value, path)
    except RecursionError:
        return ValueTypeError("the value holds itself, or is nested too deeply", path=path)


def _wrong(path: str, expected: str, value: Any) -> ValueTypeError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ValueTypeError(f"expected {expected}, not {shown} ({type(value).__name__})", path=path)


def _explain(ty: Type, value: Any, path: str) -> ValueTypeError | None:
    match ty:
        case PrimT():
            return _explain_primitive(ty.name, value, path)
        case ListT():
            return _explain_list(ty.element, value, path)
        case OptionT():
            if value is None:
                return None
            if isinstance(ty.inner, OptionT):
                if not isinstance(value, Some):
                    return _wrong(path, "None or Some(value)", value)
                value = value.value
            return _explain(ty.inner, value, path)
        case ResultT():
            if not isinstance(value, Ok | Err):
                return _wrong(path, "Ok(value) or Err(error)", value)
            good = isinstance(value, Ok)
            return _explain_payload(
                ty.ok if good else ty.err,
                value.value if isinstance(value, Ok) else value.error,
                f"{path}.{'ok' if good else 'err'}",
            )
        case TupleT():
            try:
                items = tuple(value)
            except TypeError:
                items = ()
            if isinstance(value, str | bytes | Mapping) or len(items) != len(ty.items):
                return _wrong(path, f"a tuple of {len(ty.items)}", value)
            parts = [(t, item, f"{path}[{i}]") for i, (t, item) in enumerate(zip(ty.items, items, strict=True))]
            return _first(parts)
        case RecordT():
            names = attributes(ty)
            missing = [name for name in names if not hasattr(value, name)]
            if missing:
                return _wrong(path, f"an object with the attribute {missing[0]!r}", value)
            return _first([(t, getattr(value, n), f"{path}.{n}") for n, (_, t) in zip(names, ty.fields, strict=True)])
        case VariantT(made=tuple() as classes):
            if type(value) not in classes:
                return _wrong(path, f"one of {', '.join(cls.__name__ for cls in classes)}", value)
            name, payload = ty.cases[classes.index(type(value))]
            return None if payload is None else _explain(payload, value.value, f"{path}.{name}")
        case VariantT():
            cases = dict(ty.cases)
            case = getattr(value, "case", None)
            if not isinstance(case, str) or case not in cases or not hasattr(value, "value"):
                return _wrong(path, f"a Variant with one of the cases {', '.join(cases)}", value)
            return _explain_payload(cases[case], value.value, f"{path}.{case}")
        case EnumT(made=type() as made) | FlagsT(made=type() as made):
            return None if type(value) is made else _wrong(path, f"a {made.__name__}", value)
        case EnumT():
            return (
                None
                if isinstance(value, str) and value in ty.names
                else _wrong(path, f"one of {', '.join(ty.names)}", value)
            )
        case FlagsT():
            try:
                fits = not isinstance(value, str | bytes) and set(value) <= set(ty.names)
            except TypeError:
                fits = False
            return None if fits else _wrong(path, f"a set of {', '.join(ty.names)}", value)
        case OwnT(made=type() as made) | BorrowT(made=type() as made):
            return None if isinstance(value, made) else _wrong(path, f"a {made.__name__}", value)
        case OwnT(made=made) | BorrowT(made=made):
            try:
                if made is not None:
                    made.check(value)
            except ValueTypeError as error:
                return ValueTypeError(error.message, path=path)
            return None


def _first(parts: list[tuple[Type, Any, str]]) -> ValueTypeError | None:
    return next((found for t, v, p in parts if (found := _explain(t, v, p)) is not None), None)


def _explain_payload(ty: Type | None, value: Any, path: str) -> ValueTypeError | None:
    if ty is None:
        return None if value is None else _wrong(path, "no payload", value)
    return _explain(ty, value, path)


def _explain_primitive(name: str, value: Any, path: str) -> ValueTypeError | None:
    if name in _INTEGERS:
        signed, bits = _INTEGERS[name]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        try:
            fits = low <= as_int(value) <= high
        except TypeError:
            fits = False
        return None if fits else _wrong(path, f"an int from {low} to {high}", value)
    if name in ("f32", "f64"):
        try:
            number = as_float(value)
            fits = name == "f64" or not np.isfinite(number) or abs(number) < 3.4028235677973366e38
        except (TypeError, OverflowError):
            fits = False
        return None if fits else _wrong(path, "a number that fits " + name, value)
    if name == "bool":
        return None if isinstance(value, bool | np.bool_) else _wrong(path, "True or False", value)
    if name == "char":
        try:
            as_char(value)
        except (TypeError, ValueError):
            return _wrong(path, "a single character", value)
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return _wrong(path, "a text without halves of surrogate pairs", value)
        return None
    try:
        bytes(memoryview(value)).decode()
    except (TypeError, UnicodeDecodeError):
        return _wrong(path, "a str, or bytes of UTF-8", value)
    return None


def _explain_list(element: Type, value: Any, path: str) -> ValueTypeError | None:
    if element == PrimT("u8") and isinstance(value, bytes | bytearray | memoryview | pa.Buffer):
        view = memoryview(value)
        fits = view.contiguous and view.itemsize == 1 and view.ndim == 1
        return None if fits else _wrong(path, "a contiguous buffer of bytes", value)
    if (
        isinstance(element, PrimT)
        and element.name in DTYPES
        and (type(value) is np.ndarray or hasattr(value, "null_count"))
    ):
        try:
            as_numbers(value, DTYPES[element.name])
        except (TypeError, OverflowError) as error:
            return ValueTypeError(f"expected a list of {element.name}, not {error}", path=path)
        return None
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return _wrong(path, "a list", value)
    return _first([(element, item, f"{path}[{i}]") for i, item in enumerate(value)])
