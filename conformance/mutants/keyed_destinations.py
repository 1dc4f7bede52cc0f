"""Destinations that keep rows by key in one file, with one fault each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dataflare_plugin import Batch, Destination, RejectedRow, Run, Target, files

KIND = "destination"
NEEDS = ("files",)
OUT = "out/rows.json"
_OPERATION = "conformance_operation"
_DELETE = 2


class Good(Destination):
    """Has the rows of all runs in one object of JSON, by key, and writes it anew when a run finishes."""

    abilities: Sequence[str] = ("replace", "merge", "delete", "add-columns", "widen-columns")

    def initialize(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        self.rows, (self.target,) = [], targets
        return None

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        self.rows += batch.records()
        return []

    def kept(self) -> dict[str, Any]:
        """The rows that are there before."""
        if self.target.mode == "replace":
            return {}
        try:
            with files.open(OUT) as reader:
                return dict(json.loads(reader.read_all()))
        except files.NotFound:
            return {}

    def finish(self, token: bytes) -> None:
        kept = self.kept()
        for row in self.rows:
            key = json.dumps([row[name] for name in self.target.key])
            self.put(kept, key, row)
        self.rows = []
        with files.create(OUT, replace=True) as writer:
            writer.write_text(json.dumps(kept))
            writer.publish()

    def put(self, kept: dict[str, Any], key: str, row: dict[str, Any]) -> None:
        """Insert or replace a row, or remove it."""
        if row.pop(_OPERATION, None) == _DELETE:
            kept.pop(key, None)
        else:
            kept[key] = row

    def abort(self) -> None:
        self.rows = []


class KeepsReplacedRows(Good):
    """Keeps rows that were to be replaced."""

    caught_by = "destination/files-replaced"

    def kept(self) -> dict[str, Any]:
        self.target = Target(self.target.name, self.target.fields, self.target.key, "merge")
        return super().kept()


class RemovesAtOnce(Good):
    """Removes the rows before when a run that is to replace them begins."""

    caught_by = "destination/files-replaced"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        super().open(run, targets)
        if self.target.mode == "replace":
            self.finish(b"")
        return None


class FirstRowCounts(Good):
    """Keeps the first row of a key."""

    caught_by = "destination/files-merged"

    def put(self, kept: dict[str, Any], key: str, row: dict[str, Any]) -> None:
        if key not in kept or row.get(_OPERATION) == _DELETE:
            super().put(kept, key, row)


class AddsRows(Good):
    """Adds every row that comes."""

    caught_by = "destination/files-merged"

    def put(self, kept: dict[str, Any], key: str, row: dict[str, Any]) -> None:
        super().put(kept, key if row.get(_OPERATION) == _DELETE else f"{len(kept)}", row)


class DeletesNothing(Good):
    """Takes a delete for a row of nulls."""

    caught_by = "destination/files-deleted"

    def put(self, kept: dict[str, Any], key: str, row: dict[str, Any]) -> None:
        if row.get(_OPERATION) != _DELETE:
            super().put(kept, key, row)


class LosesOtherRows(Good):
    """Has the rows of the last run alone."""

    caught_by = "destination/files-deleted"

    def kept(self) -> dict[str, Any]:
        return {}
