"""Values between the host's form and the JSON that Node gets and gives: `toolchain/node/channel.mjs` is its side."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from dataflare.values import Variant
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["NodeValues", "WrongValue", "camel"]

# What JavaScript calls arrays of numbers.
_ARRAYS: Final = {
    "u8": ("Uint8Array", "<u1"),
    "s8": ("Int8Array", "<i1"),
    "u16": ("Uint16Array", "<u2"),
    "s16": ("Int16Array", "<i2"),
    "u32": ("Uint32Array", "<u4"),
    "s32": ("Int32Array", "<i4"),
    "u64": ("BigUint64Array", "<u8"),
    "s64": ("BigInt64Array", "<i8"),
    "f32": ("Float32Array", "<f4"),
    "f64": ("Float64Array", "<f8"),
}
_DTYPES: Final = dict(_ARRAYS.values())
_TYPE_NAMES: Final = {"string": "a text", "bool": "true or false", "f32": "a number", "f64": "a number"}


class WrongValue(TypeError):
    """A plugin gave the host a value of another type; the message names its place."""


class NodeValues:
    """Converts values of one instance, whose handles it knows.

    `handles` has what stands behind each handle in Node, by number.
    """

    def __init__(self) -> None:
        self.handles: dict[int, Any] = {}
        self._kinds: dict[int, str] = {}
        self._next = 1
        self._definitions = {
            (name, each.name): each for name, interface in standard().interfaces() for each in interface.types
        }

    def to_node(self, value: Any, kind: wit.Type | None) -> Any:
        """A value of the host as JSON."""
        match kind:
            case None:
                return None
            case wit.Primitive(name=name):
                return _primitive_to_node(value, name)
            case wit.ListOf(element=wit.Primitive(name=name)) if name in _ARRAYS:
                array, dtype = _ARRAYS[name]
                held = np.frombuffer(value, np.uint8) if name == "u8" else np.asarray(value)
                return {"$": array, "v": base64.b64encode(held.astype(dtype).tobytes()).decode()}
            case wit.ListOf(element=wit.Primitive(name="bool")):
                return np.asarray(value, dtype=bool).tolist()
            case wit.ListOf(element=element):
                return [self.to_node(each, element) for each in value]
            case wit.OptionOf(some=some):
                return None if value is None else self.to_node(value, some)
            case wit.TupleOf(items=items):
                return [self.to_node(each, item) for each, item in zip(value, items, strict=True)]
            case wit.Named(owner=owner, name=name) | wit.Borrow(resource=wit.Named(owner=owner, name=name)):
                return self._named_to_node(value, owner, name)
        raise TypeError(kind)

    def _named_to_node(self, value: Any, owner: str, name: str) -> Any:
        match self._definitions[owner, name]:
            case wit.Record(fields=fields):
                return {camel(each.name): self.to_node(getattr(value, _snake(each.name)), each.type) for each in fields}
            case wit.Enum():
                return value
            case wit.Flags(flags=flags):
                return {camel(each.name): each.name in value for each in flags}
            case wit.Variant(cases=cases):
                payload = next(each.payload for each in cases if each.name == value.case)
                return {"tag": value.case, "val": None if payload is None else self.to_node(value.value, payload)}
            case wit.Alias(type=aliased):
                return self.to_node(value, aliased)
        number, self._next = self._next, self._next + 1
        kind = f"{owner}#{name}"
        self.handles[number], self._kinds[number] = value, kind
        return {"$": "handle", "v": [kind, number]}

    def from_node(self, value: Any, kind: wit.Type | None, place: str, *, raw: bool = False) -> Any:
        """A value of the plugin's as the host has it; with `raw`, texts are bytes of UTF-8.

        Args:
            value: The JSON.
            kind: Its type; `None` for no value.
            place: What it is, for errors.
            raw: Whether the host's function takes texts as bytes.

        Raises:
            WrongValue: It is of another type.
        """

        def part(value: Any, kind: wit.Type, what: str) -> Any:
            return self.from_node(value, kind, f"{place}{what}", raw=raw)

        match kind:
            case None:
                return None
            case wit.Primitive(name=name):
                found = _primitive_from_node(value, name, place)
                return found.encode() if raw and isinstance(found, str) else found
            case wit.ListOf(element=wit.Primitive(name=name)) if name in _ARRAYS and not isinstance(value, list):
                return _array_from_node(value, name, place)
            case wit.ListOf(element=element):
                _require(isinstance(value, list), value, "a list", place)
                found = [part(each, element, f"[{at}]") for at, each in enumerate(value)]
                if not isinstance(element, wit.Primitive) or element.name not in (*_ARRAYS, "bool"):
                    return found
                if element.name == "u8":
                    return bytes(found)
                return np.asarray(found, dtype=_ARRAYS[element.name][1] if element.name in _ARRAYS else bool)
            case wit.OptionOf(some=some):
                return None if value is None else part(value, some, "")
            case wit.TupleOf(items=items):
                _require(isinstance(value, list) and len(value) == len(items), value, f"{len(items)} values", place)
                return tuple(
                    part(each, item, f"[{at}]") for at, (each, item) in enumerate(zip(value, items, strict=True))
                )
            case wit.Named(owner=owner, name=name) | wit.Borrow(resource=wit.Named(owner=owner, name=name)):
                definition = self._definitions[owner, name]
                if isinstance(definition, wit.Resource):
                    return self._handle_from_node(value, f"{owner}#{name}", name, place)
                return _named_from_node(value, definition, place, part)
        raise TypeError(kind)

    def _handle_from_node(self, value: Any, kind: str, name: str, place: str) -> Any:
        number = value.get("v") if isinstance(value, dict) and value.get("$") == "handle" else None
        open_one = isinstance(number, int) and number in self.handles and self._kinds[number] == kind
        _require(open_one, value, f"a {name} that is still open", place)
        return self.handles[number]  # type: ignore[index]  # it is there

    def drop(self, number: Any) -> None:
        """Release a handle that Node has released."""
        close(self.handles.pop(number, None))


def _named_from_node(
    value: Any, definition: wit.TypeDefinition, place: str, part: Callable[[Any, wit.Type, str], Any]
) -> Any:
    match definition:
        case wit.Record(fields=fields):
            _require(_is_object(value), value, "an object", place)
            given = {each.name: (value.get(camel(each.name)), each.type) for each in fields}
            return SimpleNamespace(
                **{_snake(name): part(each, kind, f".{camel(name)}") for name, (each, kind) in given.items()}
            )
        case wit.Enum(cases=cases):
            names = [each.name for each in cases]
            _require(value in names, value, f"one of {', '.join(names)}", place)
            return value
        case wit.Flags(flags=flags):
            _require(_is_object(value), value, "an object", place)
            return frozenset(each.name for each in flags if value.get(camel(each.name)) is True)
        case wit.Variant(cases=cases):
            by_name = {each.name: each for each in cases}
            tag = value.get("tag") if _is_object(value) else None
            _require(
                isinstance(tag, str) and tag in by_name, value, f"an object with the tag {', '.join(by_name)}", place
            )
            payload = by_name[str(tag)].payload
            return Variant(str(tag), None if payload is None else part(value.get("val"), payload, ".val"))
        case wit.Alias(type=aliased):
            return part(value, aliased, "")
    raise TypeError(definition)


def close(thing: Any) -> None:
    """Close what stood behind a handle."""
    found = getattr(thing, "close_handle", None)
    if found is not None:
        found()


def _primitive_to_node(value: Any, name: str) -> Any:
    if name == "string":
        return value if isinstance(value, str) else bytes(value).decode()
    if name in ("s64", "u64"):
        return {"$": "int", "v": str(int(value))}
    if name in ("f32", "f64"):
        value = float(value)
        special = {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN" if math.isnan(value) else "")
        return {"$": "float", "v": special} if special else value
    return bool(value) if name == "bool" else value if name == "char" else int(value)


def _primitive_from_node(value: Any, name: str, place: str) -> Any:
    kind = value.get("$") if isinstance(value, dict) else None
    if name in ("string", "char"):
        _require(isinstance(value, str), value, _TYPE_NAMES["string"], place)
        _require(name == "string" or len(value) == 1, value, "one character", place)
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half of a pair of UTF-16, which JSON can say
            raise WrongValue(f"{place} is not Unicode: {error.object[error.start]!a}") from error
        return value
    if name == "bool":
        _require(isinstance(value, bool), value, _TYPE_NAMES[name], place)
        return value
    if name in ("f32", "f64"):
        given = isinstance(value, int | float) and not isinstance(value, bool)
        _require(kind == "float" or given, value, _TYPE_NAMES[name], place)
        return _number(float, value, _TYPE_NAMES[name], place)
    found = _number(int, value, "a whole number", place) if kind == "int" else value
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    bits, least = int(name[1:]), 0 if name[0] == "u" else -(2 ** (int(name[1:]) - 1))
    if bits == 64:
        # JavaScript itself refuses to make one of a number.
        _require(kind == "int", value, "a whole number as a BigInt", place)
    _require(isinstance(found, int) and not isinstance(found, bool), value, "a whole number", place)
    _require(least <= found < least + 2**bits, value, f"a whole number from {least} to {least + 2**bits - 1}", place)
    return found


def _number(make: Callable[[Any], Any], value: Any, wanted: str, place: str) -> Any:
    try:
        return make(value["v"] if isinstance(value, dict) else value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WrongValue(f"{place} is {_shown(value)}, not {wanted}") from error


def _array_from_node(value: Any, name: str, place: str) -> Any:
    array, dtype = _ARRAYS[name]
    kind = value.get("$") if isinstance(value, dict) else None
    _require(isinstance(kind, str) and kind in _DTYPES, value, f"a list or a {array}", place)
    try:
        # Arrays of bytes that are no whole number of items are among the errors.
        found = np.frombuffer(base64.b64decode(value.get("v"), validate=True), _DTYPES[str(kind)])
    except (binascii.Error, TypeError, ValueError) as error:
        raise WrongValue(f"{place} is not a {array}: {error}") from error
    if kind != array:
        # As JavaScript makes one array of another: only what fits.
        with np.errstate(invalid="ignore"):
            cast = found.astype(dtype)
        _require(bool((cast == found).all()), value, f"a {array}", place)
        found = cast
    return found.tobytes() if name == "u8" else found


def _require(good: bool, value: Any, wanted: str, place: str) -> None:
    if not good:
        raise WrongValue(f"{place} is {_shown(value)}, not {wanted}")


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and "$" not in value


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        number = value.get("$") in ("int", "float")
        text = str(value.get("v")) if number else f"a {value['$']}" if "$" in value else "an object"
    else:
        text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def camel(name: str) -> str:
    """A name of the WIT as JavaScript has it: `num-rows` is `numRows`."""
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)


def _snake(name: str) -> str:
    return name.replace("-", "_")
