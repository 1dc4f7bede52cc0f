from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.data.roles import with_roles
from dataflare.data.schemas import to_wit
from dataflare.errors import ConfigError, GuestPanic, PluginError, ProtocolFault, UsageError
from dataflare.runtime.datasets import DatasetName, Ended, Estimate, Idle, NewSchema, Selection
from dataflare.runtime.runs import RunLost
from dataflare.runtime.source import Source
from dataflare.values import Ok, Variant
from dataflare.wit_types.schemas import Field, Schema
from dataflare.wit_types.source import Division
from runtime_fakes import Numbers, numbers

N = pa.schema([pa.field("n", pa.int64())])


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
    parts, rest = source.split(at_most=2).parts, source.split(at_most=2).rest
    rows = [n for part in parts for batch in source.batches(part=part) for n in batch.column("n").to_pylist()]
    assert rows == [0, 1, 2, 3, 4, 5]
    assert list(source.batches(state=rest)) == []


def test_rest_of_a_read_is_divided(load):
    source = load(Numbers, Source)
    assert source.split(at_most=2, state=b"2") == Division([b"2-4", b"4-6"], b"6")


def test_part_is_not_read_twice(load):
    source = load(Numbers, Source)
    first, _ = source.split(at_most=2).parts
    (*_, last) = source.chunks(part=first)
    with pytest.raises(UsageError, match="dataset 'numbers': this part has been read to its end already"):
        source.open(part=first)
    source.open(part=first, state=last.state)
    source.split(at_most=2)
    source.open(part=first)


@pytest.mark.parametrize(
    ("parts", "why"), [([], "it made 0 parts"), ([b"a", b"b", b"c"], "it made 3 parts"), ([b"a", b"a"], "are the same")]
)
def test_parts_that_cannot_be_are_a_fault(load, parts, why):
    with pytest.raises(ProtocolFault, match=f"#split: .*{why}"):
        load(Numbers, Source, split=lambda self, *_: Ok(SimpleNamespace(parts=parts, rest=None))).split(at_most=2)


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
    assert (found.dataset.name, found.mode, found.columns) == ("numbers", Variant("incremental", "n"), ("n",))


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
        with pytest.raises(UsageError, match="dataset 'numbers': a state is acknowledged that this read never"):
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


def test_pause_within_a_transaction_has_no_state(load):
    pause = Ok(Variant("idle", SimpleNamespace(state=None, retry_after_ms=0)))
    source = load(Numbers, Source, read=lambda self, _: pause)
    source.open()
    assert source.read() == Idle(None, 0)


def test_rows_take_nullability_and_metadata_from_the_schema_that_was_told(load):
    told = with_roles(pa.schema([pa.field("n", pa.int64(), nullable=False)]), key=["n"])
    source = load(Numbers, Source, open=lambda self, *_: [Numbers.open(self, *_), Ok([to_wit(told)])][1])
    source.open()
    assert source.read().rows.schema.equals(told, check_metadata=True)


def test_null_in_a_column_that_has_none_is_a_fault(load):
    told = pa.schema([pa.field("n", pa.int64(), nullable=False)])

    def read(self: Any, max_rows: int) -> Any:
        rows = Batch(pa.RecordBatch.from_arrays([pa.array([None], pa.int64())], ["n"]))
        return Ok(Variant("rows", SimpleNamespace(selection=0, rows=rows, state=b"1")))

    source = load(Numbers, Source, open=lambda self, *_: Ok([to_wit(told)]), read=read)
    source.open()
    with pytest.raises(ProtocolFault, match="dataset 'numbers': it returned the columns n: int64, where"):
        source.read()


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


@pytest.mark.parametrize("ends", [True, False])
def test_iterator_whose_read_another_one_ended_does_not_take_its_rows(load, ends):
    source = load(Numbers, Source)
    first, second = source.batches(), source.batches()
    assert [next(each).column(0).to_pylist() for each in (first, second)] == [[0, 1], [0, 1]]
    if ends:
        assert len(list(second)) == 2
    with pytest.raises(RunLost, match="that another `open` has ended"):
        next(first)
    assert len(list(second)) == (0 if ends else 2)


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

    with pytest.raises(ProtocolFault, match=r"#read: it returned rows of selection 1, of 1 \(dataset 'numbers'\)"):
        list(load(Numbers, Source, read=read).chunks())


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (
            {"open": lambda self, *_: Ok([Schema((Field("n", "text", True, ()),), ())])},
            "#open: it returned no valid schema",
        ),
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


OTHER = pa.schema([pa.field("m", pa.int64())])


@pytest.mark.parametrize(
    ("mode", "told", "why"),
    [
        ("changes", N, "dataset 'numbers': rows in the mode 'changes' lack a column with the role operation"),
        ("incremental", OTHER, "dataset 'numbers': rows in the mode 'incremental' lack the cursor 'n'"),
    ],
)
def test_rows_without_the_column_that_their_mode_needs_are_a_fault(load, mode, told, why):
    def discover(self: Any) -> Any:
        (one,) = Numbers.discover(self).value
        return Ok([SimpleNamespace(**{**vars(one), "modes": frozenset({"incremental", "changes"})})])

    with pytest.raises(ProtocolFault, match=f"#open: .*{why}"):
        load(Numbers, Source, discover=discover, open=lambda self, *_: Ok([to_wit(told)])).open(
            Selection("numbers", mode)
        )
    full = with_roles(pa.schema([("n", pa.int64()), ("op", pa.int8())]), operation="op")
    source = load(
        Numbers,
        Source,
        discover=discover,
        open=lambda self, *_: Ok([to_wit(full)]),
        read=lambda self, _: Ok(Variant("new-schema", SimpleNamespace(selection=0, schema=to_wit(told)))),
    )
    source.open(Selection("numbers", mode))
    with pytest.raises(ProtocolFault, match=f"#read: .*{why}"):
        source.read()


KEYED = with_roles(pa.schema([("n", pa.int64()), ("m", pa.int64())]), key=["m"])


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ({"name": SimpleNamespace(name="", namespace="x")}, "its name is empty"),
        ({"key": ["n", "n"]}, "dataset 'numbers': column 'n' is in the key twice"),
        ({"schema": to_wit(KEYED)}, r"its key is \(n\), and its columns have the roles of the key \(m\)"),
        ({"modes": frozenset({"splittable", "unbounded"})}, "dataset 'numbers': it cannot be read in any mode"),
    ],
)
def test_description_of_a_dataset_that_cannot_be_is_a_fault(load, described, why):
    def discover(self: Any) -> Any:
        (one,) = Numbers.discover(self).value
        return Ok([SimpleNamespace(**{**vars(one), **described})])

    with pytest.raises(ProtocolFault, match=f"#discover: .*{why}"):
        load(Numbers, Source, discover=discover).discover()


@pytest.mark.parametrize("max_rows", [0, -1, 2**32])
def test_number_of_rows_that_cannot_be_asked_for_is_refused(load, max_rows):
    source = load(Numbers, Source)
    source.open()
    with pytest.raises(UsageError, match="`max_rows` is"):
        source.read(max_rows)
    assert source.read(1).rows.num_rows == 1
