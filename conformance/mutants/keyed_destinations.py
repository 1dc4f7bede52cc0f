"""Destinations that keep rows by key in one file, with one fault each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dataflare_plugin import (
    Batch,
    Destination,
    Field,
    InvalidConfig,
    InvalidInput,
    RejectedRow,
    Run,
    Target,
    Unsupported,
    files,
)

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
        rejected = []
        for number, row in enumerate(batch.records()):
            operation = row.get(_OPERATION)
            if operation in (None, 0, 1, _DELETE):
                self.rows.append(row)
            else:
                rejected.append(RejectedRow(number, _OPERATION, f"{operation} is not an operation"))
        return rejected

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


class TakesAnyOperation(Good):
    """Takes any number for an insert."""

    caught_by = "destination/odd-operations"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        self.rows += batch.records()
        return []


class RejectsWithoutAColumn(Good):
    """Does not say that an operation is the cause."""

    caught_by = "destination/odd-operations"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        return [RejectedRow(each.row, None, each.reason) for each in super().write(target, batch)]


class RejectsAll(Good):
    """Rejects the rows of a batch for one of them."""

    caught_by = "destination/odd-operations"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        found = list(super().write(target, batch))
        return [RejectedRow(n, _OPERATION, "the batch is wrong") for n in range(len(batch))] if found else []


class RejectsBackwards(Good):
    """Lists the last rejected row first."""

    caught_by = "destination/odd-operations"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        return list(super().write(target, batch))[::-1]


class RejectsTwice(Good):
    """Lists a rejected row for each of its faults."""

    caught_by = "destination/odd-operations"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        return [each for each in super().write(target, batch) for _ in range(2)]


class FailsOnNullKeys(Good):
    """Refuses a batch for a row without a key."""

    caught_by = "destination/null-keys"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if any(row[name] is None for row in batch.records() for name in self.target.key):
            raise InvalidInput("a key is null")
        return super().write(target, batch)


class AddsNullKeys(Good):
    """Takes no null for another, as SQL does, and adds a row each time."""

    caught_by = "destination/null-keys"

    def put(self, kept: dict[str, Any], key: str, row: dict[str, Any]) -> None:
        super().put(kept, f"{key} {len(kept)}" if None in json.loads(key) else key, row)


class RemembersColumns(Good):
    """Knows the columns of the run before; nothing is wrong with that."""

    caught_by = ""
    before: Sequence[Field] = ()

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        known = {each.name: each for each in self.before}
        for each in targets[0].fields:
            self.compare(known.get(each.name, each), each)
        self.before = targets[0].fields
        return super().open(run, targets)

    def compare(self, before: Field, now: Field) -> None:
        """Refuse a column that is not as it was before."""


class RefusesNarrowerColumns(RemembersColumns):
    """Refuses a type that is narrower than the one before, though its values fit."""

    caught_by = "destination/columns-narrower-later"

    def compare(self, before: Field, now: Field) -> None:
        if (before.type, now.type) == ("int64", "int32"):
            raise Unsupported(f"column {now.name!r} is {before.type}")


class RefusesNarrowerWithin(Good):
    """Refuses a type that is narrower than the one before within a run."""

    caught_by = "destination/columns-narrower"

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        if any(each.type == "int32" for each in fields):
            raise Unsupported("a column gets narrower")


class RefusesUnfitInOtherWords(RemembersColumns):
    """Refuses a type that cannot be widened to as if the configuration were wrong."""

    caught_by = "destination/columns-unfit-later"

    def compare(self, before: Field, now: Field) -> None:
        if now.type == "bool" != before.type:
            raise InvalidConfig(f"column {now.name!r} is {before.type}")


class NoNullsForEver(RemembersColumns):
    """Refuses a run whose columns may be null where those of the run before might not."""

    caught_by = "destination/nulls-later"

    def compare(self, before: Field, now: Field) -> None:
        if now.nullable and not before.nullable:
            raise Unsupported(f"column {now.name!r} cannot be null")


class FailsOnNulls(Good):
    """Refuses a batch for a null in it."""

    caught_by = "destination/nulls-within"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if any(value is None for row in batch.records() for name, value in row.items() if name not in self.target.key):
            raise InvalidInput("a value is null")
        return super().write(target, batch)
