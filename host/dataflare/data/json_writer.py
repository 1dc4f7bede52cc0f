"""Batches as JSON Lines, whole columns at a time.

Every column becomes an array of JSON texts, and one kernel joins them row by row: the memory of the joined array is the
text. Quotes that every row has are part of the literal between two columns, so that they need no extra pass.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.columns import entries_of_map
from dataflare.data.guard.costs import expanded_bytes, require, value_count
from dataflare.data.json_floats import quoted_words
from dataflare.data.shapes import DataFailure, out_of_range, too_large, wrong_type
from dataflare.data.views import binary_values

__all__ = ["encode_json_lines"]

_ROWS_AT_ONCE = 16_384  # intermediate results stay in the processor's cache
_BYTES_AT_ONCE = 2**26
_TEXT_BYTES = 16  # of a value with its offset
_SCANNED_BYTES = 2**24
_BASE64_BYTES = 3 * 2**20  # of whole groups; computing where the bytes go takes sixteen times as much
_ESCAPE_S = 1e-8  # minimum time to escape a character
_EXACT_INTEGERS = 1e16
_EXACT_DIGITS = 15  # a double keeps every decimal number with this many
_DAY_BYTES = len("2013-01-01")
_YEAR_1 = -62_135_596_800  # in seconds since 1970
_YEAR_10000 = 253_402_300_800
_UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def encode_json_lines(batch: pa.RecordBatch, max_bytes: int) -> pa.Buffer:
    """Write one JSON object per row, each followed by a line feed.

    Columns keep their order. Nulls are `null`; NaN and infinities are `"NaN"`, `"Infinity"` and `"-Infinity"`. Dates
    and times are in ISO 8601 (a timestamp with a zone in UTC, with `Z`), durations are a number in their unit, byte
    strings are Base64. Decimals of at most 15 digits are numbers (a double keeps them exactly), longer ones are
    strings. Maps are lists of objects with `key` and `value`.

    Raises:
        DataFailure: `too-large` above `max_bytes`; `wrong-type` for a type that has no JSON form; `out-of-range` for a
            date or a timestamp outside the years 1 to 9999.
    """
    keys = [orjson.dumps(name).decode() + ":" for name in batch.schema.names]
    written = 0
    parts: list[pa.Buffer] = []
    start = 0
    while start < batch.num_rows:
        rows = _next_rows(batch, start, max_bytes)
        start += rows.num_rows
        part = _join_rows(rows, keys)
        written += part.size
        if written > max_bytes:
            raise too_large(f"the text is larger than max_batch_bytes = {max_bytes}")
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    return pa.py_buffer(b"".join(memoryview(part) for part in parts))


def _next_rows(batch: pa.RecordBatch, start: int, max_bytes: int) -> pa.RecordBatch:
    """Return the next rows, few enough to be written at once."""
    current().check_time()
    rows = batch.slice(start, _ROWS_AT_ONCE)
    while (size := sum(map(_text_bytes, rows.columns))) > _BYTES_AT_ONCE and rows.num_rows > 1:
        rows = rows.slice(0, rows.num_rows // 2)
    require(size, f"row {start} alone", max(max_bytes, _BYTES_AT_ONCE))
    return rows


def _text_bytes(column: pa.Array) -> int:
    return expanded_bytes(column) + _TEXT_BYTES * value_count(column)


def _join_rows(rows: pa.RecordBatch, keys: list[str]) -> pa.Buffer:
    if not keys:
        return pa.py_buffer(b"{}\n" * rows.num_rows)
    lines = _objects(keys, rows.columns, rows.schema.names, "}\n")
    offsets = np.frombuffer(lines.buffers()[1], np.int64, len(lines) + 1, lines.offset * 8)
    return lines.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _objects(keys: list[str], values: list[pa.Array], columns: list[str], end: str) -> pa.Array:
    """Join the values of at least one key into one object per row."""
    pieces: list[pa.Array | pa.Scalar] = []
    literal = "{"
    for key, array, column in zip(keys, values, columns, strict=True):
        text = _text(array, column)
        if text.values.null_count:
            text = _Text(_quoted(text))
        pieces += [_literal(literal + key + text.before), text.values]
        literal = text.after + ","
    return _join(*pieces, _literal(literal[:-1] + end))


def _literal(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _join(*pieces: pa.Array | pa.Scalar) -> pa.Array:
    """Join texts row by row; write a null as `null`."""
    return pc.binary_join_element_wise(*pieces, _literal(""), null_handling="replace", null_replacement="null")


def _keep_nulls(texts: pa.Array, source: pa.Array) -> pa.Array:
    return texts if source.null_count == 0 else pc.if_else(source.is_valid(), texts, pa.scalar(None, texts.type))


@dataclass(frozen=True, slots=True)
class _Text:
    """A column as JSON: each row is `before`, a text of `values`, and `after`; a null in `values` is a null."""

    values: pa.Array
    before: str = ""
    after: str = ""


def _render(array: pa.Array, column: str) -> pa.Array:
    """Convert values to JSON texts; a null stays null."""
    return _quoted(_text(array, column))


def _quoted(text: _Text) -> pa.Array:
    if not text.before:
        return text.values
    return pc.binary_join_element_wise(_literal(text.before), text.values, _literal(text.after), _literal(""))


def _text(array: pa.Array, column: str) -> _Text:
    current().check_time()
    data_type = array.type
    if types.is_null(data_type):
        return _Text(pa.nulls(len(array), pa.large_string()))
    if types.is_boolean(data_type) or types.is_integer(data_type) or types.is_duration(data_type):
        return _Text((array.cast(pa.int64()) if types.is_duration(data_type) else array).cast(pa.large_string()))
    if types.is_floating(data_type):
        return _Text(_render_floats(array))
    if types.is_string(data_type) or types.is_large_string(data_type):
        return _Text(_escape(array.cast(pa.large_string())), '"', '"')
    if types.is_decimal(data_type) and data_type.precision <= _EXACT_DIGITS:
        return _Text(array.cast(pa.large_string()))
    if types.is_decimal(data_type) or types.is_date(data_type) or types.is_time(data_type):
        _check_years(array, column)
        return _Text(array.cast(pa.large_string()), '"', '"')
    if types.is_timestamp(data_type):
        return _Text(_render_timestamps(array, column), '"', 'Z"' if data_type.tz else '"')
    if types.is_dictionary(data_type):
        return _Text(_render(array.dictionary, column).take(array.indices))
    if types.is_struct(data_type):
        return _Text(_render_structs(array, column))
    if types.is_list(data_type) or types.is_large_list(data_type) or types.is_fixed_size_list(data_type):
        return _Text(_render_lists(array, column))
    if types.is_map(data_type):
        return _Text(_render_lists(entries_of_map(array), column))
    try:
        values = binary_values(array, column)
    except DataFailure:
        raise wrong_type(column, "a type that JSON has a form for", data_type) from None
    return _Text(_keep_nulls(_encode_base64(values.offsets.astype(np.int64), values.data), array), '"', '"')


def _render_floats(array: pa.Array) -> pa.Array:
    if types.is_float16(array.type):
        array = array.cast(pa.float32())
    texts = array.cast(pa.large_string())
    # Arrow writes 2.0 as `2`; a reader that infers types would read the column as integers.
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), pa.scalar(_EXACT_INTEGERS, array.type)))
    if pc.any(whole).as_py():
        suffixed = pc.binary_join_element_wise(texts, _literal(".0"), _literal(""))
        texts = pc.if_else(pc.and_(whole, pc.invert(pc.match_substring(texts, "e"))), suffixed, texts)
    return texts if pc.all(pc.is_finite(array)).as_py() is not False else quoted_words(texts)


def _escape(texts: pa.Array) -> pa.Array:
    offsets = np.frombuffer(texts.buffers()[1] or b"\0" * 8, np.int64)[texts.offset :]
    first, last = int(offsets[0]), int(offsets[min(len(texts), len(offsets) - 1)])
    if last == first:
        return texts
    data = np.frombuffer(texts.buffers()[2], np.uint8, last - first, first)
    if not any(_has_escapes(data[at : at + _SCANNED_BYTES]) for at in range(0, len(data), _SCANNED_BYTES)):
        return texts
    counts = np.bincount(data, minlength=256)
    for byte in (0x5C, 0x22, *range(0x20)):  # the backslash first: the other escapes add backslashes
        if counts[byte]:
            char = chr(byte)
            escaped = orjson.dumps(char).decode()[1:-1]
            current().require_time(int(counts[byte]) * _ESCAPE_S)
            current().require((last - first) + int(counts[byte]) * len(escaped))
            texts = pc.replace_substring(texts, char, escaped)
    return texts


def _has_escapes(data: npt.NDArray[np.uint8]) -> bool:
    current().check_time()
    return bool(data.min() < 0x20 or (data == 0x22).any() or (data == 0x5C).any())


def _check_years(array: pa.Array, column: str) -> None:
    """Refuse years of more than four digits: ISO 8601 has no form for them that readers agree on."""
    if types.is_date(array.type):
        days = array.cast(pa.date32()).view(pa.int32())
        low, high = _YEAR_1 // 86_400, _YEAR_10000 // 86_400
    elif types.is_timestamp(array.type):
        days = array.view(pa.int64())
        low, high = (limit * _UNITS_PER_SECOND[array.type.unit] for limit in (_YEAR_1, _YEAR_10000))
    else:
        return
    ends = pc.min_max(days)
    if ends["min"].is_valid and not (low <= ends["min"].as_py() and ends["max"].as_py() < high):
        raise out_of_range(f"column {column!r} holds a date outside the years 1 to 9999")


def _render_timestamps(array: pa.Array, column: str) -> pa.Array:
    _check_years(array, column)
    # Without its zone a timestamp is written in UTC, in which it is stored.
    texts = array.view(pa.timestamp(array.type.unit)).cast(pa.large_string())
    _, ends, data = texts.buffers()
    if len(data or b"") == 0:
        return texts
    # Arrow puts a space between day and time, at the same position in every text; a null has no text.
    written = np.array(np.frombuffer(data, np.uint8))
    begins = np.frombuffer(ends, np.int64, len(texts) + 1, texts.offset * 8)
    written[begins[:-1][begins[1:] > begins[:-1]] + _DAY_BYTES] = ord("T")
    return pa.Array.from_buffers(
        texts.type, len(texts), [texts.buffers()[0], ends, pa.py_buffer(written)], offset=texts.offset
    )


def _render_structs(array: pa.StructArray, column: str) -> pa.Array:
    fields = [array.type.field(i) for i in range(array.type.num_fields)]
    if not fields:
        return _keep_nulls(pa.repeat(_literal("{}"), len(array)), array)
    keys = [orjson.dumps(field.name).decode() + ":" for field in fields]
    children = [array.field(i) for i in range(len(fields))]
    return _keep_nulls(_objects(keys, children, [column] * len(fields), "}"), array)


def _render_lists(array: pa.Array, column: str) -> pa.Array:
    lengths = pc.list_value_length(array).cast(pa.int64()).fill_null(0)
    items = _render(array.flatten(), column).fill_null("null")
    current().check_time()
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), items), _literal(","))
    current().check_time()
    texts = pc.binary_join_element_wise(_literal("["), joined, _literal("]"), _literal(""))
    return _keep_nulls(texts, array)


def _encode_base64(offsets: npt.NDArray[np.int64], data: pa.Buffer) -> pa.Array:
    """Encode byte strings, short ones together: each begins at a multiple of three bytes, so no two share a group."""
    groups = np.zeros(len(offsets), np.int64)
    np.cumsum((np.diff(offsets) + 2) // 3, out=groups[1:])
    current().require(int(groups[-1]) * 4)
    text = np.empty(int(groups[-1]) * 4, np.uint8)
    source = memoryview(data)
    row = 0
    while row < len(offsets) - 1:
        current().check_time()
        end = max(row + 1, int(np.searchsorted(offsets, offsets[row] + _BASE64_BYTES, side="right")) - 1)
        begin, to = int(offsets[row]), int(groups[row]) * 4
        if end - row > 1:
            text[to : int(groups[end]) * 4] = _encode_rows(offsets[row : end + 1] - begin, source[begin : offsets[end]])
        else:
            for at in range(begin, int(offsets[end]), _BASE64_BYTES):
                current().check_time()
                part = base64.b64encode(source[at : min(at + _BASE64_BYTES, int(offsets[end]))])
                text[to : to + len(part)] = np.frombuffer(part, np.uint8)
                to += len(part)
        row = end
    return pa.Array.from_buffers(
        pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(groups * 4), pa.py_buffer(text)]
    )


def _encode_rows(offsets: npt.NDArray[np.int64], data: memoryview) -> npt.NDArray[np.uint8]:
    lengths = np.diff(offsets)
    groups = np.zeros(len(offsets), np.int64)
    np.cumsum((lengths + 2) // 3, out=groups[1:])
    padded = np.zeros(int(groups[-1]) * 3, np.uint8)
    target = np.arange(int(offsets[-1])) + np.repeat(groups[:-1] * 3 - offsets[:-1], lengths)
    padded[target] = np.frombuffer(data, np.uint8)
    text = np.frombuffer(bytearray(base64.b64encode(padded.data)), np.uint8)
    ends = groups[1:] * 4
    text[ends[lengths % 3 != 0] - 1] = ord("=")
    text[ends[lengths % 3 == 1] - 2] = ord("=")
    return text
