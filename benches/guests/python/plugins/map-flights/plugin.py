"""Filters, drops, renames and sets, as `MAPPING` of `bench_records.py` has it."""

from __future__ import annotations

from typing import Any

from dataflare_plugin import Processor

DROPPED = {"year", "month", "day", "hour", "minute"}
RENAMED = {"dest": "destination", "tailnum": "aircraft", "air_time": "air_minutes", "distance": "miles"}


class MapFlights(Processor):
    """Maps flights."""

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return the record with other names; one without a time in the air is dropped."""
        if record["air_time"] is None:
            return None
        mapped = {RENAMED.get(name, name): value for name, value in record.items() if name not in DROPPED}
        mapped["dataset"] = "nycflights13"
        return mapped
