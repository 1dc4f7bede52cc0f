"""A log of changes whose events are in the configuration, for tests; a position is the number of events before it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dataflare_plugin import (
    Commit,
    Dataset,
    Delete,
    Idle,
    Insert,
    InvalidState,
    NewSchema,
    Source,
    Unavailable,
    Update,
)

ORDERS = {"id": "int64", "note": "string"}


@dataclass
class Settings:
    """The configuration: events in JSON."""

    events: str


class Shop(Source):
    """Three datasets of one log."""

    config: Settings
    failed = False
    safe: Any = None

    def initialize(self) -> None:
        """Read the events."""
        self.logged: list[dict[str, Any]] = json.loads(self.config.events)

    def datasets(self) -> list[Dataset]:
        """Two with a key, and one that is read in no test."""
        modes = ["changes"]
        return [
            Dataset("orders", ORDERS, ["id"], modes=modes),
            Dataset("lines", {"order": "int64", "line": "int64", "what": "string"}, ["order", "line"], modes=modes),
            Dataset("others", {"id": "int64"}, ["id"], modes=modes),
        ]

    def acknowledge(self, state: Any) -> None:
        """Keep it, for `health`."""
        self.safe = state

    def health(self) -> str:
        """Say what was acknowledged."""
        return "" if self.safe is None else f"safe: {self.safe}"

    def changes(self, position: Any, datasets: Sequence[Dataset]) -> Iterator[Any]:
        """Yield the events."""
        if (position or 0) > len(self.logged):
            raise InvalidState("the log is shorter")
        return self.events(position or 0)

    def events(self, begin: int) -> Iterator[Any]:
        """Those from a place on."""
        for at, event in enumerate(self.logged[begin:], begin):
            match event:
                case {"insert": dataset, "row": row}:
                    yield Insert(dataset, row)
                case {"update": dataset, "row": row}:
                    yield Update(dataset, row, event.get("was"))
                case {"delete": dataset, "row": row}:
                    yield Delete(dataset, row)
                case {"schema": dataset, "columns": columns}:
                    yield NewSchema(columns, dataset)
                case {"commit": _}:
                    yield Commit(at + 1)
                case {"idle": wait_ms}:
                    yield Idle(wait_ms)
                case {"fail": text} if not self.failed:
                    self.failed = True
                    raise Unavailable(text)
                case {"end": _} if not self.failed:
                    self.failed = True
                    return
