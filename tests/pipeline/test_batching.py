from __future__ import annotations

import threading
import time
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, GuestPanic
from dataflare.pipeline import batching
from dataflare.pipeline.batching import MOST_ROWS, SMALL_ROWS, resized
from dataflare.pipeline.channel import Channel, Stopped
from dataflare.pipeline.parallel_map import map_in_order
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from outputs_kit import destination_of
from pipeline_fakes import FakeDestination, FakeHost, FakeProcessor, FakeSource, FakeTransformer, FakeValidator, rows_of

# Sizes


@given(st.lists(st.integers(0, 3000) | st.sampled_from([MOST_ROWS, MOST_ROWS + 1, 3 * MOST_ROWS])))
def test_rows_keep_their_order_and_no_batch_is_larger_than_it_may_be(sizes):
    numbers = pa.array(np.arange(sum(sizes)))
    starts = accumulate(sizes, initial=0)
    batches = [pa.record_batch({"x": numbers.slice(start, size)}) for start, size in zip(starts, sizes, strict=False)]
    out = list(resized(batches))
    assert pa.concat_arrays([rows.column("x") for rows in out] or [numbers]).equals(numbers)
    assert all(rows.num_rows <= MOST_ROWS for rows in out)
    assert bool(out) == bool(sizes)
    small = [rows.num_rows < SMALL_ROWS for rows in out]
    assert not any(one and two for one, two in pairwise(small))


def test_many_small_batches_become_few():
    assert [rows.num_rows for rows in resized([rows_of(1)] * 2050)] == [1024, 1024, 2]


def test_a_source_without_rows_keeps_its_schema():
    assert [rows.schema for rows in resized([rows_of(), rows_of()])] == [rows_of().schema]
    assert list(resized([])) == []


def test_batches_of_other_columns_are_not_merged():
    other = pa.RecordBatch.from_pydict({"y": [1]})
    assert [rows.schema.names for rows in resized([rows_of(1), rows_of(2), other, rows_of(3)])] == [["x"], ["y"], ["x"]]


def test_wide_rows_are_split_by_their_bytes(monkeypatch):
    monkeypatch.setattr(batching, "SMALL_BYTES", 1000)
    monkeypatch.setattr(batching, "MOST_BYTES", 1000)
    rows = pa.RecordBatch.from_pydict({"t": ["x" * 400] * 10})
    assert [each.num_rows for each in resized([rows])] == [2] * 5


def test_dictionaries_that_cannot_be_merged_stay_as_they_are():
    batches = [
        pa.RecordBatch.from_arrays([pa.ListArray.from_arrays([0, 1], pa.array([text]).dictionary_encode())], ["c"])
        for text in "ab"
    ]
    assert [row["c"] for rows in resized(batches) for row in rows.to_pylist()] == [["a"], ["b"]]


# Workers


def channel_of(*items: int) -> Channel[int | None]:
    channel: Channel[int | None] = Channel(len(items) + 1)
    for item in items:
        channel.put(item)
    channel.put(None)
    return channel


def test_results_come_in_order_though_later_ones_are_ready_first():
    def work(item: int) -> int:
        time.sleep(0.02 if item % 4 == 0 else 0)
        return item

    assert list(map_in_order(work, channel_of(*range(40)), workers=4, name="w")) == list(range(40))


def test_workers_are_at_work_at_the_same_time():
    together = threading.Barrier(3)
    assert list(map_in_order(lambda item: together.wait(60) and item, channel_of(1, 2, 3), workers=3, name="w"))


def test_little_waits_to_be_taken():
    begun: list[int] = []
    results = map_in_order(begun.append, channel_of(*range(100)), workers=2, name="w")
    next(results)
    time.sleep(0.1)
    assert len(begun) <= 6
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_in_its_turn_and_no_thread_stays():
    before = threading.active_count()

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    found = []
    channel: Channel[int | None] = Channel(9)
    for item in range(6):
        channel.put(item)  # and no end
    with pytest.raises(ValueError, match="three"):
        found.extend(map_in_order(work, channel, workers=2, name="w"))
    assert (found, threading.active_count()) == ([0, 1, 2], before)


def test_workers_end_when_their_input_is_stopped():
    before = threading.active_count()
    channel: Channel[int | None] = Channel(1)
    threading.Timer(0.05, channel.stop).start()
    with pytest.raises(Stopped):
        list(map_in_order(lambda item: item, channel, workers=2, name="w"))
    time.sleep(0.05)
    assert threading.active_count() <= before


# In pipelines

NODES = (
    "  in: {{plugin: source.wasm}}\n  middle: {{plugin: {plugin}.wasm, input: in{workers}}}\n"
    "  out: {{plugin: destination.wasm, input: middle}}\n"
)


@pytest.mark.parametrize("kind", ["processor", "transformer", "validator"])
@pytest.mark.parametrize(("keys", "workers"), [(", workers: 1", 1), (", workers: 4", 4), ("", 3)])
def test_a_stateless_plugin_uses_all_cores_or_as_many_as_said_and_keeps_the_order(
    specify, kind, keys, workers, monkeypatch
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    # Each call waits until as many others are under way.
    together = threading.Barrier(workers)
    batches = [rows_of(*range(n * 2000, (n + 1) * 2000)) for n in range(12)]

    def slow(rows: pa.RecordBatch) -> pa.RecordBatch:
        together.wait(60)
        return rows

    class SlowValidator(FakeValidator):
        def validate(self, rows):
            return super().validate(slow(rows))

    plugin = {
        "processor": lambda: FakeProcessor(slow),
        "transformer": lambda: FakeTransformer(slow),
        "validator": SlowValidator,
    }[kind]()
    target = FakeDestination()
    host = FakeHost(source=FakeSource(batches), destination=target, **{kind: plugin})
    report = run(specify(NODES.format(plugin=kind, workers=keys)), host=host)
    assert [row["x"] for row in target.rows] == list(range(24_000))
    assert host.loaded["middle"]["pool"].maximum == max(4, workers)
    assert host.loaded["in"]["pool"] is None
    assert report.nodes[1].rows_in == 24_000
    assert plugin.calls.count("output_schema") == (kind == "transformer")


def test_the_first_of_several_failures_in_the_order_of_rows_is_told(specify):
    def fail(rows: pa.RecordBatch) -> pa.RecordBatch:
        first = rows.column("x")[0].as_py()
        time.sleep(0.02 if first == 2000 else 0)
        if first:
            raise GuestPanic(f"at {first}")
        return rows

    source = FakeSource([rows_of(*range(n * 2000, (n + 1) * 2000)) for n in range(8)])
    host = FakeHost(source=source, processor=FakeProcessor(fail), destination=FakeDestination())
    before = threading.active_count()
    with pytest.raises(NodeFailed, match="at 2000"):
        run(specify(NODES.format(plugin="processor", workers=", workers: 4")), host=host)
    assert threading.active_count() <= before


@pytest.mark.parametrize("plugin", ["source", "destination"])
def test_a_plugin_that_keeps_a_run_has_one_worker(specify, plugin):
    host = FakeHost(source=FakeSource([rows_of(1)]), destination=FakeDestination())
    keys = {"source": "", "destination": ""} | {plugin: ", workers: 2"}
    nodes = f"  in: {{plugin: source.wasm{keys['source']}}}\n"
    nodes += f"  out: {{plugin: destination.wasm, input: in{keys['destination']}}}\n"
    with pytest.raises(ConfigError, match=f"`workers` is not for a {plugin}"):
        run(specify(nodes), host=host)


# Work that must not grow with what waits


def test_waiting_rows_of_parquet_are_not_counted_again_for_each_batch(tmp_path):
    class Counted(list):
        visits = 0

        def __iter__(self):
            Counted.visits += len(self)
            return super().__iter__()

    destination = destination_of("parquet", tmp_path / "f", options={"row_group_rows": 1000})
    destination.prepare(rows_of().schema)
    sink = destination._contents._sink
    sink._waiting = Counted()
    for n in range(3000):
        destination.write(rows_of(n))
    destination.finish()
    assert Counted.visits <= 3000


def test_rows_of_different_sizes_are_split_until_no_batch_is_too_large(monkeypatch):
    monkeypatch.setattr(batching, "MOST_BYTES", 1000)
    monkeypatch.setattr(batching, "SMALL_BYTES", 1000)
    texts = ["x" * 1500, *["y" * 10] * 5, *["z" * 300] * 9]
    found = list(batching.resized([pa.record_batch({"t": texts})]))
    assert [text for each in found for text in each.column("t").to_pylist()] == texts
    assert all(each.num_rows == 1 or each.nbytes <= 1000 for each in found)


def test_full_queue_of_bytes_lets_its_writer_wait():
    class Waited(Exception):
        pass

    def wait_for(_: object) -> None:
        raise Waited

    queue: Channel[str] = Channel(3, most_bytes=10, size=len)
    queue._changed.wait_for = wait_for  # type: ignore[method-assign,assignment]
    queue.put("x" * 50)  # alone, an item may be larger
    with pytest.raises(Waited):
        queue.put("y")
    assert queue.get() == "x" * 50
    queue.put("y" * 6)
    queue.put("z" * 4)
    with pytest.raises(Waited):
        queue.put("w")
    assert (queue.get(), queue.get(), len(queue)) == ("y" * 6, "z" * 4, 0)
