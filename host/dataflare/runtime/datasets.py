"""Datasets and the answers of sources and destinations about them, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pyarrow as pa

from dataflare.data.roles import roles_of
from dataflare.data.schemas import to_wit
from dataflare.texts import cut_name, first_repeated
from dataflare.values import Variant
from dataflare.wit_types import datasets, destination, source
from dataflare.wit_types.datasets import WritingMode

__all__ = [
    "Chunk",
    "Dataset",
    "DatasetName",
    "Ended",
    "Estimate",
    "Idle",
    "NewSchema",
    "PlannedChange",
    "ReadProgress",
    "ReadingMode",
    "Selection",
    "Target",
]

ReadingMode: TypeAlias = Literal["full", "incremental", "changes"]


@dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """The name of a dataset; `namespace` says where it is, such as a schema of a database; may be empty."""

    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}" if self.namespace else self.name


def _named(name: DatasetName | str) -> DatasetName:
    return DatasetName(name) if isinstance(name, str) else name


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a source can read.

    `schema` has the roles of the columns. `key` names the columns that identify a row, `cursors` those that can be a
    cursor, the best first. `modes` has the supported ones of `full`, `incremental`, `changes`, `unbounded` and
    `splittable`.
    """

    name: DatasetName
    description: str
    schema: pa.Schema
    key: tuple[str, ...] = ()
    cursors: tuple[str, ...] = ()
    modes: frozenset[str] = frozenset({"full"})


@dataclass(frozen=True, slots=True)
class Selection:
    """A dataset to read, and how.

    Args:
        dataset: Its name; a text is one without a namespace.
        mode: `full`, `incremental` or `changes`.
        cursor: The cursor of `incremental`; `None` takes the dataset's best.
        columns: The columns to read; empty for all of them.
    """

    dataset: DatasetName
    mode: ReadingMode = "full"
    cursor: str | None = None
    columns: tuple[str, ...] = ()

    def __init__(
        self,
        dataset: DatasetName | str,
        mode: ReadingMode = "full",
        *,
        cursor: str | None = None,
        columns: tuple[str, ...] | list[str] = (),
    ) -> None:
        object.__setattr__(self, "dataset", _named(dataset))
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "cursor", cursor)
        object.__setattr__(self, "columns", tuple(columns))


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many rows are left, and whether the number is exact."""

    rows: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a dataset.

    `rows` may have none; `state` says where to continue after them, `None` within a transaction.
    """

    dataset: DatasetName
    rows: pa.RecordBatch
    state: bytes | None


@dataclass(frozen=True, slots=True)
class NewSchema:
    """The columns of a dataset are these from here on."""

    dataset: DatasetName
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class Idle:
    """No rows for now: ask again in `retry_after_s` seconds.

    `state` covers all rows before; it is `None` within a transaction.
    """

    state: bytes | None
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The read has ended."""


ReadProgress: TypeAlias = Chunk | NewSchema | Idle | Ended
"""A result of a read."""


@dataclass(frozen=True, slots=True)
class Target:
    """A dataset to write, and how.

    Args:
        dataset: Its name; a text is one without a namespace.
        schema: The columns of its rows.
        key: The columns that identify a row; `None` takes those with the role in the schema.
        mode: `append`, `replace` or `merge`; `merge` needs a key.
    """

    dataset: DatasetName
    schema: pa.Schema = field(repr=False)
    key: tuple[str, ...] = ()
    mode: WritingMode = "append"

    def __init__(
        self,
        dataset: DatasetName | str,
        schema: pa.Schema,
        *,
        key: tuple[str, ...] | list[str] | None = None,
        mode: WritingMode = "append",
    ) -> None:
        object.__setattr__(self, "dataset", _named(dataset))
        object.__setattr__(self, "schema", schema)
        object.__setattr__(self, "key", roles_of(schema).key if key is None else tuple(key))
        object.__setattr__(self, "mode", mode)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What opening a destination would change.

    `kind` is `create`, `replace-rows`, `add-column`, `widen-column` or `other`.
    """

    dataset: DatasetName
    kind: str
    detail: str

    @property
    def shown(self) -> str:
        """Describe it in one line for people."""
        return f"{'' if self.kind == 'other' else self.kind.replace('-', ' ')} {self.detail}".strip()


def selection_to_wit(selection: Selection) -> source.Selection:
    """Convert a selection, whose cursor is known, to its WIT value."""
    mode = Variant(selection.mode, selection.cursor) if selection.mode == "incremental" else Variant(selection.mode)
    return source.Selection(_name_to_wit(selection.dataset), mode, selection.columns)


def target_to_wit(target: Target) -> destination.Target:
    """Convert a target to its WIT value."""
    return destination.Target(_name_to_wit(target.dataset), to_wit(target.schema), target.key, target.mode)


def _name_to_wit(name: DatasetName) -> datasets.DatasetName:
    return datasets.DatasetName(name.namespace, name.name)


def wrong_in(found: Dataset) -> str:
    """What about the description of a dataset cannot be; empty if it can."""
    if not found.name.name:
        return "its name is empty"
    if unknown := {*found.key, *found.cursors} - set(found.schema.names):
        return f"key or cursor {cut_name(min(unknown))!r} is not a column"
    if (twice := first_repeated(found.key)) is not None:
        return f"column {cut_name(twice)!r} is in the key twice"
    roles = roles_of(found.schema).key
    if roles and roles != found.key:
        named = [", ".join(map(cut_name, key)) for key in (found.key, roles)]
        return f"its key is ({named[0]}), and its columns have the roles of the key ({named[1]})"
    if not found.modes & {"full", "incremental", "changes"}:
        return "it cannot be read in any mode"
    return ""
