"""The modules `wit_world` and `componentize_py_types` outside of a component, with the host's own code behind them.

They have the names that componentize-py gives, so that a plugin cannot tell them from the bindings of a component.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, make_dataclass
from enum import Enum, Flag
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, Final, Generic, TypeVar, Union

import numpy as np

from dataflare.errors import UsageError
from dataflare.values import Err as HostErr
from dataflare.values import Ok as HostOk
from dataflare.values import Variant as HostVariant
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["HOST", "Bindings", "Err", "bindings", "install"]

HostFunctions = Mapping[str, Mapping[str, Callable[..., Any]]]
HOST: ContextVar[HostFunctions] = ContextVar("HOST")
"""The host's functions for the plugin that is being called."""

E = TypeVar("E")
# Called for classes whose members are not known before.
_ENUM: Final[Any] = Enum
_FLAG: Final[Any] = Flag
_DTYPES: Final = {
    **{"u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "s8": np.int8, "s16": np.int16, "s32": np.int32},
    **{"s64": np.int64, "f32": np.float32, "f64": np.float64, "bool": np.bool_},
}


@dataclass(frozen=True)
class Err(Exception, Generic[E]):
    """What a function of a WIT `result` raises in place of its error."""

    value: E


def install() -> None:
    """Make the modules importable, where there are no real ones."""
    made = bindings()
    types = ModuleType("componentize_py_types")
    types.__dict__["Err"] = Err
    world = ModuleType("wit_world")
    modules = {"componentize_py_types": types, "wit_world": world}
    for part in ("imports", "exports"):
        package = ModuleType(f"wit_world.{part}")
        package.__path__ = []
        modules[package.__name__] = package
        setattr(world, part, package)
        for name, module in made.modules.items():
            short = name.rpartition("/")[2].partition("@")[0]
            modules[f"wit_world.{part}.{short}"] = module
            setattr(package, short, module)
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
    sys.modules.update(modules)


class Bindings:
    """The classes and functions of all interfaces of the standard, and values between their form and the host's."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}
        self._definitions: dict[tuple[str, str], wit.TypeDefinition] = {}
        self._classes: dict[tuple[str, str], Any] = {}
        for name, interface in standard().interfaces():
            self._definitions |= {(name, each.name): each for each in interface.types}
        for name, interface in standard().interfaces():
            module = ModuleType(name)
            for each in interface.types:
                vars(module).update(self._define(name, each))
            for function in interface.functions:
                module.__dict__[_snake(function.name)] = self._function(name, function.name, function)
            self.modules[name] = module

    def _define(self, owner: str, value: wit.TypeDefinition) -> dict[str, Any]:
        name, key = _camel(value.name), (owner, value.name)
        match value:
            case wit.Record(fields=fields):
                made: Any = make_dataclass(name, [_snake(each.name) for each in fields])
            case wit.Enum(cases=cases):
                made = _ENUM(name, {_upper(each.name): at for at, each in enumerate(cases)})
            case wit.Flags(flags=flags):
                made = _FLAG(name, {_upper(each.name): 1 << at for at, each in enumerate(flags)})
            case wit.Variant(cases=cases):
                members = {
                    f"{name}_{_camel(each.name)}": make_dataclass(
                        f"{name}_{_camel(each.name)}", [] if each.payload is None else ["value"]
                    )
                    for each in cases
                }
                self._classes[key] = tuple(members.values())
                return {**members, name: Union[tuple(members.values())]}  # noqa: UP007 - a tuple of members
            case wit.Resource(functions=functions):
                made = type(name, (_Handle,), {})
                for function in functions:
                    full = f"[method]{value.name}.{function.name}"
                    setattr(made, _snake(function.name), self._function(owner, full, function, method=True))
            case _:
                return {}
        self._classes[key] = made
        return {name: made}

    def _function(self, owner: str, full: str, function: wit.Function, *, method: bool = False) -> Callable[..., Any]:
        kinds = [each.type for each in function.parameters]

        def call(*arguments: Any) -> Any:
            handle, rest = (arguments[:1], arguments[1:]) if method else ((), arguments)
            if len(rest) != len(kinds):
                raise TypeError(f"{full} takes {len(kinds)} arguments, not {len(rest)}")
            host = HOST.get({})
            if owner not in host:
                raise UsageError(
                    f"the plugin calls {owner}", hint="list it in plugin.yaml under needs, and call it only there"
                )
            target = host[owner][full]
            raw = bool(getattr(target, "text_as_bytes", False))
            given = [self.to_host(value, kind, raw=raw) for value, kind in zip(rest, kinds, strict=True)]
            result = target(*(each.held for each in handle), *given)
            return self.returned(result, function.result)

        return call

    def returned(self, result: Any, kind: wit.Type | None) -> Any:
        """What a function returns to the plugin; raises `Err` for a WIT error."""
        if isinstance(kind, wit.ResultOf):
            if isinstance(result, HostErr):
                raise Err(self.from_host(result.error, kind.error))
            return self.from_host(result.value if isinstance(result, HostOk) else result, kind.ok)
        return self.from_host(result, kind)

    def from_host(self, value: Any, kind: wit.Type | None) -> Any:
        """A value as the plugin has it."""
        match kind:
            case None:
                return None
            case wit.ListOf(element=wit.Primitive(name="u8")):
                return bytes(value)
            case wit.ListOf(element=wit.Primitive(name=name)) if name in _DTYPES:
                return np.asarray(value).tolist()
            case wit.ListOf(element=element):
                return [self.from_host(each, element) for each in value]
            case wit.OptionOf(some=some):
                return None if value is None else self.from_host(value, some)
            case wit.TupleOf(items=items):
                return tuple(self.from_host(each, item) for each, item in zip(value, items, strict=True))
            case wit.Named(owner=owner, name=name):
                return self._named_from_host(value, (owner, name))
            case wit.Borrow(resource=resource):
                return self._named_from_host(value, (resource.owner, resource.name))
            case wit.Primitive(name="string") if not isinstance(value, str):
                return bytes(value).decode()
        return value

    def _named_from_host(self, value: Any, key: tuple[str, str]) -> Any:
        definition, made = self._definitions[key], self._classes.get(key)
        match definition:
            case wit.Record(fields=fields):
                return made(*(self.from_host(getattr(value, _snake(each.name)), each.type) for each in fields))  # type: ignore[misc]
            case wit.Enum():
                return made[_upper(value)]  # type: ignore[index]
            case wit.Flags():
                found = made(0)  # type: ignore[misc]
                for name in value:
                    found |= made[_upper(name)]  # type: ignore[index]
                return found
            case wit.Variant(cases=cases):
                at = next(at for at, each in enumerate(cases) if each.name == value.case)
                payload = cases[at].payload
                return made[at](*(() if payload is None else (self.from_host(value.value, payload),)))  # type: ignore[index]
            case wit.Alias(type=aliased):
                return self.from_host(value, aliased)
        return made(value)  # type: ignore[misc]

    def to_host(self, value: Any, kind: wit.Type | None, *, raw: bool = False) -> Any:
        """A value as the host has it; with `raw`, texts are bytes of UTF-8."""
        match kind:
            case wit.ListOf(element=wit.Primitive(name="u8")):
                return bytes(value)
            case wit.ListOf(element=wit.Primitive(name=name)) if name in _DTYPES:
                return np.asarray(value, dtype=_DTYPES[name])
            case wit.ListOf(element=element):
                return [self.to_host(each, element, raw=raw) for each in value]
            case wit.OptionOf(some=some):
                return None if value is None else self.to_host(value, some, raw=raw)
            case wit.TupleOf(items=items):
                return tuple(self.to_host(each, item, raw=raw) for each, item in zip(value, items, strict=True))
            case wit.Named(owner=owner, name=name):
                return self._named_to_host(value, (owner, name), raw)
            case wit.Borrow(resource=resource):
                return self._named_to_host(value, (resource.owner, resource.name), raw)
            case wit.Primitive(name="string") if not isinstance(value, str):
                raise TypeError(f"{value!r} is not a text")
            case wit.Primitive(name="string") if raw:
                return value.encode()
        return value

    def _named_to_host(self, value: Any, key: tuple[str, str], raw: bool) -> Any:
        definition, made = self._definitions[key], self._classes.get(key)
        match definition:
            case wit.Record(fields=fields):
                parts = {
                    _snake(each.name): self.to_host(getattr(value, _snake(each.name)), each.type, raw=raw)
                    for each in fields
                }
                return SimpleNamespace(**parts)
            case wit.Enum(cases=cases):
                return cases[value.value].name
            case wit.Flags(flags=flags):
                return frozenset(each.name for at, each in enumerate(flags) if value.value >> at & 1)
            case wit.Variant(cases=cases):
                at = made.index(type(value))  # type: ignore[union-attr]
                payload = cases[at].payload
                return HostVariant(
                    cases[at].name, None if payload is None else self.to_host(value.value, payload, raw=raw)
                )
            case wit.Alias(type=aliased):
                return self.to_host(value, aliased, raw=raw)
        return value.held


class _Handle:
    """A handle of the host's resource: the object itself."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self.held, "close_handle", None)
        if close is not None:
            close()


_MADE: list[Bindings] = []


def bindings() -> Bindings:
    """The bindings of this process."""
    if not _MADE:
        _MADE.append(Bindings())
    return _MADE[0]


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _upper(name: str) -> str:
    return _snake(name).upper()


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
