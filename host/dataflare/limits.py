"""What one plugin instance may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dataflare.errors import ConfigError

__all__ = ["Limits"]

_COUNTS: Final = (
    "memory_bytes",
    "table_elements",
    "instances",
    "memories",
    "handles",
    "host_calls",
    "log_events_per_s",
    "log_bytes_per_s",
)
_OPTIONAL_COUNTS: Final = (
    "fuel",
    "host_bytes",
    "host_calls_per_s",
    "copied_bytes",
    "output_bytes",
    "output_rows",
    "log_dropped_events",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings for one plugin instance. A plugin that passes one is stopped with the error of that name.

    Args:
        memory_bytes: Linear memory of the plugin, all its memories together, in bytes (`MemoryLimitExceeded`).
        call_timeout_s: Wall seconds for one call, host functions included; in (0, 3600] (`CallTimeout`). `None` lets a
            plugin run as long as it likes, a loop without end too, and nothing but the end of the process stops it:
            only for plugins that are trusted. Their code looks at no clock then, and lists cross the boundary faster.
        fuel: Units of work for one call (about one a wasm instruction); `None` counts nothing, and costs nothing
            (`OutOfFuel`).
        table_elements: Elements in each of the plugin's tables (`TableLimitExceeded` at the start; later the plugin
            is told that its table cannot grow).
        instances: Core instances in the plugin (`InstanceLimitExceeded`).
        memories: Linear memories in the plugin (`InstanceLimitExceeded`).
        handles: Batches, open files and the like that it may hold at a time (`HandleLimitExceeded`).
        host_bytes: Bytes that the host keeps for it outside of its memory: batches that it makes, columns and texts
            that it asks for, bodies of responses; `None` for any number (`HostBytesExceeded`). A batch that it is given
            is free, and so is handing it on.
        host_calls: Calls of the host within one call (`HostCallLimitExceeded`).
        host_calls_per_s: Calls of the host in a second in the long run, also the most at once; `None` for any number
            (`HostCallRateExceeded`).
        copied_bytes: Bytes copied into and out of the plugin within one call; `None` for any number
            (`CopyLimitExceeded`).
        output_bytes: Bytes that one call returns, batches included; `None` for any number (`OutputLimitExceeded`).
        output_rows: Rows that one call returns; `None` for any number (`OutputLimitExceeded`).
        log_events_per_s: Log events in a second, also the most at once, of all instances together; those over it are
            dropped.
        log_bytes_per_s: Bytes of log events in a second, likewise.
        log_dropped_events: Events that are dropped within one call before the plugin is stopped; `None` for any number
            (`LogLimitExceeded`).

    Raises:
        ConfigError: A value is out of its range.
    """

    memory_bytes: int = 512 * 2**20
    call_timeout_s: float | None = 60.0
    fuel: int | None = None
    table_elements: int = 1_000_000
    instances: int = 1_000
    memories: int = 16
    handles: int = 100_000
    host_bytes: int | None = 2 * 2**30
    host_calls: int = 10_000_000
    host_calls_per_s: int | None = None
    copied_bytes: int | None = 16 * 2**30
    output_bytes: int | None = 4 * 2**30
    output_rows: int | None = None
    log_events_per_s: int = 1_000
    log_bytes_per_s: int = 2**20
    log_dropped_events: int | None = 100_000

    def __post_init__(self) -> None:
        if self.call_timeout_s is not None and not 0 < self.call_timeout_s <= 3600:
            raise ConfigError(f"{self.call_timeout_s!r} is not in (0, 3600]", where="limits.call_timeout_s")
        for name in (*_COUNTS, *_OPTIONAL_COUNTS):
            value = getattr(self, name)
            if value is None and name in _OPTIONAL_COUNTS:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{value!r} is not a whole number of at least 1", where=f"limits.{name}")
