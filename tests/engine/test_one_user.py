"""An instance has one user at a time, from the first argument that is written to the last value that is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from child_kit import run_child
from dataflare.engine.abi.types import FuncT, OwnT, PrimT, TupleT
from dataflare.engine.engine import Engine
from dataflare.engine.native.timer import Timer
from dataflare.errors import UsageError
from wat_kit import API, HOST, component, echo_list

STRING, U32 = PrimT("string"), PrimT("u32")
PAIR = component({"f": FuncT((("text", STRING), ("number", U32)), TupleT((STRING, U32)))})
HOSTED = {HOST: {"f": lambda text, number: (text, number)}}


class Acting:
    """A number that does something when it is written."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    def __index__(self) -> int:
        self.act()
        return 5


@pytest.mark.parametrize("how", ["call", "close"])
def test_an_argument_cannot_use_the_instance_for_which_it_is_written(engine: Engine, how: str) -> None:
    refused: list[str] = []
    with engine.load(PAIR, name="kit").instantiate(HOSTED) as instance:

        def act() -> None:
            try:
                if how == "close":
                    instance.close()
                else:
                    instance.call(API, "f", "other", 1)
            except UsageError as error:
                refused.append(str(error))

        assert instance.call(API, "f", "mine", Acting(act)) == ("mine", 5)
        assert len(refused) == 1 and "within a call" in refused[0]
        assert instance.call(API, "f", "next", 7) == ("next", 7)


def test_what_an_argument_lets_pass_is_raised_and_the_instance_goes_on(engine: Engine) -> None:
    with engine.load(PAIR, name="kit").instantiate(HOSTED) as instance:
        with pytest.raises(UsageError, match="within a call"):
            instance.call(API, "f", "mine", Acting(lambda: instance.call(API, "f", "other", 1)))
        with pytest.raises(KeyboardInterrupt):
            instance.call(API, "f", "mine", Acting(lambda: (_ for _ in ()).throw(KeyboardInterrupt)))
        assert instance.call(API, "f", "next", 7) == ("next", 7)


def test_another_thread_is_refused_while_arguments_are_written(engine: Engine) -> None:
    refused: list[str] = []
    with engine.load(PAIR, name="kit").instantiate(HOSTED) as instance:

        def other() -> None:
            for use in (lambda: instance.call(API, "f", "other", 1), instance.close):
                with pytest.raises(UsageError, match="within a call"):
                    use()
                refused.append("refused")

        def act() -> None:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

        assert instance.call(API, "f", "mine", Acting(act)) == ("mine", 5)
    assert len(refused) == 2


def test_threads_that_share_an_instance_get_their_own_values_or_an_error(engine: Engine) -> None:
    wrong: list[Any] = []
    refused = [0]
    with engine.load(PAIR, name="kit").instantiate(HOSTED) as instance:

        def work(number: int) -> None:
            for turn in range(400):
                given = (f"{number}-{turn}" * 3, turn)
                try:
                    found = instance.call(API, "f", *given)
                except UsageError:
                    refused[0] += 1
                    continue
                if found != given:
                    wrong.append((given, found))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert instance.alive
    assert not wrong


def test_objects_that_are_closed_at_the_end_of_a_call_cannot_use_its_instance(engine: Engine, hostile: Any) -> None:
    binary = component({"f": FuncT((("x", OwnT(0)),), None)}, resources=["thing"])
    refused: list[str] = []

    class Thing:
        def close_handle(self) -> None:
            with pytest.raises(UsageError, match="within a call"):
                instance.call(API, "f", object())
            refused.append("refused")

    with engine.load(binary, name="kit").instantiate({HOST: {"f": lambda thing: thing.close_handle()}}) as instance:
        instance.call(API, "f", Thing())
    assert refused


def test_threads_that_close_one_instance_close_it_once(engine: Engine) -> None:
    loaded = engine.load(PAIR, name="kit")
    closed: list[str] = []
    for _ in range(20):
        instance = loaded.instantiate(HOSTED)
        threads = [threading.Thread(target=lambda i=instance: (i.close(), closed.append("closed"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(UsageError, match="closed"):
            instance.call(API, "f", "a", 1)
    assert len(closed) == 80


def test_post_return_has_the_time_that_is_left_of_its_call(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []
    enter = Timer.enter

    def recorded(self: Timer, call: Any, deadline_s: float) -> Any:
        deadlines.append(deadline_s)
        return enter(self, call, deadline_s)

    monkeypatch.setattr(Timer, "enter", recorded)
    with engine.load(echo_list(PrimT("u8")), name="kit").instantiate({}) as instance:
        for _ in range(4):  # the plugin's memory is looked for after the first
            instance.call(API, "echo-list", bytes(200_000))
        deadlines.clear()
        assert instance.call(API, "echo-list", bytes(200_000)) == bytes(200_000)
    assert len(deadlines) == (2 if instance.component.flattened else 1)
    assert len(set(deadlines)) == 1


def test_limits_of_time_hold_after_the_engine_is_closed(tmp_path: Path) -> None:
    run_child(
        """
component = engine.load(bytes(wasmtime.wat2wasm('''(component
  (import "done" (func $done)) (core func $lowered (canon lower (func $done)))
  (core module $m (import "h" "done" (func $done)) (func (export "f") (call $done) (loop $l (br $l))))
  (core instance $i (instantiate $m (with "h" (instance (export "done" (func $lowered))))))
  (func (export "spin") (canon lift (core func $i "f"))))''')), name="kit")
instance = component.instantiate({"": {"done": engine.close}}, limits=Limits(call_timeout_s=0.3))
other = component.instantiate({"": {"done": engine.close}}, limits=Limits(call_timeout_s=0.3))
try:
    instance.call("", "spin")
except CallTimeout:
    pass
else:
    raise AssertionError("it ended")
try:
    other.call("", "spin")
except UsageError as error:
    assert "closed" in str(error)
else:
    raise AssertionError("it began")
""",
        tmp_path,
        timeout_s=60,
    )
