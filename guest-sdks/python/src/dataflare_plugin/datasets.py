"""What sources and destinations work with: columns, datasets, reads and chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflare_plugin.bindings import schemas

__all__ = ["Chunk", "Dataset", "Field", "NewSchema", "Request", "as_schema", "fields_of"]


@dataclass(frozen=True)
class Field:
    """A column: its name, its Arrow type such as `int64` or `timestamp[us]`, and its metadata."""

    name: str
    type: str
    nullable: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Something that a source can read.

    Args:
        name: Its name.
        schema: Its columns: Arrow types by name, or fields.
        key: The columns that identify a row.
        cursor: The column that rows are ordered by; with one, the dataset can be read incrementally.
        description: One line that describes it.
        splittable: Whether `Source.split` can cut it into parts.
        namespace: Where it lives, such as a database schema; empty if the source has nothing of this kind.
    """

    name: str
    schema: Mapping[str, str] | Sequence[Field]
    key: Sequence[str] = ()
    cursor: str = ""
    description: str = ""
    splittable: bool = False
    namespace: str = ""

    def __str__(self) -> str:
        return shown_name(self.namespace, self.name)

    def fields(self, schema: Mapping[str, str] | Sequence[Field] | None = None) -> list[Field]:
        """The columns, with their roles in the metadata; those of another schema, if one is given."""
        columns = self.schema if schema is None else schema
        if not isinstance(columns, Mapping):
            return list(columns)
        return [Field(name, kind, metadata=self._roles(name)) for name, kind in columns.items()]

    def _roles(self, column: str) -> dict[str, str]:
        roles = {"dataflare.key": str(list(self.key).index(column))} if column in self.key else {}
        return roles | ({"dataflare.role": "cursor"} if column == self.cursor else {})


@dataclass
class Request:
    """A read that a source is asked for.

    Args:
        dataset: What to read.
        mode: `full` or `incremental`.
        columns: The columns that the host asks for; chunks may have more of the dataset's.
        state: The state of the last chunk of an earlier read; `None`: read from the beginning.
        part: One of what `Source.split` returned; `None`: all of it.
        max_rows: The most rows of the next chunk; it changes from chunk to chunk.
        fields: The columns that rows have now: the dataset's, or those of the last `NewSchema`.
    """

    dataset: Dataset
    mode: str = "full"
    columns: Sequence[str] = ()
    state: Any = None
    part: Any = None
    max_rows: int = 65536
    fields: Sequence[Field] = ()

    def __post_init__(self) -> None:
        self.fields = self.fields or self.dataset.fields()

    @property
    def incremental(self) -> bool:
        """Whether only rows after the state's cursor are wanted."""
        return self.mode == "incremental"


@dataclass(frozen=True)
class Chunk:
    """Rows, and the state after them, any JSON value; `None`: a later read cannot continue from here."""

    rows: Any
    state: Any = None


@dataclass(frozen=True)
class NewSchema:
    """The columns of the rows that follow: Arrow types by name, or fields. Key and cursor stay those of the dataset."""

    schema: Mapping[str, str] | Sequence[Field]


def as_schema(columns: Mapping[str, str] | Sequence[Field]) -> Any:
    """The columns as the bindings have them."""
    if isinstance(columns, Mapping):
        columns = [Field(name, kind) for name, kind in columns.items()]
    return schemas.Schema(
        [schemas.Field(each.name, each.type, each.nullable, list(each.metadata.items())) for each in columns], []
    )


def fields_of(schema: Any) -> list[Field]:
    """The columns of a schema of the bindings."""
    return [Field(each.name, each.type_name, each.nullable, dict(each.metadata)) for each in schema.fields]


def shown_name(namespace: str, name: str) -> str:
    """A dataset's name, for people: two datasets can look the same."""
    return f"{namespace}.{name}" if namespace else name
