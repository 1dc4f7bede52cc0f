from __future__ import annotations

from typing import Any

import polars
import pyarrow as pa
import pytest

from dataflare.data.batches import Batch
from dataflare.errors import PluginError, ProtocolFault, ValueTypeError
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.processor import Processor
from dataflare.runtime.row_schemas import same_columns
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.values import Ok
from dataflare.wit_types.validator import Rule, RuleCount, Violation
from runtime_fakes import Doubler, Positive, Upper, numbers, run_of

N = pa.schema([pa.field("n", pa.int64())])


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


@pytest.mark.parametrize("make", [polars.DataFrame, lambda columns: Streamed(pa.table(columns))])
def test_a_table_of_another_library_gives_a_table(load, make):
    found = load(Doubler, Transformer).transform(make({"n": [1, 2, 3]}))
    assert isinstance(found, pa.Table)
    assert found.to_pydict() == {"n": [2, 4, 6]}


class Streamed:
    """A table of any library that hands out Arrow's columns."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "rows",
    [[{"n": 1}], [[numbers(1)]], [numbers(1), None], polars.Series([1]), pa.chunked_array([[1]]), {"n": [1]}, "n"],
)
def test_what_is_neither_a_table_nor_batches_is_refused(load, rows):
    with pytest.raises(ValueTypeError, match="is not a") as caught:
        list(load(Doubler, Transformer).transform(rows))
    assert "from_pylist" in caught.value.hint


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
    with pytest.raises(ValueTypeError, match=r"is not a pyarrow\.Schema"):
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
