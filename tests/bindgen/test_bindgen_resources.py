"""Resources of components as classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from bindings_kit import files_of_component, imported
from dataflare.bindgen.support import drop
from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.engine.engine import Engine
from dataflare.errors import CallTimeout, ValueTypeError
from dataflare.limits import Limits
from dataflare.runtime.capabilities import LIMIT_METRIC
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services

TEXT = (Path(__file__).parent.parent / "engine" / "counter.wat").read_text()
BINARY = bytes(wasmtime.wat2wasm(TEXT))
GET = '(export "get") (param $p i32) (result i32)'


@pytest.fixture
def world(host: Host, tmp_path: Path) -> Iterator[Any]:
    with (
        Engine() as engine,
        imported(files_of_component(engine, BINARY, "counter"), tmp_path) as bindings,
        bindings.Counter(BINARY, host=host) as world,
    ):
        yield world


def test_a_resource_ends_with_its_block(world: Any) -> None:
    with world.counters.counter(5) as counter:
        assert counter.add(2) == 7
        assert world.counters.counter_alive() == 1
    assert world.counters.counter_alive() == 0


def test_dropping_a_resource_twice_does_nothing(world: Any) -> None:
    counter = world.counters.counter(5)
    counter.close()
    drop(counter)
    assert world.counters.counter_alive() == 0


def test_resources_are_lent_and_given_away_at_any_depth(world: Any) -> None:
    one, two = world.counters.counter(1), world.counters.counter(2)
    assert world.counters.sum([one, two]) == 3
    merged = world.counters.counter_merge(one, two, 10)
    assert merged.get() == 13 and type(merged) is type(one)
    with pytest.raises(ValueTypeError):
        one.get()
    assert [None if each is None else each.get() for each in world.counters.many(3)] != []


def test_another_object_is_refused_in_place_of_a_resource(world: Any) -> None:
    with pytest.raises(ValueTypeError, match=r"all\[0\]: expected a Counter, not 5"):
        world.counters.sum([5])
    assert world.alive


def test_resources_work_the_same_in_a_process_of_their_own(host: Host, tmp_path: Path) -> None:
    with (
        Engine() as engine,
        imported(files_of_component(engine, BINARY, "counter"), tmp_path) as bindings,
        bindings.Counter(BINARY, host=host, isolation="process-best-effort") as world,
    ):
        counters = world.counters
        one, two = counters.counter(1), counters.counter(2)
        assert counters.sum([one, two]) == 3 and one.add(4) == 5
        merged = counters.counter_merge(one, two, 10)
        assert merged.get() == 17 and counters.counter_alive() == 1
        for spent in (one.get, two.get, lambda: counters.sum([one]), lambda: counters.sum([5])):
            with pytest.raises(ValueTypeError):
                spent()
        with pytest.raises(ValueTypeError):
            counters.counter_merge(merged, merged, 1)
        with merged:
            pass
        merged.close()
        assert counters.counter_alive() == 0 and world.alive


@pytest.mark.parametrize("isolation", ["none", "process-best-effort"])
@pytest.mark.parametrize("ending", ["a method", "a destructor"])
def test_limits_that_resources_pass_are_counted(tmp_path: Path, ending: str, isolation: str) -> None:
    forever = "(loop (br 0)) unreachable"
    if ending == "a method":
        text = TEXT.replace(GET, f"{GET} {forever}")
    else:
        text = TEXT.replace("(then unreachable)", f"(then {forever})")
    assert text != TEXT
    binary, metrics = bytes(wasmtime.wat2wasm(text)), MemoryMetrics()
    options: Any = {"isolation": isolation, "limits": Limits(call_timeout_s=0.5), "name": "counter"}
    with (
        Engine() as engine,
        Host(cache_dir=tmp_path / "cache", services=Services(metrics=metrics)) as host,
        imported(files_of_component(engine, binary, "counter"), tmp_path) as bindings,
        bindings.Counter(binary, host=host, **options) as world,
    ):
        counter = world.counters.counter(13)
        with pytest.raises(CallTimeout):
            counter.get() if ending == "a method" else counter.close()
    assert metrics.counters() == {("counter", LIMIT_METRIC, (("limit", "call_timeout_s"),)): 1.0}
