"""The task that a worker gets at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from dataflare.limits import Limits

__all__ = ["SERVED_HERE", "Task"]

SERVED_HERE: Final[Mapping[str, str]] = {
    "dataflare:data/batches@1.0.0": "dataflare.data.batches",
    "dataflare:data/expressions@1.0.0": "dataflare.data.expressions.interface",
}
"""The interfaces that a worker serves itself, with the modules whose `imports` makes their functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task of a worker.

    Args:
        name: The plugin's name.
        cache_dir: The folder with its compiled code.
        flatten: The setting of the engine that compiled it.
        limits: The instance's ceilings.
        functions: The functions that the host serves, by interface, and whether each takes views and texts as bytes.
        max_batch_bytes: The largest size of a batch, in bytes.
        data_bytes: Limit of the process's private memory, in bytes.
        address_bytes: How much its address space may grow, in bytes.
        best_effort: Whether parts of the jail may be missing.
    """

    name: str
    cache_dir: str
    flatten: bool | None
    limits: Limits
    functions: Mapping[str, Mapping[str, tuple[bool, bool]]]
    max_batch_bytes: int
    data_bytes: int
    address_bytes: int
    best_effort: bool

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values for `from_json`."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"limits": asdict(self.limits)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """Read a task that `to_json` wrote."""
        return cls(**{**values, "limits": Limits(**values["limits"])})
