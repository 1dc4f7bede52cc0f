"""What sources share that stand where the host's `Source` does, so that they may give any sequence of answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Self

from dataflare import Dataset, PluginError, Selection, Variant

__all__ = ["SourceStandIn"]


class SourceStandIn(contextlib.nullcontext[Any]):
    """A source without resources, whose datasets have no estimate."""

    caught_by = ""

    def start(self, *, configurations: int = 1) -> Self:
        return self

    def close(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def acknowledge(self, state: bytes) -> None:
        """Nothing is held."""

    def discover(self) -> list[Dataset]:
        raise NotImplementedError

    def estimate(self, selection: Any, *, part: bytes | None = None, state: bytes | None = None) -> None:
        """It is not known."""

    def require_known(self, selections: Iterable[Selection]) -> None:
        """Refuse a dataset, a mode or a column that does not exist."""
        known = {each.name: each for each in self.discover()}
        for each in selections:
            found = known.get(each.dataset)
            if found is None or each.mode not in found.modes or not set(each.columns) <= set(found.schema.names):
                raise PluginError("no selection", error=Variant("invalid-config", f"there is no {each}"))
