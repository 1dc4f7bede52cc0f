"""Attacks on the host by what is not there and Arrow reads all the same: offsets of no rows, the object of a null."""

from __future__ import annotations

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_arrow import method, one, refused, survives
from dataflare.data.builders import concat
from dataflare.data.guard.arrays import admit, build
from dataflare.data.shapes import DataFailure
from dataflare.wit_types.schemas import Field, Schema


@attack("memory")
def compressed_offsets_of_no_bytes(arena: Arena) -> None:
    """Say of the compressed offsets of lists without rows that they have no bytes."""
    nothing = pa.py_buffer(b"\x7f" * 64).slice(0, 0)  # what decompressing them gives: none, and after it anything

    def run() -> None:
        texts = build(pa.string(), 0, [None, nothing, nothing])
        lists = build(pa.list_(texts.type), 0, [None, nothing], [texts])
        outer = build(pa.list_(lists.type), 0, [None, nothing], [lists])
        for each in (texts, lists, outer):
            assert each.buffers()[1].size >= 4, "Arrow reads an offset that is not there"
        batch = one(outer)
        assert concat([batch, batch], 2**20).num_rows == 0

    survives(run)


@attack("memory")
def lists_without_offsets_from_elsewhere(arena: Arena) -> None:
    """Give an embedding program, or a driver, lists and texts without rows that have no offsets."""

    def texts() -> pa.Array:
        return pa.Array.from_buffers(pa.string(), 0, [None, None, pa.py_buffer(b"abc")])

    def lists(offsets: pa.Buffer | None) -> pa.Array:
        return pa.Array.from_buffers(pa.list_(pa.string()), 0, [None, offsets], children=[pa.array(["a"])])

    def run() -> None:
        for array in (texts(), lists(None), lists(pa.allocate_buffer(0))):
            batch = one(admit(array, "c"))
            assert concat([batch, batch], 2**20).num_rows == 0
        once = [None, pa.py_buffer(bytes(8))]
        nested = pa.Array.from_buffers(pa.list_(lists(None).type), 1, once, children=[lists(None)])
        arena.raises(DataFailure, lambda: admit(nested, "c"), says="no offsets")

    survives(run)


@attack("memory")
def object_after_null(arena: Arena) -> None:
    """Send lines of JSON of which the first is null: Arrow ends the process on the object after it."""

    def run() -> None:
        for text in (b'null\n{"a":1}\n', b'\n null {"a":1}', b'null\nnull\n{"a":{}}\n{"a":{}}'):
            for schema in (None, Schema((Field("a", "int64", True, ()),), ())):
                refused(method("from-json-lines", text, schema), "malformed")

    survives(run)


_ARRAYS = "dataflare.data.guard.arrays"
MUTATIONS = [
    Mutation(
        f"{_ARRAYS}:_filled",
        lambda buffer: pa.allocate_buffer(0) if buffer is None else buffer,
        ("compressed_offsets_of_no_bytes",),
    ),
    Mutation(f"{_ARRAYS}:_has_offsets", answers(True), ("lists_without_offsets_from_elsewhere",)),
    Mutation("dataflare.data.json_blocks:_begins_with_object", answers(True), ("object_after_null",)),
]
