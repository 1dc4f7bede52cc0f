"""Reads JSON Lines part by part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.shapes import DataFailure
from dataflare.pipeline.failures import DataError

__all__ = ["read_json_lines"]

_PART_BYTES = 4 * 2**20
_MAX_LINE_BYTES = 64 * 2**20
_LINE_IN_MESSAGE = re.compile(r"^(?:[a-z-]+: )?line (\d+): ")


def read_json_lines(path: Path, columns: dict[str, pa.DataType]) -> Iterator[Any]:
    """Read a file: yields its schema, then batches.

    Args:
        path: The file.
        columns: Types of columns; the others' are those of the first part, and no further column may come after it.

    Raises:
        DataError: It is no JSON Lines, or later lines do not fit the first ones; names the line.
        OSError: It cannot be read.
    """
    schema: pa.Schema | None = None
    for first_line, part in _parts(path):
        found = _decode(path, first_line, part, None)
        if schema is None:
            schema = _with_types(found.schema, columns)
            yield schema
        if found.schema.equals(schema):
            yield found
            continue
        batch = _decode(path, first_line, part, schema)
        # What the options give a type, the reader takes by that type and nothing more.
        _check_complete(path, first_line, part, pa.schema([f for f in found.schema if f.name not in columns]), schema)
        yield batch
    if schema is None:
        yield pa.schema(list(columns.items()))


def _parts(path: Path) -> Iterator[tuple[int, bytes]]:
    """Cut a file into parts of whole lines, each with the number of its first line."""
    line = 1
    with path.open("rb") as file:
        rest = b""
        while data := file.read(_PART_BYTES):
            rest += data
            end = rest.rfind(b"\n") + 1
            if end:
                yield line, rest[:end]
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
            elif len(rest) > _MAX_LINE_BYTES:
                raise DataError(f"is longer than {_MAX_LINE_BYTES} bytes", file=str(path), line=line)
        if rest:
            yield line, rest


def _with_types(found: pa.Schema, columns: dict[str, pa.DataType]) -> pa.Schema:
    fields = [pa.field(field.name, columns.get(field.name, field.type)) for field in found]
    return pa.schema(fields + [pa.field(name, kind) for name, kind in columns.items() if name not in found.names])


def _decode(path: Path, first_line: int, part: bytes, schema: pa.Schema | None) -> pa.RecordBatch:
    try:
        part.decode()
    except UnicodeDecodeError as error:
        line = first_line + part.count(b"\n", 0, error.start)
        raise DataError("is not UTF-8", file=str(path), line=line) from error
    try:
        return decode_json_lines(part, schema, MAX_BATCH_BYTES)
    except DataFailure as error:
        message, line = error.message.removeprefix("malformed: "), 0
        if match := _LINE_IN_MESSAGE.match(message):
            line = first_line + int(match.group(1)) - 1
            message = message[match.end() :]
        raise DataError(message, file=str(path), line=line) from error


def _check_complete(path: Path, first_line: int, part: bytes, found: pa.Schema, schema: pa.Schema) -> None:
    """Refuse to drop what only comes up later: columns, and parts of columns that are records."""
    if not (late := _late(found, schema)):
        return
    line = first_line
    for number, text in enumerate(part.split(b"\n")):
        if text.strip() and late[0] in _late(decode_json_lines(text + b"\n", None, MAX_BATCH_BYTES).schema, schema):
            line = first_line + number
            break
    raise DataError(
        f"{late[0]!r} comes up here first, after the columns were found out",
        file=str(path),
        line=line,
        hint=f"give its type in `options`: columns: {{{late[0].partition('.')[0]}: ...}}",
    )


def _late(found: Any, known: Any, prefix: str = "") -> list[str]:
    """The names in a schema, or in the struct types within it, that another one does not have; dotted."""
    names = {field.name: field for field in known}
    late: list[str] = []
    for field in found:
        if field.name not in names:
            late.append(prefix + field.name)
            continue
        one, other = _item(field.type), _item(names[field.name].type)
        if pa.types.is_struct(one) and pa.types.is_struct(other):
            late += _late(one, other, f"{prefix}{field.name}.")
    return late


def _item(data_type: pa.DataType) -> pa.DataType:
    """What lists of lists are of in the end."""
    while pa.types.is_list(data_type):
        data_type = data_type.value_type
    return data_type
