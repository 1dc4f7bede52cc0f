"""Reads one sheet of an Excel workbook (`.xlsx`, `.xlsm`). Needs the extra `excel`.

A cell is a number, a text, a boolean, a time or an error, and stays that: a column of two kinds is refused, unless the
options make it text. A formula counts as the value that Excel stored with it.

A few bytes of a workbook may take any amount of memory, so it is read in a process that cannot have much.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field, ValidationError

from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Size, parse_size
from dataflare.errors import ConfigError
from dataflare.pipeline.reading.common_options import BatchRows, Columns
from dataflare.pipeline.reading.confined import BrokeDown, OutOfMemory, OutOfTime, read_confined
from dataflare.pipeline.reading.file_kinds import check_kind
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.run_errors import DataError

__all__ = ["ExcelReadOptions", "read_excel"]

_BEGINS: Final = (b"PK", b"\xd0\xcf\x11\xe0")  # the second of Excel 97 to 2003, of which the reader tells
_MOST_ROWS: Final = 2**20
"""What a sheet has room for."""
_LEAST_BYTES: Final = 2**26
_LEAST_S: Final = 30
_READER: Final = "dataflare.pipeline.reading.excel_sheet:read_sheet"


def _null(value: Any) -> Any:
    # YAML reads `null` without quotes as no value.
    return "null" if value is None else value


class ExcelReadOptions(StrictModel):
    """How to read a sheet of an Excel workbook."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    sheet: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)] = Field(
        default=1, description="The sheet, by its name or its number from 1."
    )
    skip_rows: Annotated[int, Field(ge=0, le=1_048_576, description="Rows before the header to leave out.")] = 0
    header: bool = Field(default=True, description="Whether the first row with a value has the columns' names.")
    errors: Annotated[Literal["fail", "null"], BeforeValidator(_null)] = Field(
        default="fail", description="How to read a cell with an error such as #N/A."
    )
    max_expanded: Size = Field(
        default="512MiB",
        description="How large the workbook may be once it is expanded; reading it may take twice as much memory and "
        "256 MiB.",
    )


def read_excel(
    source: InputFile,
    opener: Opener,
    options: ExcelReadOptions,
    found: FileSchema | None,
    *,
    sample_only: bool = False,
) -> Iterator[Any]:
    """Read a file; see `read_csv`. Types are inferred from all rows of the sheet, which is read twice for that."""
    path = str(source.path)
    roots = _roots()
    if not source.is_regular:
        what = "a workbook is read from a regular file, not from a pipe"
        raise DataError(what, file=path, hint="write it to a file first")
    check_kind(source.path, source.file, "an Excel file", _BEGINS)
    most = parse_size(options.max_expanded)
    request = {
        **options.model_dump(mode="json"),
        "most_bytes": most,
        "least_s": _LEAST_S,
        "found": found and base64.b64encode(found.schema.serialize()).decode(),
        "sample_only": sample_only,
    }
    try:
        parts = read_confined(
            _READER,
            source.file,
            request,
            max_bytes=max(most, _LEAST_BYTES),
            max_rows=_MOST_ROWS,
            roots=roots,
            expected=found and found.schema,
        )
        own, schema = next(parts), next(parts)
        yield found or _found(own.own, schema)
        yield from parts
    except DataError as error:
        raise DataError(error.message, file=path, line=error.line, hint=error.hint) from error
    except BrokeDown as error:
        what = f"is not a workbook, or damaged: {str(error) or 'its reader broke down'}"
        raise DataError(what, file=path, hint="save it again in Excel") from error
    except (OutOfMemory, OutOfTime) as error:
        kind = "time" if isinstance(error, OutOfTime) else "memory"
        what = f"the workbook takes more {kind} to read than max_expanded = {options.max_expanded} allows"
        raise DataError(what, file=path, hint="set max_expanded to more, if you trust the file") from error


class _Found(StrictModel):
    """What the process found out about a workbook."""

    inferred: list[str]
    valued: list[str]
    notes: dict[str, str]
    rows: Annotated[int, Field(ge=0)]


def _found(own: Any, schema: pa.Schema) -> FileSchema:
    try:
        checked = _Found.model_validate(own)
    except ValidationError as error:
        raise BrokeDown("its reader found out what cannot be") from error
    columns = [
        FileColumn(
            field.name,
            field.type,
            field.name in checked.inferred,
            checked.notes.get(field.name, ""),
            field.name in checked.valued,
        )
        for field in schema
    ]
    return FileSchema(tuple(columns), checked.rows)


def _roots() -> list[str]:
    """The folders of the packages that the extra brings."""
    specs = [importlib.util.find_spec(name) for name in ("openpyxl", "et_xmlfile")]
    files = [each.origin for each in specs if each is not None and each.origin is not None]
    if len(files) < len(specs):
        hint = "pip install 'dataflare[excel]'"
        raise ConfigError("reading Excel needs the extra `excel`", where="connector", hint=hint)
    return [str(Path(file).resolve().parents[1]) for file in files]
