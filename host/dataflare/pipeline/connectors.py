"""The nodes that read and write files, and their options."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.pipeline.fields import FilePath, Input, Strict

__all__ = [
    "CONNECTORS",
    "ArrowRead",
    "ArrowWrite",
    "ConnectorNode",
    "CsvRead",
    "CsvWrite",
    "JsonlRead",
    "JsonlWrite",
    "ParquetRead",
    "ParquetWrite",
    "ReadNode",
    "WriteNode",
]

CONNECTORS = ("arrow", "csv", "jsonl", "parquet")


def _check_type(name: str) -> str:
    try:
        parse_type(name)
    except SchemaError as error:
        hint = "Arrow's notation, such as int64, double, string, date32[day], timestamp[us, tz=UTC]"
        raise PydanticCustomError("arrow_type", "{why}", {"why": error.message, "hint": hint}) from error
    return name


def _check_delimiter(text: str) -> str:
    if text in '"\r\n' or not text.isascii():
        raise PydanticCustomError("delimiter", "give one ASCII character, no quote and no line end")
    return text


BatchRows = Annotated[int, Field(ge=1, le=1_048_576, description="Rows in a batch, at most.")]
Columns = Annotated[
    dict[str, Annotated[str, AfterValidator(_check_type)]],
    Field(description="Arrow types of columns by name; the others' are found out from the first part of the file."),
]
Delimiter = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_check_delimiter)]


class CsvReadOptions(Strict):
    """How to read CSV (RFC 4180, UTF-8, with a header)."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    delimiter: Delimiter = ","
    null_values: list[str] = Field(default=["NA", ""])


class JsonlReadOptions(Strict):
    """How to read JSON Lines."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})


class BatchOptions(Strict):
    """How to read a file that carries its types."""

    batch_rows: BatchRows = 65_536


class CsvWriteOptions(Strict):
    """How to write CSV."""

    delimiter: Delimiter = ","


class NoOptions(Strict):
    """There are none."""


class ParquetWriteOptions(Strict):
    """How to write Parquet."""

    compression: Literal["none", "snappy", "gzip", "zstd", "lz4"] = "zstd"
    row_group_rows: Annotated[int, Field(ge=1, le=2**24)] = 262_144


class ArrowWriteOptions(Strict):
    """How to write an Arrow IPC file."""

    compression: Literal["none", "zstd", "lz4"] = "none"


class ReadNode(Strict):
    """A file that is read."""

    read: FilePath

    @property
    def input_name(self) -> None:
        """It takes no rows."""
        return None


class WriteNode(Strict):
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
    CsvRead | JsonlRead | ParquetRead | ArrowRead | CsvWrite | JsonlWrite | ParquetWrite | ArrowWrite
)
