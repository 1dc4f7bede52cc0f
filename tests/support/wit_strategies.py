"""Hypothesis strategies for WIT types, for values of them, and for values that do not fit."""

from __future__ import annotations

import itertools
import keyword
import math
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from dataflare.engine.abi.types import (
    PRIMITIVES,
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
from dataflare.values import Err, Ok, Some, Variant

# Names that are words of Python, or of what codecs are likely to call their own variables.
NAMES = (
    *("a", "value", "self", "class", "from", "is-it-in", "x1-y2", "count", "index", "none", "case", "error", "tag"),
    *("HTTP-code", "long-name-with-many-words", "def", "lambda", "out", "data", "offset", "payload", "some", "ok"),
)
INTEGERS = {f"{sign}{bits}": (sign == "s", bits) for sign in "su" for bits in (8, 16, 32, 64)}
DTYPES: dict[str, Any] = {
    "bool": np.bool_,
    **{f"s{n}": getattr(np, f"int{n}") for n in (8, 16, 32, 64)},
    **{f"u{n}": getattr(np, f"uint{n}") for n in (8, 16, 32, 64)},
    "f32": np.float32,
    "f64": np.float64,
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


class Slot:
    """Stands for a handle in a value until the test puts one in its place; no two have one number."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.number = next(Slot._numbers)

    def __repr__(self) -> str:
        return f"Slot {self.number}"


def primitives() -> st.SearchStrategy[Type]:
    return st.sampled_from([PrimT(name) for name in PRIMITIVES])


def names(min_size: int, max_size: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(NAMES), min_size=min_size, max_size=max_size, unique_by=str.lower).map(tuple)


def many_names(max_size: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.integers(1, max_size).map(lambda n: tuple(f"n{i}" for i in range(n)))


@st.composite
def wit_types(draw: st.DrawFn, max_depth: int = 3) -> Type:
    """Any type without handles, nested at most `max_depth` deep."""
    kinds = ["primitive", "enum", "flags"]
    if max_depth > 0:
        kinds += ["list", "tuple", "record", "variant", "option", "option", "result"]
    inner = wit_types(max_depth - 1)
    match draw(st.sampled_from(kinds)):
        case "primitive":
            return draw(primitives())
        case "enum":
            return EnumT(draw(st.one_of(names(1, 4), many_names(300))))
        case "flags":
            return FlagsT(draw(st.one_of(names(1, 4), many_names(32))))
        case "list":
            return ListT(draw(inner))
        case "tuple":
            return TupleT(tuple(draw(st.lists(inner, min_size=1, max_size=4))))
        case "record":
            return RecordT(tuple((n, draw(inner)) for n in draw(names(1, 5))))
        case "variant":
            cases = draw(names(1, 4))
            return VariantT(tuple((n, draw(st.one_of(st.none(), inner))) for n in cases))
        case "option":
            return OptionT(draw(inner))
        case _:
            return ResultT(draw(st.one_of(st.none(), inner)), draw(st.one_of(st.none(), inner)))


def values_of(ty: Type) -> st.SearchStrategy[Any]:
    """Values of a type in the shapes that `dataflare.values` takes."""
    match ty:
        case PrimT("bool"):
            return st.booleans()
        case PrimT("string"):
            return TEXT
        case PrimT("char"):
            return st.characters(exclude_categories=["Cs"])
        case PrimT("f32"):
            return st.floats(width=32)
        case PrimT("f64"):
            return st.floats()
        case PrimT():
            low, high = integer_range(ty.name)
            return st.one_of(st.integers(low, high), st.sampled_from([low, high]))
        case ListT(PrimT("u8")):
            raw = st.binary(max_size=9)
            return st.one_of(raw, raw.map(bytearray), raw.map(lambda b: np.frombuffer(b, np.uint8)), raw.map(list))
        case ListT(PrimT(name)) if name in DTYPES:
            items = st.lists(values_of(ty.element), max_size=9)
            return st.one_of(items, items.map(lambda x: np.array(x, DTYPES[name])), items.map(tuple))
        case ListT():
            return st.lists(values_of(ty.element), max_size=4)
        case TupleT():
            return st.tuples(*map(values_of, ty.items))
        case RecordT():
            return st.fixed_dictionaries({snake(n): values_of(t) for n, t in ty.fields}).map(
                lambda fields: SimpleNamespace(**fields)
            )
        case VariantT():
            return st.one_of([payload_of(t).map(lambda v, n=n: Variant(n, v)) for n, t in ty.cases])
        case EnumT():
            return st.sampled_from(ty.names)
        case FlagsT():
            return st.frozensets(st.sampled_from(ty.names))
        case OptionT(OptionT()):
            return st.one_of(st.none(), values_of(ty.inner).map(Some))
        case OptionT():
            return st.one_of(st.none(), values_of(ty.inner))
        case ResultT():
            return st.one_of(payload_of(ty.ok).map(Ok), payload_of(ty.err).map(Err))
        case OwnT() | BorrowT():
            return st.builds(Slot)


def payload_of(ty: Type | None) -> st.SearchStrategy[Any]:
    return st.none() if ty is None else values_of(ty)


@st.composite
def typed_values(draw: st.DrawFn, max_depth: int = 3, count: int = 1) -> tuple[Type, list[Any]]:
    """A type, and values of it."""
    ty = draw(wit_types(max_depth))
    return ty, [draw(values_of(ty)) for _ in range(count)]


def wrong_values_of(ty: Type) -> st.SearchStrategy[tuple[Any, tuple[str, ...]]]:
    """Values that do not fit, each with the record fields (in snake case) that lead to what is wrong."""
    here = st.sampled_from(_wrong(ty)).map(lambda value: (value, ()))
    deeper: list[st.SearchStrategy[tuple[Any, tuple[str, ...]]]] = []
    match ty:
        case ListT():
            deeper.append(
                st.builds(
                    lambda head, wrong: ([*head, wrong[0]], wrong[1]),
                    st.lists(values_of(ty.element), max_size=2),
                    wrong_values_of(ty.element),
                )
            )
        case TupleT():
            deeper += [
                st.builds(
                    lambda right, wrong, i=i: ((*right[:i], wrong[0], *right[i + 1 :]), wrong[1]),
                    values_of(ty),
                    wrong_values_of(t),
                )
                for i, t in enumerate(fields_of(ty))
            ]
        case RecordT():
            deeper += [
                st.builds(
                    lambda right, wrong, n=n: (SimpleNamespace(**{**vars(right), n: wrong[0]}), (n, *wrong[1])),
                    values_of(ty),
                    wrong_values_of(t),
                )
                for n, t in ((snake(n), t) for n, t in ty.fields)
            ]
        case VariantT():
            deeper += [
                wrong_values_of(t).map(lambda wrong, n=n: (Variant(n, wrong[0]), wrong[1]))
                for n, t in ty.cases
                if t is not None
            ]
        case OptionT(OptionT()):
            deeper.append(wrong_values_of(ty.inner).map(lambda wrong: (Some(wrong[0]), wrong[1])))
        case OptionT():
            # For an option itself None fits.
            return wrong_values_of(ty.inner).filter(lambda wrong: wrong[0] is not None)
        case ResultT():
            deeper += [
                wrong_values_of(t).map(lambda wrong, make=make: (make(wrong[0]), wrong[1]))
                for make, t in ((Ok, ty.ok), (Err, ty.err))
                if t is not None
            ]
    return st.one_of(here, *deeper)


def _wrong(ty: Type) -> list[Any]:
    match ty:
        case PrimT("bool"):
            return [0, 1, None, "true", 1.0]
        case PrimT("string"):
            return [None, 5, "\ud800", "ab\udfffc", ["a"]]
        case PrimT("char"):
            return ["", "ab", 65, "\ud800", None]
        case PrimT("f32" | "f64"):
            return [None, "1.0", [1.0], 10**400]
        case PrimT():
            low, high = integer_range(ty.name)
            return [low - 1, high + 1, 2**70, -(2**70), True, False, 1.5, "1", None]
        case ListT(PrimT(name)) if name in DTYPES:
            return [None, 5, "text", np.zeros((2, 2), DTYPES[name])]
        case ListT():
            return [None, 5, object()]
        case TupleT():
            return [None, (), (*(None for _ in ty.items), None), 5]
        case RecordT():
            return [None, SimpleNamespace(), 5]
        case VariantT():
            wrong: list[Any] = [None, "text", Variant("no-such-case"), Variant("no-such-case", 1)]
            return wrong + [Variant(n, 1) for n, t in ty.cases if t is None]
        case EnumT():
            return ["no-such-name", 0, None, ""]
        case FlagsT():
            return [{"no-such-name"}, 5, None, {0}]
        case OptionT():
            return [5]
        case ResultT():
            return [None, 5, Some(1), *([Ok(1)] if ty.ok is None else []), *([Err(1)] if ty.err is None else [])]
        case OwnT() | BorrowT():
            return [None]


def normal(ty: Type, value: Any) -> Any:
    """A plain form in which two values are equal when they mean the same in WIT."""
    match ty:
        case PrimT("f32"):
            return "nan" if math.isnan(value) else struct.pack("<f", value)
        case PrimT("f64"):
            return "nan" if math.isnan(value) else struct.pack("<d", value)
        case PrimT("bool"):
            return bool(value)
        case PrimT("string" | "char"):
            return str(value)
        case PrimT():
            return int(value)
        case ListT():
            return [normal(ty.element, item) for item in value]
        case TupleT():
            return tuple(normal(t, item) for t, item in zip(ty.items, value, strict=True))
        case RecordT():
            return {n: normal(t, getattr(value, snake(n))) for n, t in ty.fields}
        case VariantT():
            payload = dict(ty.cases)[value.case]
            return (value.case, value.value if payload is None else normal(payload, value.value))
        case EnumT():
            return str(value)
        case FlagsT():
            return frozenset(value)
        case OptionT(OptionT()):
            return None if value is None else ("some", normal(ty.inner, value.value))
        case OptionT():
            return None if value is None else normal(ty.inner, value)
        case ResultT():
            if isinstance(value, Ok):
                return ("ok", value.value if ty.ok is None else normal(ty.ok, value.value))
            return ("err", value.error if ty.err is None else normal(ty.err, value.error))
        case OwnT() | BorrowT():
            return value


def assert_shape(ty: Type, value: Any) -> None:
    """Check that a value which came out of the engine has just the Python type that `dataflare.values` promises."""
    match ty:
        case PrimT("bool"):
            assert type(value) is bool
        case PrimT("string"):
            assert type(value) is str
        case PrimT("char"):
            assert type(value) is str and len(value) == 1
        case PrimT("f32" | "f64"):
            assert type(value) is float
        case PrimT():
            assert type(value) is int
        case ListT(PrimT("u8")):
            assert type(value) is bytes
        case ListT(PrimT(name)) if name in DTYPES:
            assert isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.dtype(DTYPES[name])
        case ListT():
            assert type(value) is list
            for item in value:
                assert_shape(ty.element, item)
        case TupleT():
            assert type(value) is tuple and len(value) == len(ty.items)
            for t, item in zip(ty.items, value, strict=True):
                assert_shape(t, item)
        case RecordT():
            for n, t in ty.fields:
                assert_shape(t, getattr(value, snake(n)))
        case VariantT():
            assert type(value) is Variant
            assert_payload(dict(ty.cases)[value.case], value.value)
        case EnumT():
            assert type(value) is str and value in ty.names
        case FlagsT():
            assert type(value) is frozenset and value <= set(ty.names)
        case OptionT(OptionT()):
            assert value is None or type(value) is Some
            if value is not None:
                assert_shape(ty.inner, value.value)
        case OptionT():
            if value is not None:
                assert_shape(ty.inner, value)
        case ResultT():
            assert type(value) in (Ok, Err)
            if isinstance(value, Ok):
                assert_payload(ty.ok, value.value)
            else:
                assert_payload(ty.err, value.error)


def assert_payload(ty: Type | None, value: Any) -> None:
    if ty is None:
        assert value is None
    else:
        assert_shape(ty, value)


def integer_range(name: str) -> tuple[int, int]:
    signed, bits = INTEGERS[name]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def snake(name: str) -> str:
    name = name.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name
