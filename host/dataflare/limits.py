"""What one plugin instance may use."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.errors import ConfigError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings for one plugin instance.

    Args:
        memory_bytes: Linear memory of the plugin, all its memories together, in bytes.
        call_timeout_s: Wall seconds for one call, host functions included; in (0, 3600].
        fuel: Units of work for one call (about one a wasm instruction); `None` counts nothing, and costs nothing.
        table_elements: Elements in each of the plugin's tables.
        instances: Core instances in the plugin.
        memories: Linear memories in the plugin.
        handles: Batches, open files and the like that it may hold at a time.

    Raises:
        ConfigError: A value is out of its range.
    """

    memory_bytes: int = 512 * 2**20
    call_timeout_s: float = 60.0
    fuel: int | None = None
    table_elements: int = 1_000_000
    instances: int = 1_000
    memories: int = 16
    handles: int = 100_000

    def __post_init__(self) -> None:
        if not 0 < self.call_timeout_s <= 3600:
            raise ConfigError(f"{self.call_timeout_s!r} is not in (0, 3600]", where="limits.call_timeout_s")
        for name in ("memory_bytes", "table_elements", "instances", "memories", "handles"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(
                    f"{getattr(self, name)!r} is not a whole number of at least 1", where=f"limits.{name}"
                )
        if self.fuel is not None and self.fuel < 1:
            raise ConfigError(f"{self.fuel!r} is not at least 1", where="limits.fuel")
