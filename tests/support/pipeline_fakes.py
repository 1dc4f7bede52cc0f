"""Plugins and a host in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from dataflare.capabilities.metrics import MemoryMetrics
from dataflare.runtime.datasets import Chunk, Dataset, DatasetName, Ended, PlannedChange, Target
from dataflare.runtime.results import PluginStats, Report
from dataflare.security.admission import Admission, AdmittedPipeline
from dataflare.security.pipelines import PipelineFile
from dataflare.wit_types.destination import RejectedRow
from dataflare.wit_types.validator import Rule, RuleCount, Violation


class FakePlugin:
    """A plugin in Python; counts what becomes of it. `fail_in` names a function that fails with `error`."""

    kind = ""

    def __init__(self, *, fail_in: str = "", error: BaseException | None = None) -> None:
        self.fail_in, self.error = fail_in, error
        self.calls: list[str] = []
        self.stats = PluginStats(calls=3, wall_ns=9_000, marshal_ns=2_000, host_ns=3_000, bytes_in=10, bytes_out=20)

    def called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fail_in and self.error is not None:
            raise self.error

    def start(self) -> FakePlugin:
        self.called("start")
        return self

    def interrupt(self) -> None:
        """Its calls are short: there is nothing to end."""

    def close(self) -> None:
        self.calls.append("close")


NAME = DatasetName("rows")


class FakeSource(FakePlugin):
    kind = "source"

    def __init__(self, batches: Sequence[pa.RecordBatch], schema: pa.Schema | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._batches = list(batches)
        self._schema = schema if schema is not None else self._batches[0].schema
        self.acknowledged: list[bytes] = []

    def dataset(self, selection: Any = None) -> Dataset:
        return Dataset(NAME, "", self._schema)

    def estimate(self, selections: Any = None) -> Any:
        return SimpleNamespace(rows=sum(batch.num_rows for batch in self._batches))

    def open(self, selections: Any = None, state: bytes | None = None) -> list[pa.Schema]:
        self._left = self.chunks()
        return [self._schema]

    def read(self, max_rows: int = 0) -> Chunk | Ended:
        return next(self._left, Ended())

    def acknowledge(self, state: bytes) -> None:
        self.acknowledged.append(state)

    def chunks(self) -> Iterator[Chunk]:
        for number, batch in enumerate(self._batches):
            self.called("read")
            yield Chunk(NAME, batch, str(number).encode())


class FakeTransformer(FakePlugin):
    kind = "transformer"

    def __init__(self, change: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda rows: rows, **more: Any) -> None:
        super().__init__(**more)
        self._change = change

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        self.called("output_schema")
        return schema

    def transform(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        self.called("transform")
        return self._change(rows)


class FakeProcessor(FakePlugin):
    kind = "processor"

    def __init__(self, change: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda rows: rows, **more: Any) -> None:
        super().__init__(**more)
        self._change = change

    def process_batch(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        self.called("process_batch")
        return self._change(rows)


class FakeValidator(FakePlugin):
    """Finds each `x` that is negative, and names at most `most` of them."""

    kind = "validator"

    def __init__(self, *, severity: Any = "error", most: int = 100, whole_batch: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self._severity, self._most, self._whole_batch = severity, most, whole_batch
        self.rows_seen = self.listed = 0

    def rules(self) -> list[Rule]:
        self.called("rules")
        return [Rule("positive", "x is not negative", self._severity)]

    def validate(self, rows: pa.RecordBatch) -> Report:
        self.called("validate")
        wrong: list[int | None] = [row for row, x in enumerate(rows.column("x").to_pylist()) if x < 0]
        if self._whole_batch and wrong:
            wrong = [None]
        listed = tuple(Violation(row, "x", "positive", self._severity, "x is negative") for row in wrong[: self._most])
        self.rows_seen += rows.num_rows
        self.listed += len(listed)
        return Report(rows.num_rows, (RuleCount("positive", len(wrong)),), listed)


class FakeDestination(FakePlugin):
    kind = "destination"
    changes = ()

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.written: list[pa.RecordBatch] = []
        self.rejects: list[RejectedRow] = []
        self.schema: pa.Schema | None = None

    def abilities(self) -> frozenset[str]:
        return frozenset({"append", "replace", "merge"})

    def plan(self, target: Target) -> list[PlannedChange]:
        return []

    def open(self, target: Target, *, pipeline: str, run: str, generation: int) -> None:
        self.called("open")
        self.target = target
        self.schema = target.schema

    def write(self, rows: pa.RecordBatch) -> list[RejectedRow]:
        self.called("write")
        self.written.append(rows)
        return self.rejects

    def flush(self, token: bytes = b"") -> bool:
        self.called("flush")
        return False

    def finish(self, token: bytes = b"") -> None:
        self.called("finish")

    def abort(self) -> None:
        self.called("abort")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.written for row in batch.to_pylist()]


class FakeHost:
    """Loads fakes, by the node's name."""

    def __init__(self, **plugins: FakePlugin) -> None:
        self.plugins = plugins
        self.loaded: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.metrics = MemoryMetrics()

    def cancel(self, namespace: str) -> None:
        self.cancelled.append(namespace)

    def inspect(self, component: Path) -> Any:
        kind = self.plugins[component.name.removesuffix(".wasm")].kind
        problems = () if kind else ("it exports nothing",)
        return SimpleNamespace(kind=kind or None, problems=problems, capabilities=())

    def connector_secret(self, name: str) -> str | None:
        return None

    def admit_pipeline(self, name: str, file: PipelineFile) -> AdmittedPipeline:
        return Admission().admit_pipeline(name, file)

    def metadata(self, component: Path, **_: Any) -> Any:
        return SimpleNamespace(config_schema=None)

    def load(self, component: Path, *, name: str, **arguments: Any) -> FakePlugin:
        plugin = self.plugins[component.name.removesuffix(".wasm")]
        plugin.called("load")
        self.loaded[name] = arguments
        return plugin


def rows_of(*values: int) -> pa.RecordBatch:
    """A batch with one column, `x`."""
    return pa.RecordBatch.from_pydict({"x": pa.array(values, pa.int64())})
