"""The report of a run as JSON, read again: by pages that show it, from a run just done or from the history."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Latency", "Node", "Queue", "ReportDocument", "Timeline"]

Count: TypeAlias = Annotated[int, Field(ge=0, le=2**63)]
Seconds: TypeAlias = Annotated[
    float,
    Field(ge=0, le=2**40, allow_inf_nan=False),
    # Rates of what takes less are infinite.
    AfterValidator(lambda seconds: seconds if seconds >= 1e-9 else 0.0),
]


class _Part(BaseModel):
    """Keys that are missing have a value: reports of older versions lack some."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Latency(_Part):
    """How long batches took, in seconds."""

    batches: Count = 0
    p50: Seconds = 0.0
    p90: Seconds = 0.0
    p99: Seconds = 0.0
    max: Seconds = 0.0


class Queue(_Part):
    """The batches that waited before a node."""

    capacity: Count = 0
    mean: Seconds = 0.0
    max: Count = 0


class Change(_Part):
    """A column that has changed."""

    change: str = ""
    column: str = ""
    before: str = ""
    now: str = ""
    result: str = ""
    place: str = ""


class Made(_Part):
    """What changed in a table that was written."""

    kind: str = ""
    detail: str = ""


class Output(_Part):
    """A file or folder that was written."""

    path: str = ""
    action: str = ""
    files: Count = 1


class Node(_Part):
    """What one node did."""

    name: str
    kind: str = ""
    uses: str = ""
    inputs: list[str] = []
    rows_in: Count = 0
    rows_out: Count = 0
    dropped: Annotated[int, Field(ge=-(2**63), le=2**63)] = 0
    batches: Count = 0
    bytes: Count = 0
    seconds: Seconds = 0.0
    guest_seconds: Seconds = 0.0
    marshal_seconds: Seconds = 0.0
    host_seconds: Seconds = 0.0
    input_wait_seconds: Seconds = 0.0
    output_wait_seconds: Seconds = 0.0
    latency: Latency = Latency()
    queue: Queue | None = None
    errors: Count = 0
    rejected: Count = 0
    failed: Count = 0
    retries: Count = 0
    reloads: Count = 0
    outage_seconds: Seconds = 0.0
    quarantined: str = ""
    dead_letters: str | None = None
    violations: dict[str, Count] = {}
    outputs: list[Output] = []
    inferred: dict[str, str] = {}
    resumed: bool = False
    checkpoints: Count = 0
    schema_changes: list[Change] = []
    changes: list[Made] = []
    guarantee: str | None = None

    @property
    def rows(self) -> int:
        """The greater of the rows that it took and passed on."""
        return max(self.rows_in, self.rows_out)


class Timeline(_Part):
    """How far the nodes were at some moments: columns of one length."""

    seconds: list[Seconds] = []
    rows: dict[str, list[Count]] = {}
    queued: dict[str, list[Count]] = {}


class ReportDocument(_Part):
    """The report of a run, with `error` where it failed."""

    id: str = ""
    pipeline: str = ""
    status: str = ""
    began: str = ""
    stopped: str | None = None
    done_before: list[str] = []
    rows_in: Count = 0
    rows_out: Count = 0
    seconds: Seconds = 0.0
    load_seconds: Seconds = 0.0
    nodes: list[Node] = []
    timeline: Timeline = Timeline()
    error: str | dict[str, Any] | None = None
