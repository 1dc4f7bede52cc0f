"""Views of strings and bytes in streams, as polars writes them: read as the large types, whatever they claim."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.data.ipc import decode_stream
from dataflare.data.ipc_views import unfolded
from dataflare.data.shapes import DataFailure

LIMIT = 2**26


def stream(*arrays: pa.Array, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    schema = pa.schema([("a", arrays[0].type)])
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for array in arrays:
            writer.write_batch(pa.RecordBatch.from_arrays([array], schema=schema))
    return sink.getvalue().to_pybytes()


def decoded(encoded: bytes) -> pa.Array:
    column = decode_stream(encoded, LIMIT).column(0)
    column.validate(full=True)
    return column


@given(
    st.lists(st.none() | st.text("aé😀", max_size=20), max_size=30), st.integers(0, 5), st.sampled_from([None, "zstd"])
)
def test_texts_are_read_as_they_are(texts, start, compression):
    array = pa.array(texts, pa.string_view()).slice(start)
    found = decoded(stream(array, array, compression=compression))
    assert (found.type, found.to_pylist()) == (pa.large_string(), array.to_pylist() * 2)
    as_bytes = [None if text is None else text.encode() for text in texts]
    assert decoded(stream(pa.array(as_bytes, pa.binary_view()))).to_pylist() == as_bytes


def test_views_within_lists_and_dictionaries_are_read():
    values = ["a", "b" * 40, None]
    lists = pa.array([values, [], None], pa.list_(pa.string_view()))
    assert decoded(stream(lists)).to_pylist() == lists.to_pylist()
    words = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 0], pa.uint32()), pa.array(values[:2], pa.string_view())
    )
    assert decoded(stream(words)).to_pylist() == ["a", "b" * 40, None, "a"]


def test_a_long_column_is_copied_part_by_part():
    texts = ["x" * (n % 50) for n in range(100_000)] + ["y" * 3_000_000, ""]
    assert decoded(stream(pa.array(texts, pa.string_view()))).to_pylist() == texts


@given(st.data())
def test_damaged_views_are_refused_or_give_a_sound_column(data):
    encoded = bytearray(stream(pa.array(["abc", "d" * 30, None, "é" * 12, ""], pa.string_view())))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded(bytes(encoded))
    except DataFailure as failure:
        assert failure.error.case in ("malformed", "too-large")


def views(*each: tuple[int, int, int]) -> pa.Buffer:
    return pa.py_buffer(b"".join(np.array([n, 0, buffer, begin], np.int32).tobytes() for n, buffer, begin in each))


@pytest.mark.parametrize(
    ("rows", "bitmap", "given"),
    [
        (2, None, views((1, 0, 0))),
        (-1, None, views((1, 0, 0))),
        (1, None, None),
        (9, b"\xff", views(*[(0, 0, 0)] * 9)),
        (1, None, views((-1, 0, 0))),
        (1, None, views((13, 1, 0))),
        (1, None, views((13, -1, 0))),
        (1, None, views((13, 0, 8))),
        (1, None, views((13, 0, -1))),
        (1, None, views((2**31 - 1, 0, 0))),
    ],
)
def test_views_that_lie_are_malformed(rows, bitmap, given):
    parts = [pa.py_buffer(b"x" * 20)]
    with pytest.raises(DataFailure) as caught:
        unfolded(rows, bitmap and pa.py_buffer(bitmap), given, parts, lambda _: None)
    assert caught.value.error.case == "malformed"


def test_a_view_behind_a_null_is_not_looked_at():
    offsets, data = unfolded(1, pa.py_buffer(b"\0"), views((2**31 - 1, 7, -5)), [], lambda _: None)
    assert (np.frombuffer(offsets, np.int64).tolist(), data.size) == ([0, 0], 0)


def test_what_is_made_is_counted_before_it_is_made():
    counted: list[int] = []
    unfolded(3, None, views(*[(20, 0, 0)] * 3), [pa.py_buffer(b"x" * 20)], counted.append)
    assert counted == [60 + 32 + 20]
