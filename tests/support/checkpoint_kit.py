"""A source and a table that outlive runs, in which a process may die at any step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from dataflare.pipeline.specification import Specification, parse_specification
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended
from pipeline_fakes import FakeDestination, FakeSource, rows_of

NAME = DatasetName("rows")
FIRST = {"a": 0, "b": 1000, "c": 2000}
"""The first number of each of several sources."""


class Crash(BaseException):
    """The process dies here."""


class Clock:
    """Counts the steps of a run, and dies at one of them."""

    def __init__(self, *, dies_at: int | None = None) -> None:
        self.steps = 0
        self.dies_at = dies_at

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Crash


class Numbers(FakeSource):
    """Gives the numbers from 0 on; its state is the next one. Within a transaction it has none."""

    def __init__(self, clock: Clock, count: int, *, chunk: int, transaction: int, modes: str = "full") -> None:
        super().__init__([rows_of(1)])
        self.clock, self.count, self.chunk, self.transaction = clock, count, chunk, transaction
        self.modes = frozenset({modes})
        self.opened: list[bytes | None] = []

    def dataset(self, selection: Any = None) -> Dataset:
        return Dataset(NAME, "", self._schema, cursors=("x",), modes=self.modes)

    def open(self, selections: Any = None, state: bytes | None = None) -> list[pa.Schema]:
        self.opened.append(state)
        self.position = int(state or 0)
        return [self._schema]

    def read(self, max_rows: int = 2**20) -> Chunk | Ended:
        self.clock.step()
        if self.position >= self.count:
            return Ended()
        end = min(self.position + min(self.chunk, max_rows), self.count)
        # A state stands at the end of a transaction alone.
        if (boundary := (self.position // self.transaction + 1) * self.transaction) < end:
            end = boundary
        rows = rows_of(*range(self.position, end))
        self.position = end
        whole = end % self.transaction == 0 or end == self.count
        return Chunk(NAME, rows, str(end).encode() if whole else None)

    def acknowledge(self, state: bytes) -> None:
        self.clock.step()
        super().acknowledge(state)


class Series(Numbers):
    """Numbers from one that is its own on."""

    def __init__(self, name: str, clock: Clock, count: int, **options: Any) -> None:
        super().__init__(clock, count, **options)
        self.first = FIRST[name]

    def read(self, max_rows: int = 2**20) -> Chunk | Ended:
        found = super().read(max_rows)
        if isinstance(found, Ended):
            return found
        numbers = [self.first + each for each in found.rows.column("x").to_pylist()]
        return Chunk(found.dataset, rows_of(*numbers), found.state)


class Table(FakeDestination):
    """A table that outlives runs. Rows that are written are there after a flush, with the token or without it."""

    def __init__(self, clock: Clock, *, keeps_token: bool, key: bool = False) -> None:
        super().__init__()
        self.clock, self.keeps_token, self.key = clock, keeps_token, key
        self.kept: list[int] = []
        self.token: bytes | None = None
        self.staged: list[int] = []

    def abilities(self) -> frozenset[str]:
        return frozenset({"append", "merge", *(("keep-token",) if self.keeps_token else ())})

    def open(self, target: Any, *, pipeline: str, run: str, generation: int) -> bytes | None:
        self.staged = []
        return self.token if self.keeps_token else None

    def write(self, rows: pa.RecordBatch) -> list[Any]:
        self.clock.step()
        self.staged += rows.column("x").to_pylist()
        return []

    def flush(self, token: bytes = b"") -> bool:
        self.clock.step()
        merged = dict.fromkeys([*self.kept, *self.staged]) if self.key else [*self.kept, *self.staged]
        self.kept, self.staged = list(merged), []
        self.token = token
        self.clock.step()
        return True

    def finish(self, token: bytes = b"") -> None:
        self.flush(token)

    def abort(self) -> None:
        self.staged = []


def numbers_pipeline(folder: Path, nodes: str, *, rows: int = 10) -> Specification:
    """A pipeline of plugins that are there, with a checkpoint every few rows."""
    for name in ("source", "first", "second", "change"):
        (folder / f"{name}.wasm").touch()
    return parse_specification(
        f"name: test\ncheckpoint: {{rows: {rows}}}\nnodes:\n{nodes}", file=folder / "pipeline.yaml"
    )
