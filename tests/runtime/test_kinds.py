from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.data.roles import with_roles
from dataflare.data.schemas import Field, Schema, to_wit
from dataflare.errors import ConfigError, GuestPanic, PluginError, ProtocolFault, UsageError, ValueTypeError
from dataflare.runtime.datasets import (
    DatasetName,
    Ended,
    Estimate,
    Idle,
    NewSchema,
    PlannedChange,
    RejectedRow,
    Selection,
    Target,
)
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.plugin import Plugin, same_columns
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.processor import Processor
from dataflare.runtime.results import Rule, RuleCount, Violation
from dataflare.runtime.runs import RunLost
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.values import Ok, Variant
from runtime_fakes import Doubler, FakeEngine, Numbers, Positive, Shelf, Upper, failed, numbers

N = pa.schema([pa.field("n", pa.int64())])
ROWS = Target("rows", N)


@pytest.fixture
def load(host: Host, engine: FakeEngine) -> Callable[..., Any]:
    def make(guest: Any, kind: type[Plugin], **attributes: Any) -> Any:
        # A class of its own, so that what a test sets does not outlive it.
        plugin = host.load(engine.add(type(guest.__name__, (guest,), attributes)), name="p")
        assert type(plugin) is kind
        return plugin

    return make


# Sources


def test_source_tells_what_there_is(load):
    source = load(Numbers, Source)
    (found,) = source.discover()
    assert (found.name, found.schema, found.key, found.cursors) == (DatasetName("numbers"), N, ("n",), ("n",))
    assert found.modes == {"full", "incremental", "splittable"}
    assert source.dataset() == found
    assert source.estimate() == Estimate(6, True)
    assert source.estimate(state=b"4") == Estimate(2, True)


def test_source_without_an_estimate_has_none(load):
    assert load(Numbers, Source, estimate=lambda self, *_: Ok(None)).estimate() is None


def test_source_is_read_to_its_end(load):
    source = load(Numbers, Source)
    chunks = list(source.chunks())
    assert [chunk.rows.column("n").to_pylist() for chunk in chunks] == [[0, 1], [2, 3], [4, 5]]
    assert [chunk.state for chunk in chunks] == [b"2", b"4", b"6"]
    assert {chunk.dataset for chunk in chunks} == {DatasetName("numbers")}
    assert source.read() == Ended()


def test_source_goes_on_from_a_state(load):
    assert [batch.column("n").to_pylist() for batch in load(Numbers, Source).batches(state=b"2")] == [[2, 3], [4, 5]]


def test_read_gives_no_more_rows_than_it_was_asked_for(load):
    source = load(Numbers, Source)
    assert [batch.num_rows for batch in source.batches(max_rows=1)] == [1] * 6
    greedy = load(Numbers, Source, read=lambda self, max_rows: Numbers.read(self, max_rows + 1))
    with pytest.raises(ProtocolFault, match="dataset 'numbers': 2 rows, of at most 1"):
        list(greedy.batches(max_rows=1))


def test_parts_together_have_every_row_once(load):
    source = load(Numbers, Source)
    parts = source.split(at_most=2)
    rows = [n for part in parts for batch in source.batches(part=part) for n in batch.column("n").to_pylist()]
    assert rows == [0, 1, 2, 3, 4, 5]


def test_part_is_not_read_twice(load):
    source = load(Numbers, Source)
    first, _ = source.split(at_most=2)
    (*_, last) = source.chunks(part=first)
    with pytest.raises(UsageError, match="this part has been read to its end already"):
        source.open(part=first)
    source.open(part=first, state=last.state)
    source.split(at_most=2)
    source.open(part=first)


@pytest.mark.parametrize(
    ("parts", "why"), [([], "it made 0 parts"), ([b"a", b"b", b"c"], "it made 3 parts"), ([b"a", b"a"], "are the same")]
)
def test_parts_that_cannot_be_are_a_fault(load, parts, why):
    with pytest.raises(ProtocolFault, match=f"#split: .*{why}"):
        load(Numbers, Source, split=lambda self, *_: Ok(parts)).split(at_most=2)


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ("number", "'p' has no dataset 'number'"),
        (DatasetName("numbers", "other"), "'p' has no dataset 'other.numbers'"),
        (Selection("numbers", "changes"), "dataset 'numbers' cannot be read in the mode 'changes'"),
        (Selection("numbers", columns=["m"]), "dataset 'numbers' has no column 'm'"),
        (Selection("numbers", columns=["n", "n"]), "a column is selected twice"),
        (Selection("numbers", "incremental", cursor="m"), "column 'm' cannot be its cursor"),
        (["numbers", "numbers"], "none of them twice"),
        ([], "select at least one dataset"),
    ],
)
def test_selection_of_what_there_is_not_is_refused_before_the_plugin_sees_it(load, engine, selection, why):
    with pytest.raises(ConfigError, match=why):
        load(Numbers, Source).open(selection)
    assert "open" not in engine.instances[0].calls


def test_selection_says_what_is_read(load, engine):
    source = load(Numbers, Source)
    source.open(Selection("numbers", "incremental", columns=["n"]))
    (found,) = engine.instances[0].guest.opened
    assert (found.dataset.name, found.mode, found.columns) == ("numbers", Variant("incremental", "n"), ["n"])


def test_without_a_selection_there_is_one_dataset(load):
    def discover(self: Any) -> Any:
        (one,) = Numbers.discover(self).value
        return Ok([one, SimpleNamespace(**{**vars(one), "name": SimpleNamespace(name="others", namespace="")})])

    source = load(Numbers, Source, discover=discover)
    with pytest.raises(ConfigError, match="has 2 datasets, and none is selected") as caught:
        source.open()
    assert "numbers, others" in caught.value.hint
    assert source.open("others") == [N]


def test_state_of_another_source_is_an_error_of_the_plugin(load):
    with pytest.raises(PluginError) as caught:
        load(Numbers, Source).open(state=b"nonsense")
    assert caught.value.error.case == "invalid-state"


def test_states_are_acknowledged_in_their_order(load, engine):
    source = load(Numbers, Source)
    first, second, _ = source.chunks()
    source.acknowledge(second.state)
    source.acknowledge(second.state)
    for state in (b"never", first.state):
        with pytest.raises(UsageError, match="a state is acknowledged that this read never returned"):
            source.acknowledge(state)
    assert engine.instances[0].guest.acknowledged == [b"4", b"4"]


@pytest.mark.parametrize("function", ["read", "acknowledge"])
def test_call_before_open_is_refused(load, function):
    with pytest.raises(UsageError, match=f"`{function}` out of order: no read is under way"):
        getattr(load(Numbers, Source), function)(*([b"2"] if function == "acknowledge" else []))


def test_read_ends_when_it_is_stopped(load, engine):
    source = load(Numbers, Source)
    source.stop()
    source.open()
    source.stop()
    source.stop()
    assert engine.instances[0].calls.count("close") == 1
    with pytest.raises(UsageError, match="no read is under way"):
        source.read()


def test_idle_source_says_when_to_ask_again(load):
    source = load(
        Numbers, Source, read=lambda self, _: Ok(Variant("idle", SimpleNamespace(state=b"9", retry_after_ms=250)))
    )
    source.open()
    assert source.read() == Idle(b"9", 0.25)
    source.acknowledge(b"9")
    assert list(source.chunks()) == []


def test_rows_of_a_dataset_follow_its_new_schema(load):
    wide = pa.schema([pa.field("n", pa.string())])

    def read(self: Any, max_rows: int) -> Any:
        if self.next == 2 and not hasattr(self, "told"):
            self.told = True
            return Ok(Variant("new-schema", SimpleNamespace(selection=0, schema=to_wit(wide))))
        return Numbers.read(self, max_rows)

    source = load(Numbers, Source, read=read, change_schema_at=2)
    source.open()
    assert source.read().rows.schema == N
    assert source.read() == NewSchema(DatasetName("numbers"), wide)
    assert source.read().rows.schema == wide


def test_batches_without_rows_are_left_out(load):
    def read(self: Any, max_rows: int) -> Any:
        state = self.next
        found = Numbers.read(self, max_rows)
        if state == 2:
            found.value.value.rows = Batch(numbers())
        return found

    source = load(Numbers, Source, read=read)
    assert [batch.num_rows for batch in source.batches()] == [2, 2]
    assert [chunk.rows.num_rows for chunk in source.chunks()] == [2, 0, 2]


def test_source_goes_on_after_a_trap_from_the_last_state(load, engine):
    source = load(Numbers, Source, trap_at=2)
    chunks = source.chunks()
    last = next(chunks)
    with pytest.raises(GuestPanic):
        next(chunks)
    with pytest.raises(RunLost, match="a read whose instance is lost"):
        source.read()
    assert [batch.column("n").to_pylist() for batch in source.batches(state=last.state)] == [[2, 3], [4, 5]]
    assert len(engine.instances) == 2


def test_chunk_of_another_schema_than_promised_is_a_fault(load, engine):
    source = load(Numbers, Source, change_schema_at=2)
    with pytest.raises(ProtocolFault, match=r"#read: .*it returned the columns n: string, where .* said n: int64"):
        list(source.chunks())
    assert not engine.instances[0].alive
    assert source.stats.faults == 1


def test_chunk_of_a_dataset_that_is_not_selected_is_a_fault(load):
    def read(self: Any, max_rows: int) -> Any:
        found = Numbers.read(self, max_rows)
        found.value.value.selection = 1
        return found

    with pytest.raises(ProtocolFault, match="#read: it returned rows of selection 1, of 1"):
        list(load(Numbers, Source, read=read).chunks())


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"open": lambda self, *_: Ok([Schema((Field("n", "text"),))])}, "#open: it returned no valid schema"),
        ({"open": lambda self, *_: Ok([])}, "#open: it returned 0 schemas for 1 selections"),
        (
            {"schema": pa.schema([pa.field("n", pa.int64(), metadata={"dataflare.role": "boss"})])},
            "#discover: dataset 'numbers': column 'n': dataflare.role is b'boss'",
        ),
        (
            {"schema": pa.schema([pa.field("m", pa.int64())])},
            "#discover: dataset 'numbers': key or cursor 'n' is not a column",
        ),
        ({"discover": lambda self: Ok(Numbers.discover(self).value * 2)}, "#discover: two datasets have the same name"),
    ],
)
def test_schemas_that_cannot_be_are_a_fault(load, attributes, why):
    with pytest.raises(ProtocolFault, match=why):
        load(Numbers, Source, **attributes).open()


# Destinations


def run_of(load, shelf, **attributes):
    destination = load(Shelf, Destination, shelf=shelf, **attributes)
    destination.open(ROWS)
    return destination


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
    with pytest.raises(ProtocolFault, match="#write: it rejected rows that do not ascend, or that there are not"):
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


# Processors


def test_processor_maps_and_drops_records(load):
    processor = load(Upper, Processor)
    assert processor.process("a") == "A"
    assert processor.process("drop") is None


def test_processor_maps_a_batch(load):
    assert load(Upper, Processor).process_batch(numbers(1, 2)).column("n").to_pylist() == [1]


def test_processor_that_makes_more_records_than_it_was_given_is_a_fault(load, engine):
    grow = {"process_batch": lambda self, input: Ok(Batch(numbers(1, 2, 3)))}
    processor = load(Upper, Processor, **grow)
    with pytest.raises(ProtocolFault, match="#process-batch: it made 3 records of 2"):
        processor.process_batch(numbers(1, 2))
    processor.process("a")
    assert len(engine.instances) == 2


@pytest.mark.parametrize("value", [{"n": [1]}, None, "n", b"n", 1])
def test_what_is_no_batch_is_refused_before_the_plugin_sees_it(load, engine, value):
    with pytest.raises(ValueTypeError, match=r"is not a pyarrow\.RecordBatch"):
        list(load(Upper, Processor).process_batch(value))
    assert engine.instances == []


@pytest.mark.parametrize("value", [[{"n": 1}], [None]])
def test_what_is_no_batch_in_an_iterable_is_refused_in_its_turn(load, value):
    batches = load(Doubler, Transformer).transform([numbers(1), *value])
    assert next(batches).column("n").to_pylist() == [2]
    with pytest.raises(ValueTypeError, match=r"is not a pyarrow\.RecordBatch"):
        next(batches)


# Tables and iterables of batches


def test_a_table_gives_a_table(load):
    table = pa.Table.from_batches([numbers(1, 2), numbers(3)])
    found = load(Doubler, Transformer).transform(table)
    assert isinstance(found, pa.Table)
    assert found.to_pydict() == {"n": [2, 4, 6]}


def test_a_table_without_rows_gives_one_of_the_plugins_columns(load):
    found = load(Doubler, Transformer).transform(N.empty_table())
    assert (found.num_rows, found.schema) == (0, N)


def test_batches_are_mapped_when_they_are_taken(load, engine):
    taken = []

    def batches():
        for n in range(3):
            taken.append(n)
            yield numbers(n)

    transformer = load(Doubler, Transformer)
    found = transformer.transform(batches())
    assert taken == []
    assert next(found).column("n").to_pylist() == [0]
    assert taken == [0]
    assert [rows.column("n").to_pylist() for rows in found] == [[2], [4]]


def test_a_reader_is_an_iterable_of_batches(load):
    reader = pa.RecordBatchReader.from_batches(N, [numbers(1), numbers(2)])
    assert [rows.column("n").to_pylist() for rows in load(Doubler, Transformer).transform(reader)] == [[2], [4]]


@pytest.mark.parametrize("form", [pa.Table.from_batches, list, iter])
def test_one_report_is_made_of_many_batches(load, form):
    report = load(Positive, Validator).validate(form([numbers(1, -1), numbers(-2), numbers(3, 4, -5)]))
    single = load(Positive, Validator).validate(numbers(1, -1, -2, 3, 4, -5))
    assert (report.rows_checked, report.counts) == (single.rows_checked, single.counts)
    assert [each.row for each in report.violations] == [1, 2, 5]


@pytest.mark.parametrize("form", [pa.Table.from_batches, list, iter])
def test_all_batches_are_written(load, engine, form):
    shelf: list[int] = []
    destination = run_of(load, shelf)
    destination.write(form([numbers(1, 2), numbers(3)]))
    destination.finish()
    assert shelf == [1, 2, 3]


# Transformers


def test_transformer_maps_schemas_and_batches(load):
    transformer = load(Doubler, Transformer)
    assert transformer.output_schema(N) == N
    assert transformer.transform(numbers(1, 2)).column("n").to_pylist() == [2, 4]


def test_error_on_data_is_told_in_words(load):
    with pytest.raises(PluginError, match="data: no-such-column: n") as caught:
        load(Doubler, Transformer).output_schema(pa.schema([("m", pa.int64())]))
    assert not caught.value.retryable
    assert caught.value.error.value.case == "no-such-column"


def test_broken_promise_of_a_schema_is_a_fault(load, engine):
    transformer = load(Doubler, Transformer, result_type=pa.float64())
    assert transformer.transform(numbers(1)).column("n").to_pylist() == [2.0]
    transformer.output_schema(N)
    with pytest.raises(ProtocolFault, match="columns n: double, where `output-schema` promised n: int64"):
        transformer.transform(numbers(1))
    assert engine.instances[0].closed == 1


def test_promise_holds_only_for_the_schema_that_it_was_made_for(load):
    transformer = load(Doubler, Transformer, result_type=pa.float64())
    transformer.output_schema(N)
    assert transformer.transform(pa.record_batch({"n": pa.array([1], pa.int32())})).num_rows == 1


@pytest.mark.parametrize("value", [N.names, {}, numbers(1)])
def test_what_is_no_schema_is_refused(load, value):
    with pytest.raises(ValueTypeError, match=r"is no pyarrow\.Schema"):
        load(Doubler, Transformer).output_schema(value)


# Validators


def test_validator_reports_violations(load):
    validator = load(Positive, Validator)
    assert validator.rules() == [Rule("positive", "n is over 0", "error")]
    report = validator.validate(numbers(1, 0, -2))
    assert report.rows_checked == 3
    assert report.counts == (RuleCount("positive", 2),)
    assert report.violations[0] == Violation(1, "n", "positive", "error", "0 is not over 0")
    assert report.violation_count == 2


def test_report_may_list_fewer_violations_than_it_counts(load):
    def cut(report: Any) -> None:
        del report.violations[1:]

    report = load(Positive, Validator, tamper=staticmethod(cut)).validate(numbers(0, 0, 0))
    assert (len(report.violations), report.violation_count) == (1, 3)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("rows_checked", 4, "4 rows were checked, of 3"),
        ("row", 3, "is in row 3, of 3 rows"),
        ("rule", "negative", "1 violations of 'negative' are listed, 0 counted"),
        ("counts", "twice", "a rule is counted twice"),
        ("counts", "none", "2 violations of 'positive' are listed, 0 counted"),
    ],
)
def test_report_that_cannot_be_true_is_a_fault(load, field, value, reason):
    def tamper(report: Any) -> None:
        if value == "twice":
            report.counts *= 2
        elif value == "none":
            report.counts.clear()
        else:
            setattr(report if field == "rows_checked" else report.violations[0], field, value)

    with pytest.raises(ProtocolFault, match=f"#validate: its report is wrong: .*{reason}"):
        load(Positive, Validator, tamper=staticmethod(tamper)).validate(numbers(1, 0, 0))


# Schemas


def test_columns_are_the_same_whatever_their_metadata():
    assert same_columns(N, N.with_metadata({"a": "b"}))
    assert same_columns(N, pa.schema([N.field(0).with_metadata({"a": "b"})]))


def test_extension_type_is_the_same_as_its_storage():
    assert same_columns(pa.schema([("u", pa.uuid())]), pa.schema([("u", pa.binary(16))]))


@pytest.mark.parametrize(
    "other",
    [
        pa.schema([("m", pa.int64())]),
        pa.schema([("n", pa.int32())]),
        pa.schema([pa.field("n", pa.int64(), False)]),
        pa.schema([]),
    ],
)
def test_other_names_types_and_nullability_are_other_columns(other):
    assert not same_columns(N, other)


@pytest.mark.parametrize("policy", ["reuse", "fresh-per-batch", "fresh-per-call"])
def test_policy_decides_how_long_an_instance_lives(host, engine, policy):
    plugin = host.load(engine.add(Doubler), pool=PoolSettings(policy=policy))
    plugin.output_schema(N)
    plugin.transform(numbers(1))
    plugin.transform(numbers(1))
    made = {"reuse": 1, "fresh-per-batch": 2, "fresh-per-call": 3}
    assert len(engine.instances) == made[policy]
