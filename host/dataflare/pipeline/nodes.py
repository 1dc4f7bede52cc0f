"""The nodes that read and write files, whatever their format is."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.models import FilePath, StrictModel
from dataflare.pipeline.branches import InputName, nodes_of
from dataflare.pipeline.column_roles import ROLES_FIELD, RolesModel
from dataflare.pipeline.contract_keys import SCHEMA_FIELD, ContractModel, SchemaKey, contract_of
from dataflare.pipeline.reading.common_options import Columns
from dataflare.pipeline.reading.compression import COMPRESSED_ENDINGS

__all__ = ["Input", "ReadNode", "WriteNode", "names_of_inputs"]


def _check_inputs(names: list[str]) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        context = {"name": twice[0], "hint": "name each input once"}
        raise PydanticCustomError("input", "{name} is an input twice", context)
    return names


Input: TypeAlias = Annotated[
    Annotated[InputName, Tag("|node")]
    | Annotated[list[InputName], Field(min_length=1, max_length=100), AfterValidator(_check_inputs), Tag("|nodes")],
    Discriminator(lambda value: "|nodes" if isinstance(value, list) else "|node"),
    Field(
        description="The node whose rows this one takes, or a list of nodes whose rows have the same columns. "
        "`NAME.rejected` are the rows that a validator drops."
    ),
]


def names_of_inputs(value: str | list[str] | None) -> tuple[str, ...]:
    """What `input` names; nothing for a source."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


class ReadNode(StrictModel):
    """A file that is read, or several with the same columns."""

    read: Annotated[
        Annotated[FilePath, Tag("|path")]
        | Annotated[list[FilePath], Field(min_length=1, max_length=10_000), Tag("|paths")],
        # Told apart before they are checked, so that an error speaks of one of them.
        Discriminator(lambda value: "|paths" if isinstance(value, list) else "|path"),
    ] = Field(description="A path relative to this file, a pattern such as `data/*.csv`, or a list of these.")

    hive_partitioning: Annotated[
        Annotated[bool, Tag("|flag")] | Annotated[Columns, Tag("|types")],
        Discriminator(lambda value: "|types" if isinstance(value, dict) else "|flag"),
    ] = Field(
        default=True,
        description="Whether folders such as `year=2013`, which a pattern goes through, give the files a column; or "
        "the Arrow types of such columns by name (the others' are inferred).",
    )

    connector: str
    options: Any = None
    schema_contract: SchemaKey | None = SCHEMA_FIELD
    roles: RolesModel | None = ROLES_FIELD
    dead_letters: FilePath | None = Field(
        default=None,
        description="A JSON Lines file that rows are added to that `schema` leaves out (`discard-row`), each with the "
        "reason and its types.",
    )

    @property
    def shown(self) -> str:
        """The connector and what it reads, for reports."""
        return f"{self.connector} {self.read if isinstance(self.read, str) else ', '.join(self.read)}"

    @model_validator(mode="after")
    def _check_letters(self) -> Self:
        if self.dead_letters is not None and not (self.contract and self.contract.discards_rows):
            context = {"key": "dead_letters", "hint": "say which rows are left out, such as `schema: discard-row`"}
            raise PydanticCustomError("letters", "no rows are left out that could go to the file", context)
        return self

    @property
    def contract(self) -> ContractModel | None:
        """What becomes of columns that change; `None` where the pipeline does not say."""
        return contract_of(self.schema_contract)

    @property
    def inputs(self) -> tuple[str, ...]:
        """It takes no rows."""
        return ()

    @property
    def taken(self) -> tuple[str, ...]:
        """It takes no rows."""
        return ()


class WriteNode(StrictModel):
    """A file that is written, or a folder of files by the values of columns. It appears when all is in it."""

    extension: ClassVar[str] = ""
    appendable: ClassVar[bool] = False
    """Whether rows can be added to a file that is complete."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of names that the connector writes to."""

    write: FilePath
    input: Input
    if_exists: Literal["replace", "append", "fail"] = Field(
        default="replace",
        description="What happens to an existing file: it is replaced in one step, appended to, or the run fails.",
    )
    partition_by: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        max_length=16,
        description="Columns whose values name folders below `write`, such as `year=2013`, with files of the others.",
    )

    connector: str
    options: Any = None

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        if self.if_exists == "append" and not self.appendable and not self.partition_by:
            hint = "replace it, write CSV or JSON Lines, or give `partition_by`, which adds files to a folder"
            raise PydanticCustomError(
                "append",
                "rows cannot be added to a finished {format} file",
                {"format": self.extension.title(), "key": "if_exists", "hint": hint},
            )
        plain, _, ending = self.write.rpartition(".")
        if ending.lower() in COMPRESSED_ENDINGS and ending.lower() not in self.endings:
            raise PydanticCustomError(
                "compressed",
                "the name promises a compressed file, and connector {connector} compresses nothing by its name",
                {
                    "connector": self.connector,
                    "key": "write",
                    "hint": f"write {plain}, and compress it after the run; Parquet and Arrow have options.compression",
                },
            )
        if len(set(self.partition_by)) < len(self.partition_by):
            raise PydanticCustomError("partition_by", "names a column twice", {"key": "partition_by"})
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes whose rows this one takes, each once."""
        return nodes_of(self.taken)

    @property
    def taken(self) -> tuple[str, ...]:
        """Its inputs, as the pipeline names them: nodes, or the rejected rows of one."""
        return names_of_inputs(self.input)
