"""What an instance has done."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CallStats"]


@dataclass(slots=True)
class CallStats:
    """What an instance has done so far. The guest's own time is `wall_ns - marshal_ns - host_ns`.

    `host_ns` is spent in host functions, `marshal_ns` in reading and writing values. `bytes_in` went into the plugin,
    `bytes_out` came from it; neither counts the inline parts of records. `memory_bytes` is the current size of the
    plugin's linear memory; `host_peak_bytes` is the most that the host kept for it at one time.
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
