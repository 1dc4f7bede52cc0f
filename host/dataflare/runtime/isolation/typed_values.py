"""Values of WIT types as JSON with bytes beside it, written and read by their type.

Messages contain no types: the reader uses the function's type, and anything that does not fit it is a `BrokenWire`.
Lists of numbers, long texts and batches are beside the JSON, which has `[offset, size]` for them.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from dataflare.data import batches
from dataflare.data.batches import Batch
from dataflare.data.charges import BatchMemory
from dataflare.data.ipc import decode_stream, encode_stream
from dataflare.data.shapes import DataFailure
from dataflare.engine.abi.convert import (
    DTYPES,
    as_bool,
    as_bytes,
    as_char,
    as_float,
    as_int,
    as_numbers,
    as_utf8,
    flag_bits,
    list_items,
    made_bits,
    no_payload,
    result_parts,
    some,
)
from dataflare.engine.abi.handles import GuestResource
from dataflare.engine.abi.records import attributes, record_class
from dataflare.engine.abi.types import (
    BorrowT,
    EnumT,
    FlagsT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    Resource,
    ResultT,
    TupleT,
    Type,
    VariantT,
)
from dataflare.runtime.isolation.wire import BrokenWire
from dataflare.values import Err, Ok, Some, Variant

__all__ = ["Handles", "Reader", "Writer"]

_LONG_TEXT: Final = 1024
_SPECIAL: Final[Mapping[str, float]] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_RANGES: Final = {
    f"{sign}{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) if sign == "s" else (0, (1 << bits) - 1)
    for sign in "su"
    for bits in (8, 16, 32, 64)
}
_BATCH: Final = (batches.INTERFACE, "batch")


class Handles(Protocol):
    """Objects that stay on one side; the other side refers to them by numbers."""

    def number_of(self, thing: Any, type_index: int, *, given: bool) -> int:
        """Return the number of an object of the host, which is lent or given away."""

    def host_object(self, number: int, type_index: int, *, taken: bool) -> Any:
        """Return the host's object with a number, which is lent or taken; KeyError if it has another type."""

    def guest_number(self, guest: Any, type_index: int, *, given: bool) -> int:
        """Return the number of a resource of the plugin, which is lent or given away."""

    def guest_of(self, number: int, type_index: int, name: str, *, taken: bool) -> GuestResource:
        """Return the plugin's resource with a number, which is lent or taken; KeyError for an unknown number."""


class Writer:
    """Writes the values of one message; `parts` are the bytes beside it.

    Args:
        resources: Those of the component's shape.
        handles: The objects that stay on one side.
    """

    def __init__(self, resources: Sequence[Resource], handles: Handles) -> None:
        self._resources = resources
        self._handles = handles
        self.parts: list[memoryview] = []
        self.values_bytes = 0
        """What texts, lists and numbers of it take, batches left out."""
        self._at = 0

    def write(self, ty: Type | None, value: Any) -> Any:
        """Convert a value to one that `orjson` accepts.

        Raises:
            TypeError, ValueError, OverflowError, AttributeError, KeyError: The value does not fit its type.
        """
        match ty:
            case None:
                return no_payload(value)
            case PrimT():
                return self._primitive(ty.name, value)
            case ListT():
                return self._list(ty.element, value)
            case OptionT():
                if value is None:
                    return None
                return [self.write(ty.inner, some(value) if isinstance(ty.inner, OptionT) else value)]
            case ResultT():
                index, payload = result_parts(value)
                return [index, self.write(ty.err if index else ty.ok, payload)]
            case TupleT():
                return [self.write(t, item) for t, item in zip(ty.items, list_items(value), strict=True)]
            case RecordT():
                return [self.write(t, getattr(value, n)) for n, (_, t) in zip(attributes(ty), ty.fields, strict=True)]
            case VariantT(made=tuple() as classes):
                index = classes.index(type(value))
                payload = ty.cases[index][1]
                return [index, None if payload is None else self.write(payload, value.value)]
            case VariantT():
                index = _numbers(tuple(name for name, _ in ty.cases))[value.case]
                return [index, self.write(ty.cases[index][1], value.value)]
            case EnumT(made=type() as made):
                return _numbers(tuple(made))[value]
            case EnumT():
                return _numbers(ty.names)[value]
            case FlagsT(made=type() as made):
                return _set_bits(made_bits(made, value))
            case FlagsT():
                return _set_bits(flag_bits({name: 1 << index for index, name in enumerate(ty.names)}, value))
            case OwnT() | BorrowT():
                resource = self._resources[ty.resource]
                if (resource.interface, resource.name) == _BATCH:
                    return self._put(memoryview(encode_stream(value.arrow)))
                if not resource.imported:
                    guest = value if ty.made is None else value._resource
                    return self._handles.guest_number(guest, ty.resource, given=isinstance(ty, OwnT))
                thing = value if ty.made is None else ty.made.check(value)
                return self._handles.number_of(thing, ty.resource, given=isinstance(ty, OwnT))

    def _primitive(self, name: str, value: Any) -> Any:
        if name == "string":
            if type(value) is str and len(value) < _LONG_TEXT:
                self.values_bytes += len(value)
                return value
            return self._bytes(memoryview(as_utf8(value)))
        self.values_bytes += 8
        if name == "bool":
            return as_bool(value)
        if name == "char":
            return as_char(value)
        if name in ("f32", "f64"):
            number = as_float(value)
            return number if math.isfinite(number) else str(number)
        low, high = _RANGES[name]
        whole = as_int(value)
        if not low <= whole <= high:
            raise OverflowError(f"{whole} is out of range")
        return whole

    def _list(self, element: Type, value: Any) -> Any:
        if isinstance(element, PrimT) and element.name in DTYPES:
            if element.name == "u8":
                return self._bytes(memoryview(as_bytes(value)))
            return self._bytes(memoryview(as_numbers(value, DTYPES[element.name]).data).cast("B"))
        return [self.write(element, item) for item in list_items(value)]

    def _bytes(self, data: memoryview) -> list[int]:
        self.values_bytes += data.nbytes
        return self._put(data)

    def _put(self, data: memoryview) -> list[int]:
        at = self._at
        self._at += data.nbytes
        self.parts.append(data)
        return [at, data.nbytes]


class Reader:
    """Reads the values of one message.

    Args:
        resources: Those of the component's shape.
        handles: The objects that stay on one side.
        beside: The bytes beside the message.
        max_batch_bytes: The largest size of a batch, in bytes.
        charged: Whether batches are charged to the current budget.
        raw_text: Whether texts are returned as UTF-8 bytes.
    """

    def __init__(
        self,
        resources: Sequence[Resource],
        handles: Handles,
        beside: pa.Buffer,
        *,
        max_batch_bytes: int,
        charged: bool = False,
        raw_text: bool = False,
    ) -> None:
        self._resources = resources
        self._handles = handles
        self._beside = beside
        self._max_batch_bytes = max_batch_bytes
        self._charged = charged
        self._raw_text = raw_text
        self._at = 0
        self.values_bytes = 0
        """What texts, lists and numbers of it take, batches left out."""

    def read(self, ty: Type | None, value: Any) -> Any:
        """Decode a value from JSON, to the types of `dataflare.values`.

        Raises:
            BrokenWire: The JSON does not fit the type.
        """
        match ty:
            case None:
                if value is not None:
                    raise BrokenWire("a value where there is none")
                return None
            case PrimT():
                return self._primitive(ty.name, value)
            case ListT():
                return self._list(ty.element, value)
            case OptionT():
                if value is None:
                    return None
                (inner,) = _items(value, 1)
                made = self.read(ty.inner, inner)
                return Some(made) if isinstance(ty.inner, OptionT) else made
            case ResultT():
                index, inner = _case(value, 2)
                return Err(self.read(ty.err, inner)) if index else Ok(self.read(ty.ok, inner))
            case TupleT():
                return tuple(map(self.read, ty.items, _items(value, len(ty.items))))
            case RecordT():
                made = object.__new__(_class_of(ty))
                items = _items(value, len(ty.fields))
                for name, (_, t), item in zip(attributes(ty), ty.fields, items, strict=True):
                    object.__setattr__(made, name, self.read(t, item))
                return made
            case VariantT():
                index, inner = _case(value, len(ty.cases))
                if ty.made is not None:
                    payload = self.read(ty.cases[index][1], inner)
                    return ty.made[index]() if ty.cases[index][1] is None else ty.made[index](payload)
                return Variant(ty.cases[index][0], self.read(ty.cases[index][1], inner))
            case EnumT():
                index = _index(value, len(ty.names))
                return ty.names[index] if ty.made is None else tuple(ty.made)[index]
            case FlagsT(made=type() as flags):
                return flags(sum({1 << _index(each, len(ty.names)) for each in _items(value, None)}))
            case FlagsT():
                return frozenset(ty.names[_index(each, len(ty.names))] for each in _items(value, None))
            case OwnT() | BorrowT():
                resource = self._resources[ty.resource]
                if resource.imported:
                    return self._handle(ty.resource, value, taken=isinstance(ty, OwnT))
                number = _index(value, 2**63)
                try:
                    guest = self._handles.guest_of(number, ty.resource, resource.name, taken=isinstance(ty, OwnT))
                except KeyError:
                    raise BrokenWire("a handle that is not there") from None
                return guest if ty.made is None else ty.made(guest)

    def _handle(self, index: int, value: Any, *, taken: bool) -> Any:
        resource = self._resources[index]
        if (resource.interface, resource.name) != _BATCH:
            try:
                return self._handles.host_object(_index(value, 2**63), index, taken=taken)
            except KeyError:
                raise BrokenWire("a handle that is not there") from None
        try:
            rows = decode_stream(self._part(value), self._max_batch_bytes)
        except DataFailure as failure:
            raise BrokenWire(f"a batch that cannot be used: {failure}") from failure
        memory = BatchMemory.made(rows) if self._charged else None
        return Batch(rows, max_bytes=self._max_batch_bytes, memory=memory)

    def _primitive(self, name: str, value: Any) -> Any:
        if name == "string":
            return self._text(value)
        self.values_bytes += 8
        if name == "bool":
            return _of(bool, value)
        if name == "char":
            number = _index(value, 0x110000)
            if 0xD800 <= number <= 0xDFFF:
                raise BrokenWire("half of a surrogate pair")
            return chr(number)
        if name in ("f32", "f64"):
            if isinstance(value, str) and value in _SPECIAL:
                return _SPECIAL[value]
            return _of(float, value)
        low, high = _RANGES[name]
        if not low <= _of(int, value) <= high:
            raise BrokenWire(f"a number that is not a {name}")
        return value

    def _text(self, value: Any) -> str | bytes:
        if isinstance(value, str):
            self.values_bytes += len(value)
            return value.encode() if self._raw_text else value
        data = self._part(value)
        self.values_bytes += data.size
        try:
            text = str(memoryview(data), "utf-8")
        except UnicodeDecodeError:
            raise BrokenWire("a text that is not UTF-8") from None
        return data.to_pybytes() if self._raw_text else text

    def _list(self, element: Type, value: Any) -> Any:
        if not (isinstance(element, PrimT) and element.name in DTYPES):
            return [self.read(element, each) for each in _items(value, None)]
        data = self._part(value)
        self.values_bytes += data.size
        if element.name == "u8":
            return data.to_pybytes()
        dtype = DTYPES[element.name]
        if data.size % dtype.itemsize:
            raise BrokenWire("a list that ends within a number")
        array = np.frombuffer(data.to_pybytes(), np.uint8 if dtype.kind == "b" else dtype)
        if dtype.kind == "b":
            if array.size and array.max() > 1:
                raise BrokenWire("a bool that is neither")
            array = array.view(np.bool_)
        return array

    def _part(self, value: Any) -> pa.Buffer:
        at, size = (_index(each, 2**63) for each in _items(value, 2))
        # In order, and each byte once, so that the result is not larger than the message.
        if at != self._at or at + size > self._beside.size:
            raise BrokenWire("bytes that are not there")
        self._at += size
        return self._beside.slice(at, size)


@functools.lru_cache(maxsize=1024)
def _numbers(names: tuple[Any, ...]) -> dict[Any, int]:
    """Return the number of each case, by its name or its member."""
    return {name: number for number, name in enumerate(names)}


def _set_bits(bits: int) -> list[int]:
    return [index for index in range(bits.bit_length()) if bits >> index & 1]


@functools.lru_cache(maxsize=1024)
def _class_of(ty: RecordT) -> type[Any]:
    return record_class(attributes(ty)) if ty.made is None else ty.made


def _of(kind: Callable[..., Any], value: Any) -> Any:
    if type(value) is not kind:
        raise BrokenWire(f"a {type(value).__name__} in place of a {getattr(kind, '__name__', '')}")
    return value


def _index(value: Any, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise BrokenWire("a number that is out of range")
    return operator.index(value)


def _items(value: Any, count: int | None) -> list[Any]:
    if type(value) is not list or (count is not None and len(value) != count):
        raise BrokenWire("a list that does not fit")
    return value


def _case(value: Any, count: int) -> tuple[int, Any]:
    index, inner = _items(value, 2)
    return _index(index, count), inner
