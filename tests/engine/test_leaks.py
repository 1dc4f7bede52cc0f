"""Hundreds of instances, one after another, leave nothing: objects, handles, mappings and threads are counted."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dataflare.engine.abi.types import FuncT, ListT, OptionT, OwnT, PrimT, RecordT
from dataflare.engine.engine import Engine
from dataflare.engine.reference.instance import instantiate_reference
from dataflare.errors import PluginFault
from dataflare.limits import Limits
from untraced import untraced
from wat_kit import API, HOST, component, echo

RECORD = RecordT((("numbers", ListT(PrimT("f64"))), ("texts", ListT(OptionT(PrimT("string"))))))
BINARY = component({"f": FuncT((("x", RECORD),), RECORD), "g": FuncT((("x", OwnT(0)),), OwnT(0))}, resources=["thing"])
VALUE = SimpleNamespace(numbers=[1.0] * 100, texts=["a", None] * 10)


class Thing:
    alive = 0

    def __init__(self) -> None:
        Thing.alive += 1

    def __del__(self) -> None:
        Thing.alive -= 1


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def use(instance: Any) -> None:
    with instance:
        assert list(instance.call(API, "f", VALUE).numbers) == VALUE.numbers
        thing = Thing()
        assert instance.call(API, "g", thing) is thing


def grown(before: Counter[str], after: Counter[str], cycles: int) -> dict[str, int]:
    """Types of which there are more by at least one for every third cycle."""
    return {name: more for name in after if (more := after[name] - before[name]) > cycles // 3}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts mappings where Linux tells them")
def test_300_instances_leave_nothing(engine: Engine) -> None:
    host = {HOST: {"f": lambda x: x, "g": lambda x: x}}

    def cycle() -> None:
        use(engine.load(BINARY, name="kit").instantiate(host))

    for _ in range(20):
        cycle()
    before, maps, descriptors, threads = objects(), mappings(), files(), threading.active_count()
    for _ in range(300):
        cycle()
    assert grown(before, objects(), 300) == {}
    assert mappings() <= maps + 20
    assert files() <= descriptors + 2
    assert threading.active_count() <= threads
    assert Thing.alive == 0


def test_100_faulty_instances_leave_nothing(engine: Engine, hostile: Any) -> None:
    loaded = engine.load(hostile("handles"), name="hostile")
    host = {HOST: {"[constructor]thing": lambda _: Thing()}}

    def cycle() -> None:
        instance = loaded.instantiate(host)
        with instance, pytest.raises(PluginFault):
            instance.call(API, "keep-and-trap", 10)

    for _ in range(10):
        cycle()
    before, maps = objects(), mappings()
    for _ in range(100):
        cycle()
    assert grown(before, objects(), 100) == {}
    assert mappings() <= maps + 20
    assert Thing.alive == 0


def test_200_calls_of_one_instance_leave_nothing(engine: Engine) -> None:
    host = {HOST: {"f": lambda x: x, "g": lambda x: x}}
    with engine.load(BINARY, name="kit").instantiate(host) as instance:
        for _ in range(10):
            instance.call(API, "f", VALUE)
            instance.call(API, "g", Thing())
        before, maps = objects(), mappings()
        for _ in range(200):
            instance.call(API, "f", VALUE)
            instance.call(API, "g", Thing())
        assert grown(before, objects(), 200) == {}
        assert mappings() <= maps + 5
        assert Thing.alive == 0


def test_an_instance_that_is_forgotten_gives_its_memory_back(engine: Engine) -> None:
    loaded = engine.load(BINARY, name="kit")
    host = {HOST: {"f": lambda x: x, "g": lambda x: x}}
    loaded.instantiate(host).close()
    maps = mappings()
    for _ in range(30):
        instance = loaded.instantiate(host)
        instance.call(API, "f", VALUE)
        del instance
    gc.collect()
    assert mappings() <= maps + 10


def test_a_closed_instance_can_be_collected(engine: Engine) -> None:
    host = {HOST: {"f": lambda x: x, "g": lambda x: x}}
    instance = engine.load(BINARY, name="kit").instantiate(host)
    instance.call(API, "f", VALUE)
    gone = weakref.ref(instance)
    instance.close()
    del instance
    gc.collect()
    assert gone() is None


def test_an_engine_leaves_no_thread(tmp_path: Path, hostile: Any) -> None:
    threads = threading.active_count()
    for turn in range(3):
        engine = Engine(cache_dir=tmp_path / "compiled")
        with engine, engine.load(hostile("misbehaves"), name="kit").instantiate({}) as instance:
            assert instance.call(API, "well", turn) == turn + 1
    assert threading.active_count() == threads


def test_the_reference_leaves_nothing_either() -> None:
    host = {HOST: {"f": lambda x: x, "g": lambda x: x}}

    def cycle() -> None:
        use(instantiate_reference(BINARY, host, limits=Limits(), name="kit"))

    cycle()
    maps, threads = mappings(), threading.active_count()
    with untraced():
        for _ in range(5):  # caches fill at first
            before = objects()
            for _ in range(60):
                cycle()
            if not (more := grown(before, objects(), 60)):
                break
    assert more == {}
    assert mappings() <= maps + 20
    assert threading.active_count() <= threads
    assert Thing.alive == 0


def test_an_engine_keeps_no_lock_of_what_it_has_loaded(engine: Engine) -> None:
    binary = echo(PrimT("u16"))
    with engine.open(binary, name="kit") as opened:
        assert len(engine._compiling) == 1
        opened.compile()
    gc.collect()
    assert not engine._compiling
