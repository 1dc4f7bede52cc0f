"""What readers share whose files carry a schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.run_errors import DataError

__all__ = ["check_same"]


def check_same(path: Path, schema: pa.Schema, found: FileSchema | None) -> None:
    """Make sure that a file has the schema of the first file of its node.

    Raises:
        DataError: It has other columns, or columns of other types; names the first one.
    """
    if found is None or schema.equals(found.schema):
        return
    expected = {field.name: _told(field) for field in found.schema}
    actual = {field.name: _told(field) for field in schema}
    for name in [*expected, *actual]:
        if expected.get(name) != actual.get(name):
            here, first = (fields.get(name, "not there") for fields in (actual, expected))
            what = f"column {name!r} is {here}, and {first} in the first file"
            break
    else:
        what = f"its columns are {', '.join(actual)}, and {', '.join(expected)} in the first file"
    raise DataError(what, file=str(path), hint="files of one node need the same columns, in the same order")


def _told(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"
