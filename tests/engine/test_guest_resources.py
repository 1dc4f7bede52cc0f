"""Resources that plugins make, and the host holds handles to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from dataflare.engine.abi.handles import GuestResource
from dataflare.engine.engine import Engine
from dataflare.engine.native.stack import THREADS
from dataflare.errors import GuestPanic, UsageError, ValueTypeError

COUNTERS = "test:kit/counters@1.0.0"
BINARY = bytes(wasmtime.wat2wasm((Path(__file__).parent / "counter.wat").read_text()))


class Counters:
    """The plugin's functions by short names."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def make(self, start: int) -> Any:
        return self.instance.call(COUNTERS, "[constructor]counter", start)

    def get(self, counter: Any) -> int:
        return int(self.instance.call(COUNTERS, "[method]counter.get", counter))

    def alive(self) -> int:
        return int(self.instance.call(COUNTERS, "[static]counter.alive"))

    def call(self, function: str, *args: Any) -> Any:
        return self.instance.call(COUNTERS, function, *args)


@pytest.fixture
def counters(instantiate: Callable[..., Any]) -> Any:
    with instantiate(BINARY, {}, name="counters") as instance:
        yield Counters(instance)


def test_a_resource_keeps_its_state_between_calls(counters: Counters) -> None:
    one, two = counters.make(5), counters.make(100)
    assert counters.call("[method]counter.add", one, 2) == 7
    assert counters.call("[method]counter.add", two, 1) == 101
    assert counters.get(one) == 7 and counters.get(two) == 101
    assert counters.alive() == 2


def test_a_handle_tells_what_it_is_a_handle_to(engine: Engine) -> None:
    with engine.load(BINARY, name="counters").instantiate({}) as instance:
        made = Counters(instance).make(5)
        assert isinstance(made, GuestResource)
        resource = instance.component.shape.resources[made.type_index]
        assert (resource.name, resource.interface, resource.imported) == ("counter", COUNTERS, False)
        assert made.handle > 0 and made.name == "counter" and "counter" in repr(made)


def test_dropping_runs_the_destructor_once(counters: Counters) -> None:
    one, two = counters.make(1), counters.make(2)
    assert counters.alive() == 2
    counters.instance.drop(one)
    counters.instance.drop(one)
    assert counters.alive() == 1
    assert counters.get(two) == 2
    with pytest.raises(ValueTypeError):
        counters.get(one)
    assert counters.instance.alive


def test_an_own_handle_is_spent_when_it_is_given_away(counters: Counters) -> None:
    one = counters.make(7)
    assert counters.call("[static]counter.finish", one) == 7
    assert counters.alive() == 0 and one.handle == 0
    for function in ("[static]counter.finish", "[method]counter.get"):
        with pytest.raises(ValueTypeError):
            counters.call(function, one)
    counters.instance.drop(one)
    assert counters.instance.alive


def test_an_own_handle_that_comes_back_is_a_new_one(counters: Counters) -> None:
    one = counters.make(7)
    again = counters.call("same", one)
    assert again is not one and counters.get(again) == 7 and one.handle == 0
    assert counters.alive() == 1


def test_handles_within_lists_and_options(counters: Counters) -> None:
    made = counters.call("many", 7)
    assert [item is None for item in made] == [True, False, True, False, True, False, True]
    there = [item for item in made if item is not None]
    assert [counters.get(item) for item in there] == [1, 3, 5]
    assert counters.call("sum", there) == 9
    assert counters.call("sum", [there[0], there[0]]) == 2
    assert counters.call("sum", []) == 0
    for item in there:
        counters.instance.drop(item)
    assert counters.alive() == 0


def test_two_handles_become_one(counters: Counters) -> None:
    merged = counters.call("[static]counter.merge", counters.make(3), counters.make(4), 10)
    assert counters.get(merged) == 17 and counters.alive() == 1


def test_a_refused_argument_spends_no_handle(counters: Counters) -> None:
    one, two = counters.make(3), counters.make(4)
    with pytest.raises(ValueTypeError):
        counters.call("[static]counter.merge", one, two, "not a number")
    with pytest.raises(ValueTypeError):
        counters.call("[static]counter.merge", one, None, 1)
    assert counters.get(one) == 3 and counters.get(two) == 4
    assert counters.get(counters.call("[static]counter.merge", one, two, 1)) == 8


def test_a_handle_is_not_given_away_twice_in_one_call(counters: Counters) -> None:
    one = counters.make(3)
    with pytest.raises(ValueTypeError):
        counters.call("[static]counter.merge", one, one, 1)
    assert counters.get(one) == 3 and counters.alive() == 1


LENT_AND_GIVEN = """(component
  (type $r (resource (rep i32))) (core func $new (canon resource.new $r)) (core func $drop (canon resource.drop $r))
  (core module $m (import "h" "drop" (func $drop (param i32)))
    (func (export "lent-first") (param i32 i32) (call $drop (local.get 1)))
    (func (export "given-first") (param i32 i32) (call $drop (local.get 0)))
    (func (export "lent") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
  (core instance $i (instantiate $m (with "h" (instance (export "drop" (func $drop))))))
  (export $e "r" (type $r)) (func (export "new") (param "rep" u32) (result (own $e)) (canon lift (core func $new)))
  (func (export "lent-first") (param "x" (borrow $e)) (param "y" (own $e)) (canon lift (core func $i "lent-first")))
  (func (export "given-first") (param "x" (own $e)) (param "y" (borrow $e)) (canon lift (core func $i "given-first")))
  (func (export "lent") (param "x" (borrow $e)) (param "y" (borrow $e)) (result u32)
    (canon lift (core func $i "lent"))))"""


@pytest.mark.parametrize("function", ["lent-first", "given-first"])
def test_a_handle_is_not_lent_and_given_away_in_one_call(engine: Engine, function: str) -> None:
    with engine.load(bytes(wasmtime.wat2wasm(LENT_AND_GIVEN)), name="kit").instantiate({}) as instance:
        one, two = instance.call("", "new", 21), instance.call("", "new", 4)
        with pytest.raises(ValueTypeError, match="lent and given away in one call"):
            instance.call("", function, one, one)
        assert instance.call("", "lent", one, one) == 42  # nothing was called, and the handle is still there
        instance.call("", function, one, two)


def test_a_call_that_is_refused_gives_nothing_away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.load(bytes(wasmtime.wat2wasm(LENT_AND_GIVEN)), name="kit").instantiate({}) as instance:
        one, two = instance.call("", "new", 21), instance.call("", "new", 4)
        with monkeypatch.context() as patch:
            patch.setattr(THREADS.this, "calls_most", 0)
            with pytest.raises(UsageError, match="of stack"):
                instance.call("", "lent-first", two, one)
        assert instance.call("", "lent", one, two) == 25
        instance.call("", "lent-first", two, one)
        with pytest.raises(ValueTypeError):
            instance.call("", "lent", one, two)


@pytest.mark.parametrize("wrong", [None, 1, "counter", object()])
def test_what_is_no_handle_is_refused(counters: Counters, wrong: Any) -> None:
    with pytest.raises(ValueTypeError):
        counters.get(wrong)
    with pytest.raises(ValueTypeError):
        counters.call("sum", [counters.make(1), wrong])
    assert counters.instance.alive


def test_a_handle_of_another_instance_is_refused(instantiate: Callable[..., Any]) -> None:
    with instantiate(BINARY, {}) as one, instantiate(BINARY, {}) as other:
        made = Counters(one).make(5)
        with pytest.raises(ValueTypeError):
            Counters(other).get(made)
        with pytest.raises(UsageError):
            other.drop(made)
        assert Counters(one).get(made) == 5


def test_a_destructor_that_traps_is_the_plugins_fault(counters: Counters) -> None:
    unlucky = counters.make(13)
    with pytest.raises(GuestPanic) as caught:
        counters.instance.drop(unlucky)
    assert caught.value.plugin == "counters" and "counter" in caught.value.export
    assert not counters.instance.alive


def test_handles_may_outlive_their_instance(counters: Counters) -> None:
    one = counters.make(5)
    counters.instance.close()
    with pytest.raises(UsageError):
        counters.get(one)
    counters.instance.drop(one)


def test_thousands_of_resources(counters: Counters) -> None:
    for _ in range(3000):
        counters.instance.drop(counters.make(1))
    kept = [counters.make(1) for _ in range(2000)]
    assert counters.alive() == 2000 == counters.call("sum", kept)
