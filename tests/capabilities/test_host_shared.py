from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest

from dataflare.capabilities.shared import MemorySharedStore, SharedLimits, imports
from dataflare.data.batches import MAX_BATCH_BYTES, Batch
from dataflare.errors import ConfigError
from dataflare.values import Err, Ok, Variant

GRANTS = {"table": "write", "rates": "read"}


def record_batch(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"a": np.arange(rows)})


@pytest.fixture
def store():
    return MemorySharedStore(limits=SharedLimits(total_bytes=100_000))


@pytest.fixture
def shared(store):
    return imports(store, GRANTS)


def test_absent_batch_is_none(shared):
    assert shared["get"]("table") == shared["get"]("rates") == Ok(None)


def test_batch_comes_back_as_it_was_put(shared):
    assert shared["put"]("table", Batch(record_batch(3))) == Ok(None)
    assert shared["get"]("table").value.arrow.equals(record_batch(3))


def test_batch_is_shared_between_plugins(store):
    imports(store, {"t": "write"})["put"]("t", Batch(record_batch(2)))
    assert imports(store, {"t": "read"})["get"]("t").value.num_rows() == 2


def test_batch_takes_the_place_of_the_old_one(shared):
    shared["put"]("table", Batch(record_batch(3)))
    shared["put"]("table", Batch(record_batch(5)))
    assert shared["get"]("table").value.num_rows() == 5


def test_nothing_is_copied(shared):
    batch = record_batch(1000)
    shared["put"]("table", Batch(batch))
    got = shared["get"]("table").value.arrow
    assert got.column("a").buffers()[1].address == batch.column("a").buffers()[1].address


def test_name_that_is_granted_for_reading_cannot_be_written(shared, store):
    assert shared["put"]("rates", Batch(record_batch(1))).error.case == "denied"
    store.put("rates", record_batch(1))
    assert shared["get"]("rates").value.num_rows() == 1


@pytest.mark.parametrize("name", ["other", "", "TABLE", "x" * 1000])
def test_name_that_is_not_granted_is_denied(shared, store, name):
    store.put(name, record_batch(1))
    assert shared["get"](name).error.case == "denied"
    denied = shared["put"](name, Batch(record_batch(2))).error
    assert denied.case == "denied" and len(denied.value) < 200
    assert store.get(name).num_rows == 1


def test_quota_counts_all_batches_together(store):
    shared = imports(store, {"a": "write", "b": "write"})
    assert shared["put"]("a", Batch(record_batch(6000))) == Ok(None)
    assert shared["put"]("b", Batch(record_batch(7000))) == Err(Variant("quota-exceeded", 100_000))
    assert shared["get"]("b") == Ok(None)
    assert shared["put"]("b", Batch(record_batch(6000))) == Ok(None)
    assert 96_000 <= store.used_bytes <= 100_000


def test_replaced_batch_gives_its_place_back(store):
    shared = imports(store, {"a": "write"})
    for rows in (12_000, 11_000, 12_000):
        assert shared["put"]("a", Batch(record_batch(rows))) == Ok(None)
    before = store.used_bytes
    assert shared["put"]("a", Batch(record_batch(13_000))).error.case == "quota-exceeded"
    assert shared["get"]("a").value.num_rows() == 12_000
    assert store.used_bytes == before


def test_part_of_a_batch_counts_with_what_it_keeps_alive(store):
    part = record_batch(20_000).slice(0, 1)
    assert imports(store, {"a": "write"})["put"]("a", Batch(part)).error.case == "quota-exceeded"


def test_schema_counts_too(store):
    schema = pa.schema([pa.field("a", pa.int64())], metadata={"note": "x" * 100_000})
    batch = pa.RecordBatch.from_arrays([pa.array([1])], schema=schema)
    assert imports(store, {"a": "write"})["put"]("a", Batch(batch)).error.case == "quota-exceeded"


def test_views_of_one_plugin_are_not_kept_by_the_store(shared):
    shared["put"]("table", Batch(record_batch(3)))
    first, second = shared["get"]("table").value, shared["get"]("table").value
    first.to_arrow()
    assert first is not second
    assert first._views and not second._views


def test_limit_of_batches_is_the_readers(store):
    store.put("t", record_batch(1))
    assert imports(store, {"t": "read"})["get"]("t").value.max_bytes == MAX_BATCH_BYTES
    assert imports(store, {"t": "read"}, max_batch_bytes=7)["get"]("t").value.max_bytes == 7


def test_closed_store_is_empty(store, shared):
    shared["put"]("table", Batch(record_batch(3)))
    store.close()
    store.close()
    assert (shared["get"]("table"), store.used_bytes) == (Ok(None), 0)


def test_threads_that_put_count_right(store):
    def put(name):
        for rows in range(1, 100):
            store.put(name, record_batch(rows))

    threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = MemorySharedStore()
    alone.put("a", record_batch(99))
    assert store.used_bytes == 4 * alone.used_bytes


@pytest.mark.parametrize("total", [0, 2**32])
def test_quota_out_of_range_is_refused(total):
    with pytest.raises(ConfigError, match=r"shared\.total_bytes"):
        SharedLimits(total_bytes=total)
