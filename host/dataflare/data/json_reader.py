"""JSON Lines to batches: Arrow's own reader, guarded, reads the types that JSON has; others are converted afterwards.

Arrow's reader ignores line ends (it accepts one object over several lines, or several on one line), and overflows the
stack on deep nesting. Both are checked first, over the whole text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.casts import convert
from dataflare.data.columns import empty_batch, entries_of_map, no_rows
from dataflare.data.decimal_texts import check_decimals
from dataflare.data.distinct import dictionary_of
from dataflare.data.guard.arrays import admit
from dataflare.data.guard.batches import admit_batch
from dataflare.data.guard.costs import holds, row_bytes
from dataflare.data.guard.types import MAX_DEPTH
from dataflare.data.guard.vetted import remember
from dataflare.data.json_blocks import (
    ROW_IN_MESSAGE,
    as_text,
    first_lines,
    holds_nested_null,
    infer_rows,
    read_like,
    read_rows,
)
from dataflare.data.json_floats import other_word, without_quotes
from dataflare.data.json_keys import check_keys
from dataflare.data.json_numbers import with_exact_numbers
from dataflare.data.shapes import malformed, too_large, wrong_type
from dataflare.data.views import text_values

__all__ = ["decode_json_lines"]

_MAX_TEXT_BYTES = 2**31 - 2
_BYTES_AT_ONCE = 2**17  # of text that is scanned at a time: intermediate results stay in the cache
_NO_OBJECT = re.compile(rb"^[ \t\r\v\f]*[^ \t\r\v\f\n{]", re.MULTILINE)
_NULL_AFTER = re.compile(rb"\}[ \t\r\v\f]*null\b")
_FIRST_DAY = "1970-01-01T"
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/=]*")


def decode_json_lines(
    lines: bytes,
    schema: pa.Schema | None,
    max_bytes: int,
    *,
    extra: Literal["drop", "infer", "refuse"] = "drop",
    exact: bool = True,
) -> pa.RecordBatch:
    """Read one JSON object per line; skip blank lines.

    Args:
        lines: UTF-8.
        schema: The columns, in the forms that `encode_json_lines` writes; a key that a line does not have is null.
            `None` infers it from all lines; texts stay texts.
        max_bytes: Limit in bytes of the text and of the batch.
        extra: How to treat keys that are not in the schema: `drop` (default), `infer` or `refuse`. `infer` adds columns
            for keys of the rows, and drops those within a column of the schema.
        exact: Whether types that are inferred keep all numbers, as decimals where doubles would round. Without it, the
            caller looks after them.

    Raises:
        DataFailure: `malformed`, with the line number; `too-large`; `wrong-type` for a type of the schema that has no
            JSON form.
    """
    if len(lines) > min(max_bytes, _MAX_TEXT_BYTES):
        raise too_large(f"{len(lines)} bytes of JSON are more than max_batch_bytes = {max_bytes}")
    if schema is None and exact:
        batch = decode_json_lines(lines, None, max_bytes, exact=False)
        inferred = batch.schema
        schema = with_exact_numbers(lines, inferred)
        return batch if schema is inferred else decode_json_lines(lines, schema, max_bytes)
    starts = _object_lines(lines)
    if word := other_word(lines):
        raise malformed(f"line {word[0]}: {word[1]} is not a number in JSON")
    if schema is None and (found := _read_like_first_lines(lines, len(starts), max_bytes)) is not None:
        return found
    wire = None if schema is None else pa.schema([pa.field(f.name, _wire_type(f.type, f.name)) for f in schema])
    _check_width(lines, schema, len(starts), max_bytes, infers=schema is None or extra == "infer")
    if len(starts) == 0:
        return empty_batch(0) if schema is None else no_rows(schema)
    if schema is not None:
        lines = without_quotes(lines, schema)
    try:
        batch = read_rows(lines, wire, extra) if wire is not None else infer_rows(lines)
    except pa.ArrowException as error:
        raise _located(error, lines, wire, starts, extra) from error
    if isinstance(batch, pa.Schema):
        return decode_json_lines(lines, batch, max_bytes)
    if batch.num_rows != len(starts):  # Arrow reads `null` as a row of nulls
        if other := _other_line(lines):
            raise malformed(f"line {other}: not a JSON object")
        raise malformed(f"line {_line_of(_NULL_AFTER.search(lines), lines)}: more than one value")
    if wire is not None:
        check_decimals(lines, wire, batch, starts)
    if extra == "infer" and schema is not None:
        known = set(schema.names)
        more = [as_text(field) for field in batch.schema if field.name not in known]
        if more or not batch.schema.equals(wire):
            return decode_json_lines(lines, pa.schema([*schema, *more]), max_bytes)
    if schema is None:
        plain = pa.schema([as_text(field) for field in batch.schema])
        if plain.equals(batch.schema) and not any(holds_nested_null(field.type) for field in plain):
            return admit_batch(batch)
        # Arrow's reader makes invalid arrays for nulls within lists; `_wire_type` avoids that.
        return decode_json_lines(lines, plain, max_bytes)
    if not schema:
        return empty_batch(batch.num_rows).replace_schema_metadata(schema.metadata)
    columns = []
    for field in schema:
        try:
            column = admit(_restore(batch.column(field.name), field.type), field.name)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise malformed(_name_line(error, batch, field, starts)) from error
        if column.null_count and not field.nullable:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise malformed(f"line {starts[row]}: {field.name!r} is null or absent, and must not be")
        columns.append(column)
    _check_ranges(lines, schema, columns, starts)
    batch = remember(pa.RecordBatch.from_arrays(columns, schema=schema), frozenset(schema.names))
    if batch.nbytes > max_bytes:
        raise too_large(f"the batch is larger than max_batch_bytes = {max_bytes}")
    return batch


def _read_like_first_lines(lines: bytes, rows: int, max_bytes: int) -> pa.RecordBatch | None:
    """Read a long text with the columns of its first lines: the keys of other lines need not be counted then.

    Returns:
        The batch; `None` if the text is short, or if other lines have more columns or other types.
    """
    if not (head := first_lines(lines)):
        return None
    check_keys(head, rows, max_bytes)
    batch = read_like(head, lines)
    return None if batch is None or batch.num_rows != rows else admit_batch(batch)


def _check_width(lines: bytes, schema: pa.Schema | None, rows: int, max_bytes: int, *, infers: bool) -> None:
    """Refuse columns of fixed width whose nulls would fill the memory: `null` is only a few bytes of text."""
    if infers:
        check_keys(lines, rows, max_bytes)
    if schema is None:
        return
    # A column that a line does not have gets a null in its row.
    least = sum(_null_bytes(field.type) for field in schema)
    if rows * least > max_bytes:
        raise too_large(f"{rows} rows of {len(schema)} columns are larger than max_batch_bytes = {max_bytes}")
    for field in schema:
        fixed = holds(field.type, lambda kind: types.is_fixed_size_list(kind) or types.is_fixed_size_binary(kind))
        if fixed and (rows + lines.count(b",")) * row_bytes(field.type) > max_bytes:
            raise too_large(f"column {field.name!r} of {field.type} could be larger than max_batch_bytes = {max_bytes}")


def _null_bytes(data_type: pa.DataType) -> float:
    """Return the minimum bytes of a null."""
    if data_type.num_fields and not (types.is_list(data_type) or types.is_large_list(data_type)):
        return sum(_null_bytes(data_type.field(i).type) for i in range(data_type.num_fields))
    try:
        return min(float(data_type.bit_width), 64.0) / 8
    except ValueError:
        return 4.0


def _object_lines(lines: bytes) -> npt.NDArray[np.int64]:
    """Check that every line holds one object, not nested too deeply; return each object's line, counted from 1."""
    flat = _flat_lines(lines)
    if flat is not None:
        return np.arange(1, flat + 1)
    # Escaped quotes are replaced, so that every remaining quote begins or ends a string.
    text = lines if b"\\" not in lines else lines.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    found = [np.zeros(0, np.int64)]
    before = _Place()
    for part, brackets, ends in _brackets_and_ends(np.frombuffer(text, np.uint8)):
        objects, before = _objects_of_part(part, brackets, ends, before)
        found.append(objects)
    if before.object_line == 0 and lines.strip():
        raise malformed("line 1: not a JSON object")
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class _Place:
    """The state at the end of a part: open brackets, line feeds so far, the line of the last object (or 0)."""

    depth: int = 0
    ends: int = 0
    object_line: int = 0


def _objects_of_part(
    part: npt.NDArray[np.uint8], brackets: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], before: _Place
) -> tuple[npt.NDArray[np.int64], _Place]:
    """Check a part of a text, given the positions of its brackets and line feeds; return the lines of its objects."""
    steps = np.where(part[brackets] & 2 != 0, np.int32(1), np.int32(-1))  # of [{ and ]}, the former have this bit
    depths = np.concatenate([[before.depth], before.depth + np.cumsum(steps)])
    if int(depths.max()) > MAX_DEPTH:
        line = before.ends + int(np.searchsorted(ends, brackets[int((depths[1:] > MAX_DEPTH).argmax())])) + 1
        raise malformed(f"line {line}: nested deeper than {MAX_DEPTH} levels")
    open_at_end = depths[np.searchsorted(brackets, ends)] != 0
    if open_at_end.any():
        raise malformed(f"line {before.ends + int(open_at_end.argmax()) + 1}: an object does not end on its line")
    opening = brackets[(steps == 1) & (depths[1:] == 1)]
    objects = (np.searchsorted(ends, opening) + (before.ends + 1)).astype(np.int64)
    twice = np.flatnonzero(np.diff(objects, prepend=before.object_line) == 0)
    if len(twice):
        alone = (part[:-1] == ord("\r")) & (part[1:] != ord("\n"))
        why = "; lines end with a line feed, and here a carriage return stands alone" if alone.any() else ""
        raise malformed(f"line {int(objects[twice[0]])}: more than one value{why}")
    last = int(objects[-1]) if len(objects) else before.object_line
    return objects, _Place(int(depths[-1]), before.ends + len(ends), last)


def _brackets_and_ends(
    data: npt.NDArray[np.uint8],
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the parts of a text, each with the positions of brackets and braces outside strings, and of line feeds."""
    in_string = np.uint8(0)
    for start in range(0, len(data), _BYTES_AT_ONCE):
        current().check_time()
        part = data[start : start + _BYTES_AT_ONCE]
        quotes = np.cumsum(part == ord('"'), dtype=np.uint8)  # counts modulo 256; only the lowest bit matters
        quotes += in_string
        folded = part | 0x20  # maps brackets to braces
        found = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
        yield part, found[quotes[found] & 1 == 0], np.flatnonzero(part == ord("\n"))
        in_string = quotes[-1]


def _flat_lines(lines: bytes) -> int | None:
    """Count the lines if each is one flat object, which needs no further check; otherwise return `None`."""
    if not (lines.startswith(b"{") and lines.endswith(b"}\n")) or b"[" in lines:
        return None
    data = np.frombuffer(lines, np.uint8)
    count = opened = 0
    for start in range(0, len(data), _BYTES_AT_ONCE):
        current().check_time()
        part = data[start : start + _BYTES_AT_ONCE]
        ends = np.flatnonzero(part == ord("\n")) + start
        opened += int(np.count_nonzero(part == ord("{")))
        count += len(ends)
        last = len(ends) > 0 and ends[-1] == len(data) - 1
        after = ends[:-1] if last else ends
        if (data[ends - 1] != ord("}")).any() or (data[after + 1] != ord("{")).any() or opened > count + 1:
            return None
    return count if opened == count else None


def _located(
    error: Exception, lines: bytes, schema: pa.Schema | None, starts: npt.NDArray[np.int64], extra: str
) -> Exception:
    """Return the error with the line in which the reader failed."""
    if other := _other_line(lines):
        return malformed(f"line {other}: not a JSON object")
    message = str(error).removeprefix("JSON parse error: ")
    if match := ROW_IN_MESSAGE.search(message):
        row = min(int(match.group(1)), len(starts) - 1)
        return malformed(f"line {starts[row]}: {message[: match.start()]}")
    # A value that cannot be converted: the message has the value but no row. Halve the text until one line is left.
    begins = np.concatenate([[0], np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1, [len(lines)]])
    low, high = 0, len(begins) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if _fails(lines[int(begins[low]) : int(begins[middle])], schema, extra):
            high = middle
        else:
            low = middle
    return malformed(f"line {low + 1}: {message}")


def _other_line(lines: bytes) -> int:
    """Find the first line that is neither blank nor an object; 0 if there is none."""
    return _line_of(_NO_OBJECT.search(lines), lines)


def _line_of(found: re.Match[bytes] | None, lines: bytes) -> int:
    return 0 if found is None else lines.count(b"\n", 0, found.end()) + 1


def _fails(lines: bytes, schema: pa.Schema | None, extra: str) -> bool:
    try:
        if lines.strip():
            infer_rows(lines) if schema is None else read_rows(lines, schema, extra)
    except pa.ArrowException:
        return True
    return False


def _name_line(error: Exception, batch: pa.RecordBatch, field: pa.Field, starts: Any) -> str:
    """Return the line in which a value could not be converted, by halving the column until one row is left."""
    column = batch.column(field.name)
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _restore(column.slice(low, middle - low), field.type).validate(full=True)
            low = middle
        except (pa.ArrowException, ValueError, OverflowError):
            high = middle
    return f"line {starts[low]}: {field.name!r}: {error}"


def _check_ranges(lines: bytes, schema: pa.Schema, columns: list[pa.Array], starts: Any) -> None:
    """Refuse numbers beyond the range of a float of less than 64 bits: Arrow would make them infinite."""
    for field, column in zip(schema, columns, strict=True):
        if not holds(field.type, _is_narrow) or not _infinities(column):
            continue
        wide = read_rows(lines, pa.schema([pa.field(field.name, _widened(_wire_type(field.type, field.name)))]), "drop")
        original = wide.column(field.name)
        low, high = 0, len(column)
        if _infinities(original) == _infinities(column):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            same = _infinities(original.slice(low, middle - low)) == _infinities(column.slice(low, middle - low))
            low, high = (middle, high) if same else (low, middle)
        raise malformed(f"line {starts[low]}: {field.name!r}: a number is beyond the range of {field.type}")


def _is_narrow(data_type: pa.DataType) -> bool:
    if types.is_dictionary(data_type):
        return _is_narrow(data_type.value_type)
    return bool(types.is_float32(data_type) or types.is_float16(data_type))


def _widened(data_type: pa.DataType) -> pa.DataType:
    """Return a type that Arrow's reader supports, with doubles instead of floats."""
    if types.is_float32(data_type):
        return pa.float64()
    if types.is_list(data_type):
        return pa.list_(_widened(data_type.value_type))
    if types.is_struct(data_type):
        return pa.struct([(field.name, _widened(field.type)) for field in data_type])
    return data_type


def _infinities(array: pa.Array) -> int:
    """Count the infinities in a column, nested values included."""
    if types.is_floating(array.type):
        values = array.cast(pa.float32()) if types.is_float16(array.type) else array
        return int(pc.sum(pc.is_inf(values)).as_py() or 0)
    if types.is_dictionary(array.type):
        return _infinities(array.dictionary_decode())
    if types.is_struct(array.type):
        return sum(map(_infinities, array.flatten()))
    if types.is_map(array.type):
        return _infinities(entries_of_map(array))
    if array.type.num_fields:
        return _infinities(array.flatten())
    return 0


def _wire_type(data_type: pa.DataType, column: str) -> pa.DataType:
    """Return the type with which Arrow's reader reads a column that will be converted to `data_type`."""
    if types.is_null(data_type):
        return pa.string()
    if types.is_float16(data_type):
        return pa.float32()
    if types.is_duration(data_type):
        return pa.int64()
    # Arrow's reader treats a timestamp of any zone as one of the column's zone; the cast from text does not.
    if types.is_temporal(data_type) or _is_binary(data_type):
        return pa.string()
    if types.is_decimal(data_type):
        return data_type if data_type.bit_width >= 128 else pa.decimal128(data_type.precision, data_type.scale)
    if types.is_dictionary(data_type):
        return _wire_type(data_type.value_type, column)
    if types.is_map(data_type):
        key, item = _wire_type(data_type.key_type, column), _wire_type(data_type.item_type, column)
        return pa.list_(pa.struct([("key", key), ("value", item)]))
    if types.is_list(data_type) or types.is_large_list(data_type) or types.is_fixed_size_list(data_type):
        return pa.list_(_wire_type(data_type.value_type, column))
    if types.is_struct(data_type):
        return pa.struct([(field.name, _wire_type(field.type, column)) for field in data_type])
    if types.is_interval(data_type) or types.is_union(data_type) or types.is_run_end_encoded(data_type):
        raise wrong_type(column, "a type that JSON has a form for", data_type)
    return data_type


def _is_binary(data_type: pa.DataType) -> bool:
    return bool(
        types.is_binary(data_type)
        or types.is_large_binary(data_type)
        or types.is_fixed_size_binary(data_type)
        or types.is_binary_view(data_type)
    )


def _restore(array: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Convert a column that was read as `_wire_type(data_type)` to `data_type`."""
    if array.type.equals(data_type):
        return array
    if types.is_null(data_type):
        if array.null_count < len(array):
            raise ValueError("not null, as all values must be")
        return pa.nulls(len(array))
    if _is_binary(data_type):
        return _decode_base64(array).cast(data_type)
    if types.is_time(data_type):
        # Arrow cannot cast text to a time, but can cast it to a timestamp of the first day.
        moments = pc.binary_join_element_wise(pa.scalar(_FIRST_DAY), array, pa.scalar(""))
        moment = pa.timestamp(data_type.unit)
        try:
            return moments.cast(moment).cast(data_type)
        except pa.ArrowInvalid as error:
            message = str(error).replace(_FIRST_DAY, "", 1).replace(str(moment), str(data_type), 1)
            raise ValueError(message) from error
    if types.is_dictionary(data_type):
        return dictionary_of(_restore(array, data_type.value_type)).cast(data_type)
    if types.is_struct(data_type):
        children = [_restore(array.field(i), data_type.field(i).type) for i in range(data_type.num_fields)]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(data_type), mask=mask)
    if types.is_map(data_type):
        entries = array.flatten()
        keys, items = _restore(entries.field(0), data_type.key_type), _restore(entries.field(1), data_type.item_type)
        return pa.MapArray.from_arrays(_list_offsets(array), keys, items, data_type)
    if types.is_list(data_type) or types.is_large_list(data_type) or types.is_fixed_size_list(data_type):
        items = _restore(array.flatten(), data_type.value_type)
        # Avoid a cast where possible: Arrow's cast breaks lists of nulls.
        if types.is_list(data_type):
            return pa.ListArray.from_arrays(_list_offsets(array), items, type=data_type)
        if types.is_large_list(data_type):
            return pa.LargeListArray.from_arrays(_list_offsets(array).cast(pa.int64()), items, type=data_type)
        return _fixed_size_lists(array, items, data_type)
    return convert(array, data_type)


def _fixed_size_lists(array: pa.ListArray, items: pa.Array, data_type: pa.FixedSizeListType) -> pa.Array:
    """Build the lists from their items; items of a null list are null (a cast would leave them uninitialised)."""
    size = data_type.list_size
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if (array.value_lengths().drop_null().to_numpy(zero_copy_only=False) != size).any():
        raise ValueError(f"not a list of {size} items")
    rows = np.cumsum(valid) - 1
    places = (rows[:, None] * size + np.arange(size)).ravel()
    filled = items.take(pa.array(places, mask=np.repeat(~valid, size)))
    return pa.FixedSizeListArray.from_arrays(filled, type=data_type, mask=pa.array(~valid))


def _list_offsets(array: pa.ListArray) -> pa.Array:
    """Return offsets into `array.flatten()`; null for a null list, as Arrow's list constructors expect."""
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    nulls = np.zeros(len(array) + 1, np.bool_)
    if array.null_count:
        nulls[:-1] = array.is_null().to_numpy(zero_copy_only=False)
    return pa.array(offsets, mask=nulls)


def _decode_base64(texts: pa.Array) -> pa.Array:
    """Decode all texts in one call: each is a whole number of groups of four, which are independent."""
    values = text_values(texts, "", 2**31 - 1)
    ends = values.offsets.astype(np.int64)
    data = np.frombuffer(values.text, np.uint8)
    text = bytes(values.text)
    lengths = np.diff(ends)
    if (lengths % 4).any() or _BASE64_TEXT.fullmatch(text) is None:
        raise ValueError("not in Base64")
    padding = data == ord("=")
    filled = lengths > 0
    last = ends[1:][filled] - 1
    pads = np.zeros(len(lengths), np.int64)
    pads[filled] = padding[last].astype(np.int64) + (padding[last] & padding[last - 1])
    if int(padding.sum()) != int(pads.sum()):
        raise ValueError("not in Base64: padding within the text")
    try:
        # With padding replaced by zeros, all texts can be decoded together; the zeros are removed afterwards.
        decoded = np.frombuffer(base64.b64decode(text.replace(b"=", b"A"), validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(f"not in Base64: {error}") from error
    keep = np.ones(len(decoded), np.bool_)
    decoded_ends = ends[1:] // 4 * 3
    keep[decoded_ends[pads >= 1] - 1] = False
    keep[decoded_ends[pads == 2] - 2] = False
    if decoded[~keep].any():
        raise ValueError("not in Base64: the last character has bits that no byte takes")
    offsets = np.zeros(len(ends), np.int64)
    np.cumsum(lengths // 4 * 3 - pads, out=offsets[1:])
    bitmap = pa.array(texts.is_valid()).buffers()[1] if texts.null_count else None
    return pa.Array.from_buffers(
        pa.large_binary(), len(texts), [bitmap, pa.py_buffer(offsets), pa.py_buffer(decoded[keep])]
    )
