"""What a pipeline says of the datasets that its sources and destinations read and write."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import pyarrow as pa
from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.models import StrictModel
from dataflare.pipeline.column_roles import ColumnRoles
from dataflare.pipeline.divided_source import MOST_PARTS
from dataflare.runtime.datasets import DatasetName, ReadingMode, Selection, Target
from dataflare.wit_types.datasets import WritingMode

__all__ = ["OPERATION_FIELD", "DatasetChoice", "DatasetsModel", "ReadModel", "WriteModel"]

_Text = Annotated[str, Field(min_length=1, max_length=4096)]


OPERATION_FIELD: Final[Any] = Field(
    default=None,
    description="For `merge`, the column that says what a row does (0 insert, 1 update, 2 delete); without it, the one "
    "with the role in the schema.",
)


class DatasetsModel(StrictModel):
    """Some of several datasets, and how they are read; what is not said is as for the others."""

    dataset: _Text = Field(description="A name, or a pattern such as `shop.*`.")
    mode: ReadingMode | None = Field(default=None, description="As `mode` of `source`.")
    cursor: _Text | None = Field(default=None, description="As `cursor` of `source`.")
    columns: list[_Text] = Field(default=[], description="The columns to read; without it, all.")


def _entry(value: Any) -> str:
    return "|datasets" if isinstance(value, dict | DatasetsModel) else "|pattern"


DatasetChoice: TypeAlias = Annotated[
    Annotated[Literal["all"], Tag("|all")]
    | Annotated[
        list[
            Annotated[
                Annotated[_Text, Tag("|pattern")] | Annotated[DatasetsModel, Tag("|datasets")], Discriminator(_entry)
            ]
        ],
        Field(min_length=1, max_length=10_000),
        Tag("|some"),
    ],
    Discriminator(lambda value: "|some" if isinstance(value, list) else "|all"),
]


class ReadModel(StrictModel):
    """What a source reads. A source of one dataset needs none of it."""

    dataset: _Text | None = Field(default=None, description="The dataset's name; `dataflare discover` lists them.")
    datasets: DatasetChoice | None = Field(
        default=None,
        description="Several datasets in place of one: `all`, or a list of names, patterns such as `shop.*`, and "
        "mappings with options of their own. Each is read and written on its own, one after the other.",
    )
    exclude: list[_Text] = Field(default=[], description="Names or patterns of `datasets` that are left out.")
    namespace: str = Field(default="", description="Where the dataset lives, such as a database schema.")
    mode: ReadingMode = Field(
        default="full", description="All rows, those that are new by a cursor column, or inserts, updates and deletes."
    )
    cursor: _Text | None = Field(default=None, description="The cursor column, for `incremental`; else the best one.")
    columns: list[_Text] = Field(default=[], description="The columns to read; without it, all.")
    parallel: int = Field(
        default=1,
        ge=1,
        le=MOST_PARTS,
        description="Read the parts of a dataset that can be divided at the same time, at most so many, each in an "
        "instance of its own. Rows of one part keep their order; those of different parts have none.",
    )

    @model_validator(mode="after")
    def _check_several(self) -> Self:
        if self.datasets is None and self.exclude:
            raise PydanticCustomError("datasets", "goes with `datasets` alone", {"key": "exclude"})
        for key in ("dataset", "namespace", "columns"):
            if self.datasets is not None and getattr(self, key):
                context = {"key": key, "hint": "say it in an entry of `datasets`: `{dataset: ..., columns: [...]}`"}
                raise PydanticCustomError("datasets", "is of one dataset, and `datasets` is given", context)
        return self

    def of_one(self, name: DatasetName, options: DatasetsModel) -> ReadModel:
        """What is read of one of several datasets."""
        return self.model_copy(
            update={
                "dataset": name.name,
                "namespace": name.namespace,
                "datasets": None,
                "exclude": [],
                "mode": options.mode or self.mode,
                "cursor": options.cursor or self.cursor,
                "columns": options.columns,
            }
        )

    def selection(self) -> Selection | None:
        """What is selected; `None` where nothing is said, for the only dataset that there is."""
        if self.dataset is None:
            return None
        name = DatasetName(self.dataset, self.namespace)
        return Selection(name, self.mode, cursor=self.cursor, columns=self.columns)


class WriteModel(StrictModel):
    """How a destination writes."""

    dataset: _Text | None = Field(
        default=None,
        description="The dataset's name; without it, the node's. Where the source reads several datasets, without it "
        "the name of each; else `{dataset}` and `{namespace}` stand for its names.",
    )
    namespace: str = Field(default="", description="Where the dataset lives, such as a database schema.")
    mode: WritingMode = Field(default="append", description="Add rows, replace all, or insert and update by key.")
    key: list[_Text] | None = Field(
        default=None, description="The columns that identify a row; without it, those with the role in the schema."
    )
    operation: _Text | None = OPERATION_FIELD

    @property
    def roles(self) -> ColumnRoles | None:
        """Gives rows the role that is named here."""
        return None if self.operation is None else ColumnRoles(operation=self.operation)

    def target(self, default: DatasetName, schema: pa.Schema) -> Target:
        """What is written; `default` is its name where the pipeline does not say."""
        if self.dataset is None:
            name = DatasetName(default.name, self.namespace or default.namespace)
        else:
            name = DatasetName(self.dataset, self.namespace)
        return Target(name, schema, key=self.key, mode=self.mode)
