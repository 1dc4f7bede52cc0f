"""What is taken for each type, with and without a process of its own: the same, refused or converted, never altered."""

from __future__ import annotations

import array
import ctypes
import enum
from collections import UserList, deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataflare.engine.abi.types import (
    EnumT,
    FlagsT,
    FuncT,
    ListT,
    OptionT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.errors import ValueTypeError
from dataflare.runtime.host import Host
from dataflare.values import Err, Ok, Some, Variant
from wat_kit import API, component

NUMBERS = ("bool", "s8", "u8", "u16", "s32", "u64", "f32", "f64")
TYPES: dict[str, Type] = {
    **{f"list-{name}": ListT(PrimT(name)) for name in NUMBERS},
    **{name: PrimT(name) for name in ("bool", "u8", "f32", "char", "string")},
    "strings": ListT(PrimT("string")),
    "lists": ListT(ListT(PrimT("u8"))),
    "option": OptionT(OptionT(PrimT("u8"))),
    "result": ResultT(PrimT("u8"), PrimT("string")),
    "nothing": ResultT(None, None),
    "texts": TupleT((PrimT("string"), PrimT("string"))),
    "pair": TupleT((PrimT("u8"), PrimT("u16"))),
    "rec": RecordT((("a", PrimT("u8")), ("b-c", PrimT("string")))),
    "var": VariantT((("a", None), ("b", PrimT("u8")))),
    "kind": EnumT(("a", "b")),
    "rights": FlagsT(("a", "b", "c")),
}


class Text(str):
    def __str__(self) -> str:
        return "other"


class Letter(str, enum.Enum):  # noqa: UP042  # whose str() differs from its value
    A = "a"


class Good(Ok[Any]):
    pass


class OneShort:
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))


BYTES = b"\x01\x02\x03\x04"
VALUES: list[Any] = [
    *(None, True, np.bool_(1), 0, 255, 256, -1, 2**64, 10**400, 1.0, 1.5, float("nan"), 1e39, 5e-324),
    *(np.int8(-1), np.uint8(3), np.float32(1.5), np.float64(2.5), np.longdouble(1), ctypes.c_uint8(1)),
    *("", "a", "ab", "é", "\ud800", "x" * 2000, "x" * 2000 + "\ud800", Text("a"), Text("y" * 2000), Letter.A),
    *(b"", b"ab", b"\xff", b"\xff" * 2000, bytearray(b"ab"), pa.py_buffer(b"ab"), pa.py_buffer(b"\xff")),
    *(memoryview(BYTES), memoryview(BYTES).cast("H"), memoryview(BYTES)[::2], memoryview(BYTES).cast("B", (2, 2))),
    *(memoryview(array.array(code, [1, 2])) for code in "bBhHqd"),  # type: ignore[call-overload]
    *(memoryview(array.array("b", [-1])), memoryview(array.array("H", [300])), memoryview(b"\1\0").cast("?")),
    *(memoryview(BYTES).cast("c"), array.array("H", [1, 300]), array.array("d", [1.5]), array.array("b", [-1])),
    *(pa.array([1, 2]), pa.array([1, None]), pa.array([1.5]), pa.array(["a"]), pa.array([True]), pa.scalar(1)),
    *(pa.chunked_array([[1], [2]]), np.array([1, 2]), np.array([300]), np.array([-1], "i1"), np.array([1.5])),
    *(np.array([[1, 2]]), np.array(1), np.array([1, 2], ">u2"), np.array([1, 2, 3])[::2], np.array([True])),
    *(np.array(["a"]), np.array(["a"], object), np.array([1], object), np.ma.array([1, 2], mask=[0, 1])),
    *(np.array([], "f8"), np.array(["2020"], "M8[D]"), np.array([1j]), np.array([1e39])),
    *([], [1, 2], [1.5], [True], ["a", "b"], [None], ["ab", b"cd"], [b"ab", [1, 2]], (1, 2), ("a", "b"), ("a",)),
    *({1, 2}, {"a"}, frozenset({"a", "c"}), {"a": 1, "b": 2}, {"a": 1}.keys(), range(3), deque([1, 2])),
    *(UserList([1, 2]), OneShort(), [256], [-1], [1, True], ["1"], [np.uint8(3)], memoryview(BYTES).cast("f")),
    *(Ok(1), Ok(None), Ok(256), Err("x"), Err(None), Good(1), Some(1), Some(None), Some(Some(1))),
    *(SimpleNamespace(a=1, b_c="x"), SimpleNamespace(a=1), SimpleNamespace(a=1, b_c=2)),
    *(Variant("a"), Variant("b", 1), Variant("b"), Variant("z"), Variant("a", 1), Variant(["a"])),  # type: ignore
    *(object(), len, int, ...),
]


@pytest.fixture(scope="module")
def instances() -> Iterator[tuple[Any, Any]]:
    """An instance in this process, and one in a process of its own, of a component that returns what it is given."""
    echoes = {name: FuncT((("x", ty),), ty) for name, ty in TYPES.items()}
    imports = {"test:kit/host@1.0.0": dict.fromkeys(TYPES, lambda x: x)}
    with Host() as host:
        yield tuple(  # type: ignore[misc]  # of two
            host.instantiate(component(echoes), fit=lambda shape: shape, imports=imports, isolation=isolation)
            for isolation in ("none", "process-best-effort")
        )


def shown(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    return [shown(each) for each in value] if isinstance(value, list | tuple) else repr(value)


def outcome(instance: Any, name: str, value: Any) -> Any:
    """What a call returns, or the text of its refusal; the instance lives on."""
    try:
        return shown(instance.call(API, name, value))
    except ValueTypeError as error:
        assert instance.alive
        return str(error)


@pytest.mark.parametrize("name", TYPES)
def test_a_process_of_its_own_takes_and_refuses_the_same_values(instances: tuple[Any, Any], name: str) -> None:
    plain, isolated = instances
    for value in VALUES:
        assert outcome(plain, name, value) == outcome(isolated, name, value), repr(value)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("list-u8", memoryview(array.array("H", [1, 2])), b"\x01\x02"),
        ("list-u8", memoryview(array.array("H", [300])), "x: expected a list of u8: 300 is out of range"),
        ("list-u8", memoryview(array.array("b", [-1])), "x: expected a list of u8: -1 is out of range"),
        ("list-u8", memoryview(BYTES).cast("B", (2, 2)), "x: expected a list of u8: an array of 2 dimensions, not 1"),
        ("list-u8", memoryview(b"\1\0").cast("?"), "x: expected a list of u8: an array of bool"),
        ("list-u8", memoryview(BYTES)[::2], b"\x01\x03"),
        ("list-u16", memoryview(array.array("B", [1, 2])), "x: expected a list of u16: a memoryview is not a list"),
        ("list-u16", bytearray(BYTES), "x: expected a list of u16: a bytearray is not a list"),
        ("list-u8", {1, 2}, "x: expected a list of u8: a set is not a list"),
        ("list-u16", np.array([1.5]), "x: expected a list of u16: an array of float64"),
        ("string", np.array([1]), "x: expected a str, or bytes of UTF-8, not array([1]) (ndarray)"),
        ("string", Text("a"), "a"),
        ("string", Letter.A, "a"),
        ("texts", "ab", "x: expected a tuple of 2, not 'ab' (str)"),
        ("texts", {"a": 1, "b": 2}, "x: expected a tuple of 2, not {'a': 1, 'b': 2} (dict)"),
        ("var", Variant("z"), "x: expected a Variant with one of the cases a, b, not Variant(case='z', value=None)"),
    ],
)
def test_a_value_is_converted_by_its_items_or_refused(
    instances: tuple[Any, Any], which: int, name: str, value: Any, result: Any
) -> None:
    found = outcome(instances[which], name, value)
    assert found == shown(result) or found.startswith(str(result))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("error", [AttributeError, KeyError])
def test_what_a_property_of_a_record_raises_is_not_hidden(
    instances: tuple[Any, Any], which: int, error: type[Exception]
) -> None:
    class Lazy:
        b_c = "x"

        @property
        def a(self) -> int:
            raise error("no database")

    with pytest.raises(error, match="no database"):
        instances[which].call(API, "rec", Lazy())
