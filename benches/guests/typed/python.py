"""Marks the flights that are late, and drops those that did not arrive."""

from __future__ import annotations

from typing import Any

from dataflare_plugin import Processor


class MarkLate(Processor):
    """Changes records one by one."""

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Mark a flight."""
        delay = record["arr_delay"]
        return None if delay is None else {**record, "late": delay >= 15}
