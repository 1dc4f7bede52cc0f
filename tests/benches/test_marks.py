"""What makes the benches' figures possible, counted: bytes copied, calls made, components compiled. Never a time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import wasmtime
from wasmtime import component as wc

from bindings_kit import files_of_component, imported
from dataflare.engine.engine import Engine
from dataflare.engine.instance import Instance
from dataflare.engine.native import memories as memory
from dataflare.runtime.host import Host
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.results import PluginStats
from dataflare.runtime.transformer import Transformer

TRIPS = "bench:echo/trips"
CALLS = (Path(__file__).resolve().parents[2] / "benches" / "calls.wat").read_text()
RECORD = '{"air_time":120.0,"distance":800,"tailnum":"N14228"}'


def make_rows(rows: int) -> pa.RecordBatch:
    random = np.random.default_rng(1)
    return pa.record_batch({name: random.standard_normal(rows) for name in "abc"})


def address(rows: pa.RecordBatch, column: str) -> int:
    return int(rows.column(column).buffers()[1].address)


def spent(plugin: Plugin, call: Callable[[], object]) -> PluginStats:
    """What one call adds to a plugin's account."""
    before = plugin.stats
    call()
    after = plugin.stats
    return PluginStats(**{each.name: getattr(after, each.name) - getattr(before, each.name) for each in fields(after)})


@pytest.fixture
def passing(host: Host, components: Path) -> Transformer:
    plugin = host.load(components / "bench-columns.wasm").start()
    assert isinstance(plugin, Transformer)
    return plugin


@pytest.fixture
def doubling(host: Host, components: Path) -> Transformer:
    plugin = host.load(components / "bench-columns.wasm", config={"column": "a"}).start()
    assert isinstance(plugin, Transformer)
    return plugin


@pytest.fixture
def mapping(host: Host, components: Path) -> Processor:
    plugin = host.load(components / "bench-records.wasm").start()
    assert isinstance(plugin, Processor)
    return plugin


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_a_batch_that_passes_through_copies_nothing(passing: Transformer, rows: int) -> None:
    batch = make_rows(rows)
    cost = spent(passing, lambda: passing.transform(batch))
    assert (cost.calls, cost.host_calls, cost.bytes_out) == (1, 0, 0)
    assert cost.bytes_in <= 16  # the handle


def test_a_batch_that_passes_through_is_the_same_memory(passing: Transformer) -> None:
    batch = make_rows(1000)
    result = passing.transform(batch)
    assert [address(result, name) for name in "abc"] == [address(batch, name) for name in "abc"]


def test_a_column_view_copies_eight_bytes_a_row_each_way(doubling: Transformer) -> None:
    less, more = (spent(doubling, partial(doubling.transform, make_rows(rows))) for rows in (5_000, 25_000))
    assert more.bytes_in - less.bytes_in == more.bytes_out - less.bytes_out == 8 * 20_000


def test_what_a_column_view_copies_besides_is_small(doubling: Transformer) -> None:
    cost = spent(doubling, lambda: doubling.transform(make_rows(5_000)))
    assert 0 < cost.bytes_in - 8 * 5_000 < 256
    assert 0 < cost.bytes_out - 8 * 5_000 < 256


def test_a_doubled_column_takes_two_calls_of_the_host(doubling: Transformer) -> None:
    cost = spent(doubling, lambda: doubling.transform(make_rows(5_000)))
    assert (cost.calls, cost.host_calls) == (1, 2)


def test_a_column_that_nobody_looks_at_stays_where_it_is(doubling: Transformer) -> None:
    batch = make_rows(1000)
    result = doubling.transform(batch)
    assert [address(result, name) for name in "bc"] == [address(batch, name) for name in "bc"]
    np.testing.assert_array_equal(result.column("a").to_numpy(), batch.column("a").to_numpy() * 2)


def test_a_record_is_one_call_and_is_copied_once_each_way(mapping: Processor) -> None:
    results: list[str | None] = []
    cost = spent(mapping, lambda: results.append(mapping.process(RECORD)))
    assert (cost.calls, cost.host_calls) == (1, 0)
    assert results[0] is not None
    assert cost.bytes_out == len(results[0])
    assert 0 <= cost.bytes_in - len(RECORD) <= 32


def test_a_batch_of_records_takes_two_calls_of_the_host_whatever_its_size(mapping: Processor) -> None:
    flights = pa.record_batch({"air_time": [120.0] * 3000, "distance": [800] * 3000})
    cost = spent(mapping, lambda: mapping.process_batch(flights))
    assert (cost.calls, cost.host_calls) == (1, 2)


def test_words_are_copied_once_each_way(engine: Engine, components: Path) -> None:
    words = np.arange(100_000, dtype=np.uint64)
    component = engine.load((components / "bench-echo.wasm").read_bytes(), name="bench-echo")
    with component.instantiate({}) as instance:
        np.testing.assert_array_equal(instance.call(TRIPS, "echo-words", words), words)
        assert instance.stats.bytes_out == words.nbytes
        assert 0 <= instance.stats.bytes_in - words.nbytes <= 64


@pytest.mark.parametrize("name", ["add", "mirrored"])
def test_a_generated_call_makes_three_python_calls_more_than_the_engines_own(
    host: Host, engine: Engine, tmp_path: Path, name: str
) -> None:
    # The function itself, the instance that counts what went wrong, and what follows each call.
    binary = bytes(wasmtime.wat2wasm(CALLS))
    with (
        imported(files_of_component(engine, binary, "calls"), tmp_path) as bindings,
        bindings.Calls(binary, host=host) as world,
        engine.load(binary, name="calls").instantiate({}) as instance,
    ):
        point = sys.modules[f"{bindings.__name__}.api"].Point
        args = (3, 4) if name == "add" else (point(3.0, 4.0),)
        generated = python_calls(getattr(world.api, name), *args)
        own = python_calls(instance.call, "bench:calls/api@1.0.0", name, *args)
    assert generated == own + 3


def python_calls(call: Callable[..., object], *args: object) -> int:
    """How many calls of functions, of Python and of C, a call takes; the least of some: timers do more at times."""

    def count(_frame: object, event: str, _function: object) -> None:
        counts[-1] += event in ("call", "c_call")

    counts: list[int] = []
    for _ in range(200):
        counts.append(0)
        sys.setprofile(count)
        try:
            call(*args)
        finally:
            sys.setprofile(None)
    return min(counts)


def test_loading_from_the_cache_compiles_nothing(
    components: Path, bench_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(host: Host) -> None:
        with host.load(components / "bench-records.wasm") as plugin:
            assert isinstance(plugin, Processor)
            assert plugin.process(RECORD) is not None

    with Engine(cache_dir=bench_cache) as engine, Host(engine=engine) as host:
        load(host)
    compiled = count_compilations(monkeypatch)
    with Engine(cache_dir=bench_cache) as engine, Host(engine=engine) as host:
        load(host)
    assert compiled == []


def test_a_fresh_instance_compiles_nothing(engine: Engine, components: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = engine.load((components / "bench-echo.wasm").read_bytes(), name="bench-echo")
    compiled = count_compilations(monkeypatch)
    component.instantiate({}).close()
    assert compiled == []


def test_what_was_loaded_and_closed_leaves_nothing_behind(host: Host, components: Path) -> None:
    def cycle() -> None:
        with host.load(components / "bench-records.wasm") as plugin:
            assert isinstance(plugin, Processor)
            plugin.process(RECORD)

    cycle()
    before = left_behind()
    for _ in range(20):
        cycle()
    assert left_behind() == before


def count_compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the size of each component that is compiled from now on."""
    compiled: list[int] = []
    original = wc.Component.__init__

    def record(self: Any, engine: Any, wasm: Any) -> None:
        compiled.append(len(wasm))
        original(self, engine, wasm)

    monkeypatch.setattr(wc.Component, "__init__", record)
    return compiled


def left_behind() -> tuple[int, int, int]:
    """How many instances, plugins and memories there are."""
    gc.collect()
    objects = gc.get_objects()
    return (
        sum(isinstance(each, Instance) for each in objects),
        sum(isinstance(each, Plugin) for each in objects),
        memory.mapped(),
    )
