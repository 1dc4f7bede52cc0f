from __future__ import annotations

import datetime
import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrow_strategies import BINARIES, DECIMALS, FLAT, FLOATS, INTEGERS, TEXTS, TIMES, arrays, batches, bits, data_types
from dataflare.data.batches import Batch, imports
from dataflare.data.shapes import DataFailure
from dataflare.errors import UsageError
from dataflare.values import Err, Variant
from dataflare.wit_types.batches import TypeMismatch


def one(array: pa.Array) -> Batch:
    return Batch(pa.RecordBatch.from_arrays([array], names=["c"]))


def refusal(call, *args) -> Variant:
    with pytest.raises(DataFailure) as caught:
        call(*args)
    return caught.value.error


@given(data_types().flatmap(arrays))
def test_validity_tells_each_null(array):
    valid = array.is_valid().to_pylist()
    view = one(array).validity("c")
    assert (view is None and all(valid)) or (view.dtype == np.uint64 and bits(view, len(array)) == valid)


@given(arrays(pa.int8()))
def test_bits_past_the_last_row_are_zero(array):
    view = one(array).validity("c")
    assert view is None or sum(int(word).bit_count() for word in view) == len(array) - array.null_count


def test_null_within_a_dictionary_counts_as_null():
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", None]))
    assert bits(one(array).validity("c"), 3) == [True, False, True]


@given(st.sampled_from([*INTEGERS[:-1], *TIMES]).flatmap(arrays))
def test_int64_view_has_each_value_in_its_unit(array):
    width = pa.int32() if array.type.bit_width == 32 else pa.int64()
    expected = (array if pa.types.is_integer(array.type) else array.view(width)).to_pylist()
    view = one(array).int64_column("c")
    assert view.dtype == np.int64
    assert view.tolist() == [value or 0 for value in expected]


def test_unsigned_value_over_the_signed_range_is_out_of_range():
    assert refusal(one(pa.array([1, 2**63], pa.uint64())).int64_column, "c").case == "out-of-range"


def test_huge_unsigned_value_behind_a_null_does_not_count():
    array = pa.Array.from_buffers(
        pa.uint64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([1, 2**63], np.uint64))]
    )
    assert one(array).int64_column("c").tolist() == [1, 0]


@given(st.sampled_from([*FLOATS, *INTEGERS[:3], *INTEGERS[4:7], *DECIMALS]).flatmap(arrays))
def test_float64_view_has_the_nearest_double(array):
    view = one(array).float64_column("c")
    expected = [0.0 if value is None else float(value) for value in array.to_pylist()]
    assert view.dtype == np.float64
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(view.tolist(), expected, strict=True))


@given(arrays(pa.bool_()))
def test_boolean_view_has_null_as_false(array):
    assert one(array).boolean_column("c").tolist() == [bool(value) for value in array.to_pylist()]


@given(st.sampled_from([*TEXTS, pa.dictionary(pa.int8(), pa.string())]).flatmap(arrays))
def test_text_view_has_each_text_and_nothing_for_null(array):
    view = one(array).text_column("c")
    text, offsets = bytes(view.text), view.offsets.tolist()
    assert (offsets[0], offsets[-1], view.offsets.dtype) == (0, len(text), np.uint32)
    assert [text[a:b].decode() for a, b in pairwise(offsets)] == [v or "" for v in array.to_pylist()]


@given(st.sampled_from(BINARIES).flatmap(arrays))
def test_binary_view_has_each_value_and_nothing_for_null(array):
    view = one(array).binary_column("c")
    data, offsets = bytes(view.data), view.offsets.tolist()
    assert (offsets[0], offsets[-1]) == (0, len(data))
    assert [data[a:b] for a, b in pairwise(offsets)] == [v or b"" for v in array.to_pylist()]


def test_bytes_behind_a_null_are_not_shown():
    array = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x02"), pa.py_buffer(np.array([0, 6, 8], np.int32)), pa.py_buffer(b"secretok")]
    )
    view = one(array).text_column("c")
    assert (bytes(view.text), view.offsets.tolist()) == (b"ok", [0, 0, 2])


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.timestamp("us")])
def test_column_of_64_bits_without_nulls_is_not_copied(kind):
    array = pa.array([1, 2, 3, 4], pa.int64()).view(kind).slice(1, 2)
    view = one(array).float64_column("c") if kind == pa.float64() else one(array).int64_column("c")
    assert view.ctypes.data == array.buffers()[1].address + 8


def test_text_of_a_slice_is_not_copied():
    array = pa.array(["ab", "cde", "f"]).slice(1)
    view = one(array).text_column("c")
    assert (view.text.address, bytes(view.text)) == (array.buffers()[2].address + 2, b"cdef")


@given(batches(st.sampled_from([pa.int8(), pa.float32(), pa.bool_(), pa.string()]), 1))
def test_views_cannot_be_written_to(batch):
    batch = Batch(batch)
    kind = batch.schema().fields[0].type_name
    view = {
        "int8": batch.int64_column,
        "float": batch.float64_column,
        "bool": batch.boolean_column,
        "string": lambda name: batch.text_column(name).offsets,
    }[kind]("c0")
    assert len(view) in (batch.num_rows(), batch.num_rows() + 1)
    assert not view.flags.writeable or (kind == "string" and batch.num_rows() == 0)


def test_view_is_made_once():
    batch = one(pa.array([1, None]))
    assert batch.int64_column("c") is batch.int64_column("c")
    assert batch.validity("c") is batch.validity("c")


@pytest.mark.parametrize(
    ("view", "takes"),
    [
        ("int64_column", {*INTEGERS, *TIMES}),
        ("float64_column", {*FLOATS, *DECIMALS, *INTEGERS} - {pa.int64(), pa.uint64()}),
        ("boolean_column", {pa.bool_()}),
        ("text_column", {*TEXTS}),
        ("binary_column", {*BINARIES}),
    ],
)
@pytest.mark.parametrize("kind", FLAT, ids=str)
def test_view_takes_the_types_that_the_wit_says(view, takes, kind):
    call = getattr(one(pa.nulls(3, kind)), view)
    if kind in takes:
        assert call("c") is not None
    else:
        error = refusal(call, "c")
        assert (error.case, error.value.column, error.value.actual) == ("wrong-type", "c", str(kind))


@pytest.mark.parametrize("view", ["validity", "int64-column", "text-column"])
def test_absent_column_is_an_error_value(view):
    result = imports()[f"[method]batch.{view}"](one(pa.array([1])), "d")
    assert result == Err(Variant("no-such-column", "d"))


def test_column_named_twice_is_refused():
    batch = Batch(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    assert refusal(batch.int64_column, "a") == Variant("other", "2 columns are named 'a'")


def test_wrong_type_tells_what_there_is():
    error = refusal(one(pa.array(["x"])).boolean_column, "c")
    assert error == Variant("wrong-type", TypeMismatch("c", "", "booleans", "string"))


def test_text_of_a_host_that_is_no_utf8_is_malformed():
    array = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    assert refusal(one(array).text_column, "c").case == "malformed"


def test_dictionary_that_is_huge_when_written_out_is_too_large():
    array = pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), pa.array(["x" * 100_000]))
    batch = Batch(pa.RecordBatch.from_arrays([array], names=["c"]), max_bytes=1_000_000)
    assert refusal(batch.text_column, "c").case == "too-large"


def test_extension_column_is_seen_as_its_storage():
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    assert bytes(one(array).binary_column("c").data) == b"0123456789abcdef"


@given(batches())
def test_shape_and_schema_are_those_of_the_rows(arrow):
    batch = Batch(arrow)
    shape = batch.shape()
    assert (shape.rows, shape.columns) == (arrow.num_rows, arrow.num_columns) == (batch.num_rows(), len(arrow.columns))
    assert batch.column_names() == arrow.schema.names == [field.name for field in batch.schema().fields]
    assert shape.data_bytes == arrow.get_total_buffer_size()


def test_table_is_no_batch():
    with pytest.raises(UsageError, match="a Table is no"):
        Batch(pa.table({"a": [1]}))


def test_dates_are_days():
    assert one(pa.array([datetime.date(1970, 1, 11)])).int64_column("c").tolist() == [10]
