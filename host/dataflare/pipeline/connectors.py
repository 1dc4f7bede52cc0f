"""The nodes that read and write files, and their options."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.documents.models import FilePath, Name, StrictModel, shorten
from dataflare.documents.quantities import Size, parse_size
from dataflare.pipeline.reading.compression import Compression
from dataflare.pipeline.reading.text import check_encoding

__all__ = [
    "CONNECTORS",
    "ArrowRead",
    "ArrowWrite",
    "ConnectorNode",
    "CsvRead",
    "CsvWrite",
    "ExcelRead",
    "ExcelReadOptions",
    "Input",
    "JsonlRead",
    "JsonlWrite",
    "ParquetRead",
    "ParquetWrite",
    "ReadNode",
    "WriteNode",
]

CONNECTORS = ("arrow", "csv", "excel", "jsonl", "parquet")


_OTHER_NAMES = {
    **dict.fromkeys(("int", "integer", "bigint", "long"), "int64"),
    **dict.fromkeys(("float64", "real", "number", "double precision"), "double"),
    **dict.fromkeys(("float32",), "float"),
    **dict.fromkeys(("str", "text", "varchar", "utf8", "object"), "string"),
    **dict.fromkeys(("boolean",), "bool"),
    **dict.fromkeys(("date", "date32"), "date32[day]"),
    **dict.fromkeys(("datetime", "timestamp"), "timestamp[us]"),
    **dict.fromkeys(("timestamptz",), "timestamp[us, tz=UTC]"),
    **dict.fromkeys(("time",), "time32[s]"),
    **dict.fromkeys(("decimal", "numeric"), "decimal128(38, 2)"),
    **dict.fromkeys(("bytes", "blob"), "binary"),
}
"""What other systems call types, and what they are here."""


def _one_input(value: Any) -> Any:
    if isinstance(value, list):
        context = {"value": shorten(value), "hint": "a node has one input"}
        raise PydanticCustomError("input", "give a text, not {value}", context)
    return value


Input = Annotated[Name, BeforeValidator(_one_input), Field(description="The node whose rows this one takes.")]


def _check_type(name: str) -> str:
    try:
        found = parse_type(name)
    except SchemaError as error:
        hint = "Arrow's notation, such as int64, double, string, date32[day], timestamp[us, tz=UTC]"
        if name.lower() in _OTHER_NAMES:
            hint = f"did you mean {_OTHER_NAMES[name.lower()]!r}?"
        raise PydanticCustomError("arrow_type", "{why}", {"why": error.message, "hint": hint}) from error
    if unknown := [zone for zone in _zones(found) if not _is_zone(zone)]:
        hint = "a name of the IANA database, such as UTC or Europe/Berlin, or an offset such as +02:00"
        why = f"there is no time zone {unknown[0]!r}"
        raise PydanticCustomError("time_zone", "{why}", {"why": why, "hint": hint})
    return name


def _zones(data_type: pa.DataType) -> list[str]:
    """The time zones within a type."""
    if pa.types.is_timestamp(data_type):
        return [data_type.tz] if data_type.tz else []
    return [zone for place in range(data_type.num_fields) for zone in _zones(data_type.field(place).type)]


def _is_zone(name: str) -> bool:
    try:
        pc.local_timestamp(pa.scalar(0, pa.timestamp("s", name)))
    except pa.ArrowException:
        return False
    return True


def _check_mark(text: str) -> str:
    if text in ("\r", "\n") or not text.isascii():
        raise PydanticCustomError("mark", "give one ASCII character that is not a line end")
    return text


def _check_delimiter(text: str) -> str:
    if text == '"':
        raise PydanticCustomError("delimiter", "give one ASCII character, no quote and no line end")
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
Mark = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_check_mark)]
OptionalMark = Annotated[str, Field(max_length=1), AfterValidator(_check_mark)]
CompressionName = Annotated[
    Compression, Field(description="How the file is compressed; `auto` looks at its first bytes.")
]
EncodingName = Annotated[
    str, AfterValidator(_check_encoding), Field(description="How the text is encoded; a byte order mark is left out.")
]
Sample = Annotated[
    Size | Literal["all"],
    Field(
        description="How much of the file types are inferred from; `all` reads it twice. A later misfit is an error."
    ),
]


class CsvReadOptions(StrictModel):
    """How to read CSV."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    compression: CompressionName = "auto"
    encoding: EncodingName = "utf-8"
    delimiter: Mark = Field(default=",", description="What stands between fields.")
    quote: OptionalMark = Field(
        default='"', description="What stands around a field, and is doubled within one; empty: fields have no quotes."
    )
    escape: OptionalMark = Field(
        default="", description="What stands before a character that is taken as it is; empty: nothing does."
    )
    comment: OptionalMark = Field(default="", description="What a line begins with that is left out.")
    skip_lines: Annotated[int, Field(ge=0, le=1_000_000, description="Lines before the header to leave out.")] = 0
    header: bool = Field(default=True, description="Whether the first record has the columns' names.")
    names: list[str] = Field(
        default=[], description="The columns' names where there is no header; else `column_1` and so on."
    )
    nulls: list[str] = Field(
        default=[""], description="All texts that mean null, where they are not in quotes: name the empty one too."
    )
    quoted_nulls: bool = Field(default=False, description="Whether they mean null in quotes too.")
    sample: Sample = "16MiB"
    max_record: Size = Field(default="8MiB", description="The longest record, 2 GiB at most.")

    @model_validator(mode="after")
    def _check(self) -> CsvReadOptions:
        if self.names and self.header:
            hint = "add `header: false`, and where a header is to be left out, `skip_lines: 1`"
            raise PydanticCustomError("names", "`names` is for files without a header", {"key": "names", "hint": hint})
        if twice := [name for place, name in enumerate(self.names) if name in self.names[:place]]:
            why = f"two columns are named {twice[0]!r}"
            raise PydanticCustomError("names", "{why}", {"why": why, "key": "names", "hint": "give each its own name"})
        if not 1 <= parse_size(self.max_record) < 2**31:
            raise PydanticCustomError("size", "give 1B to 2GiB", {"key": "max_record"})
        marks = [mark for mark in (self.delimiter, self.quote, self.escape, self.comment) if mark]
        if len(set(marks)) < len(marks):
            raise PydanticCustomError("marks", "delimiter, quote, escape and comment need to be different characters")
        return self


class JsonlReadOptions(StrictModel):
    """How to read JSON Lines, or one JSON array of objects."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    compression: CompressionName = "auto"
    encoding: EncodingName = "utf-8"
    sample: Sample = "16MiB"
    max_line: Size = Field(default="64MiB", description="The longest line, or object of an array; 1 GiB at most.")

    @model_validator(mode="after")
    def _check(self) -> JsonlReadOptions:
        if not 1 <= parse_size(self.max_line) <= 2**30:
            raise PydanticCustomError("size", "give 1B to 1GiB", {"key": "max_line"})
        return self


class BatchOptions(StrictModel):
    """How to read a file that carries its types."""

    batch_rows: BatchRows = 65_536


class ExcelReadOptions(StrictModel):
    """How to read a sheet of an Excel workbook."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    sheet: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)] = Field(
        default=1, description="The sheet, by its name or its number from 1."
    )
    skip_rows: Annotated[int, Field(ge=0, le=1_048_576, description="Rows before the header to leave out.")] = 0
    header: bool = Field(default=True, description="Whether the first row with a value has the columns' names.")
    errors: Literal["fail", "null"] = Field(default="fail", description="What a cell with an error such as #N/A is.")
    max_expanded: Size = Field(default="512MiB", description="How large the workbook may be once it is expanded.")


class CsvWriteOptions(StrictModel):
    """How to write CSV."""

    delimiter: Annotated[Mark, AfterValidator(_check_delimiter)] = ","


class NoOptions(StrictModel):
    """There are none."""


class ParquetWriteOptions(StrictModel):
    """How to write Parquet."""

    compression: Literal["none", "snappy", "gzip", "zstd", "lz4"] = "zstd"
    row_group_rows: Annotated[int, Field(ge=1, le=2**24)] = 262_144


class ArrowWriteOptions(StrictModel):
    """How to write an Arrow IPC file."""

    compression: Literal["none", "zstd", "lz4"] = "none"


class ReadNode(StrictModel):
    """A file that is read, or several with the same columns."""

    read: Annotated[
        Annotated[FilePath, Tag("|path")]
        | Annotated[list[FilePath], Field(min_length=1, max_length=10_000), Tag("|paths")],
        # Told apart before they are checked, so that an error speaks of one of them.
        Discriminator(lambda value: "|paths" if isinstance(value, list) else "|path"),
    ] = Field(description="A path relative to this file, a pattern such as `data/*.csv`, or a list of these.")

    @property
    def input_name(self) -> None:
        """It takes no rows."""
        return None


class WriteNode(StrictModel):
    """A file that is written, or a folder of files by the values of columns. It appears when all is in it."""

    extension: ClassVar[str]
    appendable: ClassVar[bool] = False
    """Whether rows can be added to a file that is complete."""

    write: FilePath
    input: Input
    if_exists: Literal["replace", "append", "fail"] = Field(
        default="replace",
        description="What becomes of a file that is there: it is replaced in one step, added to, or the run fails.",
    )
    partition_by: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        max_length=16,
        description="Columns whose values name folders below `write`, such as `year=2013`, with files of the others.",
    )

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        if self.if_exists == "append" and not self.appendable and not self.partition_by:
            hint = "replace it, write CSV or JSON Lines, or give `partition_by`, which adds files to a folder"
            raise PydanticCustomError(
                "append",
                "rows cannot be added to a finished {format} file",
                {"format": self.extension.title(), "key": "if_exists", "hint": hint},
            )
        if len(set(self.partition_by)) < len(self.partition_by):
            raise PydanticCustomError("partition_by", "names a column twice", {"key": "partition_by"})
        return self

    @property
    def input_name(self) -> str:
        """The node whose rows this one takes."""
        return self.input


class CsvRead(ReadNode):
    connector: Literal["csv"]
    options: CsvReadOptions = CsvReadOptions()


class JsonlRead(ReadNode):
    connector: Literal["jsonl"]
    options: JsonlReadOptions = JsonlReadOptions()


class ParquetRead(ReadNode):
    connector: Literal["parquet"]
    options: BatchOptions = BatchOptions()


class ArrowRead(ReadNode):
    connector: Literal["arrow"]
    options: BatchOptions = BatchOptions()


class ExcelRead(ReadNode):
    connector: Literal["excel"]
    options: ExcelReadOptions = ExcelReadOptions()


class CsvWrite(WriteNode):
    extension: ClassVar[str] = "csv"
    appendable: ClassVar[bool] = True
    connector: Literal["csv"]
    options: CsvWriteOptions = CsvWriteOptions()


class JsonlWrite(WriteNode):
    extension: ClassVar[str] = "jsonl"
    appendable: ClassVar[bool] = True
    connector: Literal["jsonl"]
    options: NoOptions = NoOptions()


class ParquetWrite(WriteNode):
    extension: ClassVar[str] = "parquet"
    connector: Literal["parquet"]
    options: ParquetWriteOptions = ParquetWriteOptions()


class ArrowWrite(WriteNode):
    extension: ClassVar[str] = "arrow"
    connector: Literal["arrow"]
    options: ArrowWriteOptions = ArrowWriteOptions()


ConnectorNode: TypeAlias = (
    CsvRead | ExcelRead | JsonlRead | ParquetRead | ArrowRead | CsvWrite | JsonlWrite | ParquetWrite | ArrowWrite
)
