"""Measures one plugin: what a call costs, what a row costs, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dataflare.data.columns import no_rows
from dataflare.errors import ConfigError
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.readers import open_source
from dataflare.runtime.datasets import Chunk, Ended, Idle, Target
from dataflare.runtime.destination import Destination
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.processor import Processor
from dataflare.runtime.results import PluginStats
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator

__all__ = ["Measurement", "SizeSample", "measure", "read_rows", "synthetic_batch"]

_SIZES: Final = (1, 100, 1_000, 10_000, 100_000, 1_000_000)
_MIN_ROUNDS: Final = 3
_READ: Final = ("csv", "jsonl", "parquet", "arrow")


@dataclass(frozen=True, slots=True)
class SizeSample:
    """Calls with batches of one size: how many calls, and wall seconds of the fastest, the median and the slowest."""

    rows: int
    calls: int
    best_s: float
    median_s: float
    worst_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What measuring a plugin found.

    `fixed_s` and `per_row_s` are fitted to the fastest call of each size: `time = fixed_s + per_row_s * rows`. The
    parts of the time (`guest_share` and so on) add up to 1 over all calls; `copied_bytes_per_row` counts both
    directions.
    """

    plugin: str
    kind: str
    rows: int
    calls: int
    seconds: float
    rows_per_s: float
    calls_per_s: float
    fixed_s: float
    per_row_s: float
    guest_share: float
    marshal_share: float
    host_share: float
    copied_bytes_per_row: float
    memory_peak_bytes: int
    samples: tuple[SizeSample, ...]

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold."""
        names = [name for name in self.__dataclass_fields__ if name != "samples"]
        samples = [{name: getattr(s, name) for name in s.__dataclass_fields__} for s in self.samples]
        return {**{name: getattr(self, name) for name in names}, "samples": samples}


def synthetic_batch(rows: int) -> pa.RecordBatch:
    """A batch to measure with where there is no data: integers, doubles with nulls, texts, times.

    Columns: `id` int64, `value` double (one in ten null), `name` string, `at` timestamp[us, tz=UTC]. The same rows
    each time.
    """
    numbers = np.random.default_rng(0)
    value = pa.array(numbers.random(rows), mask=numbers.random(rows) < 0.1)
    seconds = pa.array(np.arange(rows, dtype=np.int64))
    at = seconds.cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("us", tz="UTC"))
    words = pa.array(["alder", "birch", "cedar", "elm", "hazel", "oak", "rowan", "willow"])
    name = words.take(pa.array(numbers.integers(0, len(words), rows)))
    return pa.record_batch({"id": pa.array(np.arange(rows)), "value": value, "name": name, "at": at})


def read_rows(path: Path, rows: int) -> pa.RecordBatch:
    """Read the first rows of a .csv, .jsonl, .parquet or .arrow file as one batch.

    Raises:
        ConfigError: The file's name ends in none of these.
        DataError: It cannot be read, or is not what it should be.
    """
    connector = path.suffix.removeprefix(".")
    if connector not in _READ:
        raise ConfigError(f"ends in none of {', '.join(_READ)}", where=str(path))
    node = BUILT_IN[connector].read_node.model_validate({"connector": connector, "read": str(path)})
    source = open_source(node, path)
    batches, found = [], 0
    for batch in source.batches():
        batches.append(batch.slice(0, rows - found))
        found += batches[-1].num_rows
        if found >= rows:
            break
    source.close()
    (joined,) = pa.Table.from_batches(batches, source.schema()).combine_chunks().to_batches() or [None]
    return no_rows(source.schema()) if joined is None else joined


def measure(
    plugin: Plugin,
    data: pa.RecordBatch | None,
    *,
    seconds: float = 5.0,
    progress: Callable[[float], object] | None = None,
) -> Measurement:
    """Call a plugin repeatedly, with batches of several sizes in turn.

    Args:
        plugin: A processor, transformer, validator or destination, which are given slices of `data`, or a source, which
            is read from its beginning, repeatedly; it chooses its sizes itself.
        data: The rows; `None` for `synthetic_batch`. A source needs none.
        seconds: About how long; every size has at least three calls, and sizes that would take too long are left out.
        progress: Called now and then with the part of the work that is done, 0 to 1.

    Raises:
        ConfigError: There is no row to measure with.
        PluginError: The plugin refused the data.
        PluginFault: It trapped.
    """
    if isinstance(plugin, Source):
        calls = _read_source(plugin, seconds, progress)
    else:
        batch = synthetic_batch(_SIZES[-1]) if data is None else data
        if batch.num_rows == 0:
            raise ConfigError("there are no rows to measure with", where="data")
        try:
            calls = _call_with(plugin, batch, seconds, progress)
        finally:
            if isinstance(plugin, Destination):
                plugin.abort()
    return calls.result(plugin)


class _Calls:
    """Times of calls by number of rows, and what the plugin's own counters say."""

    def __init__(self, plugin: Plugin) -> None:
        self._before = plugin.stats
        self._times: dict[int, list[float]] = {}
        self._peak = 0

    def time(self, plugin: Plugin, call: Callable[[], int]) -> None:
        """Make one call, which returns its rows."""
        began = time.perf_counter()
        rows = call()
        self._times.setdefault(rows, []).append(time.perf_counter() - began)
        self._peak = max(self._peak, plugin.stats.memory_bytes)

    @property
    def seconds(self) -> float:
        return sum(map(sum, self._times.values()))

    def result(self, plugin: Plugin) -> Measurement:
        samples = tuple(
            SizeSample(rows, len(times), min(times), float(np.median(times)), max(times))
            for rows, times in sorted(self._times.items())
        )
        rows = sum(sample.rows * sample.calls for sample in samples)
        calls = sum(sample.calls for sample in samples)
        fixed, per_row = _fit(samples)
        guest, marshal, host, copied = _shares(self._before, plugin.stats)
        return Measurement(
            plugin=plugin.name,
            kind=plugin.kind,
            rows=rows,
            calls=calls,
            seconds=self.seconds,
            rows_per_s=max(sample.rows / sample.best_s for sample in samples),
            calls_per_s=max(1 / sample.best_s for sample in samples),
            fixed_s=fixed,
            per_row_s=per_row,
            guest_share=guest,
            marshal_share=marshal,
            host_share=host,
            copied_bytes_per_row=copied / max(rows, 1),
            memory_peak_bytes=self._peak,
            samples=samples,
        )


def _call_with(
    plugin: Plugin, data: pa.RecordBatch, seconds: float, progress: Callable[[float], object] | None
) -> _Calls:
    call = _call_of(plugin, data.schema)
    sizes = sorted({min(size, data.num_rows) for size in _SIZES})
    call(data.slice(0, sizes[0]))  # the plugin is started
    for place, size in enumerate(sizes):  # pages and caches are warm, and what must fail has failed
        began = time.perf_counter()
        call(data.slice(0, size))
        if time.perf_counter() - began > seconds / (2 * _MIN_ROUNDS):
            # Larger ones would take longer than there is time for.
            sizes = sizes[: place + 1]
            break
    calls = _Calls(plugin)
    for round_ in count(1):
        for size in sizes:
            batch = data.slice(0, size)
            calls.time(plugin, lambda batch=batch: call(batch))  # type: ignore[misc]
        if progress is not None:
            progress(min(1.0, max(calls.seconds / seconds, 0.0)))
        if calls.seconds >= seconds and round_ >= _MIN_ROUNDS:
            return calls
    raise AssertionError("unreachable")


def _call_of(plugin: Plugin, schema: pa.Schema) -> Callable[[pa.RecordBatch], int]:
    """A function that gives a batch to the plugin and returns its rows."""
    run: Callable[[pa.RecordBatch], object]
    match plugin:
        case Processor():
            run = plugin.process_batch
        case Transformer():
            run = plugin.transform
        case Validator():
            run = plugin.validate
        case Destination():
            plugin.open(Target("rows", schema))
            run = plugin.write
        case _:
            raise ConfigError(f"a {plugin.kind} cannot be measured", where=plugin.name)

    def call(batch: pa.RecordBatch) -> int:
        run(batch)
        return int(batch.num_rows)

    return call


def _read_source(plugin: Source, seconds: float, progress: Callable[[float], object] | None) -> _Calls:
    calls = _Calls(plugin)
    while True:
        plugin.open()
        ended = False

        def read() -> int:
            nonlocal ended
            found = plugin.read()
            ended = isinstance(found, Ended | Idle)
            return found.rows.num_rows if isinstance(found, Chunk) else 0

        while not ended:
            calls.time(plugin, read)
            if progress is not None:
                progress(min(1.0, calls.seconds / seconds))
        if calls.seconds >= seconds:
            return calls


def _fit(samples: tuple[SizeSample, ...]) -> tuple[float, float]:
    """Fit a fixed cost and a cost per row, by least squares of relative errors; neither is below 0."""
    if len(samples) == 1:
        only = samples[0]
        return (only.best_s, 0.0) if only.rows == 0 else (0.0, only.best_s / only.rows)
    times = np.array([sample.best_s for sample in samples])
    rows = np.array([sample.rows for sample in samples], np.float64)
    weighted = np.stack([1 / times, rows / times], axis=1)
    (fixed, per_row), *_ = np.linalg.lstsq(weighted, np.ones(len(samples)), rcond=None)
    return max(float(fixed), 0.0), max(float(per_row), 0.0)


def _shares(before: PluginStats, after: PluginStats) -> tuple[float, float, float, int]:
    wall = max(after.wall_ns - before.wall_ns, 1)
    marshal = after.marshal_ns - before.marshal_ns
    host = after.host_ns - before.host_ns
    copied = after.bytes_in - before.bytes_in + after.bytes_out - before.bytes_out
    return (wall - marshal - host) / wall, marshal / wall, host / wall, copied
