"""The host's objects that plugins hold handles to."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from dataflare.engine.engine import Engine
from dataflare.errors import PluginFault, ProtocolFault, ValueTypeError
from dataflare.limits import Limits
from dataflare.values import Err, Ok, Some, Variant
from handle_kit import BORROW, OWN, SLOW, TEXT, U32, Special, Thing
from wat_kit import API, HOST, component
from wit_strategies import snake, values_of, wit_types


@pytest.fixture(scope="session")
def relay(engine: Engine) -> bytes:
    """Takes, gives, looks at and echoes handles."""
    return component(
        {
            "take": FuncT((("x", OWN),), None),
            "give": FuncT((("name", TEXT),), OWN),
            "look": FuncT((("x", BORROW),), TEXT),
            "echo": FuncT((("x", OWN),), OWN),
            "echo-all": FuncT((("x", ListT(OptionT(OWN))),), ListT(OptionT(OWN))),
            "look-all": FuncT((("x", ListT(BORROW)),), U32),
            "try-give": FuncT((("x", U32),), ResultT(OWN, TEXT)),
        },
        resources=["thing"],
    )


def functions(**replaced: Any) -> dict[str, dict[str, Any]]:
    host: dict[str, Any] = {
        "take": lambda x: None,
        "give": Thing,
        "look": lambda x: x.name,
        "echo": lambda x: x,
        "echo-all": lambda x: x,
        "look-all": len,
        "try-give": lambda x: Ok(Thing(str(x))) if x else Err("zero"),
    }
    host.update({name.replace("_", "-"): function for name, function in replaced.items()})
    return {HOST: host}


def test_a_handle_is_the_very_object(instantiate: Any, relay: bytes) -> None:
    kept: list[Any] = []
    thing = Thing("a")
    with instantiate(relay, functions(take=kept.append, look=lambda x: (kept.append(x), x.name)[1])) as instance:
        assert instance.call(API, "echo", thing) is thing
        assert instance.call(API, "take", thing) is None
        assert instance.call(API, "look", thing) == "a"
        assert kept == [thing, thing] and kept[0] is kept[1] is thing
        made = instance.call(API, "give", "b")
        assert isinstance(made, Thing) and made.name == "b"
    # What went back to the host, and what was only lent, is not the plugin's to close.
    assert thing.closed == 0 and made.closed == 0


def test_an_own_handle_leaves_and_returns_many_times(instantiate: Any, relay: bytes) -> None:
    thing = Thing("a")
    with instantiate(relay, functions()) as instance:
        for _ in range(50):
            assert instance.call(API, "echo", thing) is thing
        assert instance.call(API, "look", thing) == "a"
    assert thing.closed == 0


def test_one_object_may_stand_behind_several_handles(instantiate: Any, relay: bytes) -> None:
    thing = Thing("a")
    with instantiate(relay, functions()) as instance:
        assert instance.call(API, "echo-all", [thing, None, thing]) == [thing, None, thing]
        assert instance.call(API, "look-all", [thing, thing, thing]) == 3
    assert thing.closed == 0


def test_results_and_errors_beside_handles(instantiate: Any, relay: bytes) -> None:
    with instantiate(relay, functions()) as instance:
        assert instance.call(API, "try-give", 0) == Err("zero")
        assert instance.call(API, "try-give", 7).value.name == "7"


def test_any_object_can_stand_behind_a_handle(instantiate: Any, relay: bytes) -> None:
    for thing in ("text", 5, {"a": 1}, object()):
        with instantiate(relay, functions()) as instance:
            assert instance.call(API, "echo", thing) is thing


def test_many_handles_in_one_call(instantiate: Any, relay: bytes) -> None:
    things = [Thing(str(i)) for i in range(3000)]
    with instantiate(relay, functions()) as instance:
        assert instance.call(API, "echo-all", things) == things
        assert instance.call(API, "look-all", things) == 3000
        assert instance.call(API, "echo-all", things) == things
    assert not any(thing.closed for thing in things)


@pytest.mark.parametrize("ending", ["drop", "close"])
def test_each_handle_that_a_plugin_keeps_is_closed_once(instantiate: Any, hostile: Any, ending: str) -> None:
    kept: list[Thing] = []

    def make(name: int) -> Thing:
        kept.append(Thing(str(name)))
        return kept[-1]

    with instantiate(hostile("handles"), {HOST: {"[constructor]thing": make}}) as instance:
        instance.call(API, "keep", 10)
        assert [thing.closed for thing in kept] == [0] * 10
        if ending == "drop":
            instance.call(API, "drop-all")
            instance.call(API, "keep", 0)
            assert [thing.closed for thing in kept] == [1] * 10
    assert [thing.closed for thing in kept] == [1] * 10
    instance.close()
    assert [thing.closed for thing in kept] == [1] * 10


def test_thousands_of_handles_dropped_in_one_call_are_all_closed(instantiate: Any, hostile: Any) -> None:
    made: list[Thing] = []

    def make(name: int) -> Thing:
        made.append(Thing(str(name)))
        return made[-1]

    with instantiate(hostile("handles"), {HOST: {"[constructor]thing": make}}) as instance:
        instance.call(API, "make-and-drop", 5000)
    assert len(made) == 5000 and {thing.closed for thing in made} == {1}


def test_handles_are_closed_when_the_plugin_faults(instantiate: Any, hostile: Any) -> None:
    made: list[Thing] = []

    def make(name: int) -> Thing:
        made.append(Thing(str(name)))
        return made[-1]

    instance = instantiate(hostile("handles"), {HOST: {"[constructor]thing": make}})
    with instance, pytest.raises(PluginFault):
        instance.call(API, "keep-and-trap", 20)
    assert [thing.closed for thing in made] == [1] * 20


@pytest.mark.parametrize("function", ["use-dropped", "drop-twice", "use-unknown"])
def test_a_handle_that_is_none_is_a_protocol_fault(instantiate: Any, hostile: Any, function: str) -> None:
    host = {HOST: {"[constructor]thing": lambda n: Thing(str(n))}}
    with instantiate(hostile("handles"), host, name="bad-handles") as instance:
        with pytest.raises(ProtocolFault) as caught:
            instance.call(API, function)
        assert caught.value.plugin == "bad-handles" and caught.value.export == f"{API}#{function}"


def test_a_close_handle_that_fails_leaves_none_unclosed(instantiate: Any, hostile: Any) -> None:
    made: list[Thing] = []

    class Failing(Thing):
        def close_handle(self) -> None:
            super().close_handle()
            if self.name == "3":
                raise Special

    def make(name: int) -> Thing:
        made.append(Failing(str(name)))
        return made[-1]

    instance = instantiate(hostile("handles"), {HOST: {"[constructor]thing": make}})
    instance.call(API, "keep", 10)
    with pytest.raises(Special):
        instance.call(API, "drop-all")
        instance.close()
    instance.close()
    assert [thing.closed for thing in made] == [1] * 10


def test_a_refused_argument_gives_no_handle_away(instantiate: Any) -> None:
    binary = component({"f": FuncT((("x", OWN), ("y", ListT(OWN)), ("z", U32)), None)}, resources=["thing"])
    things = [Thing(str(i)) for i in range(3)]
    with instantiate(binary, {HOST: {"f": lambda x, y, z: None}}) as instance:
        for _ in range(5):
            with pytest.raises(ValueTypeError):
                instance.call(API, "f", things[0], things[1:], "not a number")
        assert instance.call(API, "f", things[0], things[1:], 3) is None
    assert [thing.closed for thing in things] == [0, 0, 0]


@st.composite
def handle_types(draw: st.DrawFn, depth: int, handle: Type) -> Type:
    """A type with handles in it somewhere, and anything beside."""

    def part() -> Type:
        if depth and draw(st.booleans()):
            return draw(handle_types(depth - 1, handle))
        return draw(st.one_of(st.just(handle), wit_types(1)))

    match draw(st.sampled_from(["list", "option", "tuple", "record", "variant", "result", "result"])):
        case "list":
            return ListT(part())
        case "option":
            return OptionT(part())
        case "tuple":
            return TupleT((part(), handle, part()))
        case "record":
            return RecordT((("a", part()), ("the-handle", handle), ("c", part())))
        case "variant":
            return VariantT((("none", None), ("a", part()), ("handle", handle), ("c", part())))
        case _:
            return ResultT(draw(st.one_of(st.none(), st.just(part()))), part())


def with_handles(ty: Type) -> st.SearchStrategy[Any]:
    """Values of a type with handles, a new `Thing` for each."""
    match ty:
        case OwnT() | BorrowT():
            return st.builds(Thing, st.integers(0, 99).map(str))
        case _ if not has_handles(ty):
            return values_of(ty)
        case ListT():
            return st.lists(with_handles(ty.element), max_size=4)
        case OptionT(OptionT()):
            return st.one_of(st.none(), with_handles(ty.inner).map(Some))
        case OptionT():
            return st.one_of(st.none(), with_handles(ty.inner))
        case TupleT():
            return st.tuples(*map(with_handles, ty.items))
        case RecordT():
            fields = {snake(n): with_handles(t) for n, t in ty.fields}
            return st.fixed_dictionaries(fields).map(lambda fields: SimpleNamespace(**fields))
        case VariantT():
            return st.one_of(
                [(st.none() if t is None else with_handles(t)).map(lambda v, n=n: Variant(n, v)) for n, t in ty.cases]
            )
        case ResultT():
            ok = st.none() if ty.ok is None else with_handles(ty.ok)
            err = st.none() if ty.err is None else with_handles(ty.err)
            return st.one_of(ok.map(Ok), err.map(Err))
        case _:
            raise TypeError(f"no handles in {ty}")


def things_in(ty: Type, value: Any) -> list[Thing]:
    """The things in a value, in order."""
    match ty:
        case OwnT() | BorrowT():
            return [value]
        case _ if not has_handles(ty):
            return []
        case ListT():
            return [thing for item in value for thing in things_in(ty.element, item)]
        case OptionT(OptionT()):
            return [] if value is None else things_in(ty.inner, value.value)
        case OptionT():
            return [] if value is None else things_in(ty.inner, value)
        case TupleT():
            return [thing for t, item in zip(ty.items, value, strict=True) for thing in things_in(t, item)]
        case RecordT():
            return [thing for n, t in ty.fields for thing in things_in(t, getattr(value, snake(n)))]
        case VariantT():
            payload = dict(ty.cases)[value.case]
            return [] if payload is None else things_in(payload, value.value)
        case ResultT():
            payload = ty.ok if isinstance(value, Ok) else ty.err
            inner = value.value if isinstance(value, Ok) else value.error
            return [] if payload is None else things_in(payload, inner)
        case _:
            raise TypeError(f"no handles in {ty}")


@settings(SLOW, max_examples=40)
@given(data=st.data())
def test_own_handles_at_any_depth_both_ways(instantiate: Any, data: st.DataObject) -> None:
    ty = data.draw(handle_types(2, OWN))
    value, answer = data.draw(with_handles(ty)), data.draw(with_handles(ty))
    heard: list[Any] = []

    def answered(x: Any) -> Any:
        heard.append(x)
        return answer

    with instantiate(
        component({"f": FuncT((("x", ty),), ty)}, resources=["thing"]), {HOST: {"f": answered}}
    ) as instance:
        got = instance.call(API, "f", value)
    assert list(map(id, things_in(ty, heard[0]))) == list(map(id, things_in(ty, value)))
    assert list(map(id, things_in(ty, got))) == list(map(id, things_in(ty, answer)))
    assert not any(thing.closed for thing in things_in(ty, value) + things_in(ty, answer))


@settings(SLOW, max_examples=40)
@given(data=st.data())
def test_borrowed_handles_at_any_depth(instantiate: Any, data: st.DataObject) -> None:
    ty = data.draw(handle_types(2, BORROW))
    value = data.draw(with_handles(ty))
    heard: list[Any] = []
    func = FuncT((("n", U32), ("x", ty)), U32)
    with instantiate(
        component({"f": func}, resources=["thing"]), {HOST: {"f": lambda n, x: (heard.append(x), n)[1]}}
    ) as instance:
        for turn in range(2):
            assert instance.call(API, "f", turn, value) == turn
    for seen in heard:
        assert list(map(id, things_in(ty, seen))) == list(map(id, things_in(ty, value)))
    assert not any(thing.closed for thing in things_in(ty, value))


def test_objects_are_forgotten_when_they_are_no_longer_held(instantiate: Any, relay: bytes) -> None:
    with instantiate(relay, functions(), limits=Limits()) as instance:
        thing = Thing("a")
        gone = weakref.ref(thing)
        instance.call(API, "look", thing)
        instance.call(API, "echo", thing)
        instance.call(API, "look-all", [thing])
        instance.call(API, "look", Thing("other"))
        del thing
        gc.collect()
        assert gone() is None
