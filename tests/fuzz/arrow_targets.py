"""What a plugin or a file can reach of Arrow: streams, names of types, JSON Lines, the built-in readers' files."""

from __future__ import annotations

import decimal
import io
import random
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from cases import Target
from dataflare.data.batches import Batch, imports
from dataflare.data.ipc import read_file, read_stream
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.readers import open_source
from dataflare.values import Err, Ok
from dataflare.wit_types.schemas import Field, Schema

MAX_BYTES: Final = 4 * 2**20
FUNCTIONS: Final = imports(max_batch_bytes=MAX_BYTES)
_CASTS: Final = 4
_ZONES: Final = (None, "UTC", "+02:00", "America/New_York")


@cache
def listed_arrays() -> tuple[pa.Array, ...]:
    """Arrays of every type on the list, with nulls, three rows each."""
    numbers = [1, None, 3]
    integers = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    flat = [pa.array(numbers, each) for each in (*integers, pa.float32(), pa.float64(), pa.date32())]
    flat += [pa.array([np.float16(1.5), None, np.float16(2)], pa.float16()), pa.array([True, None, False])]
    flat += [pa.array([0, None, 86_400_000], pa.int64()).cast(pa.date64())]
    flat += [pa.array(numbers, pa.time32(unit)) for unit in ("s", "ms")]
    flat += [pa.array(numbers, pa.time64(unit)) for unit in ("us", "ns")]
    flat += [pa.array(numbers, pa.timestamp(unit, zone)) for unit in ("s", "ms", "us", "ns") for zone in _ZONES]
    flat += [pa.array(numbers, pa.duration(unit)) for unit in ("s", "ms", "us", "ns")]
    flat += [
        pa.array([decimal.Decimal(1), None, decimal.Decimal("-2.5")], kind)
        for kind in (pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(38, 10), pa.decimal256(76, 20))
    ]
    for make, width, scale in ((pa.decimal128, 16, -38), (pa.decimal128, 16, 38), (pa.decimal256, 32, 76)):
        digits = abs(scale)
        buffers = [pa.py_buffer(b"\5"), pa.py_buffer(b"\1" + bytes(3 * width - 1))]
        flat.append(pa.Array.from_buffers(make(digits, scale), 3, buffers))
    flat += [pa.array(["a", None, "é€"], each) for each in (pa.string(), pa.large_string())]
    flat += [pa.array([b"a", None, b"\xff\0"], each) for each in (pa.binary(), pa.large_binary())]
    flat += [pa.array([b"abc", None, b"def"], pa.binary(3)), pa.array(["x", None, "2024-01-01"], pa.string())]
    texts = [pa.array(["12", None, "-1.5"]), pa.array(["2024-01-01", None, "1999-12-31T23:59:59Z"])]
    dictionaries = [each.dictionary_encode() for each in (flat[-1], flat[3], flat[9])]
    dictionaries += [
        pa.DictionaryArray.from_arrays(pa.array([0, None, 1], index), pa.array(["p", "q"])) for index in integers
    ]
    nested = [
        pa.array([[1, None], None, []], pa.list_(pa.int32())),
        pa.array([["a"], None, ["b", None]], pa.large_list(pa.string())),
        pa.array([[1, 2], None, [None, 4]], pa.list_(pa.int16(), 2)),
        pa.array([["ab", "c"], None, [None, "d"]], pa.list_(pa.string(), 2)),
        pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}]),
        pa.array([[("k", 1), ("l", None)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array([[[1], None], None, [[]]], pa.list_(pa.list_(pa.int8()))),
        pa.array([{"x": [{"y": 1}]}, None, {"x": []}]),
        pa.array([[None], None, []], pa.list_(pa.null())),
        pa.array([{}, None, {}], pa.struct([])),
        pa.array([{"n": None}, None, {}], pa.struct([("n", pa.null())])),
        pa.array([["p", "q"], None, ["p"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.nulls(3),
    ]
    return tuple([*flat, *texts, *dictionaries, *nested])


@cache
def listed_types() -> tuple[pa.DataType, ...]:
    """The types of `listed_arrays`, each once."""
    return tuple({str(each.type): each.type for each in listed_arrays()}.values())


@cache
def view_arrays() -> tuple[pa.Array, ...]:
    """Arrays of views of texts and bytes, at the top and within others: short ones, long ones, and nulls."""
    long = "longer than twelve bytes, "
    texts = pa.array(["short", None, long * 3, long, "", "é" * 20], pa.string_view())
    octets = pa.array([b"\xff", None, b"\0" * 13, b"", b"x" * 12, b"y" * 40], pa.binary_view())
    each = [texts, octets, texts.slice(2), octets.slice(3, 2), pa.array([], pa.string_view())]
    nested = [
        pa.ListArray.from_arrays(pa.array([0, 2, 2, 6], pa.int32()), texts),
        pa.StructArray.from_arrays([texts, octets], ["t", "b"]),
        pa.FixedSizeListArray.from_arrays(octets, 2),
        pa.DictionaryArray.from_arrays(pa.array([0, 2, 5, 2], pa.int8()), texts),
    ]
    return (*each, *nested)


def unlisted_arrays() -> list[pa.Array]:
    """Arrays of types that are not on the list, three rows each."""
    ints = pa.array([1, 2, 3])
    hidden = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([None], pa.binary(16)))
    wide = pa.Array.from_buffers(pa.binary(0), 3, [None, pa.py_buffer(b"")])
    return [
        pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [ints]),
        pa.UnionArray.from_dense(pa.array([0, 0, 0], pa.int8()), pa.array([0, 1, 2], pa.int32()), [ints]),
        pa.RunEndEncodedArray.from_arrays([3], [1]),
        pa.array([[1], None, []], pa.list_view(pa.int8())),
        pa.array([[1], None, []], pa.large_list_view(pa.int8())),
        pa.array([None, None, None], pa.month_day_nano_interval()),
        pa.array([[], [], []], pa.list_(pa.int8(), 0)),
        pa.array([[None], [None], [None]], pa.list_(pa.null(), 1)),
        pa.array([[{}], [{}], [{}]], pa.list_(pa.struct([]), 1)),
        pa.DictionaryArray.from_arrays(pa.array([0, 0, 0]), pa.nulls(1)),
        pa.DictionaryArray.from_arrays(pa.array([0, 0, 0]), pa.array([[1]])),
        pa.DictionaryArray.from_arrays(pa.array([0, 0, 0]), pa.array(["a"]).dictionary_encode()),
        pa.array([["a"], None, []], pa.list_(pa.string_view())),
        pa.array([[b"a"], None, []], pa.list_(pa.binary_view())),
        pa.ListArray.from_arrays(pa.array([0, 1, 1, 1], pa.int32()), hidden),
        wide,
        pa.Array.from_buffers(pa.decimal128(38, -66), 3, [None, pa.py_buffer(bytes(48))]),
        pa.Array.from_buffers(pa.decimal256(5, 2**27), 3, [None, pa.py_buffer(bytes(96))]),
    ]


def stream_of(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """A stream of batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for each in batches:
            writer.write_batch(each)
    return bytes(sink.getvalue())


def exercise(batch: Batch, rng: random.Random, casts: Sequence[pa.DataType] = ()) -> None:
    """Call every function on a batch; AssertionError for what is neither a result nor a `data-error`."""

    def call(name: str, *args: Any) -> Any:
        method = FUNCTIONS[name] if name in FUNCTIONS else FUNCTIONS[f"[method]batch.{name}"]
        answer = method(*args)
        assert isinstance(answer, Ok | Err), f"{name} answered {answer!r}"
        if isinstance(answer, Err):
            assert answer.error.case != "other" or "are named" in answer.error.value, f"{name}: {answer.error.value}"
            return None
        return answer.value

    rows = batch.num_rows()
    batch.shape(), batch.schema()
    for column in batch.column_names():
        for view in ("validity", "int64-column", "float64-column", "boolean-column", "text-column", "binary-column"):
            call(view, batch, column)
        for data_type in casts or rng.sample(listed_types(), _CASTS):
            if (cast := call("cast-column", batch, column, str(data_type))) is not None:
                for view in ("text-column", "int64-column", "float64-column"):
                    call(view, cast, column)
                call("to-json-lines", cast)
                call("concat", [cast, cast])
    if rows <= 10_000:
        mask = np.array([rng.getrandbits(64) for _ in range(rows // 64 + 1)], np.uint64)
        if (filtered := call("filter", batch, mask)) is not None:
            call("to-arrow", filtered)
            call("to-json-lines", filtered)
    part = call("slice", batch, rows // 3, rows - rows // 3)
    call("concat", [batch, part, batch])
    if (encoded := call("to-arrow", part)) is not None:
        call("from-arrow", bytes(encoded))
    call("to-arrow-words", batch)
    if (text := call("to-json-lines", batch)) is not None:
        call("from-json-lines", bytes(text), None)
        call("from-json-lines", bytes(text), batch.schema())


def _stream(data: bytes) -> None:
    answer = FUNCTIONS["from-arrow"](data)
    if isinstance(answer, Err):
        assert answer.error.case in ("malformed", "too-large", "wrong-type"), answer.error
        raise DataFailure(answer.error)
    exercise(answer.value, random.Random(zlib.crc32(data)))


def _type_name(data: bytes) -> None:
    name = data.decode("utf-8", "replace")
    rng = random.Random(zlib.crc32(data))
    array = rng.choice(listed_arrays())
    batch = Batch(pa.record_batch({"c": array}), max_bytes=MAX_BYTES)
    answer = FUNCTIONS["[method]batch.cast-column"](batch, "c", name)
    if isinstance(answer, Ok):
        exercise(answer.value, rng)
    lines = rng.choice((b'{"c":1}\n{"c":null}\n', b'{"c":"1"}\n', b'{"c":[1]}\n', b'{"c":{"x":1}}\n'))
    answer = FUNCTIONS["from-json-lines"](lines, Schema((Field("c", name, True, ()),), ()))
    if isinstance(answer, Ok):
        exercise(answer.value, rng)


def _json_lines(data: bytes) -> None:
    text = data.decode("utf-8", "replace").encode()
    answer = FUNCTIONS["from-json-lines"](text, None)
    assert isinstance(answer, Ok | Err)
    if isinstance(answer, Ok):
        exercise(answer.value, random.Random(zlib.crc32(data)))


def _file(node: Any, suffix: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"case.{suffix}")
        path.write_bytes(data)
        source = open_source(node, path)
        try:
            for batch in source.batches():
                exercise(Batch(batch, max_bytes=MAX_BYTES), random.Random(zlib.crc32(data)))
        finally:
            source.close()


def _arrow_stream_file(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        _consume(read_stream(file, MAX_BYTES), data)


def _arrow_file(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        _consume(read_file(file, MAX_BYTES), data)


def _consume(found: Iterator[Any], data: bytes) -> None:
    next(found)
    for batch in found:
        exercise(Batch(batch, max_bytes=MAX_BYTES), random.Random(zlib.crc32(data)))


def _type_names(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Names of types, put together of parts of others."""
    text = rng.choice(seeds).decode()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        other = rng.choice(seeds).decode()
        numbers = [at for at, char in enumerate(text) if char.isdigit()]
        match rng.randrange(5):
            case 0 if numbers:
                at = rng.choice(numbers)
                text = (
                    text[:at]
                    + rng.choice(("0", "-1", "38", "39", "76", "77", "-66", "134217728", "999"))
                    + text[at + 1 :]
                )
            case 1:
                text = f"list<item: {text}>"
            case 2:
                text = f"struct<a: {text}, b: {other}>"
            case 3:
                text = f"dictionary<values={text}, indices=int8, ordered=0>"
            case _:
                text = f"fixed_size_list<item: {text}>[{rng.choice((0, 1, 2, 1000, 2**31 - 1))}]"
    if rng.random() < 0.2:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(("<", ">", "[", "]", ", ", ": ", "é", "\0")) + text[at:]
    return text.encode()


def _sections(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Streams in which numbers were changed, one word at a time: what bytes at random seldom hit."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = rng.choice((1, 2, 4, 8))
        if len(data) < size:
            break
        at = rng.randrange(0, len(data) - size + 1) // size * size
        old = int.from_bytes(data[at : at + size], "little")
        new = rng.choice((0, 1, 2, old + 1, old - 1, old * 2, -1, 2**31 - 1, 2**31, 2**62, rng.randrange(32)))
        data[at : at + size] = (new % 256**size).to_bytes(size, "little")
    return bytes(data)


@cache
def _batches() -> tuple[pa.RecordBatch, ...]:
    one = [pa.record_batch({"c": each}) for each in listed_arrays()]
    several = pa.record_batch({f"c{i}": each for i, each in enumerate(listed_arrays()[::7])})
    return (*one, several, pa.record_batch({"a": [1, 2], "b": ["x", "y"]}))


def _parquet(batch: pa.RecordBatch) -> bytes | None:
    sink = io.BytesIO()
    try:
        parquet.write_table(pa.Table.from_batches([batch]), sink)
    except (pa.ArrowException, OSError):
        return None
    return sink.getvalue()


def _arrow(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch.slice(1))
    return bytes(sink.getvalue())


def targets() -> dict[str, Target]:
    """All targets, by name."""
    streams = [stream_of(each, each.slice(1)) for each in _batches()]
    views = [pa.record_batch({"c": each}) for each in view_arrays()]
    streams += [stream_of(each, each.slice(1)) for each in views]
    streams += [stream_of(each, compression=codec) for each in (_batches()[-2], views[0]) for codec in ("zstd", "lz4")]
    names = [str(each).encode() for each in listed_types()]
    lines = []
    for batch in _batches():
        answer = FUNCTIONS["[method]batch.to-json-lines"](Batch(batch))
        if isinstance(answer, Ok):
            lines.append(bytes(answer.value))
    csv = io.BytesIO()
    arrow_csv.write_csv(pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "t": ["2024-01-01", "1.5", "é"]}), csv)
    files = [each for each in map(_parquet, _batches()) if each is not None]

    def node(kind: Any, connector: str) -> Any:
        return kind.model_validate({"connector": connector, "read": "case"})

    formats = ("csv", "jsonl", "arrow", "parquet")
    csv_node, jsonl_node, arrow_node, parquet_node = (node(BUILT_IN[each].read_node, each) for each in formats)
    arrow_files = [_arrow(each) for each in (*_batches(), *views)]
    return {
        "arrow-streams": Target(streams, _stream),
        "arrow-stream-words": Target(streams, _stream, _sections),
        "arrow-type-names": Target(names, _type_name, _type_names),
        "json-lines": Target(lines, _json_lines),
        "arrow-files": Target(arrow_files, _arrow_file, _sections),
        "arrow-stream-files": Target(streams, _arrow_stream_file),
        "arrow-connector": Target(arrow_files, lambda data: _file(arrow_node, "arrow", data)),
        "parquet-connector": Target(files, lambda data: _file(parquet_node, "parquet", data)),
        "csv-connector": Target([csv.getvalue()], lambda data: _file(csv_node, "csv", data)),
        "jsonl-connector": Target(lines, lambda data: _file(jsonl_node, "jsonl", data)),
    }
