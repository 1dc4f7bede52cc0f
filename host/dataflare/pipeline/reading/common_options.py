"""Options that the readers of several formats have."""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.data.zones import arrow_has_zone
from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Size
from dataflare.pipeline.reading.compression import Compression
from dataflare.pipeline.reading.text import check_encoding

__all__ = ["BatchOptions", "BatchRows", "Columns", "CompressionName", "EncodingName", "Mark", "OptionalMark", "Sample"]

_MARK = r"give one ASCII character that is not a line end; a tab is \t"


def _check_type(name: str) -> str:
    try:
        found = parse_type(name)
    except SchemaError as error:
        hint = error.hint or "Arrow's notation, such as int64, double, string, date32[day], timestamp[us, tz=UTC]"
        raise PydanticCustomError("arrow_type", "{why}", {"why": error.message, "hint": hint}) from error
    if unknown := [zone for zone in _zones(found) if not arrow_has_zone(zone)]:
        hint = "a name of the IANA database, such as UTC or Europe/Berlin, or an offset such as +02:00"
        why = f"there is no time zone {unknown[0]!r}"
        raise PydanticCustomError("time_zone", "{why}", {"why": why, "hint": hint})
    return name


def _zones(data_type: pa.DataType) -> list[str]:
    """The time zones within a type."""
    if pa.types.is_timestamp(data_type):
        return [data_type.tz] if data_type.tz else []
    return [zone for place in range(data_type.num_fields) for zone in _zones(data_type.field(place).type)]


def _check_mark(text: str) -> str:
    if text == r"\t":  # as it comes from single quotes, and from a shell
        return "\t"
    if text in ("\r", "\n") or not text.isascii() or len(text) > 1:
        raise PydanticCustomError("mark", "{why}", {"why": _MARK})
    return text


def _check_there(text: str) -> str:
    if not text:
        raise PydanticCustomError("mark", "{why}", {"why": _MARK})
    return text


def _check_encoding(name: str) -> str:
    try:
        return check_encoding(name)
    except ValueError as error:
        context = {"why": str(error), "hint": "such as utf-8, latin-1, windows-1252, utf-16"}
        raise PydanticCustomError("encoding", "{why}", context) from error


BatchRows = Annotated[int, Field(ge=1, le=1_048_576, description="Rows in a batch, at most.")]
Columns = Annotated[
    dict[str, Annotated[str, AfterValidator(_check_type)]],
    Field(description="Arrow types of columns by name; the others' are inferred (`dataflare schema FILE` shows them)."),
]
OptionalMark = Annotated[str, Field(json_schema_extra={"maxLength": 2}), AfterValidator(_check_mark)]
Mark = Annotated[OptionalMark, AfterValidator(_check_there)]
CompressionName = Annotated[
    Compression, Field(description="How the file is compressed; `auto` looks at its first bytes.")
]
EncodingName = Annotated[
    str, AfterValidator(_check_encoding), Field(description="How the text is encoded; a byte order mark is skipped.")
]
Sample = Annotated[
    Size | Literal["all"],
    Field(
        description="How much of the file the types are inferred from; `all` reads it twice. A later value that does "
        "not fit is an error."
    ),
]


class BatchOptions(StrictModel):
    """How to read a file that carries its types."""

    batch_rows: BatchRows = 65_536
