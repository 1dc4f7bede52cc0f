"""What a run did, node by node."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from dataflare.pipeline.latencies import Latencies
from dataflare.pipeline.stop_limits import StopReason
from dataflare.pipeline.timeline import Timeline
from dataflare.runtime.datasets import PlannedChange

__all__ = ["Guarantee", "NodeReport", "OutputReport", "Progress", "QueueReport", "RunReport", "SchemaChange", "Status"]

Status: TypeAlias = Literal["running", "completed", "failed", "interrupted"]
Guarantee: TypeAlias = Literal["exactly-once", "at-least-once"]
"""How often a destination has each row after a run that stopped and those that went on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Args:
        rows: Rows that the sources have read.
        rows_expected: How many they will give, as they estimate; `None` where one of them does not know.
        bytes: Bytes of those rows, as Arrow holds them.
        elapsed_s: Wall seconds since the run began.
        nodes: What each node has done so far, in the order of the run; they keep changing.
    """

    rows: int
    rows_expected: int | None
    bytes: int
    elapsed_s: float
    nodes: tuple[NodeReport, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputReport:
    """A file or a folder that a node wrote.

    Args:
        path: Its path; if the pipeline names a symbolic link, the path of what it points to.
        action: `created`, `replaced`, `appended`, or `streamed` for a pipe or a device.
        files: How many files were written; more than 1 only in a folder.
    """

    path: str
    action: Literal["created", "replaced", "appended", "streamed"]
    files: int = 1

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold."""
        return {"path": self.path, "action": self.action, "files": self.files}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A column that has changed.

    Args:
        change: `new-column`, `changed-type` or `missing-column`.
        column: The column.
        before: Its type before; empty for a new column.
        now: Its type now; empty for a missing one.
        result: What was done: `evolved`, `filled` with nulls, `column discarded` or `rows discarded`.
        since: `run`: it differs from the last run; `read`: it changed during this one.
        place: The file that has it; empty for a plugin.
    """

    change: Literal["new-column", "changed-type", "missing-column"]
    column: str
    before: str
    now: str
    result: str
    since: Literal["run", "read"]
    place: str = ""

    @property
    def shown(self) -> str:
        """Describe what changed and what was done, in one line for people."""
        types = " -> ".join(each for each in (self.before, self.now) if each)
        return f"{self.change.replace('-', ' ')} {self.column} ({types}): {self.result}"

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class QueueReport:
    """The batches that waited before a node, on their way from another one.

    Args:
        capacity: The most that may wait.
        mean: How many waited when the node asked for the next one, on average; 0 if it always had to wait itself.
        most: The most that waited at a time.
    """

    capacity: int
    mean: float
    most: int

    def to_json(self) -> dict[str, float]:
        """Write it as what JSON can hold."""
        return {"capacity": self.capacity, "mean": round(self.mean, 3), "max": self.most}


@dataclass(slots=True)
class NodeReport:
    """What one node did. Only the thread that runs the node changes it; all may read it.

    Args:
        name: The node.
        kind: `source`, `destination`, `processor`, `transformer` or `validator`.
        uses: The plugin's file or the connector, as the pipeline says.
        rows_in: Rows that it took; 0 for a source.
        rows_out: Rows passed on, or written by a destination.
        batches: Batches passed on, or written.
        bytes: Bytes of those rows, as Arrow holds them.
        seconds: Wall time in the node, without waiting for others, summed over its workers; the next three are parts of
            it.
        input_wait_seconds: Wall time in which the node waited for rows.
        output_wait_seconds: Wall time in which it waited until the nodes after it had room for more.
        guest_seconds: Time in the plugin's own code.
        marshal_seconds: Time for converting values for the plugin and back.
        host_seconds: Time in functions of the host that the plugin called.
        bytes_in: Bytes copied into the plugin.
        bytes_out: Bytes copied out of it.
        errors: 1 if the run failed in this node.
        rejected: For a validator, rows that it gave to nodes that take `NAME.rejected`.
        failed: Rows that were left out: the plugin failed on them, or rejected them, or the schema contract did.
        retries: How often a call was made again that failed for a reason that may pass.
        reloads: How often a new instance took a call that faulted.
        outage_seconds: Wall time in which no call of the node was made, but for trials.
        quarantined: Why the plugin was not called any more; empty if it was.
        dead_letters: The file that has the rows that failed; `NAME.failed` beside it if the run failed.
        violations: For a validator, how often each rule was broken, including 0.
        outputs: Files and folders that are in place; none before the run is completed.
        inferred: For a connector that reads, the types that were inferred from values, by column.
        resumed: For a source, whether it continued an earlier run.
        checkpoints: For a source, how many checkpoints the run made.
        no_checkpoints: For a source, why the run made none before its end; empty if it could.
        schema_changes: For a node that reads, the columns that have changed.
        changes: For a destination that is a table, what the run changed in it, and whether others emptied it.
        guarantee: For a destination, how often it has each row, whatever stops the run; `None` before it is known.
        latencies: How long it worked on each batch.
        queue: What waited before it; `None` for a source, and before the end.
        inputs: What it takes: nodes, or `NAME.rejected`, as the pipeline says; empty for a source.
        rows_under_way: Rows that it took, and has neither passed on nor left out; after a failure, it never will.
    """

    name: str
    kind: str
    uses: str
    rows_in: int = 0
    rows_out: int = 0
    batches: int = 0
    bytes: int = 0
    seconds: float = 0.0
    input_wait_seconds: float = 0.0
    output_wait_seconds: float = 0.0
    guest_seconds: float = 0.0
    marshal_seconds: float = 0.0
    host_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    errors: int = 0
    rejected: int = 0
    failed: int = 0
    retries: int = 0
    reloads: int = 0
    outage_seconds: float = 0.0
    quarantined: str = ""
    dead_letters: str | None = None
    violations: Counter[str] = field(default_factory=Counter)
    outputs: list[OutputReport] = field(default_factory=list)
    inferred: dict[str, str] = field(default_factory=dict)
    resumed: bool = False
    checkpoints: int = 0
    no_checkpoints: str = ""
    schema_changes: list[SchemaChange] = field(default_factory=list)
    changes: list[PlannedChange] = field(default_factory=list)
    guarantee: Guarantee | None = None
    latencies: Latencies = field(default_factory=Latencies, init=False)
    queue: QueueReport | None = None
    inputs: tuple[str, ...] = ()
    rows_under_way: int = field(default=0, init=False)

    @property
    def dropped(self) -> int:
        """Count the rows that a processor or a validator took and did not pass on.

        Those that failed, and those that a validator gave to nodes that take what it rejects, are not among them.
        For a destination, the rows that it left out since it has them from a run that stopped.
        """
        if self.kind not in ("processor", "validator", "destination"):
            return 0
        return self.rows_in - self.rows_out - self.failed - self.rejected - self.rows_under_way

    def add_stats(self, stats: Any) -> None:
        """Add the times and bytes of a plugin's calls (`Plugin.stats`); once, at the end."""
        self.guest_seconds = (stats.wall_ns - stats.marshal_ns - stats.host_ns) / 1e9
        self.marshal_seconds = stats.marshal_ns / 1e9
        self.host_seconds = stats.host_ns / 1e9
        self.bytes_in, self.bytes_out = stats.bytes_in, stats.bytes_out

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold; times are seconds, rounded to microseconds."""
        return {
            "name": self.name,
            "kind": self.kind,
            "uses": self.uses,
            "inputs": list(self.inputs),
            "rows": max(self.rows_in, self.rows_out),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "dropped": self.dropped,
            "batches": self.batches,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "input_wait_seconds": round(self.input_wait_seconds, 6),
            "output_wait_seconds": round(self.output_wait_seconds, 6),
            "guest_seconds": round(self.guest_seconds, 6),
            "marshal_seconds": round(self.marshal_seconds, 6),
            "host_seconds": round(self.host_seconds, 6),
            "bytes_copied_in": self.bytes_in,
            "bytes_copied_out": self.bytes_out,
            "errors": self.errors,
            "rejected": self.rejected,
            "failed": self.failed,
            "retries": self.retries,
            "reloads": self.reloads,
            "outage_seconds": round(self.outage_seconds, 6),
            "quarantined": self.quarantined,
            "dead_letters": self.dead_letters,
            "violations": dict(self.violations),
            "outputs": [output.to_json() for output in self.outputs],
            "inferred": dict(self.inferred),
            "resumed": self.resumed,
            "checkpoints": self.checkpoints,
            "no_checkpoints": self.no_checkpoints,
            "schema_changes": [each.to_json() for each in self.schema_changes],
            "changes": [{"kind": each.kind, "detail": each.detail} for each in self.changes],
            "guarantee": self.guarantee,
            "latency": self.latencies.to_json(),
            "queue": None if self.queue is None else self.queue.to_json(),
        }


@dataclass(slots=True)
class RunReport:
    """The result of a run.

    `nodes` are in the order of the run, `seconds` is its wall time without loading, and `stopped` is the limit that
    sources stopped at before their end (`max-rows`, `max-time`; `None` for none). `id` is unique, `began` is when it
    was made, and `timeline` has how far the nodes were at some moments. `done_before` names the datasets
    (`NODE[DATASET]`) that an earlier run has finished, which this one continued.
    """

    pipeline: str
    nodes: list[NodeReport] = field(default_factory=list)
    status: Status = "running"
    seconds: float = 0.0
    load_seconds: float = 0.0
    stopped: StopReason | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    timeline: Timeline = field(default_factory=Timeline, init=False)
    done_before: list[str] = field(default_factory=list)

    @property
    def rows_in(self) -> int:
        """Rows that sources have read."""
        return sum(node.rows_out for node in self.nodes if node.kind == "source")

    @property
    def rows_out(self) -> int:
        """Rows that destinations wrote; one that went to two counts twice."""
        return sum(node.rows_out for node in self.nodes if node.kind == "destination")

    @property
    def replaced(self) -> tuple[str, ...]:
        """Files and folders that replaced older ones."""
        return tuple(output.path for node in self.nodes for output in node.outputs if output.action == "replaced")

    def to_json(self) -> dict[str, Any]:
        """Write it as what JSON can hold."""
        return {
            "id": self.id,
            "pipeline": self.pipeline,
            "status": self.status,
            "stopped": self.stopped,
            "done_before": list(self.done_before),
            "began": self.began.isoformat(timespec="milliseconds"),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "seconds": round(self.seconds, 6),
            "load_seconds": round(self.load_seconds, 6),
            "nodes": [node.to_json() for node in self.nodes],
            "timeline": self.timeline.to_json(),
        }
