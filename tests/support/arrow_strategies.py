"""Hypothesis strategies for Arrow types, arrays and batches."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st

from dataflare.data.guard.types import is_zero_width

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NESTED_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":>"), min_size=1, max_size=6) | (
    st.text("a:, '\"()<>[]=é", max_size=6).filter(
        lambda name: ": " not in name and not name.endswith(":") and not name.startswith(">")
    )
)
"""Names of nested fields that the notation can tell from what is around them: quotes, commas and colons among them."""
MAP_NAMES = st.sampled_from(["key", "value", "v", "it's", "a, b", "'", "", "x: y", "('k')", "é\n"])
UNITS = st.sampled_from(["s", "ms", "us", "ns"])

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
TIMES = [
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us", tz="UTC"), pa.timestamp("ms", tz="Europe/Rome")),
    *(pa.duration("s"), pa.duration("us")),
]
DECIMALS = [pa.decimal128(10, 2), pa.decimal128(38, 12), pa.decimal256(50, 4), pa.decimal64(12, 3), pa.decimal32(5, 2)]
TEXTS = [pa.string(), pa.large_string()]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary(3)]
FLAT = [pa.null(), pa.bool_(), *INTEGERS, *FLOATS, *TIMES, *DECIMALS, *TEXTS, *BINARIES]


def fields(types: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.Field]:
    def field(name: str, kind: pa.DataType, nullable: bool) -> pa.Field:
        return pa.field(name, kind, nullable=nullable or kind == pa.null())

    return st.builds(field, NESTED_NAMES, types, st.booleans())


def maps(key: pa.DataType, value: pa.DataType, is_sorted: bool, key_name: str, value_name: str) -> pa.MapType:
    """A map whose own fields have these names."""
    return pa.map_(pa.field(key_name, key, nullable=False), pa.field(value_name, value), keys_sorted=is_sorted)


def any_types() -> st.SearchStrategy[pa.DataType]:
    """Every type that the notation can write."""
    flat = st.one_of(
        st.sampled_from(FLAT),
        st.builds(pa.timestamp, UNITS, st.sampled_from([None, "UTC", "+02:00", "America/New_York"])),
        st.builds(pa.binary, st.integers(1, 2**24)),
        st.integers(1, 38).flatmap(lambda p: st.builds(pa.decimal128, st.just(p), st.integers(-p, p))),
        st.integers(1, 76).flatmap(lambda p: st.builds(pa.decimal256, st.just(p), st.integers(-p, p))),
    )
    return st.recursive(
        flat,
        lambda inner: st.one_of(
            st.builds(pa.list_, fields(inner)),
            st.builds(pa.large_list, fields(inner)),
            st.builds(pa.list_, fields(st.sampled_from(FLAT[1:])), st.integers(1, 1000)),
            st.builds(pa.struct, st.lists(fields(inner), max_size=4, unique_by=lambda field: field.name)),
            st.builds(maps, st.sampled_from(FLAT[1:]), inner, st.booleans(), MAP_NAMES, MAP_NAMES),
            st.builds(pa.dictionary, st.sampled_from(INTEGERS), st.sampled_from(FLAT[1:]), st.booleans()),
        ),
        max_leaves=6,
    )


def data_types() -> st.SearchStrategy[pa.DataType]:
    """Types that `arrays` makes values of."""
    return st.recursive(
        st.one_of(
            st.sampled_from(FLAT),
            st.builds(pa.dictionary, st.just(pa.int32()), st.sampled_from([pa.string(), pa.int64()])),
        ),
        lambda inner: st.one_of(
            st.builds(pa.list_, inner),
            st.builds(pa.large_list, inner),
            st.builds(pa.list_, inner.filter(lambda kind: not is_zero_width(kind)), st.integers(1, 3)),
            st.builds(
                lambda kinds: pa.struct([(f"f{i}", kind) for i, kind in enumerate(kinds)]), st.lists(inner, max_size=3)
            ),
        ),
        max_leaves=4,
    )


def values(data_type: pa.DataType) -> st.SearchStrategy[Any]:
    """Python values that fit a type, null not among them."""
    if pa.types.is_null(data_type):
        return st.none()
    if pa.types.is_boolean(data_type):
        return st.booleans()
    if pa.types.is_integer(data_type):
        signed = pa.types.is_signed_integer(data_type)
        bits = data_type.bit_width - signed
        return st.integers(-(2**bits) if signed else 0, 2**bits - 1)
    if pa.types.is_floating(data_type):
        width = data_type.bit_width
        return st.floats(width=width).map(np.float16) if width == 16 else st.floats(width=width)
    if pa.types.is_decimal(data_type):
        top = 10**data_type.precision - 1
        # scaleb would round to the context's precision
        return st.integers(-top, top).map(lambda n: decimal.Decimal(f"{n}E-{data_type.scale}"))
    if pa.types.is_date(data_type):
        return st.dates()
    if pa.types.is_timestamp(data_type):
        span = {"s": 10**9, "ms": 10**12, "us": 10**15, "ns": 10**18}[data_type.unit]
        return st.integers(-span, span)
    if pa.types.is_duration(data_type):
        return st.integers(-(10**12), 10**12)
    if pa.types.is_time(data_type):
        return st.integers(0, 86_399).map(lambda s: (datetime.datetime.min + datetime.timedelta(seconds=s)).time())
    if data_type in TEXTS:
        return TEXT
    if pa.types.is_fixed_size_binary(data_type):
        return st.binary(min_size=data_type.byte_width, max_size=data_type.byte_width)
    if data_type in BINARIES:
        return st.binary(max_size=9)
    if pa.types.is_dictionary(data_type):
        return values(data_type.value_type)
    item = None if pa.types.is_struct(data_type) else st.one_of(st.none(), values(data_type.value_type))
    if pa.types.is_fixed_size_list(data_type):
        return st.lists(item, min_size=data_type.list_size, max_size=data_type.list_size)
    if item is not None:
        return st.lists(item, max_size=3)
    return st.fixed_dictionaries({f.name: st.one_of(st.none(), values(f.type)) for f in data_type})


@st.composite
def arrays(draw: st.DrawFn, data_type: pa.DataType, rows: int | None = None, nulls: bool = True) -> pa.Array:
    """An array, often a part of a longer one."""
    before, after = draw(st.integers(0, 9)), draw(st.integers(0, 3))
    length = draw(st.integers(0, 20)) if rows is None else rows
    item = values(data_type)
    if nulls:
        item = st.one_of(st.none(), item)
    total = before + length + after
    items = draw(st.lists(item, min_size=total, max_size=total))
    array = pa.array(items, data_type)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:  # pyarrow makes a null struct's dictionary point to nothing
        reject()
    return array.slice(before, length)


@st.composite
def batches(
    draw: st.DrawFn, types: st.SearchStrategy[pa.DataType] | None = None, max_columns: int = 3
) -> pa.RecordBatch:
    """A batch of one to some columns named c0, c1 and so on."""
    rows = draw(st.integers(0, 12))
    kinds = draw(st.lists(data_types() if types is None else types, min_size=1, max_size=max_columns))
    columns = [draw(arrays(kind, rows)) for kind in kinds]
    return pa.RecordBatch.from_arrays(columns, names=[f"c{i}" for i in range(len(kinds))])


def bits(words: Any, rows: int) -> list[bool]:
    """Read a bitmap one bit at a time."""
    return [bool(int(words[i // 64]) >> (i % 64) & 1) for i in range(rows)]


def words(flags: list[bool]) -> np.ndarray:
    """Write a bitmap one bit at a time."""
    out = [0] * ((len(flags) + 63) // 64)
    for i, flag in enumerate(flags):
        out[i // 64] |= int(flag) << (i % 64)
    return np.array(out, np.uint64)
