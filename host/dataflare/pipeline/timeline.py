"""How far the nodes of a run were at some moments of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["Timeline"]

_MOST: Final = 60
_INTERVAL_S: Final = 0.1


class Timeline:
    """Keeps at most 60 moments of a run, evenly spread, however long it takes. One thread at a time."""

    def __init__(self) -> None:
        self._moments: list[tuple[float, Mapping[str, int], Mapping[str, int]]] = []
        self._interval_s = _INTERVAL_S

    def add(self, seconds: float, rows: Mapping[str, int], queued: Mapping[str, int], *, last: bool = False) -> None:
        """Keep a moment, if it is far enough from the one before.

        Args:
            seconds: The time since the run began.
            rows: The rows of each node so far.
            queued: The batches that wait before each node that takes rows.
            last: Whether the run has ended: this moment is kept in any case.
        """
        if self._moments and seconds - self._moments[-1][0] < self._interval_s and not last:
            return
        self._moments.append((seconds, dict(rows), dict(queued)))
        if len(self._moments) > _MOST:
            # The first and, where there is one, the last stay.
            self._moments = [*self._moments[:-1:2], self._moments[-1]]
            self._interval_s *= 2

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold: columns of the same length."""
        return {
            "seconds": [round(seconds, 3) for seconds, _, _ in self._moments],
            "rows": _columns([rows for _, rows, _ in self._moments]),
            "queued": _columns([queued for _, _, queued in self._moments]),
        }


def _columns(moments: Sequence[Mapping[str, int]]) -> dict[str, list[int]]:
    names = dict.fromkeys(name for each in moments for name in each)
    return {name: [each.get(name, 0) for each in moments] for name in names}
