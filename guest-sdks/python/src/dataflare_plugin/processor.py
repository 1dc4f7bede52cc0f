"""Processors: one record in, one record out, or none."""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeGuard

from dataflare_plugin.batch import Batch
from dataflare_plugin.datasets import Field
from dataflare_plugin.errors import InvalidInput, PluginError
from dataflare_plugin.plugin import Plugin

__all__ = ["Processor"]


class Processor(Plugin):
    """Changes records one by one. Override `process`, and `process_batch` if it is faster on columns."""

    kind: ClassVar[str] = "processor"

    def process(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return the record, changed or not; `None` drops it."""
        raise NotImplementedError

    def process_batch(self, batch: Batch) -> Batch:
        """Do the same for a batch: by `process`, record by record. Columns keep their types; new ones are inferred."""
        out = []
        for row, record in enumerate(batch.records()):
            try:
                changed = self.process(record)
            except PluginError as error:
                raise type(error)(f"row {row}: {error}") if isinstance(error, InvalidInput) else error from error
            if _is_kept(changed):
                out.append(changed)
        return Batch.from_records(out, _schema_of(out, batch.schema))


def _schema_of(records: list[dict[str, Any]], given: list[Field]) -> list[Field]:
    if not records:
        return given
    # In the order in which names first appear.
    names = list({name: None for record in records for name in record})
    known = {field.name: field for field in given}
    new = [name for name in names if name not in known]
    if new:
        lines = [{name: record.get(name) for name in new} for record in records]
        with Batch.from_records(lines) as inferred:
            known |= {field.name: field for field in inferred.schema}
    return [known[name] for name in names]


def process_text(plugin: Processor, text: str) -> str | None:
    """Process a record that is JSON."""
    try:
        record = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"the record is not JSON: {error}") from None
    changed = plugin.process(record)
    return json.dumps(changed, separators=(",", ":")) if _is_kept(changed) else None


def _is_kept(changed: object) -> TypeGuard[dict[str, Any]]:
    """Whether there is a record; raises TypeError for what is not one, which would fail later and elsewhere."""
    if changed is not None and not isinstance(changed, dict):
        raise TypeError(f"process returned {changed!r:.100}: return the record as a dict, or None to drop it")
    return changed is not None
