"""Arrow's JSON reader, guarded by `json_reader`, and stopped when a call's time is over.

It reads a text as one block: it infers types from the whole block, and counts rows within it. It cannot be interrupted.
So for a call with a deadline, a long text is read in parts of whole lines, with the same result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.json as arrow_json
from pyarrow import types

from dataflare.budgets import current
from dataflare.data.columns import empty_batch

__all__ = ["ROW_IN_MESSAGE", "as_text", "first_lines", "holds_nested_null", "infer_rows", "read_like", "read_rows"]

ROW_IN_MESSAGE: Final = re.compile(r" in row (\d+)$")
"""The end of an error message of Arrow's reader."""

_HEAD_BYTES: Final = 2**16
_PART_BYTES: Final = 2**22
_VALUE_S: Final = 1e-7
"""Lower bound in seconds of the time for one value."""
_BEHAVIOURS: Final = {"drop": "ignore", "infer": "infer", "refuse": "error"}


def read_rows(lines: bytes, schema: pa.Schema, extra: str) -> pa.RecordBatch:
    """Read one object per line.

    Args:
        lines: UTF-8; every line was checked to hold one object or nothing.
        schema: Columns of types that Arrow's reader supports.
        extra: How to treat other keys: `drop`, `infer` or `refuse`.

    Raises:
        pa.ArrowException: A value does not fit; the message ends with its row if Arrow knows it.
        OverTime: The call's time is over.
    """
    if extra == "infer" or not _is_long(lines):
        return _read(lines, schema, extra)
    return _joined([batch for batch, _ in _read_parts(lines, schema, extra)])


def infer_rows(lines: bytes) -> pa.RecordBatch | pa.Schema:
    """Read objects with types inferred from the text; texts like times stay texts if the first lines show them.

    Returns:
        The rows. Only a schema that fits them all for a long text whose parts have different types, and where Arrow's
        reader makes invalid arrays, as of the first list of a column if it begins with null.

    Raises:
        The same errors as `read_rows`.
    """
    if _is_long(lines):
        return _infer_parts(lines)
    head = first_lines(lines)
    try:
        seen = _read(head, None, "infer").schema if head else pa.schema([])
    except pa.ArrowException:
        seen = pa.schema([])
    texts = [as_text(field) for field in seen if types.is_timestamp(field.type)]
    batch = _read(lines, pa.schema(texts) if texts else None, "infer")
    if not _is_valid(batch):
        return pa.schema([as_text(field) for field in batch.schema])
    # The reader puts columns of the given schema first; restore the order of first appearance.
    later = [name for name in batch.schema.names if name not in seen.names]
    return batch.select([*seen.names, *later]) if texts else batch


def first_lines(lines: bytes) -> bytes:
    """Return the first 64 KiB of a longer text, up to the end of the line; empty if the text is not longer."""
    return lines[: lines.find(b"\n", _HEAD_BYTES) + 1]


def read_like(head: bytes, lines: bytes) -> pa.RecordBatch | None:
    """Read a text with the columns and types of its first lines, with the result of `infer_rows`.

    Returns:
        The rows; `None` if other lines have more columns or other types.

    Raises:
        OverTime: The call's time is over.
    """
    try:
        schema = pa.schema([as_text(field) for field in _read(head, None, "infer").schema])
        return None if any(holds_nested_null(field.type) for field in schema) else read_rows(lines, schema, "refuse")
    except pa.ArrowException:
        return None


def as_text(field: pa.Field) -> pa.Field:
    """Keep texts as texts: Arrow reads some as timestamps, and loses their zone."""
    return pa.field(field.name, _text_type(field.type))


def holds_nested_null(data_type: pa.DataType) -> bool:
    """Whether lists or structs have children of the null type: Arrow's reader makes invalid arrays for them."""
    children = [data_type.field(i).type for i in range(data_type.num_fields)]
    return any(types.is_null(child) or holds_nested_null(child) for child in children)


def _text_type(data_type: pa.DataType) -> pa.DataType:
    if types.is_timestamp(data_type):
        return pa.string()
    if types.is_list(data_type):
        return pa.list_(_text_type(data_type.value_type))
    if types.is_struct(data_type):
        return pa.struct([as_text(field) for field in data_type])
    return data_type


def _is_valid(batch: pa.RecordBatch) -> bool:
    try:
        batch.validate()
    except pa.ArrowInvalid:
        return False
    return True


def _is_long(lines: bytes) -> bool:
    return len(lines) > _PART_BYTES and current().deadline_s != math.inf


def _infer_parts(lines: bytes) -> pa.RecordBatch | pa.Schema:
    batches: list[pa.RecordBatch] = []
    known = pa.schema([])
    rows = 0
    for batch, part in _read_parts(lines, None, "infer"):
        found = pa.schema([as_text(field) for field in batch.schema])
        try:
            known = pa.unify_schemas([known, found], promote_options="permissive")
        except (pa.ArrowException, TypeError) as error:
            _read_part(part, known, "infer", rows)  # whose error names the row
            raise pa.ArrowInvalid(str(error)) from error
        rows += batch.num_rows
        batches.append(batch)
    alike = all(batch.schema.equals(known) and _is_valid(batch) for batch in batches)
    return _joined(batches) if alike and not any(holds_nested_null(field.type) for field in known) else known


def _read_parts(lines: bytes, schema: pa.Schema | None, extra: str) -> Iterator[tuple[pa.RecordBatch, bytes]]:
    """Read whole lines, a few MiB at a time; yield the rows of each part, and its text."""
    budget = current()
    start = rows = 0
    while start < len(lines):
        budget.check_time()
        end = lines.find(b"\n", start + _PART_BYTES) + 1 or len(lines)
        part = lines[start:end]
        start = end
        if part.isspace():
            continue
        if len(part) > 2 * _PART_BYTES:  # a long line
            budget.require_time(part.count(b",") * _VALUE_S)
        batch = _read_part(part, schema, extra, rows)
        rows += batch.num_rows
        yield batch, part


def _read_part(part: bytes, schema: pa.Schema | None, extra: str, rows: int) -> pa.RecordBatch:
    """Read a part that begins after `rows` rows; errors count rows from the beginning of the text."""
    try:
        return _read(part, schema, extra)
    except pa.ArrowException as error:
        message = str(error)
        if match := ROW_IN_MESSAGE.search(message):
            message = f"{message[: match.start()]} in row {rows + int(match.group(1))}"
        raise pa.ArrowInvalid(message) from error


def _read(lines: bytes, schema: pa.Schema | None, extra: str) -> pa.RecordBatch:
    if not _begins_with_object(lines):
        raise pa.ArrowInvalid("not a JSON object")
    table = arrow_json.read_json(
        pa.BufferReader(lines),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else _BEHAVIOURS[extra]
        ),
    )
    if table.num_columns == 0:
        return empty_batch(table.num_rows)
    return table.combine_chunks().to_batches()[0]


def _begins_with_object(lines: bytes) -> bool:
    """Whether Arrow can read a text: it takes `null` for a row, and ends the process on an object after it."""
    return lines.startswith(b"{") or lines.lstrip().startswith(b"{")


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if batches[0].num_columns == 0:
        return empty_batch(sum(batch.num_rows for batch in batches))
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
