"""Destinations: runs that write rows to datasets, and end with all of them or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dataflare_plugin.batch import Batch
from dataflare_plugin.datasets import Field, fields_of, shown_name
from dataflare_plugin.errors import Unsupported
from dataflare_plugin.plugin import Plugin

__all__ = ["Destination", "RejectedRow", "Run", "Target"]


@dataclass(frozen=True)
class Run:
    """The run that writes: the pipeline's name, the run's name, and a number that rises with every run."""

    pipeline: str
    name: str
    generation: int


@dataclass(frozen=True)
class Target:
    """A dataset that is written to. Name and namespace together identify it; as a text, they are for people.

    Args:
        name: Its name.
        fields: The columns of its rows.
        key: The columns that identify a row.
        mode: `append`, `replace` or `merge`.
        namespace: Where it lives, such as a database schema; empty if nowhere special.
    """

    name: str
    fields: Sequence[Field]
    key: Sequence[str]
    mode: str
    namespace: str = ""

    def __str__(self) -> str:
        return shown_name(self.namespace, self.name)


@dataclass(frozen=True)
class RejectedRow:
    """A row of a batch that is not written.

    Args:
        row: Its number within the batch, from 0.
        column: The column that is the cause; `None` if it is not a single one.
        reason: Why, for people.
    """

    row: int
    column: str | None
    reason: str


class Destination(Plugin):
    """Writes rows. Override `write` and `finish`, and the others if the destination can do more.

    Attributes:
        abilities: What it can do: some of `append`, `replace`, `merge`, `delete`, `add-columns`, `widen-columns`,
            `keep-token` and `shut-out`. A target of another mode is refused with `Unsupported`, and so is a change of
            columns without the ability for it.
        run: The current run.
        targets: Its targets.
    """

    kind: ClassVar[str] = "destination"
    abilities: ClassVar[Sequence[str]] = ("append",)
    run: Run
    targets: Sequence[Target] = ()

    def plan(self, targets: Sequence[Target]) -> Iterable[tuple[int, str, str]]:
        """What a run would change: the target's position, the kind of change such as `create`, and a description."""
        return ()

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        """Begin a run; return the token that the last run kept, if the destination keeps tokens."""
        return None

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        """Write rows; return those that are rejected."""
        raise NotImplementedError

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        """Take note that the next rows have other columns. The target has them from then on."""

    def flush(self, token: bytes) -> bool:
        """Make all written rows safe, with the token; `False`: they are safe only after `finish`."""
        return False

    def finish(self, token: bytes) -> None:
        """End the run: make all rows visible. May be called again after an error."""

    def abort(self) -> None:
        """End the run: remove all rows that were not flushed."""


def target_of(target: Any) -> Target:
    """A target of the bindings."""
    name, fields = target.dataset, fields_of(target.schema)
    return Target(name.name, fields, list(target.key), target.mode.name.lower(), name.namespace)


def require_change(target: Target, fields: Sequence[Field], abilities: Sequence[str]) -> None:
    """Refuse a change of columns that is not among the abilities.

    Raises:
        Unsupported: Names the column.
    """
    types = {each.name: each.type for each in target.fields}
    for each in fields:
        if types.get(each.name) == each.type:
            continue
        if each.name not in types and "add-columns" not in abilities:
            raise Unsupported(f"dataset {str(target)!r}: column {each.name!r} cannot be added")
        if each.name in types and "widen-columns" not in abilities:
            raise Unsupported(f"dataset {str(target)!r}: column {each.name!r} cannot be {each.type}")
