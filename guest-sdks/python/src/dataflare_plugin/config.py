"""A plugin's configuration: a dataclass, from which its JSON Schema comes."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from dataflare_plugin.errors import InvalidConfig

__all__ = ["option", "parse", "schema"]

_PLAIN = {str: ("string", "a text"), int: ("integer", "a whole number"), float: ("number", "a number")}
_PLAIN[bool] = ("boolean", "true or false")


def option(
    help: str = "",
    *,
    default: Any = dataclasses.MISSING,
    at_least: float | None = None,
    at_most: float | None = None,
    not_empty: bool = False,
) -> Any:
    """Describe a field of a configuration.

    Args:
        help: What it means, for the operator.
        default: The value where none is given; a field without a default is required.
        at_least: The least number.
        at_most: The greatest number.
        not_empty: Whether a text, a list or a mapping must not be empty.
    """
    meta = {"help": help, "at_least": at_least, "at_most": at_most, "not_empty": not_empty}
    if isinstance(default, list | dict | set):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def schema(model: type | None) -> dict[str, Any]:
    """The JSON Schema of a configuration; `None` for a plugin without one."""
    described = _object_schema(model) if model is not None else {"type": "object", "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def parse(text: str, model: type | None) -> Any:
    """Read a configuration.

    Raises:
        InvalidConfig: It is wrong; the text names the key.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidConfig(f"the configuration is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidConfig("the configuration is not a JSON object")
    if model is None:
        if given:
            raise InvalidConfig(f"unknown keys: {', '.join(sorted(given))}; there are none")
        return None
    return _object(given, model, "")


def _fields(model: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(model)
    return [(field, hints[field.name]) for field in dataclasses.fields(model)]


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _object(given: Mapping[str, Any], model: type, where: str) -> Any:
    fields = _fields(model)
    names = [field.name for field, _ in fields]
    if unknown := given.keys() - set(names):
        raise InvalidConfig(
            f"{where}unknown keys: {', '.join(sorted(unknown))}; there are {', '.join(names) or 'none'}"
        )
    values = {}
    for field, kind in fields:
        key = f"{where}{field.name}"
        if field.name in given:
            values[field.name] = _checked(_value(given[field.name], kind, key), field, key)
        elif _required(field):
            raise InvalidConfig(f"{key}: it is missing")
    try:
        return model(**values)
    except (ValueError, TypeError) as error:
        raise InvalidConfig(f"{where}{error}") from None


def _checked(value: Any, field: dataclasses.Field[Any], key: str) -> Any:
    least, most = field.metadata.get("at_least"), field.metadata.get("at_most")
    if value is not None and ((least is not None and value < least) or (most is not None and value > most)):
        if least is None or most is None:
            raise InvalidConfig(f"{key}: give {f'at least {least}' if most is None else f'at most {most}'}")
        raise InvalidConfig(f"{key}: give a number within {least} and {most}")
    if field.metadata.get("not_empty") and not value:
        raise InvalidConfig(f"{key}: it is empty")
    return value


def _value(given: Any, kind: Any, key: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return given
    if kind in _PLAIN:
        fits = isinstance(given, int | float if kind is float else kind) and (kind is bool) == isinstance(given, bool)
        if not fits:
            raise InvalidConfig(f"{key}: give {_PLAIN[kind][1]}")
        return float(given) if kind is float else given
    if origin is Literal:
        if not any(given == each and type(given) is type(each) for each in arguments):
            raise InvalidConfig(f"{key}: give one of {', '.join(map(str, arguments))}")
        return given
    if origin in (Union, types.UnionType):
        return _member(given, arguments, key)
    if origin in (list, tuple, set, frozenset) or kind in (list, tuple, set, frozenset):
        if not isinstance(given, list):
            raise InvalidConfig(f"{key}: give a list")
        inner = arguments[0] if arguments else Any
        return (origin or kind)(_value(each, inner, f"{key}[{place}]") for place, each in enumerate(given))
    if origin is dict or kind is dict:
        if not isinstance(given, dict):
            raise InvalidConfig(f"{key}: give an object")
        inner = arguments[1] if arguments else Any
        return {name: _value(each, inner, f"{key}.{name}") for name, each in given.items()}
    if dataclasses.is_dataclass(kind):
        if not isinstance(given, dict):
            raise InvalidConfig(f"{key}: give an object")
        return _object(given, typing.cast(type, kind), f"{key}.")
    raise TypeError(f"{key}: a configuration cannot have a {kind}")


def _member(given: Any, kinds: tuple[Any, ...], key: str) -> Any:
    if given is None and type(None) in kinds:
        return None
    wrong = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _value(given, kind, key)
            except InvalidConfig as error:
                wrong.append(str(error).removeprefix(f"{key}: give "))
    raise InvalidConfig(f"{key}: give {' or '.join(wrong)}")


def _object_schema(model: Any) -> dict[str, Any]:
    fields = _fields(model)
    properties = {field.name: _field_schema(field, kind) for field, kind in fields}
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    if required := [field.name for field, _ in fields if _required(field)]:
        found["required"] = required
    return found


def _field_schema(field: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    found = _type_schema(kind)
    meta = field.metadata
    if meta.get("help"):
        found["description"] = meta["help"]
    for key, name in (("at_least", "minimum"), ("at_most", "maximum")):
        if meta.get(key) is not None:
            found[name] = meta[key]
    if meta.get("not_empty"):
        found[{"string": "minLength", "array": "minItems"}.get(found.get("type", ""), "minProperties")] = 1
    default = field.default_factory() if callable(field.default_factory) else field.default
    if default is not dataclasses.MISSING and default is not None:
        found["default"] = default
    return found


def _type_schema(kind: Any) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return {"type": _PLAIN[kind][0]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        members = [_type_schema(each) for each in arguments if each is not type(None)]
        if type(None) in arguments:
            members.append({"type": "null"})
        return {"anyOf": members}
    if origin in (list, tuple, set, frozenset) or kind in (list, tuple, set, frozenset):
        return {"type": "array", "items": _type_schema(arguments[0]) if arguments else {}}
    if origin is dict or kind is dict:
        return {"type": "object", "additionalProperties": _type_schema(arguments[1]) if arguments else {}}
    return _object_schema(kind) if dataclasses.is_dataclass(kind) else {}
