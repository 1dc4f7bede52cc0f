"""Ceilings of a plugin instance, and their names in documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from dataflare.errors import ConfigError

__all__ = ["LIMITS", "LimitRow", "LimitValue", "Limits", "is_above", "lower", "refuse_text"]

LimitValue: TypeAlias = int | float | None
"""A ceiling: a count, bytes or seconds; `None` means no limit."""

_MOST: Final = 2**63 - 1
_MOST_SECONDS: Final = 3600
_EXAMPLES: Final = {"duration": "5s", "size": "64MiB", "count": "1000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """A limit, as documents and command lines write it.

    Args:
        field: The field of `Limits`.
        quantity: What it is written as: a `size` such as `64MiB`, a `duration` such as `30s`, or a `count`.
        says: What it limits, in one line.
        removable: Whether `none` may be written, which means no limit.
    """

    field: str
    quantity: Literal["size", "duration", "count"] = "count"
    says: str
    removable: bool = False

    @property
    def name(self) -> str:
        """Its name in documents: the field's without the unit, since the unit is written with the value."""
        match self.quantity:
            case "size":
                return self.field.replace("_bytes", "", 1)
            case "duration":
                return self.field.removesuffix("_s")
            case _:
                return self.field


_ROWS: Final = (
    LimitRow(field="memory_bytes", quantity="size", says="Linear memory of the plugin, all its memories together."),
    LimitRow(
        field="call_timeout_s",
        quantity="duration",
        says="Wall time of one call, at most 1h. `none`: no limit; only for trusted plugins.",
        removable=True,
    ),
    LimitRow(field="fuel", says="Units of work for one call, about one per wasm instruction.", removable=True),
    LimitRow(field="table_elements", says="Elements in each of its tables."),
    LimitRow(field="instances", says="Core instances in it."),
    LimitRow(field="memories", says="Linear memories in it."),
    LimitRow(field="handles", says="Batches, open files and similar objects held at a time."),
    LimitRow(
        field="host_memory_bytes",
        quantity="size",
        says="What the host keeps for it outside of its memory: batches, columns, texts, bodies.",
        removable=True,
    ),
    LimitRow(field="host_calls", says="Calls of the host within one call."),
    LimitRow(field="host_calls_per_s", says="Calls of the host per second, also the largest burst.", removable=True),
    LimitRow(field="copied_bytes", quantity="size", says="What is copied in and out within one call.", removable=True),
    LimitRow(field="output_bytes", quantity="size", says="What one call returns, batches included.", removable=True),
    LimitRow(field="output_rows", says="Rows that one call returns.", removable=True),
    LimitRow(field="log_events_per_s", says="Log events per second, also the largest burst."),
    LimitRow(field="log_bytes_per_s", quantity="size", says="Size of the log events per second."),
    LimitRow(
        field="log_dropped_events",
        says="Log events that are dropped within one call before it is stopped.",
        removable=True,
    ),
)

LIMITS: Final[Mapping[str, LimitRow]] = MappingProxyType({each.name: each for each in _ROWS})
"""All limits, by the name that pipelines, policies, manifests and command lines have for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings for one plugin instance. Exceeding one stops the plugin with the error named here, except for
    the two rates of logs, beyond which events are dropped.

    Args:
        memory_bytes: Linear memory of the plugin, all its memories together, in bytes (`MemoryLimitExceeded`).
        call_timeout_s: Wall seconds for one call, host functions included; in (0, 3600] (`CallTimeout`). With `None` a
            plugin runs as long as it likes. Only the end of the process stops an endless loop, so use it only for
            trusted plugins. Their code then checks no clock, and lists cross the boundary faster.
        fuel: Units of work for one call (about one a wasm instruction); `None` counts nothing, and costs nothing
            (`OutOfFuel`).
        table_elements: Elements in each of the plugin's tables (`TableLimitExceeded` at the start; growing later fails
            inside the plugin).
        instances: Core instances in the plugin (`InstanceLimitExceeded`).
        memories: Linear memories in the plugin (`InstanceLimitExceeded`).
        handles: Batches, open files and similar objects that it may hold at a time (`HandleLimitExceeded`).
        host_memory_bytes: Bytes that the host keeps for it outside of its memory: batches that it makes, columns and
            texts that it asks for, bodies of responses; `None` for any number (`HostBytesExceeded`). A batch that it
            receives is free, and so is passing it on.
        host_calls: Calls of the host within one call (`HostCallLimitExceeded`).
        host_calls_per_s: Calls of the host per second on average, also the largest burst; `None` for any number
            (`HostCallRateExceeded`).
        copied_bytes: Bytes copied into and out of the plugin within one call; `None` for any number
            (`CopyLimitExceeded`).
        output_bytes: Bytes that one call returns, batches included; `None` for any number (`OutputLimitExceeded`).
        output_rows: Rows that one call returns; `None` for any number (`OutputLimitExceeded`).
        log_events_per_s: Log events per second, also the largest burst, of all instances together; further events are
            dropped.
        log_bytes_per_s: Bytes of log events per second, also the largest burst, of all instances together.
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
    host_memory_bytes: int | None = 2 * 2**30
    host_calls: int = 10_000_000
    host_calls_per_s: int | None = None
    copied_bytes: int | None = 16 * 2**30
    output_bytes: int | None = 4 * 2**30
    output_rows: int | None = None
    log_events_per_s: int = 1_000
    log_bytes_per_s: int = 2**20
    log_dropped_events: int | None = 100_000

    def __post_init__(self) -> None:
        for row in _ROWS:
            _check(row, getattr(self, row.field))


def is_above(value: LimitValue, most: LimitValue) -> bool:
    """Tell whether a limit is higher than another; no limit is higher than every limit."""
    return most is not None and (value is None or value > most)


def lower(first: LimitValue, second: LimitValue) -> LimitValue:
    """Take the lower of two limits; `None` means no limit."""
    return second if is_above(first, second) else first


def refuse_text(value: Any, where: str, *, hint: str = "give a number") -> None:
    """Refuse a text in the place of a number, also one that looks like it.

    Raises:
        ConfigError: It is a text.
    """
    if isinstance(value, str):
        raise ConfigError(f"{value[:60]!r} is a text, not a number", where=where, hint=hint)


def _check(row: LimitRow, value: Any) -> None:
    where = f"limits.{row.field}"
    if value is None and row.removable:
        return
    refuse_text(value, where, hint=f"`parse_limits` reads texts, such as {f'{row.name}={_EXAMPLES[row.quantity]}'!r}")
    if row.quantity == "duration":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_SECONDS:
            raise ConfigError(f"{value!r} is not in (0, {_MOST_SECONDS}]", where=where)
    elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{value!r} is not a whole number of at least 1", where=where)
    elif value > _MOST:
        raise ConfigError(f"{value!r} is more than {_MOST}", where=where)
