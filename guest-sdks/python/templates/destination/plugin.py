"""Keeps rows by key in the state that the host has for the plugin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dataflare_plugin import Batch, Destination, RejectedRow, Target, option, state


@dataclass(frozen=True)
class Settings:
    """The configuration: its JSON Schema, and the checks of what the operator writes, come from it."""

    key: str = option("The column whose values rows are kept by.", default="id", not_empty=True)


class SamplePlugin(Destination):
    """Rows are visible when the run is finished."""

    config: Settings
    abilities = ("append",)

    def initialize(self) -> None:
        """Nothing is kept back yet."""
        self.rows: dict[str, str] = {}

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        """Write rows; those without a key are rejected."""
        rejected = []
        for row, record in enumerate(batch.records()):
            key = record.get(self.config.key)
            if key is None:
                rejected.append(RejectedRow(row, self.config.key, f"{self.config.key} is null"))
            else:
                self.rows[json.dumps([target.namespace, target.name, key])] = json.dumps(record)
        return rejected

    def finish(self, token: bytes) -> None:
        """Make them visible. After an error this may come again, and must do no harm."""
        for key, text in self.rows.items():
            state.set(key, text.encode())
        self.rows.clear()

    def abort(self) -> None:
        """Forget them."""
        self.rows.clear()
