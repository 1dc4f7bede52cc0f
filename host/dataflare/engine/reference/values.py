"""Values of the reference implementation: checked, and converted one by one to wasmtime's own value structures.

There are two steps, so that nothing has to be undone. `check` converts a Python value to a plain tree, or refuses it,
without side effects. `write` puts the tree into wasmtime's structures; no value that passed `check` makes it fail.
`read` is the reverse.

wasmtime-py's own conversions are not used: they choose the case of a variant by the value's Python type, so that `True`
is not a value of `variant { number(u8), flag(bool) }`, do not check ranges, and lose memory for each payload.
"""

from __future__ import annotations

import ctypes
import keyword
import operator
from collections.abc import Sequence, Set
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from wasmtime import _ffi as ffi

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
    fields_of,
)
from dataflare.errors import ValueTypeError
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["Handles", "ReferenceRecord", "check", "read", "write"]

_Val: TypeAlias = Any  # a wasmtime_component_val; ctypes gives it no type that mypy can use

_INTEGERS: Final = {f"{sign}{bits}": (sign == "s", bits) for sign in "su" for bits in (8, 16, 32, 64)}
_KINDS: Final = {
    "bool": (ffi.WASMTIME_COMPONENT_BOOL, "boolean"),
    "s8": (ffi.WASMTIME_COMPONENT_S8, "s8"),
    "u8": (ffi.WASMTIME_COMPONENT_U8, "u8"),
    "s16": (ffi.WASMTIME_COMPONENT_S16, "s16"),
    "u16": (ffi.WASMTIME_COMPONENT_U16, "u16"),
    "s32": (ffi.WASMTIME_COMPONENT_S32, "s32"),
    "u32": (ffi.WASMTIME_COMPONENT_U32, "u32"),
    "s64": (ffi.WASMTIME_COMPONENT_S64, "s64"),
    "u64": (ffi.WASMTIME_COMPONENT_U64, "u64"),
    "f32": (ffi.WASMTIME_COMPONENT_F32, "f32"),
    "f64": (ffi.WASMTIME_COMPONENT_F64, "f64"),
    "char": (ffi.WASMTIME_COMPONENT_CHAR, "character"),
}
_DTYPES: Final = {
    "bool": np.dtype(np.bool_),
    **{f"s{n}": np.dtype(f"int{n}") for n in (8, 16, 32, 64)},
    **{f"u{n}": np.dtype(f"uint{n}") for n in (8, 16, 32, 64)},
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}


class Handles(Protocol):
    """How the instance turns objects into handles and back."""

    def check(self, ty: OwnT | BorrowT, value: Any, path: str) -> None:
        """Refuse a value that cannot become a handle."""

    def lower(self, ty: OwnT | BorrowT, value: Any) -> Any:
        """Make a handle: a pointer to a `wasmtime_component_resource_any_t` that the caller owns."""

    def lift(self, ty: OwnT | BorrowT, any_ptr: Any) -> Any:
        """Return the object behind a handle; takes ownership of the pointer."""


class ReferenceRecord:
    """A WIT record from a plugin. Immutable; equal if all fields are equal.

    It has one attribute for each field, in snake case; Python keywords get a trailing `_`.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a record does not change: {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReferenceRecord) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.items()))

    def __repr__(self) -> str:
        return f"ReferenceRecord({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


def check(ty: Type, value: Any, path: str, handles: Handles) -> Any:
    """Turn a Python value into a plain tree for `write`.

    The tree: numbers and `bool` as they are, a code point for `char`, UTF-8 bytes for `string`, lists for lists, tuples
    and records, `(index, payload or None)` for everything with cases, a tuple of names for flags, the object itself for
    a handle.

    Raises:
        ValueTypeError: The value does not fit; the path says where.
    """
    match ty:
        case PrimT():
            return _check_primitive(ty.name, value, path)
        case ListT():
            items = _items(ty, value, path)
            return [check(ty.element, item, f"{path}[{i}]", handles) for i, item in enumerate(items)]
        case TupleT():
            if not isinstance(value, tuple | list) or len(value) != len(ty.items):
                raise _misfit(f"a tuple of {len(ty.items)}", value, path)
            return [
                check(t, item, f"{path}[{i}]", handles) for i, (t, item) in enumerate(zip(ty.items, value, strict=True))
            ]
        case RecordT():
            return [check(t, _field(value, n, path), f"{path}.{_snake(n)}", handles) for n, t in ty.fields]
        case OptionT():
            if value is None:
                return (0, None)
            if isinstance(ty.inner, OptionT):
                if not isinstance(value, Some):
                    raise _misfit("None or Some(...)", value, path)
                value = value.value
            return (1, check(ty.inner, value, path, handles))
        case ResultT():
            if isinstance(value, Ok):
                return (0, _check_payload(ty.ok, value.value, f"{path}.value", handles))
            if isinstance(value, Err):
                return (1, _check_payload(ty.err, value.error, f"{path}.error", handles))
            raise _misfit("Ok(...) or Err(...)", value, path)
        case VariantT():
            if not isinstance(value, Variant):
                raise _misfit("a Variant", value, path)
            index = _index([n for n, _ in ty.cases], value.case, path)
            return (index, _check_payload(ty.cases[index][1], value.value, f"{path}.value", handles))
        case EnumT():
            return (_index(list(ty.names), value, path), None)
        case FlagsT():
            if not isinstance(value, Set):
                raise _misfit("a set of names", value, path)
            for name in value:
                _index(list(ty.names), name, path)
            return tuple(name for name in ty.names if name in value)
        case OwnT() | BorrowT():
            handles.check(ty, value, path)
            return value


def _misfit(expected: str, value: Any, path: str) -> ValueTypeError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ValueTypeError(f"expected {expected}, not {shown} of type {type(value).__name__}", path=path)


def _snake(name: str) -> str:
    name = name.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _field(value: Any, name: str, path: str) -> Any:
    try:
        return getattr(value, _snake(name))
    except AttributeError:
        raise _misfit(f"an object with the attribute {_snake(name)!r}", value, path) from None


def _index(names: list[str], value: Any, path: str) -> int:
    if not isinstance(value, str) or value not in names:
        raise _misfit(f"one of {', '.join(names)}", value, path)
    return names.index(value)


def _check_payload(ty: Type | None, value: Any, path: str, handles: Handles) -> Any:
    if ty is not None:
        return check(ty, value, path, handles)
    if value is not None:
        raise _misfit("None, since this case has no payload", value, path)
    return None


def _check_primitive(name: str, value: Any, path: str) -> Any:
    if name == "bool":
        if not isinstance(value, bool | np.bool_):
            raise _misfit("a bool", value, path)
        return bool(value)
    if name == "string":
        return _check_string(value, path)
    if name == "char":
        if not isinstance(value, str) or len(value) != 1 or 0xD800 <= ord(value) < 0xE000:
            raise _misfit("a str of one character", value, path)
        return ord(value)
    if isinstance(value, bool | np.bool_):
        raise _misfit(f"a number that fits {name}", value, path)
    if name in ("f32", "f64"):
        if not isinstance(value, int | float | np.integer | np.floating):
            raise _misfit("a float", value, path)
        try:
            return float(value)
        except OverflowError:
            raise _misfit("a number that a float can hold", value, path) from None
    try:
        number = operator.index(value)
    except TypeError:
        raise _misfit(f"a whole number that fits {name}", value, path) from None
    signed, bits = _INTEGERS[name]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise _misfit(f"a number from {low} to {high}", value, path)
    return number


def _check_string(value: Any, path: str) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        # Long texts come as bytes, so that they need not be decoded and encoded again.
        raw = memoryview(value).tobytes()
        raw.decode()
        return raw
    except UnicodeError:
        raise _misfit("text that UTF-8 can hold", value, path) from None
    except (TypeError, ValueError):
        raise _misfit("a str", value, path) from None


def _items(ty: ListT, value: Any, path: str) -> Any:
    number = isinstance(ty.element, PrimT) and ty.element.name in _DTYPES
    if number and hasattr(value, "null_count") and hasattr(value, "to_pylist"):
        if value.null_count:
            raise _misfit("an array without nulls", value, path)
        return value.to_pylist()
    if number and not isinstance(value, list | tuple | str):
        try:
            view = value if isinstance(value, np.ndarray) else np.asarray(memoryview(value))
        except (TypeError, ValueError):
            raise _misfit("a list, an array or a buffer", value, path) from None
        if view.ndim != 1:
            raise _misfit("an array of one dimension", value, path)
        return view.tolist()
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Sequence):
        raise _misfit("a list", value, path)
    return value


def write(ty: Type, plain: Any, out: _Val, handles: Handles) -> None:
    """Put a checked value into a `wasmtime_component_val_t`, which then owns everything in it."""
    raw: Any
    match ty:
        case PrimT("string"):
            out.of.string = ffi.bytes_to_capi(plain)
            out.kind = ffi.WASMTIME_COMPONENT_STRING
        case PrimT():
            kind, attribute = _KINDS[ty.name]
            setattr(out.of, attribute, plain)
            out.kind = kind
        case ListT():
            raw = ffi.wasmtime_component_vallist_t()
            ffi.wasmtime_component_vallist_new_uninit(raw, len(plain))
            for i, item in enumerate(plain):
                write(ty.element, item, raw.data[i], handles)
            out.of.list, out.kind = raw, ffi.WASMTIME_COMPONENT_LIST
        case TupleT():
            raw = ffi.wasmtime_component_valtuple_t()
            ffi.wasmtime_component_valtuple_new_uninit(raw, len(plain))
            for i, (t, item) in enumerate(zip(ty.items, plain, strict=True)):
                write(t, item, raw.data[i], handles)
            out.of.tuple, out.kind = raw, ffi.WASMTIME_COMPONENT_TUPLE
        case RecordT():
            raw = ffi.wasmtime_component_valrecord_t()
            ffi.wasmtime_component_valrecord_new_uninit(raw, len(plain))
            for i, ((n, t), item) in enumerate(zip(ty.fields, plain, strict=True)):
                raw.data[i].name = ffi.str_to_capi(n)
                write(t, item, raw.data[i].val, handles)
            out.of.record, out.kind = raw, ffi.WASMTIME_COMPONENT_RECORD
        case OptionT():
            out.of.option = _boxed(ty.inner if plain[0] else None, plain[1], handles)
            out.kind = ffi.WASMTIME_COMPONENT_OPTION
        case ResultT():
            out.of.result.is_ok = plain[0] == 0
            out.of.result.val = _boxed((ty.ok, ty.err)[plain[0]], plain[1], handles)
            out.kind = ffi.WASMTIME_COMPONENT_RESULT
        case VariantT():
            name, payload = ty.cases[plain[0]]
            out.of.variant.discriminant = ffi.str_to_capi(name)
            out.of.variant.val = _boxed(payload, plain[1], handles)
            out.kind = ffi.WASMTIME_COMPONENT_VARIANT
        case EnumT():
            out.of.enumeration = ffi.str_to_capi(ty.names[plain[0]])
            out.kind = ffi.WASMTIME_COMPONENT_ENUM
        case FlagsT():
            raw = ffi.wasmtime_component_valflags_t()
            ffi.wasmtime_component_valflags_new_uninit(raw, len(plain))
            for i, name in enumerate(plain):
                raw.data[i] = ffi.str_to_capi(name)
            out.of.flags, out.kind = raw, ffi.WASMTIME_COMPONENT_FLAGS
        case OwnT() | BorrowT():
            out.of.resource = handles.lower(ty, plain)
            out.kind = ffi.WASMTIME_COMPONENT_RESOURCE


def _boxed(ty: Type | None, plain: Any, handles: Handles) -> Any:
    if ty is None:
        return None
    value = ffi.wasmtime_component_val_t()
    write(ty, plain, value, handles)
    return ffi.wasmtime_component_val_new(ctypes.byref(value))


def read(ty: Type, val: _Val, handles: Handles, *, text_as_bytes: bool = False) -> Any:
    """Return the Python value of a `wasmtime_component_val_t`; takes handles out of it; the owner keeps the rest."""

    def sub(t: Type, v: _Val) -> Any:
        return read(t, v, handles, text_as_bytes=text_as_bytes)

    def payload(t: Type | None, boxed: Any) -> Any:
        return None if t is None else sub(t, boxed.contents)

    match ty:
        case PrimT("string"):
            raw = _bytes(val.of.string)
            return raw if text_as_bytes else raw.decode()
        case PrimT("char"):
            return chr(val.of.character)
        case PrimT():
            return getattr(val.of, _KINDS[ty.name][1])
        case ListT():
            items = [sub(ty.element, val.of.list.data[i]) for i in range(val.of.list.size)]
            if ty.element == PrimT("u8"):
                return bytes(items)
            if isinstance(ty.element, PrimT) and ty.element.name in _DTYPES:
                return np.array(items, _DTYPES[ty.element.name])
            return items
        case TupleT():
            return tuple(sub(t, val.of.tuple.data[i]) for i, t in enumerate(fields_of(ty)))
        case RecordT():
            return ReferenceRecord({_snake(n): sub(t, val.of.record.data[i].val) for i, (n, t) in enumerate(ty.fields)})
        case OptionT():
            if not val.of.option:
                return None
            inner = sub(ty.inner, val.of.option.contents)
            return Some(inner) if isinstance(ty.inner, OptionT) else inner
        case ResultT():
            if val.of.result.is_ok:
                return Ok(payload(ty.ok, val.of.result.val))
            return Err(payload(ty.err, val.of.result.val))
        case VariantT():
            case = _bytes(val.of.variant.discriminant).decode()
            return Variant(case, payload(dict(ty.cases)[case], val.of.variant.val))
        case EnumT():
            return _bytes(val.of.enumeration).decode()
        case FlagsT():
            return frozenset(_bytes(val.of.flags.data[i]).decode() for i in range(val.of.flags.size))
        case OwnT() | BorrowT():
            pointer = ffi.take_pointer(val.of, "resource")
            # A handle that was taken must not be deleted with the rest.
            val.kind, val.of.boolean = ffi.WASMTIME_COMPONENT_BOOL, False
            return handles.lift(ty, pointer)


def _bytes(vector: Any) -> bytes:
    return ctypes.string_at(vector.data, vector.size) if vector.size else b""
