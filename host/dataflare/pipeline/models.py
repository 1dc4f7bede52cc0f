"""The shape of a pipeline's YAML, as pydantic models; the same models give the JSON Schema for editors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.pipeline.quantities import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

__all__ = [
    "ArrowRead",
    "ArrowWrite",
    "ConnectorNode",
    "CsvRead",
    "CsvWrite",
    "FileGrant",
    "GrantsModel",
    "JsonlRead",
    "JsonlWrite",
    "LimitsModel",
    "Node",
    "ParquetRead",
    "ParquetWrite",
    "Pipeline",
    "PluginNode",
    "ReadNode",
    "ViolationActions",
    "WriteNode",
    "nearest",
    "shorten",
]

CONNECTORS = ("arrow", "csv", "jsonl", "parquet")

Action: TypeAlias = Literal["keep", "drop", "fail"]


def shorten(value: Any) -> str:
    """Write a value of the YAML for a message."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Name the known word that is most like a wrong one, for a hint: `did you mean 'input'?`; else list them all."""
    words = sorted(known)
    if found := difflib.get_close_matches(name, words, n=1):
        return f"did you mean {found[0]!r}?"
    return f"known are {', '.join(words)}" if words else "there is none"


class Strict(BaseModel):
    """A mapping with known keys only, whose values are what they are: no text becomes a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    context = {"key": str(key), "hint": nearest(str(key), cls.model_fields)}
                    raise PydanticCustomError("unknown_key", "unknown key {key}", context)
        return value


def _as_size(value: Any) -> str:
    return _quantity(value, parse_size, "256MiB")


def _as_duration(value: Any) -> str:
    return _quantity(value, parse_duration, "30s")


def _quantity(value: Any, parse: Any, example: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError(
            "quantity", "{value} has no unit", {"value": value, "hint": f"write such as {example}"}
        )
    if not isinstance(value, str):
        raise PydanticCustomError("quantity", "give a text such as {example}", {"example": example})
    try:
        parse(value)
    except ValueError as error:
        raise PydanticCustomError("quantity", "{why}", {"why": str(error)}) from error
    return value


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


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
FilePath = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$", description="Relative to this file.")
]
Size = Annotated[str, BeforeValidator(_as_size), Field(pattern=SIZE_PATTERN, examples=["256MiB"])]
Duration = Annotated[str, BeforeValidator(_as_duration), Field(pattern=DURATION_PATTERN, examples=["30s"])]
BatchRows = Annotated[int, Field(ge=1, le=1_048_576, description="Rows in a batch, at most.")]
Columns = Annotated[
    dict[str, Annotated[str, AfterValidator(_check_type)]],
    Field(description="Arrow types of columns by name; the others' are found out from the first part of the file."),
]
Delimiter = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_check_delimiter)]
Input = Annotated[Name, Field(description="The node whose rows this one takes.")]


class FileGrant(Strict):
    """A directory that a plugin may use."""

    path: FilePath
    writable: bool = False


class GrantsModel(Strict):
    """What a plugin may use; nothing, unless it is said."""

    files: dict[str, FileGrant] = Field(
        default={}, description="Directories, by the name that the plugin uses for them."
    )
    state: bool = False
    metrics: bool = False
    clock: bool = False
    random: bool = False
    random_seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None


class LimitsModel(Strict):
    """Ceilings for a plugin; where one is not given, the host's own holds."""

    memory: Size | None = None
    call_timeout: Duration | None = None
    fuel: Annotated[int, Field(ge=1, lt=2**64, description="Units of work for one call.")] | None = None


class ViolationActions(Strict):
    """What becomes of rows that a validator finds wrong, by how grave it is."""

    info: Action = "keep"
    warning: Action = "keep"
    error: Action = "fail"


OnViolation: TypeAlias = Annotated[
    Annotated[Action, Tag("action")] | Annotated[ViolationActions, Tag("actions")],
    Discriminator(lambda value: "actions" if isinstance(value, dict | ViolationActions) else "action"),
]


class PluginNode(Strict):
    """A plugin. Its kind, and so whether it takes an input, is found in the component."""

    plugin: FilePath
    input: Input | None = None
    config: dict[str, JsonValue] = Field(default={}, description="The plugin's own configuration.")
    grants: GrantsModel = GrantsModel()
    limits: LimitsModel = LimitsModel()
    on_violation: OnViolation | None = Field(
        default=None,
        description="Only for validators: what becomes of wrong rows, by severity; an action alone is for errors.",
    )
    violations: FilePath | None = Field(
        default=None, description="Only for validators: a JSON Lines file for violations."
    )

    @property
    def input_name(self) -> str | None:
        """The node whose rows this one takes."""
        return self.input

    @property
    def actions(self) -> ViolationActions:
        """What becomes of rows with violations."""
        if isinstance(self.on_violation, ViolationActions):
            return self.on_violation
        return ViolationActions() if self.on_violation is None else ViolationActions(error=self.on_violation)


class CsvReadOptions(Strict):
    """How to read CSV (RFC 4180, UTF-8, with a header)."""

    batch_rows: BatchRows = 65_536
    columns: Columns = {}
    delimiter: Delimiter = ","
    null_values: list[str] = ["NA", ""]


class JsonlReadOptions(Strict):
    """How to read JSON Lines."""

    batch_rows: BatchRows = 65_536
    columns: Columns = {}


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
    """A file that is written. It appears under its name when all is in it, and replaces what was there."""

    write: FilePath
    input: Input

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
    connector: Literal["csv"]
    options: CsvWriteOptions = CsvWriteOptions()


class JsonlWrite(WriteNode):
    connector: Literal["jsonl"]
    options: NoOptions = NoOptions()


class ParquetWrite(WriteNode):
    connector: Literal["parquet"]
    options: ParquetWriteOptions = ParquetWriteOptions()


class ArrowWrite(WriteNode):
    connector: Literal["arrow"]
    options: ArrowWriteOptions = ArrowWriteOptions()


ConnectorNode: TypeAlias = (
    CsvRead | JsonlRead | ParquetRead | ArrowRead | CsvWrite | JsonlWrite | ParquetWrite | ArrowWrite
)


def _check_variant(value: Any) -> Any:
    """Find out what a node is before its keys are looked at: errors then speak of that alone."""
    if not isinstance(value, dict):
        return value
    if ("plugin" in value) == ("connector" in value):
        found = "has both plugin and connector" if "plugin" in value else "has neither plugin nor connector"
        hint = "" if "plugin" in value else _hint_for_stray_key(value, ("plugin", "connector"))
        raise PydanticCustomError(
            "node", "a node is one or the other, and this one {found}", {"found": found, "hint": hint}
        )
    if "connector" in value:
        name = value["connector"]
        if name not in CONNECTORS:
            hint = nearest(str(name), CONNECTORS)
            raise PydanticCustomError(
                "connector", "there is no connector {name}", {"name": shorten(name), "hint": hint}
            )
        if ("read" in value) == ("write" in value):
            found = "has both" if "read" in value else "has neither"
            hint = "" if "read" in value else _hint_for_stray_key(value, ("read", "write"))
            raise PydanticCustomError(
                "role", "a connector reads or writes, and this one {found}", {"found": found, "hint": hint}
            )
        if "read" in value and "input" in value:
            raise PydanticCustomError("role", "what reads a file takes no input", {"key": "input"})
    return value


def _hint_for_stray_key(value: dict[str, Any], wanted: tuple[str, ...]) -> str:
    for key in value:
        if found := difflib.get_close_matches(str(key), wanted, n=1):
            return f"did you mean {found[0]!r} with {key!r}?"
    return f"give {' or '.join(wanted)}"


def _variant(value: Any) -> str | None:
    if isinstance(value, PluginNode):
        return "plugin"
    if isinstance(value, ReadNode | WriteNode):
        return f"{value.connector} {'read' if isinstance(value, ReadNode) else 'write'}"  # type: ignore[union-attr]
    if not isinstance(value, dict):
        return None
    if "plugin" in value:
        return "plugin"
    return f"{value['connector']} {'read' if 'read' in value else 'write'}"


Node: TypeAlias = Annotated[
    Annotated[PluginNode, Tag("plugin")]
    | Annotated[CsvRead, Tag("csv read")]
    | Annotated[JsonlRead, Tag("jsonl read")]
    | Annotated[ParquetRead, Tag("parquet read")]
    | Annotated[ArrowRead, Tag("arrow read")]
    | Annotated[CsvWrite, Tag("csv write")]
    | Annotated[JsonlWrite, Tag("jsonl write")]
    | Annotated[ParquetWrite, Tag("parquet write")]
    | Annotated[ArrowWrite, Tag("arrow write")],
    Discriminator(
        _variant, custom_error_type="mapping", custom_error_message="give a mapping with plugin or connector"
    ),
    BeforeValidator(_check_variant),
]


class Pipeline(Strict):
    """A pipeline: nodes that hand rows to one another."""

    name: Name
    nodes: Annotated[dict[Name, Node], Field(min_length=1, max_length=1000)]
