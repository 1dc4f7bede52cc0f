"""What a worker is told when it starts."""

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
"""The interfaces that a worker serves itself, and the modules whose `imports` makes their functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker has to do.

    Args:
        name: The plugin's name.
        cache_dir: Where it is compiled already.
        flatten: How the engine that compiled it reaches plugins.
        limits: The instance's ceilings.
        functions: By interface, the functions that the host serves, and whether each takes views and texts as bytes.
        max_batch_bytes: The largest size of a batch, in bytes.
        data_bytes: What private memory the process may take.
        address_bytes: How far its addresses may grow.
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
        """What `from_json` takes."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"limits": asdict(self.limits)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Task:
        """The task again."""
        return cls(**{**values, "limits": Limits(**values["limits"])})
