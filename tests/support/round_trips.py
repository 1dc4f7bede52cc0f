"""Random values through generated bindings and a component made for their world."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bindings_kit import made, unmade
from dataflare.bindgen.abi import Func, WorldType
from dataflare.bindgen.support import ResultError, World
from dataflare.engine.abi.types import (
    BorrowT,
    FuncT,
    ListT,
    OptionT,
    OwnT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
    has_handles,
)
from dataflare.runtime.host import Host
from dataflare.values import Err, Ok, Some, Variant
from dataflare.wit.catalog import Catalog
from echo_world import EchoWorld, Steered
from wat_kit import API
from wit_strategies import Slot, normal, snake, values_of

__all__ = ["round_trip"]


def round_trip(
    host: Host, bindings: Any, catalog: Catalog, world: str, *, examples: int = 5, isolation: str = "none"
) -> int:
    """Call every function of a world both ways with random values, and compare what arrives.

    Args:
        host: Runs the component.
        bindings: The package that was generated for the world.
        catalog: The resolved packages.
        world: The world's full name.
        examples: How many calls each function gets.
        isolation: As for the class of the world.

    Returns:
        How many functions were called.
    """
    world_type: WorldType = bindings._abi.WORLD
    echo = EchoWorld(catalog, world, frozenset(world_type.imports))
    binary = echo.binary()
    trip = _Trip(echo, world_type)
    cls = next(each for each in vars(bindings).values() if isinstance(each, type) and issubclass(each, World))
    needs_imports = "imports" in inspect.signature(cls).parameters
    imports = {"imports": trip.imports()} if needs_imports else {}
    with cls(binary, **imports, host=host, isolation=isolation) as opened:
        for each in echo.steered:
            trip.check(opened, each, examples)
    return len(echo.steered)


class _Thing:
    """Something of the embedder's behind a resource."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Trip:
    def __init__(self, echo: EchoWorld, world_type: WorldType) -> None:
        self._echo = echo
        self._type = world_type
        self._seen: tuple[Any, ...] = ()
        self._answer: Any = None
        self._error: Any = None
        self._things: dict[str, type[_Thing]] = {}

    def imports(self) -> SimpleNamespace:
        """An implementation of all imports: it keeps what it is called with, and answers what it was told to."""
        found = SimpleNamespace()
        for interface in self._type.imports.values():
            owner = found
            if interface.python:
                owner = SimpleNamespace()
                setattr(found, interface.python, owner)
            for name, function in interface.functions.items():
                if not name.startswith("[method]"):
                    setattr(owner, function.python, self._implementation(function.error))
        return found

    def _implementation(self, error: type[Exception] | None) -> Any:
        def implementation(*args: Any) -> Any:
            self._seen = args
            if error is not None and isinstance(self._answer, Err):
                raise error(self._answer.error)
            return self._answer.value if error is not None else self._answer

        return implementation

    def thing(self, resource: int, number: int) -> _Thing:
        """An object with the methods of a resource of the embedder."""
        owner, name, _ = self._echo.resources[resource]
        _, inline, plain = owner.partition("#")
        if owner not in self._type.imports:
            owner = plain if inline else ""  # of an interface that is written in the world, and of the world itself
        methods = {}
        for interface, type_ in self._type.imports.items():
            for function, func in type_.functions.items():
                if interface == owner and function.startswith(f"[method]{name}."):
                    methods[func.python] = self._implementation(func.error)
        return type("Thing", (_Thing,), methods)(number)

    def check(self, world: Any, each: Steered, examples: int) -> None:
        """Call one function with random values."""
        result = st.none() if each.type.result is None else values_of(each.type.result)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(st.tuples(*(values_of(ty) for _, ty in each.type.params)), result)
        def calls(args: tuple[Any, ...], answer: Any) -> None:
            (self._exported if each.exported else self._imported)(world, each, args, answer)

        calls()

    def _typed(self, world: Any, each: Steered) -> FuncT:
        shape = world._instance._component.shape
        sides = shape.exports if each.exported else shape.imports
        return sides[each.interface].funcs[each.name]

    def _function(self, each: Steered) -> tuple[str, Func]:
        side = self._type.exports if each.exported else self._type.imports
        interface = side[each.interface]
        return interface.python, interface.functions[each.name]

    def _imported(self, world: Any, each: Steered, args: tuple[Any, ...], answer: Any) -> None:
        typed = self._typed(world, each)
        things: dict[int, Any] = {}

        def given(ty: OwnT | BorrowT, slot: Slot) -> Any:
            return things.setdefault(slot.number, self.thing(ty.resource, slot.number))

        plain = [mapped(ty, value, given) for (_, ty), value in zip(each.type.params, args, strict=True)]
        if each.type.result is not None:
            assert typed.result is not None
            self._answer = made(typed.result, mapped(each.type.result, answer, given))
        found = world._instance.call(API, f"call-{each.number}", *plain)
        self._compare(each, [ty for _, ty in typed.params], self._seen, args, lambda _, thing: thing.number)
        if each.type.result is not None:
            back = mapped(each.type.result, found, lambda _, thing: thing.number)
            assert normal(each.type.result, back) == normal(each.type.result, numbered(each.type.result, answer))

    def _compare(self, each: Steered, typed: list[Type], seen: Any, args: Any, number: Any) -> None:
        for (_, ty), typed_here, value, expected in zip(each.type.params, typed, seen, args, strict=True):
            back = mapped(ty, unmade(typed_here, value), number)
            assert normal(ty, back) == normal(ty, numbered(ty, expected))

    def _exported(self, world: Any, each: Steered, args: tuple[Any, ...], answer: Any) -> None:
        typed = self._typed(world, each)
        attribute, func = self._function(each)
        call = world._instance.call

        def number(ty: OwnT | BorrowT, found: Any) -> int:
            if isinstance(found, _Thing):
                return found.number
            return int(call(API, f"rep-{ty.resource}", found))

        def given(ty: OwnT | BorrowT, slot: Slot) -> Any:
            if self._echo.resources[ty.resource][2]:
                return call(API, f"make-{ty.resource}", slot.number)
            return self.thing(ty.resource, slot.number)

        taken = [
            made(typed_here, mapped(typed_here, mapped(ty, value, given), _as_class))
            for (_, ty), (_, typed_here), value in zip(each.type.params, typed.params, args, strict=True)
        ]
        if each.type.result is not None:
            call(API, f"answer-{each.number}", mapped(each.type.result, answer, given))
        if each.name.startswith("[method]"):
            result = _outcome(func, getattr(taken[0], func.python), *taken[1:])
        else:
            owner = getattr(world, attribute) if attribute else world
            result = _outcome(func, getattr(owner, func.python), *taken)
        if args:
            seen_type = self._echo.seen_type(each)
            seen = call(API, f"seen-{each.number}")[:-1]
            for (_, ty), plain, value, found in zip(each.type.params, seen_type.items, args, seen, strict=False):
                lent = unborrowed(ty, numbered(ty, value), self._echo)
                back = unborrowed(ty, mapped(plain, found, number), self._echo)
                assert normal(plain, back) == normal(plain, lent)
        if each.type.result is not None:
            assert typed.result is not None
            back = mapped(each.type.result, unmade(typed.result, result), number)
            assert normal(each.type.result, back) == normal(each.type.result, numbered(each.type.result, answer))


def _as_class(ty: OwnT | BorrowT, value: Any) -> Any:
    """A handle as generated code has it."""
    return ty.made(value) if isinstance(ty.made, type) else value


def _outcome(func: Func, call: Any, *args: Any) -> Any:
    try:
        result = call(*args)
    except ResultError as error:
        assert type(error) is func.error
        return Err(error.error)
    return result if func.error is None else Ok(result)


def numbered(ty: Type, value: Any) -> Any:
    """A value with the number of each slot in its place."""
    return mapped(ty, value, lambda _, slot: slot.number)


def unborrowed(ty: Type, value: Any, echo: EchoWorld) -> Any:
    """A value without the numbers of handles that were lent to the component, which it does not keep."""

    def kept(handle: OwnT | BorrowT, number: Any) -> Any:
        return 0 if isinstance(handle, BorrowT) and not echo.resources[handle.resource][2] else number

    return mapped(ty, value, kept)


def mapped(ty: Type | None, value: Any, handle: Callable[[Any, Any], Any]) -> Any:
    """A value in the shapes of `dataflare.values`, with something else for each handle in it."""
    if ty is None or not (has_handles(ty) or isinstance(ty, OwnT | BorrowT)):
        return value
    match ty:
        case OwnT() | BorrowT():
            return handle(ty, value)
        case ListT():
            return [mapped(ty.element, each, handle) for each in value]
        case TupleT():
            return tuple(mapped(t, each, handle) for t, each in zip(ty.items, value, strict=True))
        case RecordT():
            fields = {snake(name): mapped(t, getattr(value, snake(name)), handle) for name, t in ty.fields}
            return SimpleNamespace(**fields)
        case VariantT():
            return Variant(value.case, mapped(dict(ty.cases)[value.case], value.value, handle))
        case OptionT():
            if value is None:
                return None
            if isinstance(ty.inner, OptionT):
                return Some(mapped(ty.inner, value.value, handle))
            return mapped(ty.inner, value, handle)
        case ResultT():
            if isinstance(value, Ok):
                return Ok(mapped(ty.ok, value.value, handle))
            return Err(mapped(ty.err, value.error, handle))
        case _:
            return value
