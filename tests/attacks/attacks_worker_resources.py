"""Attacks with resources by workers that have broken out: objects of the host, and the plugin's own."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import wasmtime

from arena import Arena, Mutation, answers, attack
from attacks_processes import FIGURES, Impostor
from dataflare.engine.abi.types import BorrowT, ListT, OwnT, Resource
from dataflare.errors import HostBytesExceeded, ProtocolFault, UsageError, ValueTypeError, WorkerDied
from dataflare.limits import Limits
from dataflare.runtime.isolation.instance import IsolatedInstance, _Kept
from dataflare.runtime.isolation.isolated_component import IsolatedComponent
from dataflare.runtime.isolation.typed_values import Reader, Writer
from dataflare.runtime.isolation.wire import BrokenWire

COUNTERS = "test:kit/counters@1.0.0"
RESOURCES = [Resource("reader", "a:b/files", True), Resource("writer", "a:b/files", True)]


@cache
def _counter() -> bytes:
    return bytes(wasmtime.wat2wasm((Path(__file__).parents[1] / "engine" / "counter.wat").read_text()))


def _instance(arena: Arena, **limits: Any) -> IsolatedInstance:
    binary = _counter()
    component = IsolatedComponent(
        arena.engine.load(binary, name="counters"),
        binary,
        cache_dir=arena.engine.cache_dir,
        max_batch_bytes=2**20,
        best_effort=True,
        flatten=False,
    )
    instance = component.instantiate({}, limits=Limits(**{"call_timeout_s": 20.0, **limits}))
    arena.at_close(instance.close)
    return instance


def _imposed(arena: Arena, *answers: Any, **limits: Any) -> IsolatedInstance:
    """An instance whose worker answers calls with these values, one after the other."""

    class Scripted(Impostor):
        def _run(self) -> None:
            self.wire.receive()
            self.say(["confined", ["nothing"]])
            self.say(["ready", FIGURES])
            for each in answers:
                self.wire.receive()
                self.say(["result", FIGURES, True], [each])
            self.wire.receive()

    Scripted(arena, lambda _: None)
    return _instance(arena, **limits)


class _Thing:
    def __init__(self) -> None:
        self.closed = 0

    def close_handle(self) -> None:
        self.closed += 1


def _read(kept: _Kept, ty: Any, value: Any) -> Any:
    return Reader(RESOURCES, kept, pa.py_buffer(b""), max_batch_bytes=0).read(ty, value)


def _kept(most: int = 10) -> _Kept:
    class Owner:
        pass

    return _Kept(most, Owner())  # type: ignore[arg-type]


@attack("processes")
def handle_of_another_type(arena: Arena) -> None:
    """Give the number of one kind of the host's objects where a function takes another kind."""
    kept, thing = _kept(), _Thing()
    number = kept.number_of(thing, 0, given=True)
    assert _read(kept, BorrowT(0), number) is thing
    for ty in (BorrowT(1), OwnT(1), ListT(BorrowT(1))):
        arena.raises(BrokenWire, lambda ty=ty: _read(kept, ty, [number] if isinstance(ty, ListT) else number))
    for forged in (number + 1, 0, -1, 2**64, True, "1", [number], None):
        arena.raises(BrokenWire, lambda forged=forged: _read(kept, BorrowT(0), forged))


@attack("processes")
def handle_that_was_given_away(arena: Arena) -> None:
    """Give away one of the host's objects twice, or use or drop it afterwards, when it belongs to another owner."""
    kept, thing = _kept(), _Thing()
    number = kept.number_of(thing, 0, given=True)
    assert _read(kept, OwnT(0), number) is thing
    for ty in (OwnT(0), BorrowT(0)):
        arena.raises(BrokenWire, lambda ty=ty: _read(kept, ty, number))
    arena.raises(BrokenWire, lambda: kept.drop(number))
    kept.close()
    assert not thing.closed, "it was closed under its new owner"


@attack("processes")
def handle_that_was_only_lent(arena: Arena) -> None:
    """Keep, give away or drop one of the host's objects that was lent for one call."""
    kept, thing = _kept(), _Thing()
    writer = Writer(RESOURCES, kept)
    number = writer.write(BorrowT(0), thing)
    assert _read(kept, BorrowT(0), number) is thing
    arena.raises(BrokenWire, lambda: _read(kept, OwnT(0), number))
    arena.raises(BrokenWire, lambda: kept.drop(number))
    kept.end_loans()
    arena.raises(BrokenWire, lambda: _read(kept, BorrowT(0), number))
    for _ in range(30):  # more than may be held at a time
        writer.write(BorrowT(0), thing)
        kept.end_loans()
    assert not thing.closed


@attack("processes")
def resources_that_the_worker_made_up(arena: Arena) -> None:
    """Answer with resources that do not exist, with the same one twice, or with what is not a resource at all."""
    for answer in (0, -1, 2**63, True, "1", None, [1], {"a": 1}):
        instance = _imposed(arena, answer)
        arena.raises(ProtocolFault, lambda i=instance: i.call(COUNTERS, "[constructor]counter", 1))
        assert not instance.alive
    instance = _imposed(arena, 7, 7, 5)
    one, two = (instance.call(COUNTERS, "[constructor]counter", 1) for _ in range(2))
    # The same number behind two objects is the plugin's own damage: the host only tells it what it said itself.
    assert instance.call(COUNTERS, "[method]counter.get", one) == 5 and one is not two


@attack("processes")
def crowd_of_resources_in_an_answer(arena: Arena) -> None:
    """Answer with hundreds of thousands of resources, each of which becomes an object of the host's."""
    instance = _imposed(arena, [[n + 1] for n in range(400_000)], host_memory_bytes=16 * 2**20)
    arena.raises(HostBytesExceeded, lambda: instance.call(COUNTERS, "many", 3))


@attack("processes")
def resource_of_a_dead_worker(arena: Arena) -> None:
    """Have the program continue with resources of a worker that has died, or with those of another one."""
    instance, other = _instance(arena), _instance(arena)
    counter = instance.call(COUNTERS, "[constructor]counter", 1)
    arena.raises(ValueTypeError, lambda: other.call(COUNTERS, "[method]counter.get", counter), says="another instance")
    arena.raises(UsageError, lambda: other.drop(counter))
    merged = [counter, counter, 1]
    arena.raises(ValueTypeError, lambda: instance.call(COUNTERS, "[static]counter.merge", *merged), says="twice")
    os.kill(instance.pid, signal.SIGKILL)
    arena.raises(WorkerDied, lambda: instance.call(COUNTERS, "[method]counter.get", counter))
    arena.raises(UsageError, lambda: instance.call(COUNTERS, "[method]counter.get", counter))
    instance.drop(counter)
    instance.close()
    instance.drop(counter)
    assert other.call(COUNTERS, "[static]counter.alive") == 0


@attack("limits")
def resources_made_without_end(arena: Arena) -> None:
    """Make resources in a loop, and drop each twice: neither side may keep what is gone."""
    instance = _instance(arena, memory_bytes=64 * 2**20)
    for number in range(100, 400):
        made = instance.call(COUNTERS, "[constructor]counter", number)
        instance.drop(made)
        instance.drop(made)
    assert instance.call(COUNTERS, "[static]counter.alive") == 0 and not instance._kept._things


def _any_type(kept: _Kept, number: int, type_index: int, *, taken: bool) -> Any:
    return kept._things[number][0]


def _by_number(kept: _Kept, guest: Any, type_index: int, *, given: bool) -> int:
    return int(guest.handle)


MUTATIONS = [
    Mutation(
        "dataflare.runtime.isolation.instance:IsolatedInstance.drop", answers(None), ("resources_made_without_end",)
    ),
    Mutation(
        "dataflare.runtime.isolation.instance:_Kept.host_object",
        _any_type,
        ("handle_of_another_type", "handle_that_was_given_away", "handle_that_was_only_lent"),
    ),
    Mutation("dataflare.runtime.isolation.instance:_Kept.end_loans", lambda _: None, ("handle_that_was_only_lent",)),
    Mutation("dataflare.runtime.isolation.instance:_Kept.guest_number", _by_number, ("resource_of_a_dead_worker",)),
    Mutation("dataflare.runtime.isolation.channel:_VALUE_BYTES", (), ("crowd_of_resources_in_an_answer",)),
    Mutation(
        "dataflare.runtime.isolation.typed_values:_index",
        lambda value, _: value,
        ("resources_that_the_worker_made_up",),
    ),
]
