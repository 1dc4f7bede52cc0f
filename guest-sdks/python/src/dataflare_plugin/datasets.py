"""What sources and destinations work with: columns, datasets, reads and chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflare_plugin.bindings import schemas

__all__ = [
    "Chunk",
    "Commit",
    "Dataset",
    "Delete",
    "Field",
    "Idle",
    "Insert",
    "NewSchema",
    "Request",
    "Update",
    "as_schema",
    "fields_of",
]


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
        modes: How it can be read: `full` and `incremental` by `Source.read`, `changes` by `Source.changes`. By default
            `full`, and with a cursor `incremental`.
    """

    name: str
    schema: Mapping[str, str] | Sequence[Field]
    key: Sequence[str] = ()
    cursor: str = ""
    description: str = ""
    splittable: bool = False
    namespace: str = ""
    modes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.modes) - {"full", "incremental", "changes"}:
            raise ValueError(f"dataset {str(self)!r}: {min(unknown)!r} is not a mode")
        if "incremental" in self.modes and not self.cursor:
            raise ValueError(f"dataset {str(self)!r}: the mode incremental needs a cursor")

    def __str__(self) -> str:
        return shown_name(self.namespace, self.name)

    @property
    def reading_modes(self) -> Sequence[str]:
        """How it can be read."""
        return self.modes or (("full", "incremental") if self.cursor else ("full",))

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
        mode: `full`, `incremental` or `changes`.
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
    """The columns of the rows that follow: Arrow types by name, or fields. Key and cursor stay those of the dataset.

    In a log of changes, `dataset` says whose columns they are.
    """

    schema: Mapping[str, str] | Sequence[Field]
    dataset: str | Dataset = ""


@dataclass(frozen=True)
class Insert:
    """A row that is new in a dataset, which is named, or given where it has a namespace."""

    dataset: str | Dataset
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Update:
    """A row as it is now: it has the values of all columns.

    `old_key` has the values of the key's columns before, where they can have changed: if they did, the SDK makes a
    delete of the old key and an insert of the new one.
    """

    dataset: str | Dataset
    row: Mapping[str, Any]
    old_key: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Delete:
    """A row that is gone; `key` has the values of the key's columns, and may have others, which do not count."""

    dataset: str | Dataset
    key: Mapping[str, Any]


@dataclass(frozen=True)
class Commit:
    """The end of a transaction, and the position after it: any JSON value. Rows count only with it."""

    position: Any


@dataclass(frozen=True)
class Idle:
    """Nothing to read for now; the log goes on from here when the host asks again, after so many milliseconds."""

    retry_after_ms: int = 1000


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
