"""Batches as Arrow IPC streams, and streams that nobody has vouched for.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from dataflare.data.builders import concat
from dataflare.data.columns import no_rows
from dataflare.data.schemas import MAX_DEPTH, nesting_depth
from dataflare.data.shapes import DataFailure, malformed, too_large

__all__ = ["decode_stream", "encode_stream"]

_MAX_ROWS = 2**32 - 1
# Field numbers in https://github.com/apache/arrow/blob/main/format/Message.fbs
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_BUFFERS = 2
_BATCH_COMPRESSION = 3


def encode_stream(batch: pa.RecordBatch) -> pa.Buffer:
    """Write a batch as a stream: its schema, and this one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def decode_stream(encoded: Any, max_bytes: int) -> pa.RecordBatch:
    """Read a stream of any number of batches as one batch, which shares the memory of `encoded`.

    Everything is checked: the frame, the buffers' sizes before and after decompression, offsets, UTF-8.

    Args:
        encoded: A buffer that nobody will change.
        max_bytes: The most bytes that the batch may take.

    Raises:
        DataFailure: `malformed`, or `too-large` past `max_bytes` or 2**32 - 1 rows.
    """
    buffer = pa.py_buffer(encoded)
    try:
        if _decompressed_bytes(buffer, max_bytes) > max_bytes:
            raise too_large(f"the stream is larger than max_batch_bytes = {max_bytes} once decompressed")
        with pa.ipc.open_stream(buffer) as reader:
            schema = reader.schema
            _check_schema(schema)
            batches = []
            for batch in reader:
                batch.validate(full=True)
                batches.append(batch)
    except DataFailure:
        raise
    except (pa.ArrowException, ValueError, LookupError, struct.error, OSError, OverflowError, MemoryError) as error:
        raise malformed(f"not a valid Arrow stream: {error}") from error
    except (TypeError, NotImplementedError, RecursionError) as error:
        raise malformed(f"an Arrow stream that cannot be read here: {error}") from error
    batch = concat(batches, max_bytes) if batches else no_rows(schema)
    if batch.num_rows > _MAX_ROWS:
        raise too_large(f"{batch.num_rows} rows are more than 2^32 - 1")
    return batch


def _check_schema(schema: pa.Schema) -> None:
    if len(set(schema.names)) < len(schema.names):
        raise malformed("a column is named twice, and names are unique within a batch")
    for field in schema:
        if nesting_depth(field.type) > MAX_DEPTH:
            raise malformed(f"the type of column {field.name!r} nests deeper than {MAX_DEPTH} levels")
        _check_type(field.type, field.name)


def _check_type(data_type: pa.DataType, column: str) -> None:
    """Refuse types outside of what `schemas.wit` lists that Arrow is not safe with.

    Few bytes of a union, of runs or of a view of lists can stand for any number of rows, and Arrow does not validate
    what views of strings have behind their nulls, but reads it: a crash.
    """
    if isinstance(data_type, pa.BaseExtensionType):
        return _check_type(data_type.storage_type, column)
    if isinstance(data_type, pa.DictionaryType):
        return _check_type(data_type.value_type, column)
    views = (types.is_string_view, types.is_binary_view, types.is_list_view, types.is_large_list_view)
    if any(check(data_type) for check in (*views, types.is_union, types.is_run_end_encoded)):
        raise malformed(f"the type of column {column!r}, {data_type}, is not taken from a plugin")
    if isinstance(data_type, pa.TimestampType):
        _require_text(data_type, "tz", column)
    for i in range(data_type.num_fields):
        child = data_type.field(i)
        _require_text(child, "name", column)
        _check_type(child.type, column)
    return None


def _require_text(owner: pa.DataType | pa.Field, attribute: str, column: str) -> None:
    """Refuse what Arrow does not check, and what would fail much later, when somebody looks at it."""
    try:
        getattr(owner, attribute)
    except UnicodeDecodeError as error:
        raise malformed(f"a {attribute} in the type of column {column!r} is not UTF-8") from error


def _decompressed_bytes(buffer: pa.Buffer, max_bytes: int) -> int:
    """Add up what all buffers say they take once decompressed: Arrow allocates that before it looks further."""
    total = 0
    reader = pa.ipc.MessageReader.open_stream(buffer)
    while total <= max_bytes:
        try:
            message = reader.read_next_message()
        except StopIteration:
            break
        total += _message_bytes(message, max_bytes)
    return total


def _message_bytes(message: Any, max_bytes: int) -> int:
    if message.body is None or message.type not in ("record batch", "dictionary"):
        return 0
    metadata = message.metadata.to_pybytes()
    table = _indirect(metadata, _slot(metadata, _u32(metadata, 0), _MESSAGE_HEADER))
    if message.type == "dictionary":
        table = _indirect(metadata, _slot(metadata, table, _DICTIONARY_DATA))
    body_size = int(message.body.size)
    compressed = _slot(metadata, table, _BATCH_COMPRESSION)
    if not compressed:
        return body_size
    slot = _slot(metadata, table, _BATCH_BUFFERS)
    if not slot:
        return body_size
    vector = _indirect(metadata, slot)
    spans = np.frombuffer(metadata, "<i8", 2 * _u32(metadata, vector), vector + 4).reshape(-1, 2)
    total = 0
    for offset, length in spans.tolist():  # a buffer, not a row
        if length == 0:
            continue
        if length < 8 or offset < 0 or offset + length > body_size:
            raise malformed("not a valid Arrow stream: a buffer lies outside of its message")
        (size,) = struct.unpack("<q", message.body.slice(offset, 8).to_pybytes())
        if size < -1:
            raise malformed("not a valid Arrow stream: a compressed buffer of negative length")
        total += length - 8 if size == -1 else size
        if total > max_bytes:
            break
    return total


# Just enough of FlatBuffers, over metadata that Arrow has verified: a table begins with the distance back to its
# vtable, which holds the distance of each field from the table, 0 where it is absent.


def _u32(data: bytes, position: int) -> int:
    return int(struct.unpack_from("<I", data, position)[0])


def _indirect(data: bytes, position: int) -> int:
    return position + _u32(data, position)


def _slot(data: bytes, table: int, field: int) -> int:
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = int(struct.unpack_from("<H", data, vtable)[0])
    entry = 4 + 2 * field
    distance = int(struct.unpack_from("<H", data, vtable + entry)[0]) if entry + 2 <= size else 0
    return table + distance if distance else 0
