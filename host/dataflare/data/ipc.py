"""Batches in Arrow's IPC format: written by Arrow, read without it.

Untrusted streams and files are read here: frames and metadata by checked reads, buffers by
`dataflare.data.guard.arrays.build`. Arrow's own reader never sees them.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import pyarrow as pa

from dataflare.budgets import current
from dataflare.data.builders import concat
from dataflare.data.columns import empty_batch, no_rows
from dataflare.data.flatbuffers import Table, root
from dataflare.data.guard.arrays import MAX_ROWS, build
from dataflare.data.guard.costs import ARRAY_BYTES, require
from dataflare.data.guard.types import MAX_METADATA_BYTES, kind
from dataflare.data.guard.vetted import remember
from dataflare.data.ipc_schema import Node, StreamSchema, read_schema
from dataflare.data.ipc_views import Charge, unfolded
from dataflare.data.shapes import malformed, too_large

__all__ = ["decode_stream", "encode_stream", "read_file", "read_stream"]

_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_CODECS: Final = ("lz4", "zstd")
_MAGIC: Final = b"ARROW1"
_REMEMBERED_BYTES: Final = 2**17
_GROWS_TO_BYTES: Final = 2**20
_SPAN: Final = np.dtype([("first", "<i8"), ("second", "<i8")])
_BLOCK: Final = np.dtype([("offset", "<i8"), ("head", "<i4"), ("padding", "<i4"), ("body", "<i8")])
_BUFFERS: Final = {
    **{"string": 3, "large_string": 3, "binary": 3, "large_binary": 3},
    **{"null": 0, "struct": 1, "fixed_size_list": 1},
}


def encode_stream(batch: pa.RecordBatch) -> pa.Buffer:
    """Write a batch as a stream of its schema and this one batch."""
    if batch.get_total_buffer_size() < _GROWS_TO_BYTES:
        sink = pa.BufferOutputStream()
        _write_stream(sink, batch)
        return sink.getvalue()
    # A growing stream would copy its content again and again.
    counted = pa.MockOutputStream()
    _write_stream(counted, batch)
    buffer = pa.allocate_buffer(counted.size())
    _write_stream(pa.FixedSizeBufferWriter(buffer), batch)
    return buffer


def _write_stream(sink: pa.NativeFile, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


def decode_stream(encoded: Any, max_bytes: int) -> pa.RecordBatch:
    """Read a stream of any number of batches as one batch, which shares the memory of `encoded`.

    Everything is checked: the frame, the types, the buffers' sizes before and after decompression, offsets, UTF-8.

    Args:
        encoded: A buffer that must not change.
        max_bytes: Limit of the batch in bytes.

    Raises:
        DataFailure: `malformed`, or `too-large` past `max_bytes` or 2**32 - 1 rows.
    """
    found = _decoded(_Memory(pa.py_buffer(encoded)), max_bytes, whole=True)
    schema = next(found)
    batches = list(found)
    batch = concat(batches, max_bytes) if batches else no_rows(schema)
    return remember(batch, frozenset(schema.names))


def read_stream(file: BinaryIO, max_bytes: int) -> Iterator[Any]:
    """Read a file that holds a stream; yield its schema, then its batches.

    Args:
        file: The open file, at the beginning of the stream.
        max_bytes: Limit of each batch in bytes.

    Raises:
        DataFailure: `malformed`, `too-large`.
        OSError: The file cannot be read.
    """
    return _decoded(_File(file), max_bytes, whole=False)


def read_file(file: BinaryIO, max_bytes: int) -> Iterator[Any]:
    """Read a file in Arrow's file format; yield its schema, then its batches. Works like `read_stream`."""
    source = _File(file)
    with _refusing():
        tail = source.at(source.size - 10, 10) if source.size >= 20 else b""
        if tail[4:] != _MAGIC or source.at(0, 6) != _MAGIC:
            raise malformed("not an Arrow file: its first and last bytes are not ARROW1")
        size = int.from_bytes(tail[:4], "little")
        if size > min(source.size, MAX_METADATA_BYTES):
            raise malformed("not a valid Arrow file: its footer does not fit")
        footer = root(source.at(source.size - 10 - size, size))
        table = footer.table(1)
        if table is None:
            raise malformed("not a valid Arrow file: there is no schema")
        decoder = _Decoder(read_schema(table), max_bytes)
        for block in footer.structs(2, _BLOCK).tolist():
            decoder.dictionary(*_block(source, block, _DICTIONARY, max_bytes))
        blocks = footer.structs(3, _BLOCK).tolist()
    yield decoder.schema
    for block in blocks:
        with _refusing():
            batch = decoder.batch(*_block(source, block, _BATCH, max_bytes))
        yield batch


class _Source(Protocol):
    def take(self, size: int) -> pa.Buffer:
        """Return the next `size` bytes; fewer at the end."""


class _Memory:
    def __init__(self, data: pa.Buffer) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> pa.Buffer:
        start = self._position
        self._position = min(start + size, self._data.size)
        return self._data.slice(start, self._position - start)


class _File:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def take(self, size: int) -> pa.Buffer:
        # Reads the real bytes: nothing is allocated for a claimed size.
        return pa.py_buffer(self._file.read(size))

    def at(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= self.size - size or size < 0:
            raise malformed("a part of the file lies outside of it")
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise malformed("the file ends early: was it changed while it was read?")
        return data


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (struct.error, UnicodeDecodeError, OverflowError, pa.ArrowException, MemoryError) as error:
        raise malformed(f"not valid in Arrow's format: {error}") from error


def _decoded(source: _Source, max_bytes: int, *, whole: bool) -> Iterator[Any]:
    """Yield the schema of a stream, then its batches; with `whole` the limit applies to all of them together."""
    with _refusing():
        first = _message(source, max_bytes)
        if first is None or first[0] != _SCHEMA:
            raise malformed("not a valid Arrow stream: it does not begin with a schema")
        decoder = _Decoder(_schema_of(first[1]), max_bytes)
    yield decoder.schema
    while True:
        with _refusing():
            message = _message(source, max_bytes)
            if message is None:
                return
            code, header, body = message
            if code == _DICTIONARY:
                decoder.dictionary(header, body)
                continue
            if code != _BATCH:
                raise malformed(f"not a valid Arrow stream: a message of the kind {code}")
            if not whole:
                decoder.begin()
            batch = decoder.batch(header, body)
        yield batch


def _schema_of(header: Table) -> StreamSchema:
    # Many streams have the same schema, which takes longer to read than a batch.
    small = len(header.data) <= _REMEMBERED_BYTES
    return _remembered_schema(header.data) if small else read_schema(header)


@functools.lru_cache(maxsize=32)
def _remembered_schema(head: bytes) -> StreamSchema:
    header = root(head).table(2)
    assert header is not None
    return read_schema(header)


def _message(source: _Source, max_bytes: int) -> tuple[int, Table, pa.Buffer] | None:
    """Read the next message: its kind, its header and its body; `None` at the end."""
    current().check_time()
    prefix = source.take(8).to_pybytes()
    if not prefix or prefix[:4] == bytes(4):
        return None
    if len(prefix) < 8 or int.from_bytes(prefix[:4], "little") != _CONTINUATION:
        raise malformed("not a valid Arrow stream: a message begins with other bytes than it should")
    size = int.from_bytes(prefix[4:], "little")
    if size == 0:
        return None
    if size > MAX_METADATA_BYTES:
        raise malformed(f"the metadata of a message take {size} bytes, more than {MAX_METADATA_BYTES}")
    head = source.take(size).to_pybytes()
    if len(head) < size:
        raise malformed("not a valid Arrow stream: it ends within a message")
    code, header, body_size = _opened(head, max_bytes)
    body = source.take(body_size)
    if body.size < body_size:
        raise malformed("not a valid Arrow stream: it ends within a message")
    return code, header, body


def _opened(head: bytes, max_bytes: int) -> tuple[int, Table, int]:
    message = root(head)
    header, size = message.table(2), message.i64(3)
    if message.i16(0) not in (3, 4):
        raise malformed(f"a message of the version {message.i16(0)} of the format")
    if header is None or size < 0:
        raise malformed("a message without a header or of a negative size")
    if size > max_bytes:
        raise too_large(f"a message of {size} bytes is larger than max_batch_bytes = {max_bytes}")
    return message.u8(1), header, size


def _block(source: _File, block: tuple[int, int, int, int], expected: int, max_bytes: int) -> tuple[Table, pa.Buffer]:
    """Read a message of a file at the position that the footer gives."""
    offset, head_size, _, body_size = block
    if not 8 <= head_size <= MAX_METADATA_BYTES or not body_size >= 0:
        raise malformed("not a valid Arrow file: a part of a size that cannot be")
    head = source.at(offset, head_size)
    code, header, size = _opened(head[8:] if head[:4] == b"\xff\xff\xff\xff" else head[4:], max_bytes)
    if code != expected or size != body_size:
        raise malformed("not a valid Arrow file: the footer and a message contradict each other")
    return header, pa.py_buffer(source.at(offset + head_size, body_size))


class _Decoder:
    """Makes batches from messages; keeps the dictionaries, and sums up all sizes."""

    def __init__(self, layout: StreamSchema, max_bytes: int) -> None:
        self.schema = layout.schema
        self._columns = layout.columns
        self._values = layout.dictionaries
        self._max_bytes = max_bytes
        self._dictionaries: dict[int, pa.Array] = {}
        self._dictionary_bytes = 0
        self._total = 0

    def begin(self) -> None:
        """Reset the sum of sizes to that of the dictionaries."""
        self._total = self._dictionary_bytes

    def dictionary(self, header: Table, body: pa.Buffer) -> None:
        """Store a dictionary, or append to one."""
        number, data = header.i64(0), header.table(1)
        if data is None or number not in self._values:
            raise malformed("a dictionary that no column has")
        before = self._total
        (array,) = self._arrays(data, body, (self._values[number],))
        if len(array) != data.i64(0):
            raise malformed("a dictionary of another length than it says")
        if header.flag(2):
            if number not in self._dictionaries:
                raise malformed("an addition to a dictionary that is not there")
            self._add(int(self._dictionaries[number].nbytes))
            array = pa.concat_arrays([self._dictionaries[number], array])
        self._dictionaries[number] = array
        self._dictionary_bytes += self._total - before

    def batch(self, header: Table, body: pa.Buffer) -> pa.RecordBatch:
        """Make a batch from a message."""
        rows = header.i64(0)
        if not 0 <= rows <= MAX_ROWS:
            raise malformed(f"a batch of {rows} rows")
        columns = self._arrays(header, body, self._columns)
        if any(len(column) != rows for column in columns):
            raise malformed("a column of another length than its batch")
        if not columns:
            batch = empty_batch(rows).replace_schema_metadata(self.schema.metadata)
        else:
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        return remember(batch, frozenset(self.schema.names))

    def _add(self, size: int) -> None:
        self._total += size
        require(self._total, "the stream", self._max_bytes)

    def _arrays(self, data: Table, body: pa.Buffer, columns: tuple[Node, ...]) -> list[pa.Array]:
        nodes, parts = data.structs(1, _SPAN), data.structs(4, "<i8")
        self._add(len(nodes) * ARRAY_BYTES)
        buffers = self._buffers(data, body)
        reading = _Reading(iter(nodes.tolist()), iter(buffers), iter(parts.tolist()), self._dictionaries, self._add)
        try:
            arrays = [reading.array(column) for column in columns]
        except StopIteration:
            raise malformed("a batch of fewer parts than its schema says") from None
        if not reading.done():
            raise malformed("a batch of more parts than its schema says")
        return arrays

    def _buffers(self, data: Table, body: pa.Buffer) -> list[pa.Buffer | None]:
        """Slice the buffers out of a body, decompressed."""
        spans = data.structs(2, _SPAN)
        starts, sizes = spans["first"], spans["second"]
        if (
            len(spans)
            and not ((starts >= 0) & (sizes >= 0) & (starts <= body.size) & (sizes <= body.size - starts)).all()
        ):
            raise malformed("a buffer lies outside of its message")
        compression = data.table(3)
        # As Python integers, whose sum cannot overflow.
        if compression is None:
            self._add(sum(sizes.tolist()))
            return [_aligned(body.slice(start, size)) if size else None for start, size in spans.tolist()]
        codec = compression.u8(0)
        if codec >= len(_CODECS) or compression.u8(1):
            raise malformed(f"a compression of the number {codec}")
        return [self._unpacked(body.slice(start, size), _CODECS[codec]) for start, size in spans.tolist()]

    def _unpacked(self, packed: pa.Buffer, codec: str) -> pa.Buffer | None:
        if packed.size == 0:
            return None
        if packed.size < 8:
            raise malformed("a compressed buffer without its size")
        size = int.from_bytes(packed.slice(0, 8).to_pybytes(), "little", signed=True)
        if size < -1:
            raise malformed("a compressed buffer of negative size")
        current().check_time()
        rest = packed.slice(8)
        self._add(rest.size if size == -1 else size)
        if size == -1:
            return _aligned(rest)
        try:
            # Not `pa.decompress`: if the data are shorter than declared, it returns arbitrary memory.
            with pa.CompressedInputStream(pa.BufferReader(rest), codec) as stream:
                unpacked = stream.read_buffer(size)
        except OSError as error:
            raise malformed(f"a compressed buffer: {error}") from error
        if unpacked.size != size:
            raise malformed("a compressed buffer of another size than it says")
        return unpacked


class _Reading:
    """The reading position of one batch in its nodes and buffers."""

    def __init__(
        self,
        nodes: Iterator[tuple[int, int]],
        buffers: Iterator[pa.Buffer | None],
        parts: Iterator[int],
        dictionaries: dict[int, pa.Array],
        charge: Charge,
    ) -> None:
        self._budget = current()
        self._nodes = nodes
        self._buffers = buffers
        self._parts = parts
        self._dictionaries = dictionaries
        self._charge = charge

    def done(self) -> bool:
        """Whether nothing is left."""
        ends = (next(self._nodes, self), next(self._buffers, self), next(self._parts, self))
        return all(end is self for end in ends)

    def array(self, node: Node) -> pa.Array:
        """Make the next array; StopIteration if there is none."""
        self._budget.check_time()
        rows, nulls = next(self._nodes)
        name = kind(node.type)
        buffers = [next(self._buffers) for _ in range(2 if node.is_view else _BUFFERS.get(name, 2))]
        if buffers and nulls == 0:
            buffers[0] = None
        if node.is_view:
            parts = [next(self._buffers) for _ in range(next(self._parts))]
            buffers[1:] = unfolded(rows, buffers[0], buffers[1], parts, self._charge)
        children = [self.array(child) for child in node.children]
        dictionary = None
        if node.dictionary is not None:
            dictionary = self._dictionaries.get(node.dictionary)
            if dictionary is None:
                raise malformed("a column whose dictionary is not there")
        array = build(node.type, rows, buffers, children, dictionary)
        if buffers:
            _check_nulls(array, nulls)
        if name == "map" and children[0].null_count:
            raise malformed("not a sound array of map: an entry is null")
        return array


def _check_nulls(array: pa.Array, nulls: int) -> None:
    if array.null_count != nulls:
        raise malformed(f"{array.null_count} nulls, where {nulls} are said to be")


def _aligned(buffer: pa.Buffer) -> pa.Buffer:
    return buffer if buffer.address % 8 == 0 else pa.py_buffer(buffer.to_pybytes())
