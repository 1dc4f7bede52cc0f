"""Types that few use, where Arrow's own joins, casts and readers change values or make invalid arrays."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pyarrow as pa
import pytest

from dataflare.data.builders import concat
from dataflare.data.columns import entries_of_map
from dataflare.data.joins import join_arrays, join_batches
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.data.shapes import DataFailure
from every_type import CONNECTORS, through
from outputs_kit import destination_of
from reading_kit import read

HALF = pa.float16()
INDICES = pa.array([0, 1, None], pa.int32())
FIRST, SECOND = (
    pa.record_batch(
        {
            "row": pa.array([0, 1, 2], pa.int64()),
            "v": pa.DictionaryArray.from_arrays(INDICES, pa.array(values, HALF)),
            "p": pa.array(["x"] * 3),
        }
    )
    for values in ([-0.0, 0.5], [2.0, 0.5])
)
HALVES = [-0.0, 0.5, None, 2.0, 0.5, None]


def test_dictionaries_of_half_floats_keep_their_values_where_they_are_joined():
    joined = join_batches([FIRST, SECOND])
    assert str(joined["v"].to_pylist()) == str(HALVES) and joined.schema == FIRST.schema
    joined.validate(full=True)
    assert str(concat([FIRST, SECOND], 2**20)["v"].to_pylist()) == str(HALVES)


def test_dictionaries_of_half_floats_within_others_are_not_joined():
    lists = [pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), each["v"]) for each in (FIRST, SECOND)]
    with pytest.raises(pa.ArrowNotImplementedError, match="half floats within others"):
        join_arrays(lists)
    with pytest.raises(DataFailure, match="half floats within others"):
        concat([pa.record_batch({"v": each}) for each in lists], 2**20)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_dictionaries_of_half_floats_keep_their_values_in_files(tmp_path, connector):
    batches = [each.select(["row", "v"]) for each in (FIRST, SECOND)]
    found = [value for batch in through(connector, tmp_path / "file", batches) for value in batch["v"].to_pylist()]
    assert str(found) == str(HALVES)
    destination = destination_of(connector, tmp_path / "parts", partition_by=["p"])
    destination.prepare(FIRST.schema)
    for batch in (FIRST, SECOND):
        destination.write(batch)
    destination.finish()
    options: dict[str, Any] = {} if connector in ("arrow", "parquet") else {"columns": {"v": "halffloat"}}
    found = read(connector, tmp_path / "parts" / "p=x" / f"part-0.{connector}", **options)["v"].to_pylist()
    assert str(found) == str(HALVES)


def round_trip(array: pa.Array) -> pa.Array:
    text = bytes(encode_json_lines(pa.record_batch({"v": array}), 2**20))
    return decode_json_lines(text, pa.schema([("v", array.type)]), 2**20)["v"]


DAY = datetime.date(2024, 1, 1)
MAPS = [
    pa.array([[("a", 1.5)], [], None, [("b", math.inf), ("c", None)]], pa.map_(pa.string(), pa.float32())),
    pa.array([[(DAY, 0.5)], None, [(DAY, -math.inf)]], pa.map_(pa.date32(), HALF)),
    pa.array(
        [[], [("a", {"n": None, "v": 1})], [], [("b", None)]],
        pa.map_("string", pa.struct([("n", pa.null()), ("v", "int8")])),
    ),
    pa.array([[], [("a", [None])], [], [("b", [None, None])]], pa.map_("string", pa.list_(pa.null()))),
    pa.array(
        [[[], [("a", {"n": None})]], None, [[("b", {"n": None})], []]],
        pa.list_(pa.map_("string", pa.struct([("n", pa.null())])), 2),
    ),
    pa.array([[[("a", 0.5)], []], None], pa.list_(pa.map_(pa.string(), pa.float64()))),
]


@pytest.mark.parametrize("array", MAPS, ids=lambda array: str(array.type))
def test_maps_and_parts_of_them_survive_json(array):
    for start in range(len(array)):
        for part in (array.slice(start), array.slice(start, 1), array.slice(start, 0)):
            assert round_trip(part).to_pylist() == part.to_pylist()
            if pa.types.is_map(part.type):
                entries = entries_of_map(part)
                entries.validate(full=True)
                pairs = [None if row is None else [{"key": k, "value": v} for k, v in row] for row in part.to_pylist()]
                assert entries.to_pylist() == pairs


def kinds(value: pa.DataType) -> list[tuple[pa.DataType, str]]:
    encoded = pa.dictionary(pa.int32(), value)
    return [
        (encoded, "%s"),
        (pa.list_(encoded), "[%s]"),
        (pa.struct([("a", encoded)]), '{"a":%s}'),
        (pa.map_(pa.string(), value), '[{"key":"a","value":%s}]'),
    ]


@pytest.mark.parametrize(("value", "text"), [(pa.float32(), "1e39"), (HALF, "70000"), (pa.float32(), "-1e39")])
@pytest.mark.parametrize("place", range(4))
def test_a_number_beyond_a_float_is_an_error_wherever_the_float_is(value, text, place):
    kind, form = kinds(value)[place]
    with pytest.raises(DataFailure, match="beyond the range"):
        decode_json_lines(f'{{"v":{form % text}}}\n'.encode(), pa.schema([("v", kind)]), 2**20)


@pytest.mark.parametrize("value", [HALF, pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize("place", range(4))
def test_words_for_floats_are_read_wherever_the_float_is(value, place):
    kind, form = kinds(value)[place]
    lines = "".join(f'{{"v":{form % word}}}\n' for word in ('"NaN"', '"-Infinity"', "0.5")).encode()
    found = decode_json_lines(lines, pa.schema([("v", kind)]), 2**20)["v"]
    assert bytes(encode_json_lines(pa.record_batch({"v": found}), 2**20)) == lines
