from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.data.roles import with_roles
from dataflare.errors import ConfigError, GuestPanic, PluginError, ProtocolFault, UsageError
from dataflare.runtime.datasets import DatasetName, PlannedChange, Target
from dataflare.runtime.destination import Destination
from dataflare.runtime.runs import RunLost
from dataflare.values import Ok
from dataflare.wit_types.destination import RejectedRow
from runtime_fakes import Shelf, failed, numbers, run_of

N = pa.schema([pa.field("n", pa.int64())])
ROWS = Target("rows", N)


def test_destination_publishes_when_it_finishes(load):
    shelf: list[int] = []
    destination = run_of(load, shelf)
    assert destination.write(numbers(1, 2)) == []
    destination.write(numbers(3))
    assert not destination.flush()
    assert shelf == []
    destination.finish()
    assert (shelf, destination.rows_written) == ([1, 2, 3], 3)


def test_finish_can_be_repeated_and_abort_after_it_does_nothing(load):
    shelf: list[int] = []
    destination = run_of(load, shelf)
    destination.write(numbers(1))
    destination.finish()
    destination.finish()
    destination.abort()
    destination.abort()
    assert shelf == [1]


@pytest.mark.parametrize("function", ["write", "flush", "finish"])
def test_call_before_a_run_is_refused(load, engine, function):
    destination = load(Shelf, Destination, shelf=[])
    with pytest.raises(UsageError, match=f"`{function}` out of order: no run is under way"):
        getattr(destination, function)(*([numbers(1)] if function == "write" else []))
    assert function not in engine.instances[0].calls


def test_second_open_within_a_run_is_refused(load):
    destination = run_of(load, [])
    with pytest.raises(UsageError, match="a run is under way"):
        destination.open(ROWS)


def test_write_after_finish_is_refused(load):
    destination = run_of(load, [])
    destination.finish()
    with pytest.raises(UsageError, match="the run is finished"):
        destination.write(numbers(1))


def test_aborted_run_can_be_followed_by_another(load):
    shelf: list[int] = []
    destination = run_of(load, shelf)
    destination.write(numbers(1))
    destination.abort()
    destination.open(ROWS)
    destination.write(numbers(2))
    destination.finish()
    assert shelf == [2]


def test_abort_of_a_destination_that_was_never_used_makes_no_instance(load, engine):
    load(Shelf, Destination, shelf=[]).abort()
    assert engine.instances == []


def test_batch_of_another_schema_is_refused_before_the_plugin_sees_it(load, engine):
    destination = run_of(load, [])
    with pytest.raises(UsageError, match="columns n: string, where the target has n: int64"):
        destination.write(pa.record_batch({"n": ["1"]}))
    assert "write" not in engine.instances[0].calls
    destination.write(numbers(1))
    destination.change_schema(pa.schema([("n", pa.string())]))
    destination.write(pa.record_batch({"n": ["1"]}))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target("rows", N, mode="replace"), "'rows' cannot be written in the mode 'replace'"),
        (Target("rows", N, mode="merge"), "to merge, name the columns of its key"),
        (Target("rows", N, mode="merge", key=["m"]), "the key's column 'm' is not among the columns"),
        (Target("rows", N, mode="merge", key=["n", "n"]), "dataset 'rows': column 'n' is in the key twice"),
        (Target("", N), "the name of a dataset is empty"),
        ([], "give at least one target"),
        ([Target("rows", N), Target("rows", N)], "no dataset twice"),
        (
            Target("rows", with_roles(pa.schema([("n", pa.int8())]), operation="n"), mode="merge", key=["n"]),
            "the destination cannot remove rows",
        ),
    ],
)
def test_target_that_cannot_be_written_is_refused_before_the_plugin_sees_it(load, engine, target, why):
    with pytest.raises(ConfigError, match=why):
        load(Shelf, Destination, shelf=[]).open(target)
    assert "open" not in engine.instances[0].calls


@pytest.mark.parametrize(
    ("changes", "schema", "why"),
    [
        ((), pa.schema([("n", pa.string())]), "dataset 'rows': column 'n' cannot be string"),
        (("add-columns",), pa.schema([("n", pa.string())]), "dataset 'rows': column 'n' cannot be string"),
        (("widen-columns",), pa.schema([("n", pa.int64()), ("m", pa.int8())]), "column 'm' cannot be added"),
    ],
)
def test_schema_change_beyond_the_abilities_is_refused_before_the_plugin_sees_it(load, engine, changes, schema, why):
    destination = load(Shelf, Destination, shelf=[], changes=changes)
    destination.open(Target("rows", N))
    with pytest.raises(ConfigError, match=why):
        destination.change_schema(schema)
    assert "change-schema" not in engine.instances[0].calls
    destination.write(numbers(1))


def test_rows_with_an_operation_do_not_replace_others(load):
    schema = with_roles(pa.schema([("op", pa.int8())]), operation="op")
    replacing = load(Shelf, Destination, shelf=[], changes=("replace",))
    with pytest.raises(ConfigError, match=r"dataset 'rows': rows with an operation \(column 'op'\) cannot replace"):
        replacing.open(Target("rows", schema, mode="replace"))


def test_schema_that_lacks_the_key_is_refused(load):
    destination = load(Shelf, Destination, shelf=[])
    destination.open(Target("rows", N, key=["n"], mode="merge"))
    with pytest.raises(ConfigError, match="the key's column 'n' is not among the columns"):
        destination.change_schema(pa.schema([("m", pa.int64())]))


def test_plan_names_what_would_change(load):
    assert load(Shelf, Destination, shelf=[]).plan(ROWS) == [PlannedChange(DatasetName("rows"), "create", "a shelf")]
    with pytest.raises(ProtocolFault, match="a change of target 7, of 1"):
        wrong = Ok([SimpleNamespace(target=7, kind="create", detail="")])
        load(Shelf, Destination, shelf=[], plan=lambda self, _: wrong).plan(ROWS)


def test_rejected_rows_are_told_and_not_counted(load):
    shelf: list[int] = []
    destination = run_of(load, shelf, rejects=(1,))
    assert destination.write(numbers(1, 2, 3)) == [RejectedRow(1, "n", "no")]
    assert destination.write(pa.Table.from_batches([numbers(4, 5), numbers(6, 7)])) == [
        RejectedRow(1, "n", "no"),
        RejectedRow(3, "n", "no"),
    ]
    destination.finish()
    assert (shelf, destination.rows_written) == ([1, 3, 4, 6], 4)


@pytest.mark.parametrize("rejects", [(2,), (1, 1), (1, 0)])
def test_rejected_rows_that_there_are_not_are_a_fault(load, rejects):
    destination = run_of(load, [], rejects=rejects)
    with pytest.raises(
        ProtocolFault,
        match=r"#write: it rejected rows that do not ascend, .* the batch of 'rows' has",
    ):
        destination.write(numbers(1, 2))
    with pytest.raises(RunLost):
        destination.flush()


def test_target_of_a_write_is_named_where_there_are_several(load):
    destination = load(Shelf, Destination, shelf=[])
    destination.open([Target("a", N), Target("b", N)])
    assert destination.write(numbers(1), "b") == []
    for wrong in (None, "c"):
        with pytest.raises(UsageError, match="is not a target of this run"):
            destination.write(numbers(1), wrong)


def test_token_comes_back_to_the_next_run_of_the_pipeline(load):
    kept: dict[str, bytes] = {}
    destination = load(Shelf, Destination, shelf=[], kept=kept)
    assert destination.open(ROWS, pipeline="one") is None
    destination.finish(b"my token")
    assert destination.open(ROWS, pipeline="one") == b"my token"
    destination.abort()
    assert destination.open(ROWS, pipeline="two") is None


@pytest.mark.parametrize(
    ("token", "why"),
    [(b"nonsense", "a token that it was never given"), (b"dataflare:1\0two\0t", "a token of the pipeline 'two'")],
)
def test_token_of_another_pipeline_is_a_fault(load, token, why):
    with pytest.raises(ProtocolFault, match=f"#open: it returned {why}"):
        load(Shelf, Destination, shelf=[], kept={"one": token}).open(ROWS, pipeline="one")


def test_older_run_is_an_error_of_the_plugin(load):
    destination = run_of(load, [], write=lambda self, *_: failed("superseded", "run 8 has begun"))
    with pytest.raises(PluginError) as caught:
        destination.write(numbers(1))
    assert (caught.value.error.case, caught.value.retryable) == ("superseded", False)


def test_error_of_a_write_leaves_the_run_under_way(load):
    class Moody(Shelf):
        def write(self, target: int, rows: Batch) -> Any:
            return failed("unavailable", "later") if rows.num_rows() == 2 else super().write(target, rows)

    shelf: list[int] = []
    destination = load(Moody, Destination, shelf=shelf)
    destination.open(ROWS)
    with pytest.raises(PluginError) as caught:
        destination.write(numbers(1, 2))
    assert caught.value.retryable
    destination.write(numbers(3))
    destination.finish()
    assert shelf == [3]


@pytest.mark.parametrize("function", ["write", "flush", "finish"])
def test_run_is_lost_with_its_instance(load, engine, function):
    shelf: list[int] = []
    destination = run_of(load, shelf, trap_in=function)
    calls = {"write": lambda: destination.write(numbers(2)), "flush": destination.flush, "finish": destination.finish}
    destination.write(numbers(1)) if function != "write" else None
    with pytest.raises(GuestPanic):
        calls[function]()
    for call in calls.values():
        with pytest.raises(RunLost, match="a run whose instance is lost"):
            call()
    assert shelf == []
    assert engine.instances[-1].calls in ([], ["configure", "initialize"])
    destination.open(ROWS)
    destination.write(numbers(5))
    destination.finish()
    assert shelf == [5]


def test_abort_of_a_lost_run_needs_no_instance(load, engine):
    destination = run_of(load, [], trap_in="write")
    with pytest.raises(GuestPanic):
        destination.write(numbers(1))
    destination.abort()
    assert len(engine.instances) == 1
    with pytest.raises(UsageError, match="no run is under way"):
        destination.write(numbers(1))


def test_trap_in_open_loses_no_run(load):
    destination = load(Shelf, Destination, shelf=[], trap_in="open")
    with pytest.raises(GuestPanic):
        destination.open(ROWS)
    destination.open(ROWS)
    destination.finish()
    assert destination.rows_written == 0


def test_trap_after_finish_loses_no_run(load):
    destination = run_of(load, [], health_check=lambda self: self._trap("health"), trap_in="health")
    destination.finish()
    with pytest.raises(GuestPanic):
        destination.health()
    destination.open(ROWS)
