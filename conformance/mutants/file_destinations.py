"""Destinations that write a file, with one fault each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from dataflare_plugin import Batch, Destination, RejectedRow, Run, Superseded, Target, Unsupported, files, state

KIND = "destination"
NEEDS = ("files", "state")
OUT = "out/rows.jsonl"


class Good(Destination):
    """Appends rows as JSON Lines, a flush at a time, and knows the last generation of each pipeline."""

    abilities: Sequence[str] = ("append", "add-columns", "shut-out")

    def initialize(self) -> None:
        self.rows: list[str] = []

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        self.run, self.rows = run, []
        last, name = self.last()
        self.check(run.generation, last)
        if run.generation == last and run.name != name:
            raise Superseded(f"another run of generation {last} has begun")
        state.set(run.pipeline, json.dumps([run.generation, run.name]).encode())
        return None

    def last(self) -> tuple[int, str]:
        """The generation and the name of the last run of the pipeline."""
        generation, name = json.loads(state.get(self.run.pipeline) or b'[0, ""]')
        return generation, name

    def check(self, own: int, last: int) -> None:
        """Refuse what is older than the last run."""
        if own < last:
            raise Superseded(f"generation {last} has begun")

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        self.rows += [json.dumps(record) for record in batch.records()]
        return []

    def flush(self, token: bytes) -> bool:
        self.check(self.run.generation, self.last()[0])
        self.append(self.rows)
        self.rows = []
        return True

    def append(self, rows: Sequence[str]) -> None:
        """Add lines to the file, in one step."""
        if rows:
            with files.append(OUT) as writer:
                writer.write_text("".join(f"{row}\n" for row in rows))
                writer.publish()

    def finish(self, token: bytes) -> None:
        self.flush(token)

    def abort(self) -> None:
        self.rows = []


class FinishLoses(Good):
    """Ends a run without the rows since the last flush."""

    caught_by = "destination/files-finish"

    def finish(self, token: bytes) -> None:
        if self.run.generation == 1:
            super().finish(token)


class FlushLies(Good):
    """Says that rows are safe, and writes them with `finish`."""

    caught_by = "destination/files-flush"

    def flush(self, token: bytes) -> bool:
        return True

    def finish(self, token: bytes) -> None:
        super().flush(token)


class AbortWrites(Good):
    """Writes the rows of a run that is aborted."""

    caught_by = "destination/files-abort"

    def abort(self) -> None:
        self.append(self.rows)


class WritesAtOnce(Good):
    """Writes rows before they are to be safe, and leaves them there."""

    caught_by = "destination/files-abort"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        self.append([json.dumps(record) for record in batch.records()])
        return []


class PlanCreates(Good):
    """Creates its file when it is asked what it would do."""

    caught_by = "destination/files-plan"

    def plan(self, targets: Sequence[Target]) -> Any:
        self.append(["{}"])
        return super().plan(targets)


class WritesThenLooks(Good):
    """Looks whether it was shut out after it has written."""

    caught_by = "destination/files-shut-out"

    def flush(self, token: bytes) -> bool:
        self.append(self.rows)
        self.rows = []
        return super().flush(token)


class BreaksDown(Good):
    """Ends itself where a file cannot be written."""

    caught_by = "every/denied"

    def append(self, rows: Sequence[str]) -> None:
        try:
            super().append(rows)
        except files.FileError as error:
            raise SystemExit(1) from error


class DropsNewColumns(Good):
    """Writes the columns that there were when the run began, and no others."""

    caught_by = "destination/columns-added"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        self.known = {each.name for target in targets for each in target.fields}
        return super().open(run, targets)

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        self.rows += [json.dumps({k: v for k, v in record.items() if k in self.known}) for record in batch.records()]
        return []


class FlushesIntoMemory(Good):
    """Says that rows are safe, and keeps them in memory until another instance of its host writes them."""

    caught_by = "destination/killed"
    kept: ClassVar[list[str]] = []

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        super().open(run, targets)
        self.append(self.kept)
        self.kept.clear()
        return None

    def flush(self, token: bytes) -> bool:
        self.kept.extend(self.rows)
        self.rows = []
        return True

    def finish(self, token: bytes) -> None:
        super().flush(token)


class WritesRejectedRows(Good):
    """Rejects a row, and writes it."""

    caught_by = "destination/files-finish"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        super().write(target, batch)
        return [RejectedRow(len(batch) - 4, None, "no")] if len(batch) > 4 else []


class FlushWritesAgain(Good):
    """Writes rows again when it is asked to flush again."""

    caught_by = "destination/files-once"

    def flush(self, token: bytes) -> bool:
        self.check(self.run.generation, self.last()[0])
        self.append(self.rows)
        return True


class AbortClears(Good):
    """Clears the file when a run is aborted."""

    caught_by = "destination/files-abort"

    def abort(self) -> None:
        super().abort()
        with files.create(OUT, replace=True) as writer:
            writer.publish()


class Overwrites(Good):
    """Writes the file anew with every run."""

    caught_by = "destination/files-finish"

    def append(self, rows: Sequence[str]) -> None:
        with files.create(OUT, replace=True) as writer:
            writer.write_text("".join(f"{row}\n" for row in rows))
            writer.publish()


class SpoilsDecimals(Good):
    """Ends itself on a column of decimals, if the other columns are those that it knows."""

    caught_by = "destination/types"

    def write(self, target: Target, batch: Batch) -> Iterable[RejectedRow]:
        if any(field.type.startswith("decimal") for field in batch.schema):
            raise SystemExit(1)
        return super().write(target, batch)


class OneGenerationForAll(Good):
    """Shuts out the runs of all pipelines."""

    caught_by = "destination/pipelines-apart"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        return super().open(dataclasses.replace(run, pipeline="all"), targets)


class ForgetsAbilities(Good):
    """Has fewer abilities once it was configured again."""

    caught_by = "destination/configured-again"

    class Lifecycle:
        """What is in the place of the SDK's."""

        instance: Any

        def configure(self, config: str) -> None:
            is_again = self.instance.made is not None
            super().configure(config)  # type: ignore[misc]
            if is_again:
                self.instance.made.abilities = ("append", "shut-out")


class PlansWhatItRefuses(Good):
    """Says nothing in a plan of what it then refuses."""

    caught_by = "destination/plan-unfit"

    def open(self, run: Run, targets: Sequence[Target]) -> bytes | None:
        if "bool" in [each.type for each in targets[0].fields]:
            raise Unsupported("booleans cannot be written")
        return super().open(run, targets)
