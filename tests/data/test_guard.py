"""The closed list of types, walked over every operation, and what is not on it, at every entry."""

from __future__ import annotations

import contextlib
import io
import random
import time
from pathlib import Path

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import strategies as st
from pyarrow.cffi import ffi

import parquet_kit
from arrow_targets import exercise, listed_arrays, listed_types, stream_of, unlisted_arrays
from dataflare.data.batches import Batch, imports
from dataflare.data.distinct import dictionary_of
from dataflare.data.guard import arrays as guard_arrays
from dataflare.data.guard.batches import admit_batch, admit_schema
from dataflare.data.guard.costs import row_sizes
from dataflare.data.guard.types import MAX_COLUMNS, MAX_DEPTH, is_flat, kind, refusal
from dataflare.data.guard.vetted import vetted_columns
from dataflare.data.ipc import decode_stream, read_file, read_stream
from dataflare.data.shapes import DataFailure, TextValues
from dataflare.pipeline.reading.parquet_footer import read_footer
from dataflare.values import Err, Ok
from dataflare.wit_types.schemas import Field, Schema

MIB = 2**20
FUNCTIONS = imports(max_batch_bytes=4 * MIB)
VIEWS = ("validity", "int64-column", "float64-column", "boolean-column", "text-column", "binary-column")


def one(array: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([array], names=["c"])


def call(name: str, *args):
    return FUNCTIONS[f"[method]batch.{name}"](*args)


@pytest.mark.parametrize("array", listed_arrays(), ids=lambda array: str(array.type))
def test_every_operation_on_every_type_gives_a_result_or_a_data_error(array):
    for part in (array, array.slice(1), array.slice(0, 0)):
        exercise(Batch(one(part), max_bytes=4 * MIB), random.Random(1), casts=listed_types())


@pytest.mark.parametrize("array", listed_arrays(), ids=lambda array: str(array.type))
def test_every_type_can_be_replaced_by_every_builder(array):
    batch = Batch(one(array))
    texts = TextValues(np.array([0, 1, 2, 2], np.uint32), b"ab")
    values = {
        "with-int64-column": np.array([1, 2, 3]),
        "with-float64-column": np.array([1.5, 2, 3]),
        "with-boolean-column": np.array([True, False, True]),
        "with-text-column": texts,
        "with-binary-column": type("Values", (), {"offsets": texts.offsets, "data": b"ab"}),
    }
    for name, given in values.items():
        answer = call(name, batch, "c", given, None)
        assert isinstance(answer, Ok | Err)
        if isinstance(answer, Ok):
            exercise(answer.value, random.Random(2))


@pytest.mark.parametrize("array", listed_arrays(), ids=lambda array: str(array.type))
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_every_type_survives_a_stream_as_arrow_writes_it(array, compression):
    batch = one(array)
    encoded = stream_of(batch, batch.slice(1), compression=compression)
    expected = pa.Table.from_batches([batch, batch.slice(1)]).combine_chunks()
    found = decode_stream(encoded, 4 * MIB)
    found.validate(full=True)
    assert found.schema.equals(expected.schema)
    assert found.column(0).equals(expected.column(0).combine_chunks())


@pytest.mark.parametrize("array", unlisted_arrays(), ids=lambda array: str(array.type))
def test_type_that_is_not_on_the_list_is_refused_at_every_entry(array):
    assert refusal(array.type)
    batch = one(array)
    answer = FUNCTIONS["from-arrow"](stream_of(batch))
    if "extension" in str(array.type) or "y_view" in str(array.type) or "g_view" in str(array.type):
        # A stream has an extension as its storage, with a note, and texts and bytes in views are written plain.
        found = str(answer.value.arrow.schema.field("c").type)
        assert "extension" not in found and "_view" not in found
    else:
        assert isinstance(answer, Err) and answer.error.case == "malformed"
    name = str(array.type)
    cast = call("cast-column", Batch(one(pa.array(["1", "2", "3"]))), "c", name)
    assert isinstance(cast, Err) and cast.error.case in ("malformed", "wrong-type")
    lines = FUNCTIONS["from-json-lines"](b'{"c":null}\n', Schema((Field("c", name, True, ()),), ()))
    assert isinstance(lines, Err) and lines.error.case == "malformed"
    for view in VIEWS:
        assert call(view, Batch(batch), "c").error.case == "wrong-type"
    for operation, *arguments in (
        ("to-arrow",),
        ("to-json-lines",),
        ("filter", np.array([7], np.uint64)),
        ("cast-column", "c", "string"),
    ):
        assert call(operation, Batch(batch), *arguments).error.case == "wrong-type"
    assert FUNCTIONS["concat"]([Batch(batch), Batch(batch)]).error.case == "wrong-type"
    with pytest.raises(DataFailure, match="wrong-type"):
        admit_batch(batch)
    with pytest.raises(DataFailure, match="wrong-type"):
        admit_schema(batch.schema)


@pytest.mark.parametrize("array", unlisted_arrays(), ids=lambda array: str(array.type))
def test_batch_with_such_a_type_may_pass_through(array):
    batch = Batch(one(array))
    assert batch.slice(1, 1).num_rows() == 1 and batch.column_names() == ["c"] and batch.schema().fields[0].name == "c"


def months() -> pa.RecordBatch:
    """A batch with a column of months, which pyarrow takes from others and has no arrays for."""
    batch = pa.record_batch({"n": [1], "c": pa.array([5], pa.int32())})
    schema, array = ffi.new("struct ArrowSchema*"), ffi.new("struct ArrowArray*")
    places = [int(ffi.cast("uintptr_t", each)) for each in (array, schema)]
    batch._export_to_c(*places)
    name = ffi.new("char[]", b"tiM")
    schema.children[1].format = name
    return pa.RecordBatch._import_from_c(*places)


def test_type_that_pyarrow_has_no_arrays_for_is_of_a_wrong_type_everywhere():
    batch = Batch(months())
    for name in VIEWS:
        assert call(name, batch, "c").error.case == "wrong-type"
    for operation, *arguments in (
        *(("to-arrow",), ("to-json-lines",), ("filter", np.array([1], np.uint64)), ("cast-column", "c", "string")),
        *(("rename-column", "c", "d"), ("with-column-metadata", "n", [("k", "v")])),
    ):
        assert call(operation, batch, *arguments).error.case == "wrong-type"
    assert FUNCTIONS["concat"]([batch, batch]).error.case == "wrong-type"
    with pytest.raises(DataFailure, match="wrong-type"):
        admit_batch(batch.arrow)
    assert call("int64-column", batch, "n").value[0] == 1 and call("select", batch, ["n"]).value.num_rows() == 1


@pytest.mark.parametrize(
    "array",
    [a for a in listed_arrays() if is_flat(a.type) and kind(a.type) not in ("decimal32", "decimal64")],
    ids=lambda a: str(a.type),
)
def test_values_are_encoded_in_parts_as_in_one(array, monkeypatch):
    long = pa.concat_arrays([array, array.slice(1), array.slice(2)] * 3)
    whole = long.dictionary_encode()
    monkeypatch.setattr("dataflare.data.distinct._ROWS_AT_ONCE", 2)
    parts = dictionary_of(long)
    parts.validate(full=True)
    assert parts.type == whole.type and parts.equals(whole)


def test_extension_type_at_the_top_stands_for_its_storage():
    storage = pa.array([b"0123456789abcdef", None], pa.binary(16))
    batch = admit_batch(one(pa.ExtensionArray.from_storage(pa.uuid(), storage)))
    assert batch.schema.field("c").type == pa.binary(16)
    assert batch.schema.field("c").metadata == {b"ARROW:extension:name": b"arrow.uuid"}
    assert batch.column(0).equals(storage)
    assert admit_schema(one(pa.ExtensionArray.from_storage(pa.uuid(), storage)).schema).equals(batch.schema)


@pytest.mark.parametrize(
    ("view", "large"), [(pa.string_view(), pa.large_string()), (pa.binary_view(), pa.large_binary())]
)
def test_views_of_text_are_written_out(view, large):
    values = ["short", None, "longer than twelve bytes", ""]
    given = [None if each is None else each.encode() for each in values] if "binary" in str(view) else values
    batch = admit_batch(one(pa.array(given, view).slice(1)))
    assert batch.column(0).type == large and batch.column(0).to_pylist() == given[1:]


def test_what_was_checked_is_not_checked_again(monkeypatch):
    batch = admit_batch(one(pa.array(["a", "é"])))
    assert vetted_columns(batch) == {"c"}
    monkeypatch.setattr("dataflare.data.batches.admit_columns", lambda *_: pytest.fail("checked again"))
    first = Batch(batch)
    again = first.slice(0, 1).rename_column("c", "d").select(["d"])
    assert again.text_column("d").text.to_pybytes() == b"a"
    assert Batch(again.arrow).to_arrow().size


def test_only_the_columns_that_are_looked_at_are_checked(monkeypatch):
    looked_at = []
    real = guard_arrays.admit
    monkeypatch.setattr("dataflare.data.guard.batches.admit", lambda a, name: looked_at.append(name) or real(a, name))
    batch = Batch(pa.record_batch({"a": [1], "b": ["x"]}))
    assert (batch.num_rows(), looked_at) == (1, [])
    batch.int64_column("a"), batch.int64_column("a")
    assert looked_at == ["a"]
    batch.to_json_lines()
    assert looked_at == ["a", "b"]


def test_checks_of_a_part_do_not_look_at_the_rest():
    rotten = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    assert Batch(one(rotten.slice(0, 1))).text_column("c").text.to_pybytes() == b"a"
    with pytest.raises(DataFailure, match="UTF-8"):
        Batch(one(rotten.slice(1))).text_column("c")


def files(folder: Path, batch: pa.RecordBatch, **options) -> tuple[Path, Path]:
    stream, file = folder / "rows.arrows", folder / "rows.arrow"
    for path, new in ((stream, pa.ipc.new_stream), (file, pa.ipc.new_file)):
        with new(str(path), batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_batch(batch)
            writer.write_batch(batch.slice(1))
    return stream, file


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_files_of_every_type_are_read_as_arrow_wrote_them(tmp_path, compression):
    columns = {f"c{i}": array for i, array in enumerate(listed_arrays())}
    batch = pa.record_batch(columns)
    for path, read in zip(files(tmp_path, batch, compression=compression), (read_stream, read_file), strict=True):
        with path.open("rb") as opened:
            schema, *batches = read(opened, 4 * MIB)
        assert schema.equals(batch.schema)
        assert len(batches) == 2 and batches[0].equals(batch) and batches[1].equals(batch.slice(1))


@pytest.mark.parametrize("read", [read_stream, read_file])
def test_file_cut_at_any_byte_is_malformed_or_shorter(tmp_path, read):
    paths = files(tmp_path, pa.record_batch({"n": [1, 2, 3], "s": ["a", None, "c"]}))
    path = paths[read is read_file]
    whole = path.read_bytes()
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with path.open("rb") as opened:
            try:
                _, *batches = read(opened, MIB)
            except DataFailure as error:
                assert error.error.case == "malformed"
            else:
                assert read is read_stream and len(batches) <= 2


def test_dictionary_that_is_replaced_or_added_to_in_a_stream_is_read():
    parts = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b", "c"]).dictionary_encode()]
    for deltas in (False, True):
        encoded = stream_of(*map(one, parts), emit_dictionary_deltas=deltas)
        assert decode_stream(encoded, MIB).column(0).to_pylist() == ["a", "b", "a", "b", "c"]


def test_stream_at_an_odd_address_is_read():
    encoded = b"x" + stream_of(one(pa.array([1, 2, 3])))
    assert decode_stream(pa.py_buffer(encoded).slice(1), MIB).column(0).to_pylist() == [1, 2, 3]


def test_column_of_billions_of_nulls_takes_no_time_to_make():
    began = time.monotonic()
    array = guard_arrays.build(pa.null(), 2**32 - 1, [])
    assert len(array) == array.null_count == 2**32 - 1
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("array", [*listed_arrays(), pa.array(["a"], pa.string_view())], ids=lambda a: str(a.type))
def test_parquet_files_of_every_type_have_a_sound_footer(tmp_path, array):
    path = tmp_path / "rows.parquet"
    try:
        parquet.write_table(pa.table({"c": array}), path)
    except (pa.ArrowException, OSError):
        pytest.skip("Arrow cannot write it")
    with path.open("rb") as file:
        read_footer(file, most_bytes=2**20)


KEY = b"\x18\x0cARROW:schema"


def footer_with(path, change):
    """Write a file whose footer is changed around its stored schema: what is before, the value, the rest."""
    parquet.write_table(pa.table({"c": ["x"]}), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    footer = whole[-8 - length : -8]
    head, _, rest = footer.partition(KEY)
    size = rest[1] & 0x7F | rest[2] << 7
    value, rest = rest[: 3 + size], rest[3 + size :]
    footer = change(head, value, rest)
    path.write_bytes(whole[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda head, value, rest: head + KEY + value + b"\x08\x04\x04evil" + rest, "a field twice"),
        (lambda head, value, rest: head + KEY + value + b"\x08\x84\x80\x08\x04evil" + rest, "does not define: 65538"),
        (lambda head, value, rest: head + KEY + value + b"\x08\x02" + KEY[1:] + rest, "a field twice"),
        (lambda head, value, rest: head + KEY + value + b"\x18\x04evil" + rest, "does not define: 3"),
        (lambda head, value, rest: head + KEY + b"\x08\x04" + value[1:] + value + rest, "does not define: 3"),
        (lambda head, value, rest: head + b"\x08\x04" + value[1:] + b"\x08\x02" + KEY[1:] + rest, "no text"),
        (lambda head, value, rest: head + b"\x08\x02" + KEY[1:] + value + rest, "no text"),
        (lambda head, value, rest: head + b"\x18\x8c\0" + KEY[2:] + value + rest, "no text"),
        (lambda head, value, rest: head + KEY + rest, "no text"),
        (lambda head, value, rest: head + KEY + b"\x15\0" + rest, "another kind"),
        (lambda head, value, rest: head + KEY + value, "ends early"),
        (lambda head, value, rest: KEY[2:] + head + KEY[:2], "no text"),
    ],
)
def test_pair_that_thrift_could_read_otherwise_is_malformed(tmp_path, change, says):
    path = tmp_path / "rows.parquet"
    footer_with(path, change)
    with path.open("rb") as file, pytest.raises(DataFailure, match=says):
        read_footer(file, most_bytes=2**20)


@pytest.mark.parametrize(
    "change",
    [
        lambda head, value, rest: head + KEY + value + rest,
        lambda head, value, rest: head + KEY + b"\x08\x04" + value[1:] + rest,
        lambda head, value, rest: head + KEY + value + b"\x08\xfe\xff\x03\x03any" + rest,
    ],
    ids=["usual", "long form", "extension"],
)
def test_pair_in_any_valid_form_is_read(tmp_path, change):
    path = tmp_path / "rows.parquet"
    footer_with(path, change)
    with path.open("rb") as file:
        read_footer(file, most_bytes=2**20)
    assert parquet.read_table(path).to_pylist() == [{"c": "x"}]


def test_stored_schema_that_is_damaged_is_malformed_before_arrow_sees_it(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"c": pa.array([[1]])}), path)
    whole = path.read_bytes()
    start = whole.rindex(b"ARROW:schema") + 15
    for at in range(start, start + 200, 3):
        path.write_bytes(whole[:at] + b"////" + whole[at + 4 :])
        with path.open("rb") as file:
            try:
                read_footer(file, most_bytes=2**20)
            except DataFailure as error:
                assert error.error.case == "malformed"
    path.write_bytes(whole[:start] + b"!" + whole[start + 1 :])
    with path.open("rb") as file, pytest.raises(DataFailure, match="stored schema"):
        read_footer(file, most_bytes=2**20)
    path.write_bytes(b"PAR1")
    with path.open("rb") as file, pytest.raises(DataFailure, match="Parquet"):
        read_footer(file, most_bytes=2**20)


def with_codec(number: int) -> bytes:
    """A Parquet file whose columns say that they are compressed with another codec."""
    file = io.BytesIO()
    parquet.write_table(pa.table({"x": [1, 2, 3]}), file, compression="none", store_schema=False)
    data = file.getvalue()
    # Of a column: its path, a list of one text; then the codec, as field 4, an i32.
    mark = b"\x19\x18\x01x\x15"
    assert data.count(mark + b"\x00") == 1
    return data.replace(mark + b"\x00", mark + bytes([number]))


@pytest.mark.parametrize("number", [1, 3, 5, 7, 17, 127])
def test_codecs_that_arrow_does_not_know_are_refused_before_it_is_asked(number):
    # Zigzag: an odd number is negative.
    with pytest.raises(DataFailure, match="unknown compression"):
        read_footer(io.BytesIO(with_codec(number)), most_bytes=2**20)
    assert read_footer(io.BytesIO(with_codec(2)), most_bytes=2**20)


LISTS = {
    "schema": b"\x15\x02\x19\x2c",
    "groups": b"\x16\x02\x19\x1c",
    "columns": b"\x19\x1c\x26",
    "encodings": b"\x19\x15\x00",
    "names": b"\x19\x18\x01x",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("kind", [5, 6, 8, 12])
def test_list_of_another_kind_than_thrift_takes_it_for_is_malformed(name, kind):
    column = parquet_kit.Column("x", [parquet_kit.Page(1, bytes(4))], parquet_kit.INT32)
    data, mark = parquet_kit.file([column], 1), LISTS[name]
    assert data.count(mark) == 1
    place = mark.index(b"\x19") + 1
    other = mark[:place] + bytes([mark[place] & 0xF0 | kind]) + mark[place + 1 :]
    if other == mark:
        assert read_footer(io.BytesIO(data), most_bytes=2**20).groups
        return
    with pytest.raises(DataFailure, match="footer"):
        read_footer(io.BytesIO(data.replace(mark, other)), most_bytes=2**20)


@hypothesis.given(st.data())
def test_footers_that_are_cut_or_changed_are_read_or_malformed(data):
    whole = with_codec(0)
    place = data.draw(st.integers(4, len(whole) - 9))
    changed = bytearray(whole)
    changed[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataFailure):
        read_footer(io.BytesIO(bytes(changed)), most_bytes=2**20)


def nested(depth: int) -> pa.DataType:
    return pa.list_(nested(depth - 1)) if depth else pa.int8()


@pytest.mark.parametrize(
    ("data_type", "reason"),
    [
        (nested(MAX_DEPTH), f"it nests deeper than {MAX_DEPTH} levels"),
        (pa.map_(pa.list_(pa.int8()), pa.int8()), "the keys of a map are not plain values"),
        (pa.dictionary(pa.int8(), pa.list_(pa.int8())), "a dictionary is not of plain values"),
        (pa.list_(pa.int8(), 0), "a list of a fixed size has no items"),
        (pa.list_(pa.list_(pa.int64(), 2**14), 2**14), "a value takes more than"),
        (pa.decimal128(5, 38), "the scale 38 of a decimal is beyond its precision, 5"),
        (pa.struct([("x", pa.decimal128(5, -6))]), "the scale -6 of a decimal is beyond its precision, 5"),
        (pa.binary(0), "the width 0 is not in"),
        (pa.timestamp("s", "Europe/Berlin\n"), "the time zone is not a name or an offset"),
    ],
)
def test_type_that_arrow_would_misuse_is_refused_with_its_reason(data_type, reason):
    assert refusal(data_type).startswith(reason)
    with pytest.raises(DataFailure, match="not a type that plugins can use"):
        admit_schema(pa.schema([pa.field("c", data_type)]))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (pa.array([86_400], pa.int32()).view(pa.time32("s")), "time32: "),
        (pa.array([1], pa.int64()).view(pa.date64()), "date64: "),
        (pa.Array.from_buffers(pa.decimal128(3, 0), 1, [None, pa.py_buffer(bytes([0, 5, *[0] * 14]))]), "decimal128: "),
    ],
)
def test_value_that_its_type_does_not_have_is_malformed(array, reason):
    with pytest.raises(DataFailure, match=f"not a sound array of {reason}"):
        admit_batch(one(array))


def test_names_of_columns_are_unique_and_not_too_many():
    for names, says in (
        (["a", "b", "a"], "two columns are named 'a'"),
        (map(str, range(MAX_COLUMNS + 1)), "more than"),
    ):
        with pytest.raises(DataFailure, match=says):
            admit_schema(pa.schema([(name, pa.int8()) for name in names]))


@pytest.mark.parametrize("array", listed_arrays(), ids=lambda array: str(array.type))
def test_sizes_of_rows_add_up_to_what_they_take(array):
    many = pa.concat_arrays([array] * 30)
    if not pa.types.is_dictionary(many.type):
        assert row_sizes(many).sum() + 256 >= many.nbytes
        assert row_sizes(many.slice(len(array))).sum() + 256 >= many.slice(len(array)).nbytes
    assert len(row_sizes(many)) == len(many)
