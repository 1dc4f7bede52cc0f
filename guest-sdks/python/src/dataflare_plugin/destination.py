"""Destinations: runs that write rows to datasets, and end with all of them or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dataflare_plugin.batch import Batch
from dataflare_plugin.datasets import Field, fields_of
from dataflare_plugin.plugin import Plugin

__all__ = ["Destination", "RejectedRow", "Run", "Target"]


@dataclass(frozen=True)
class Run:
    """The run that writes: the pipeline's name, the run's own, and a number that grows from run to run."""

    pipeline: str
    name: str
    generation: int


@dataclass(frozen=True)
class Target:
    """A dataset that is written to. `mode` is `append`, `replace` or `merge`; `name` has the namespace in front."""

    name: str
    fields: Sequence[Field]
    key: Sequence[str]
    mode: str


@dataclass(frozen=True)
class RejectedRow:
    """A row that was not written, and why."""

    row: int
    reason: str
    column: str | None = None


class Destination(Plugin):
    """Writes rows. Override `write` and `finish`; the others where the destination can do more.

    `targets` are those of the run under way.
    """

    kind: ClassVar[str] = "destination"
    abilities: ClassVar[Sequence[str]] = ("append",)
    """What it can do: `append`, `replace`, `merge`, `delete`, `add-columns`, `widen-columns`, `keep-token`, `shut-out`.
    """

    run: Run
    targets: Sequence[Target] = ()

    def plan(self, targets: Sequence[Target]) -> Iterable[tuple[int, str, str]]:
        """What a run would change: the target's place, the kind of change such as `create`, and what of it."""
        return ()

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        """Begin a run; return the token that the last one kept, where there are tokens."""
        return None

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        """Take rows; return those that are not written."""
        raise NotImplementedError

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        """Rows of other columns follow."""

    def flush(self, token: bytes) -> bool:
        """Make what was written last, with the token; `False`: only `finish` does."""
        return False

    def finish(self, token: bytes) -> None:
        """End the run: make all of it visible. May come again after an error."""

    def abort(self) -> None:
        """End the run: nothing of it stays that was not flushed."""


def target_of(target: Any) -> Target:
    """A target of the bindings."""
    name = ".".join(part for part in (target.dataset.namespace, target.dataset.name) if part)
    return Target(name, fields_of(target.schema), list(target.key), target.mode.name.lower())
