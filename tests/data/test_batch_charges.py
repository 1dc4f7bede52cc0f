"""What batches cost the budget of the instance that makes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from dataflare.budgets import Charge, HostBudget, OverHostBytes, OverTime, current, serving
from dataflare.data.batches import Batch, imports
from dataflare.data.ipc import encode_stream
from dataflare.values import Ok

ROWS = 100_000
ARROW = pa.record_batch({"n": np.arange(ROWS), "t": pa.array(["text"] * ROWS)})
SLACK = 20_000


@pytest.fixture
def budget() -> Iterator[HostBudget]:
    made = HostBudget(100 * 2**20)
    with serving(made):
        yield made


def test_budget_is_the_threads_own(budget: HostBudget) -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(current()))
    thread.start()
    thread.join()
    assert current() is budget and seen != [budget]


def test_charge_is_given_back_with_its_last_reference(budget: HostBudget) -> None:
    first = Charge(budget, 1000)
    second = first
    del first
    assert budget.used_bytes == 1000
    del second
    assert budget.used_bytes == 0 and budget.peak_bytes == 1000


def test_charge_that_has_no_room_takes_nothing(budget: HostBudget) -> None:
    with pytest.raises(OverHostBytes):
        Charge(budget, 101 * 2**20)
    assert budget.used_bytes == 0


def test_release_within_a_charge_does_not_wait(budget: HostBudget) -> None:
    budget.charge(10)
    with budget._lock:
        budget.release(10)  # as the cycle collector may, in the thread that has the lock
    assert budget.used_bytes == 0


def test_time_is_over_at_the_deadline(budget: HostBudget) -> None:
    budget.check_time()
    budget.deadline_s = 0.0
    with pytest.raises(OverTime):
        budget.check_time()


def test_given_batch_is_free(budget: HostBudget) -> None:
    batch = Batch(ARROW)
    assert budget.used_bytes == 0 and batch.loan is not None


def test_given_batch_that_is_kept_is_charged_once(budget: HostBudget) -> None:
    batch = Batch(ARROW)
    part = batch.slice(0, 10)
    for each in (batch, part, batch):
        assert each.loan is not None
        each.loan.keep(budget)
    assert ARROW.nbytes <= budget.used_bytes < ARROW.nbytes + SLACK
    del batch, each
    assert budget.used_bytes > ARROW.nbytes, "the part keeps the whole alive"
    del part
    assert budget.used_bytes == 0


def test_view_that_shares_memory_is_free(budget: HostBudget) -> None:
    batch = Batch(ARROW)
    assert batch.int64_column("n")[5] == 5
    batch.text_column("t")
    assert budget.used_bytes == 0


def test_view_that_does_not_is_charged_as_long_as_the_batch(budget: HostBudget) -> None:
    batch = Batch(ARROW)
    batch.to_arrow()
    batch.to_arrow()
    assert ARROW.nbytes < budget.used_bytes < 1.1 * ARROW.nbytes
    del batch
    assert budget.used_bytes == 0


def test_column_that_is_added_is_charged_alone(budget: HostBudget) -> None:
    batch = Batch(ARROW)
    more = batch.with_int64_column("more", np.arange(ROWS))
    assert 8 * ROWS <= budget.used_bytes < 8 * ROWS + SLACK
    assert more.loan is not None
    replaced = more.with_int64_column("more", np.arange(ROWS))
    del more
    assert 8 * ROWS <= budget.used_bytes < 8 * ROWS + SLACK, "a column that was replaced is gone"
    del replaced
    assert budget.used_bytes == 0


def test_a_thousand_parts_of_one_batch_cost_little(budget: HostBudget) -> None:
    batch = imports()["from-arrow"](bytes(encode_stream(ARROW))).value
    once = budget.used_bytes
    assert once >= ARROW.nbytes
    parts = [batch.select(["n"]) for _ in range(1000)] + [batch.slice(0, 10) for _ in range(1000)]
    assert budget.used_bytes < once + 4_000_000
    del batch, parts
    assert budget.used_bytes == 0


def test_select_keeps_the_charges_of_its_columns(budget: HostBudget) -> None:
    batch = Batch(ARROW).with_int64_column("more", np.arange(ROWS))
    picked = batch.rename_column("more", "other").select(["other"])
    del batch
    assert 8 * ROWS <= budget.used_bytes < 8 * ROWS + SLACK
    assert picked.loan is None, "nothing is left of what was given"


@pytest.mark.parametrize("function", ["from-arrow", "concat", "filter", "cast", "to-json-lines"])
def test_what_has_no_room_is_not_made(function: str) -> None:
    functions = imports()
    batch = Batch(ARROW)
    calls = {
        "from-arrow": lambda: functions["from-arrow"](bytes(encode_stream(ARROW))),
        "concat": lambda: functions["concat"]([batch, batch]),
        "filter": lambda: functions["[method]batch.filter"](batch, np.full(ROWS // 64 + 1, 2**64 - 1, np.uint64)),
        "cast": lambda: functions["[method]batch.cast-column"](batch, "n", "string"),
        "to-json-lines": lambda: functions["[method]batch.to-json-lines"](batch),
    }
    budget = HostBudget(100_000)
    before = pa.total_allocated_bytes()
    with serving(budget), pytest.raises(OverHostBytes):
        calls[function]()
    assert pa.total_allocated_bytes() - before < 400_000 and budget.used_bytes == 0
    with serving(HostBudget(100 * 2**20)):
        assert isinstance(calls[function](), Ok)
