"""The search for the part of a value that does not fit its type."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dataflare.engine.abi.convert import (
    DTYPES,
    MISFITS,
    as_bool,
    as_bytes,
    as_char,
    as_float,
    as_int,
    as_numbers,
    as_utf8,
    flag_bits,
    list_items,
)
from dataflare.engine.abi.records import MISSING, attributes, find_attribute
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
from dataflare.values import Err, Ok, Some

__all__ = ["explain"]

_INTEGERS: Final = {f"{sign}{bits}": (sign == "s", bits) for sign in "su" for bits in (8, 16, 32, 64)}


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
            items = list_items(value) if _fits(list_items, value) else None
            if items is None or len(items) != len(ty.items):
                return _wrong(path, f"a tuple of {len(ty.items)}", value)
            parts = [(t, item, f"{path}[{i}]") for i, (t, item) in enumerate(zip(ty.items, items, strict=True))]
            return _first(parts)
        case RecordT():
            found = {name: find_attribute(value, name) for name in attributes(ty)}
            missing = [name for name, each in found.items() if each is MISSING]
            if missing:
                return _wrong(path, f"an object with the attribute {missing[0]!r}", value)
            return _first([(t, v, f"{path}.{n}") for (n, v), (_, t) in zip(found.items(), ty.fields, strict=True)])
        case VariantT(made=tuple() as classes):
            if type(value) not in classes:
                return _wrong(path, f"one of {', '.join(cls.__name__ for cls in classes)}", value)
            name, payload = ty.cases[classes.index(type(value))]
            return None if payload is None else _explain(payload, value.value, f"{path}.{name}")
        case VariantT():
            cases = dict(ty.cases)
            case, payload = find_attribute(value, "case"), find_attribute(value, "value")
            if not isinstance(case, str) or case not in cases or payload is MISSING:
                return _wrong(path, f"a Variant with one of the cases {', '.join(cases)}", value)
            return _explain_payload(cases[case], payload, f"{path}.{case}")
        case EnumT(made=type() as made) | FlagsT(made=type() as made):
            return None if type(value) is made else _wrong(path, f"a {made.__name__}", value)
        case EnumT():
            return (
                None
                if isinstance(value, str) and value in ty.names
                else _wrong(path, f"one of {', '.join(ty.names)}", value)
            )
        case FlagsT():
            return (
                None
                if _fits(partial(flag_bits, dict.fromkeys(ty.names, 0)), value)
                else _wrong(path, f"a set of {', '.join(ty.names)}", value)
            )
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
        fits = _fits(as_int, value) and low <= as_int(value) <= high
        return None if fits else _wrong(path, f"an int from {low} to {high}", value)
    if name in ("f32", "f64"):
        fits = _fits(as_float, value)
        if fits and name == "f32":
            number = as_float(value)
            fits = not math.isfinite(number) or abs(number) < 3.4028235677973366e38
        return None if fits else _wrong(path, "a number that fits " + name, value)
    if name == "bool":
        return None if _fits(as_bool, value) else _wrong(path, "True or False", value)
    if name == "char":
        return None if _fits(as_char, value) else _wrong(path, "a single character", value)
    if _fits(as_utf8, value):
        return None
    text = isinstance(value, str)
    return _wrong(path, "a text without halves of surrogate pairs" if text else "a str, or bytes of UTF-8", value)


def _explain_list(element: Type, value: Any, path: str) -> ValueTypeError | None:
    error: ValueTypeError | None = None
    if isinstance(element, PrimT) and element.name in DTYPES:
        try:
            _ = as_bytes(value) if element.name == "u8" else as_numbers(value, DTYPES[element.name])
        except MISFITS as misfit:
            error = ValueTypeError(f"expected a list of {element.name}: {misfit}", path=path)
            if isinstance(value, np.ndarray | pa.Array | pa.ChunkedArray):
                return error
        else:
            return None
    if not _fits(list_items, value):
        return error or _wrong(path, "a list", value)
    return _first([(element, item, f"{path}[{i}]") for i, item in enumerate(list_items(value))]) or error


def _fits(convert: Callable[[Any], Any], value: Any) -> bool:
    try:
        convert(value)
    except MISFITS:
        return False
    return True
