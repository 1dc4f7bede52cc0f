"""The answers of plugins, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.wit_types.types import HealthStatus
from dataflare.wit_types.validator import RuleCount, Violation

__all__ = [
    "Health",
    "PluginStats",
    "Report",
]


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a plugin, and the reason; `message` may be empty."""

    status: HealthStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of a batch found: complete `counts` by rule, and `violations`, which may be cut short."""

    rows_checked: int
    counts: tuple[RuleCount, ...]
    violations: tuple[Violation, ...]

    @property
    def violation_count(self) -> int:
        """Count all violations, including those that are not listed."""
        return sum(count.violations for count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginStats:
    """Totals of a plugin's calls so far, over all its instances.

    Args:
        calls: Calls of the plugin, those of its lifecycle included.
        wall_ns: Wall time of the calls, in nanoseconds; the next two are parts of it.
        marshal_ns: Time for converting values from Python to WIT and back.
        host_ns: Time in functions of the host that the plugin called.
        host_calls: Calls of functions of the host.
        bytes_in: Bytes copied into the plugin.
        bytes_out: Bytes copied out of it.
        memory_bytes: Linear memory of the current instances.
        host_peak_bytes: The most memory that the host kept for one instance at a time: batches, columns, texts.
        instances: Instances made.
        flattened: How many of them are flattened; the others are reached through bridges.
        faults: Instances lost to a trap, an exception of a host function, or a violation of the standard.
    """

    calls: int = 0
    wall_ns: int = 0
    marshal_ns: int = 0
    host_ns: int = 0
    host_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    memory_bytes: int = 0
    host_peak_bytes: int = 0
    instances: int = 0
    flattened: int = 0
    faults: int = 0

    @property
    def guest_ns(self) -> int:
        """Time in the plugin's own code, in nanoseconds."""
        return self.wall_ns - self.marshal_ns - self.host_ns
