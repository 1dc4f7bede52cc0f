"""Functions of the host that plugins call, and what they raise."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from dataflare.engine.abi.types import FuncT
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, UsageError
from handle_kit import TEXT, U32, Special
from wat_kit import API, HOST, component


@pytest.mark.parametrize("error", [Special("x"), ValueError("x"), KeyError("x"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_of_a_host_function_reaches_the_caller_unchanged(instantiate: Any, error: BaseException) -> None:
    def fail(_: int) -> int:
        raise error

    with instantiate(component({"f": FuncT((("x", U32),), U32)}), {HOST: {"f": fail}}) as instance:
        with pytest.raises(type(error)) as caught:
            instance.call(API, "f", 1)
        assert caught.value is error
        assert not instance.alive
        with pytest.raises(UsageError):
            instance.call(API, "f", 1)


def test_an_exception_keeps_its_cause_and_its_place(instantiate: Any) -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise Special("outer") from inner

    instance = instantiate(component({"f": FuncT((), None)}), {HOST: {"f": fail}})
    with instance, pytest.raises(Special, match="outer") as caught:
        instance.call(API, "f")
    assert isinstance(caught.value.__cause__, KeyError)
    places = []
    trace = caught.tb
    while trace is not None:
        places.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "fail" in places


def test_an_exception_in_another_thread_reaches_that_threads_caller(instantiate: Any) -> None:
    binary = component({"f": FuncT((("x", U32),), None)})
    start = threading.Barrier(4)
    caught: dict[int, BaseException] = {}

    def work(number: int) -> None:
        def fail(x: int) -> None:
            start.wait(10)
            raise Special(number, x)

        with instantiate(binary, {HOST: {"f": fail}}) as instance:
            try:
                instance.call(API, "f", number * 10)
            except Special as error:
                caught[number] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {n: e.args for n, e in caught.items()} == {n: (n, n * 10) for n in range(4)}


def test_no_exception_is_kept_for_a_later_call(instantiate: Any) -> None:
    binary = component({"f": FuncT((("x", U32),), U32)})

    def fail(x: int) -> int:
        raise Special

    with instantiate(binary, {HOST: {"f": fail}}) as broken, instantiate(binary, {HOST: {"f": lambda x: x}}) as sound:
        with pytest.raises(Special):
            broken.call(API, "f", 1)
        assert sound.call(API, "f", 5) == 5


def test_an_exception_does_not_outlive_its_catcher(engine: Engine) -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)

    def fail(kept: Any = big) -> None:
        raise Special(kept)

    instance = engine.load(component({"f": FuncT((), None)}), name="kit").instantiate({HOST: {"f": fail}})
    with pytest.raises(Special):
        instance.call(API, "f")
    instance.close()
    del instance, fail, big
    gc.collect()
    assert gone() is None


def test_a_missing_host_function_is_named(instantiate: Any) -> None:
    binary = component({"there": FuncT((), None), "not-there": FuncT((), None)})
    with pytest.raises(ConfigError, match="not-there"):
        instantiate(binary, {HOST: {"there": lambda: None}})
    with pytest.raises(ConfigError, match="test:kit/host"):
        instantiate(binary, {})


def test_a_host_function_may_use_another_instance(instantiate: Any) -> None:
    binary = component({"f": FuncT((("x", TEXT),), TEXT)})
    inner = instantiate(binary, {HOST: {"f": str.upper}})
    outer = instantiate(binary, {HOST: {"f": lambda x: inner.call(API, "f", x) + "!"}})
    with inner, outer:
        assert outer.call(API, "f", "ab") == "AB!"
        assert outer.call(API, "f", "cd") == "CD!"


def test_a_fault_of_an_inner_instance_reaches_the_outer_caller(instantiate: Any) -> None:
    binary = component({"f": FuncT((("x", U32),), U32)})

    def fail(x: int) -> int:
        raise Special(x)

    inner = instantiate(binary, {HOST: {"f": fail}}, name="inner")
    outer = instantiate(binary, {HOST: {"f": lambda x: inner.call(API, "f", x)}}, name="outer")
    with inner, outer:
        with pytest.raises(Special):
            outer.call(API, "f", 3)
        assert not inner.alive and not outer.alive


def test_a_plugin_cannot_be_entered_again_from_its_own_host_function(instantiate: Any) -> None:
    holder: list[Any] = []
    seen: list[BaseException] = []

    def again(x: int) -> int:
        try:
            return int(holder[0].call(API, "f", x))
        except UsageError as error:
            seen.append(error)
            return x + 1

    with instantiate(component({"f": FuncT((("x", U32),), U32)}), {HOST: {"f": again}}) as instance:
        holder.append(instance)
        assert instance.call(API, "f", 1) == 2
        assert "call" in str(seen[0])
        assert instance.call(API, "f", 5) == 6 and len(seen) == 2


def test_an_instance_is_not_closed_within_its_call(instantiate: Any) -> None:
    with instantiate(component({"f": FuncT((), None)}), {HOST: {"f": lambda: instance.close()}}) as instance:
        with pytest.raises(UsageError, match="call"):
            instance.call(API, "f")
        instance.close()
        assert not instance.alive
