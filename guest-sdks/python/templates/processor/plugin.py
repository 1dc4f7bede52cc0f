"""Trims a text field, and drops records in which it is empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataflare_plugin import InvalidInput, Processor, option


@dataclass(frozen=True)
class Settings:
    """The configuration: its JSON Schema, and the checks of what the operator writes, come from it."""

    field: str = option("The field to trim.", default="name", not_empty=True)


class SamplePlugin(Processor):
    """Changes records one by one."""

    config: Settings

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return the record, changed; `None` drops it."""
        value = record.get(self.config.field)
        if value is None:
            return None
        if not isinstance(value, str):
            raise InvalidInput(f"{self.config.field} is not a text")
        trimmed = value.strip()
        return {**record, self.config.field: trimmed} if trimmed else None
