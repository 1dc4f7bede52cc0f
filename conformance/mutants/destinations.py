"""Destinations with one fault each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dataflare_plugin import (
    Batch,
    Destination,
    Field,
    InvalidInput,
    RejectedRow,
    Run,
    Superseded,
    Target,
    Unsupported,
    option,
    state,
)

NEEDS = ("state",)


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    limit: int = option("The most characters of a row.", default=100_000, at_least=1)


class Good(Destination):
    """Keeps rows, a token and a generation for each pipeline in the host's state."""

    config: Settings
    abilities: Sequence[str] = ("append", "replace", "add-columns", "widen-columns", "keep-token", "shut-out")

    def initialize(self) -> None:
        self.rows: list[str] = []
        self.ended = False

    def load(self, name: str) -> Any:
        """What is kept for the pipeline."""
        kept = state.get(f"{name}/{self.run.pipeline}")
        return None if kept is None else json.loads(kept)

    def save(self, name: str, value: Any) -> None:
        """Keep something for the pipeline."""
        state.set(f"{name}/{self.run.pipeline}", json.dumps(value).encode())

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        self.run, self.rows, self.ended = run, [], False
        (target,) = targets
        self.columns = self.types(target.fields)
        last = self.load("generation") or 0
        self.check_generation(last)
        if run.generation == last and run.name != (self.load("run") or run.name):
            raise Superseded(f"another run of generation {last} has begun")
        self.save("generation", max(last, run.generation))
        self.save("run", run.name)
        token = self.load("token")
        return None if token is None else bytes.fromhex(token)

    def types(self, fields: Sequence[Field]) -> dict[str, str]:
        """The types of columns by name."""
        return {each.name: each.type for each in fields}

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        changed = self.types(fields)
        if bad := [
            name
            for name, kind in self.columns.items()
            if "bool" in (kind, changed.get(name)) and changed.get(name) != kind
        ]:
            raise Unsupported(f"column {bad[0]!r} cannot become {changed.get(bad[0])}")
        self.columns = changed

    def check_generation(self, last: int) -> None:
        """Refuse a run that is older than the last."""
        if self.run.generation < last:
            raise Superseded(f"generation {last} has begun")

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        rejected = []
        for row, record in enumerate(batch.records()):
            text = json.dumps(record)
            if len(text) > self.config.limit:
                rejected.append(RejectedRow(row, None, f"is longer than {self.config.limit}"))
            else:
                self.rows.append(text)
        return rejected

    def keep(self, token: bytes) -> None:
        """Make rows and token safe together."""
        self.check_generation(self.load("generation") or 0)
        self.save("rows", [*(self.load("rows") or []), *self.rows])
        self.save("token", token.hex())
        self.rows = []

    def flush(self, token: bytes) -> bool:
        if self.ended or any(target.mode == "replace" for target in self.targets):
            return False
        self.keep(token)
        return True

    def finish(self, token: bytes) -> None:
        self.keep(token)
        self.ended = True

    def abort(self) -> None:
        self.rows = []


class ForgetsToken(Good):
    """Returns no token."""

    caught_by = "destination/token-finish"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        super().open(run, targets)
        return None


class FlushLies(Good):
    """Says that rows and token are safe, and keeps neither."""

    caught_by = "destination/token-flush"

    def flush(self, token: bytes) -> bool:
        return True


class AbortKeeps(Good):
    """Keeps the token of a run that is aborted."""

    caught_by = "destination/token-abort"

    def abort(self) -> None:
        if not self.ended:
            self.keep(b"now")


class AbortTakesBack(Good):
    """Takes back what was finished."""

    caught_by = "destination/abort-after-finish"

    def abort(self) -> None:
        self.save("token", b"taken back".hex())


class OneTokenForAll(Good):
    """Has one token for all pipelines."""

    caught_by = "destination/tokens-apart"

    def load(self, name: str) -> Any:
        kept = state.get(name)
        return None if kept is None else json.loads(kept)

    def save(self, name: str, value: Any) -> None:
        state.set(name, json.dumps(value).encode())


class OldRunsFlush(Good):
    """Lets a run flush that was shut out."""

    caught_by = "destination/shut-out-flush"

    def flush(self, token: bytes) -> bool:
        return True


class OldRunsFinish(Good):
    """Lets a run finish that was shut out."""

    caught_by = "destination/shut-out-finish"

    def finish(self, token: bytes) -> None:
        self.save("token", token.hex())


class OldRunsBegin(Good):
    """Lets an older run begin."""

    caught_by = "destination/shut-out-open"

    def check_generation(self, last: int) -> None:
        if self.rows:
            super().check_generation(last)


class FinishOnce(Good):
    """Cannot finish again."""

    caught_by = "destination/flush-again"

    def finish(self, token: bytes) -> None:
        if self.ended:
            raise Unsupported("it is finished")
        super().finish(token)


class AbortOnce(Good):
    """Cannot abort again."""

    caught_by = "destination/abort-again"
    aborted = False

    def abort(self) -> None:
        if self.aborted:
            raise Unsupported("it is aborted")
        self.aborted = True


class FailsOnNothing(Good):
    """Answers an error to a batch without rows."""

    caught_by = "destination/no-rows"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if not len(batch):
            raise InvalidInput("there are no rows")
        return super().write(target, batch)


class NoReasons(Good):
    """Rejects rows without a reason."""

    caught_by = "destination/rejected"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        super().write(target, batch)
        return [RejectedRow(0, None, "")] if len(batch) else []


class PlanCreates(Good):
    """Does what it only plans."""

    caught_by = "destination/plan"

    def plan(self, targets: Sequence[Target]) -> Iterable[tuple[int, str, str]]:
        if state.get("planned") is None:
            state.set("planned", b"1")
            return [(0, "create", "the dataset")]
        return []


class NoMode(Good):
    """Can write in no mode that it names."""

    caught_by = "destination/run"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if target.mode == "replace":
            raise Unsupported("replace")
        return super().write(target, batch)


class _Any(tuple[str, ...]):
    """Abilities that have every mode and change, though they name some alone: the SDK refuses nothing."""

    def __contains__(self, ability: object) -> bool:
        return True


class TakesAnyMode(Good):
    """Writes in a mode that it does not name."""

    caught_by = "destination/modes-refused"
    abilities = _Any(Good.abilities)


class DeletesWithoutMerge(Good):
    """Says that it deletes, and cannot merge."""

    caught_by = "destination/abilities"
    abilities: Sequence[str] = ("append", "delete")


class BreaksOnNulls(Good):
    """Answers rows of nulls as if it were not its business."""

    caught_by = "destination/nulls"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if len(batch) and all(value is None for record in batch.records() for value in record.values()):
            raise Unsupported("nulls")
        return super().write(target, batch)


class NoNewColumns(Good):
    """Has the ability to add columns, and adds none."""

    caught_by = "destination/columns-added"

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        if self.types(fields).keys() - self.columns.keys():
            raise Unsupported("a column cannot be added")
        super().change_schema(target, fields)


class NoWiderColumns(Good):
    """Has the ability to widen columns, and takes the first type alone."""

    caught_by = "destination/columns-widened"

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        before = self.columns
        super().change_schema(target, fields)
        self.columns = {name: before.get(name, kind) for name, kind in self.columns.items()}

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if self.types(batch.schema) != self.columns:
            raise InvalidInput("the columns are others")
        return super().write(target, batch)


class ColumnsForEver(Good):
    """Refuses a run with other columns than the last one had."""

    caught_by = "destination/columns-added-later"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        token = super().open(run, targets)
        if sorted(self.columns) != (self.load("columns") or sorted(self.columns)):
            raise Unsupported("the columns are others")
        self.save("columns", sorted(self.columns))
        return token


class TypesForEver(Good):
    """Refuses a run with other types than the last one had."""

    caught_by = "destination/columns-widened-later"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        token = super().open(run, targets)
        before = self.load("types") or {}
        if any(before.get(name, kind) != kind for name, kind in self.columns.items()):
            raise Unsupported("a type is another")
        self.save("types", self.columns)
        return token


class ChangesHalf(Good):
    """Refuses a change of columns, and has changed them by then."""

    caught_by = "destination/columns-unfit"

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        try:
            super().change_schema(target, fields)
        finally:
            self.columns = self.types(fields)

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if self.types(batch.schema) != self.columns:
            raise InvalidInput("the columns are others")
        return super().write(target, batch)


_FIXED = _Any(("append", "replace", "keep-token", "shut-out"))


class TakesColumnsUnasked(Good):
    """Accepts columns that it has not the ability to add."""

    caught_by = "destination/columns-unasked"
    abilities = _FIXED


class TakesTypesUnasked(Good):
    """Accepts types that it has not the ability to widen to, and refuses columns."""

    caught_by = "destination/columns-unasked"
    abilities = _Any((*_FIXED, "add-columns"))

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        """Say nothing."""


class ForgetsColumnsUnasked(Good):
    """Refuses columns that it has not the ability to add, and has them by then."""

    caught_by = "destination/columns-unasked"
    abilities = _FIXED

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        self.columns = self.types(fields)
        raise Unsupported("the columns stay as they are")

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if self.types(batch.schema) != self.columns:
            raise InvalidInput("the columns are others")
        return super().write(target, batch)


class RefusesUnaskedInOtherWords(Good):
    """Refuses columns that it has not the ability to add as if a row were wrong."""

    caught_by = "destination/columns-unasked"
    abilities = _FIXED

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        if self.types(fields).keys() - self.columns.keys():
            raise InvalidInput("there are columns more")
        super().change_schema(target, fields)


class WrongRefusal(Good):
    """Refuses a schema that lacks a column as if a row were wrong."""

    caught_by = "destination/columns-left-out"

    def change_schema(self, target: Target, fields: Sequence[Field]) -> None:
        if len(fields) < len(self.columns):
            raise InvalidInput("a column is missing")
        super().change_schema(target, fields)


class ReplacesEarly(Good):
    """Says that rows are safe that are to replace others."""

    caught_by = "destination/replace-flush"

    def flush(self, token: bytes) -> bool:
        self.keep(token)
        return True


class FlushesLate(Good):
    """Keeps the token of a flush after the end."""

    caught_by = "destination/token-flush-late"

    def flush(self, token: bytes) -> bool:
        self.ended = False
        return super().flush(token)


class LetsInAgain(Good):
    """Forgets a run that is aborted, and lets the older one go on."""

    caught_by = "destination/shut-out-stays"

    def abort(self) -> None:
        super().abort()
        self.save("generation", self.run.generation - 1)


class EqualRunsBegin(Good):
    """Lets another run of the same generation begin."""

    caught_by = "destination/shut-out-equal"

    def save(self, name: str, value: Any) -> None:
        if name != "run":
            super().save(name, value)


class OpensOnce(Good):
    """Does not let a run be opened again."""

    caught_by = "destination/reopened"

    def check_generation(self, last: int) -> None:
        if self.run.generation <= last and not self.rows:
            raise Superseded(f"generation {last} has begun")


class SpoilsLongTexts(Good):
    """Ends itself on a long text."""

    caught_by = "destination/any-rows"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if any(isinstance(value, str) and len(value) > 200 for record in batch.records() for value in record.values()):
            raise SystemExit(1)
        return super().write(target, batch)


class TokensAreTexts(Good):
    """Takes a token for a text."""

    caught_by = "destination/token-bytes"

    def keep(self, token: bytes) -> None:
        super().keep(token.decode("utf-8", "replace").encode())
