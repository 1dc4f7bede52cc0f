from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrow_strategies import batches, data_types
from dataflare.data.batches import Batch, imports
from dataflare.values import Err, Ok
from dataflare.wit_types.batches import WordBuffer

LIMIT = 1_000_000
FUNCTIONS = imports(max_batch_bytes=LIMIT)


def decode(encoded: bytes):
    return FUNCTIONS["from-arrow"](encoded)


def case(encoded: bytes) -> str:
    result = decode(encoded)
    assert isinstance(result, Err), result
    return result.error.case


def stream(*parts: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, parts[0].schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for part in parts:
            writer.write_batch(part)
    return sink.getvalue().to_pybytes()


def table(**columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


@given(batches(data_types()))
def test_batch_survives_a_stream(arrow):
    arrow = arrow.replace_schema_metadata({"k": "v"})
    back = decode(bytes(Batch(arrow).to_arrow())).value.arrow
    assert back.schema.equals(arrow.schema, check_metadata=True)
    assert repr(back.to_pylist()) == repr(arrow.to_pylist())


@given(batches(data_types()))
def test_batch_survives_a_stream_in_words(arrow):
    words = Batch(arrow).to_arrow_words()
    assert words.words.dtype == np.uint64
    assert words.byte_length == Batch(arrow).to_arrow().size
    assert repr(FUNCTIONS["from-arrow-words"](words).value.arrow.to_pylist()) == repr(arrow.to_pylist())


def test_batch_without_columns_keeps_its_rows():
    assert decode(bytes(FUNCTIONS["new-batch"](5).to_arrow())).value.num_rows() == 5


def test_several_batches_in_a_stream_become_one():
    assert decode(stream(table(a=[1, 2]), table(a=[3]))).value.arrow.to_pydict() == {"a": [1, 2, 3]}


def test_stream_of_a_schema_alone_has_no_rows():
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([("a", pa.int8())])).close()
    batch = decode(sink.getvalue().to_pybytes()).value
    assert (batch.num_rows(), batch.column_names()) == (0, ["a"])


def test_stream_of_a_slice_has_the_slice_alone():
    assert Batch(table(a=np.zeros(100_000)).slice(0, 2)).to_arrow().size < 1000


def test_words_that_are_too_few_are_malformed():
    assert FUNCTIONS["from-arrow-words"](WordBuffer(9, np.zeros(1, np.uint64))).error.case == "malformed"


@pytest.mark.parametrize(
    "encoded",
    [
        *(b"", b"\0", b"ARROW1\0\0", b"\xff\xff\xff\xff\0\0\0\0"),
        b"\xff\xff\xff\xff\x40\0\0\0" + b"\xff" * 64,
    ],
)
def test_what_is_no_stream_is_malformed(encoded):
    assert case(encoded) == "malformed"


@given(st.data())
def test_truncated_stream_is_malformed_or_shorter(data):
    encoded = stream(table(a=[1, 2], b=["x", None]), table(a=[3, 4], b=["y", "z"]))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    result = decode(encoded[:cut])
    assert result.error.case == "malformed" if isinstance(result, Err) else result.value.num_rows() in (0, 2, 4)


@given(st.data(), st.sampled_from([None, "zstd", "lz4"]))
def test_damaged_stream_gives_an_error_or_a_valid_batch(data, compression):
    columns = {"a": [1, 2], "b": ["xyz", None], "c": pa.array(["p", "q"]).dictionary_encode(), "d": [[1], [2, 3]]}
    encoded = bytearray(stream(table(**columns), compression=compression))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    result = decode(bytes(encoded))
    if isinstance(result, Ok):
        result.value.arrow.validate(full=True)
        for column in result.value.column_names():
            FUNCTIONS["[method]batch.text-column"](result.value, column)
    else:
        assert result.error.case in ("malformed", "too-large")


@pytest.mark.parametrize(
    "buffers",
    [
        (np.array([0, 5, 3], np.int32), b"hello"),
        (np.array([0, 1, 2], np.int32), "é".encode()),
        (np.array([0, 1, 2], np.int32), b"a\xff"),
    ],
)
def test_stream_with_a_wrong_offset_or_text_is_malformed(buffers):
    offsets, text = map(pa.py_buffer, buffers)
    array = pa.Array.from_buffers(pa.string(), 2, [None, offsets, text])
    assert case(stream(pa.RecordBatch.from_arrays([array], names=["a"]))) == "malformed"


def test_dictionary_index_out_of_bounds_is_malformed():
    array = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), pa.array(["a"]), safe=False)
    assert case(stream(table(a=array))) == "malformed"


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_stream_that_grows_over_the_limit_when_decompressed_is_too_large(compression):
    encoded = stream(table(a=np.zeros(10_000_000)), compression=compression)
    assert len(encoded) < LIMIT
    assert case(encoded) == "too-large"


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_stream_within_the_limit_is_read(compression):
    assert decode(stream(table(a=np.zeros(100_000)), compression=compression)).value.num_rows() == 100_000


def test_buffer_that_claims_terabytes_is_too_large():
    encoded = stream(table(a=np.zeros(10_000)), compression="zstd")
    honest = struct.pack("<q", 80_000)
    assert encoded.count(honest) == 1
    assert case(encoded.replace(honest, struct.pack("<q", 2**45))) == "too-large"


def test_compressed_dictionary_counts_too():
    array = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x" * 5_000_000]))
    assert case(stream(table(a=array), compression="zstd")) == "too-large"


def test_uncompressed_stream_over_the_limit_is_too_large():
    assert case(stream(table(a=np.zeros(200_000)))) == "too-large"


@pytest.mark.parametrize(
    "array",
    [
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
        pa.RunEndEncodedArray.from_arrays([2], [1]),
        pa.array([[1]], pa.list_view(pa.int8())),
        pa.array([{"x": [1]}], pa.struct([("x", pa.large_list_view(pa.int8()))])),
    ],
    ids=lambda array: str(array.type),
)
def test_types_that_arrow_is_not_safe_with_are_refused(array):
    assert case(stream(table(a=array))) == "malformed"


def test_name_of_a_nested_field_that_is_no_utf8_is_malformed():
    encoded = stream(table(a=[{"nested-name": 1}]))
    assert case(encoded.replace(b"nested-name", b"nested-\xffame")) == "malformed"


def test_column_named_twice_is_malformed():
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert case(stream(batch)) == "malformed"


def test_type_nested_too_deeply_is_malformed():
    deep = pa.int8()
    for _ in range(50):
        deep = pa.list_(deep)
    assert case(stream(pa.RecordBatch.from_arrays([pa.nulls(1, deep)], names=["a"]))) == "malformed"


def test_any_bytes_are_an_error_value_and_never_a_crash():
    generator = np.random.default_rng(7)
    valid = stream(table(a=[1, 2], b=["x", "y"]))
    for size in generator.integers(0, 400, 300):
        noise = generator.integers(0, 256, size, np.uint8).tobytes()
        assert decode(noise).error.case == "malformed"
        decode(valid[: size % len(valid)] + noise)


@pytest.mark.parametrize("power", [0, 10, 20, 30])
def test_batch_of_nulls_may_have_more_rows_than_bytes(power):
    rows = 2**power
    encoded = stream(pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["n"]))
    batch = decode(encoded).value
    assert batch.num_rows() == rows
    if rows > LIMIT:
        assert FUNCTIONS["[method]batch.to-json-lines"](batch).error.case == "too-large"
        assert FUNCTIONS["[method]batch.cast-column"](batch, "n", "int64").error.case == "too-large"


def test_more_rows_than_a_batch_has_are_too_large():
    assert FUNCTIONS["concat"]([FUNCTIONS["new-batch"](2**32 - 1), FUNCTIONS["new-batch"](1)]).error.case == "too-large"
