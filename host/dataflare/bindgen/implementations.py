"""What an embedding program implements: the functions of a world's imports, and the resources that they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from dataflare.bindgen.abi import Func, WorldType
from dataflare.engine.abi.records import MISSING, find_attribute
from dataflare.errors import ConfigError, ValueTypeError
from dataflare.values import Err, Ok

__all__ = ["host_functions", "host_resource"]


class host_resource:
    """The methods that an object needs to be a resource of the host."""

    def __init__(self, protocol: type[Any], *methods: str) -> None:
        self._protocol = protocol.__name__
        self._methods = methods
        self._known: set[type[Any]] = set()

    def check(self, value: Any) -> Any:
        """Return the value.

        Raises:
            ValueTypeError: A method is missing, or is not a plain function.
            Exception: What a property of the object raised.
        """
        cls = type(value)
        if cls not in self._known:
            methods = {each: find_attribute(value, each) for each in self._methods}
            missing = [name for name, method in methods.items() if method is MISSING]
            if missing or value is None:
                lacks = f", which has no method {missing[0]!r}" if missing else ""
                raise ValueTypeError(f"expected a {self._protocol}, not a {cls.__name__}{lacks}")
            for name, method in methods.items():
                if (what := _unfit_kind(method)) is not None:
                    raise ValueTypeError(f"the method {name!r} of {cls.__name__} is {what}, not a plain function")
            if isinstance(value, type):  # each class has methods of its own
                if any(inspect.isfunction(inspect.getattr_static(value, each, None)) for each in self._methods):
                    raise ValueTypeError(f"expected a {self._protocol}, not the class {value.__name__} itself")
            elif len(self._known) < 256:
                self._known.add(cls)
        return value


def host_functions(world: WorldType, imports: Any) -> dict[str, dict[str, Callable[..., Any]]]:
    """Return the functions of an object that implements a world's imports, in the form in which the engine calls them.

    Raises:
        ConfigError: A function is missing, is not a function, or takes other parameters.
        Exception: What a property of the object raised.
    """
    found: dict[str, dict[str, Callable[..., Any]]] = {}
    for interface, type_ in world.imports.items():
        owner, place = imports, "imports"
        if type_.python:
            owner = find_attribute(imports, type_.python)
            if owner is MISSING:
                raise ConfigError(
                    f"{_described(imports)} has no attribute {type_.python!r}, which implements {interface}",
                    where=place,
                    hint="give an object with this attribute, as the Protocol says",
                )
            place = f"imports.{type_.python}"
        found[interface] = {name: _host_function(owner, name, func, place) for name, func in type_.functions.items()}
    return found


def _host_function(owner: Any, name: str, func: Func, place: str) -> Callable[..., Any]:
    if name.startswith("[method]"):
        function = _method(func.python)
    else:
        function = find_attribute(owner, func.python)
        if function is MISSING:
            raise ConfigError(
                f"{_described(owner)} has no method {func.python!r}", where=place, hint=f"it takes {_parameters(func)}"
            )
        if isinstance(owner, type) and inspect.isfunction(inspect.getattr_static(owner, func.python, None)):
            hint = f"give an instance: {owner.__name__}()"
            raise ConfigError(f"is the class {owner.__name__}, whose methods need an instance", where=place, hint=hint)
        _check_signature(function, func, f"{place}.{func.python}")
    return function if func.error is None else _answering(function, func.error)


def _method(name: str) -> Callable[..., Any]:
    def call(thing: Any, *args: Any) -> Any:
        return getattr(thing, name)(*args)

    return call


def _answering(function: Callable[..., Any], error: type[Exception]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        try:
            return Ok(function(*args))
        except error as raised:
            return Err(raised.error)  # type: ignore[attr-defined]  # it is a ResultError

    return call


def _unfit_kind(function: object) -> str | None:
    """Name the kind of what is not a plain function: another object, or a function whose result is run later."""
    if not callable(function):
        return "None" if function is None else f"a {type(function).__name__}"
    for each in (function, getattr(type(function), "__call__", None)):  # noqa: B004  # an object's own `__call__`
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            return "async"
        if inspect.isgeneratorfunction(each):
            return "a generator"
    return None


def _check_signature(function: Any, func: Func, place: str) -> None:
    if (what := _unfit_kind(function)) is not None:
        late = callable(function)
        hint = "calls wait for the answer: run it to its end, such as with asyncio.run" if late else ""
        raise ConfigError(f"is {what}, not a plain function", where=place, hint=hint or f"it takes {_parameters(func)}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a C function without a signature
        return
    try:
        signature.bind(*func.parameters)
    except TypeError as error:
        raise ConfigError(f"cannot be called with ({_parameters(func)}): {error}", where=place) from None


def _parameters(func: Func) -> str:
    return ", ".join(name for name, _ in func.parameters) or "nothing"


def _described(value: Any) -> str:
    return "None" if value is None else f"the {type(value).__name__}"
