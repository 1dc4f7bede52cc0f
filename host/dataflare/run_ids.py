"""What the code of this task or thread works for: a run, a node of it, a batch. Log events and spans name it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

__all__ = ["RunIds", "current_ids"]


@dataclass(frozen=True, slots=True)
class RunIds:
    """The names of what is worked for.

    Args:
        run: The run's id, as in its report.
        pipeline: The pipeline's name.
        node: The node; empty for what concerns the whole run.
        batch: The number of the batch among those that the node works on, from 1; 0 for none.
    """

    run: str
    pipeline: str
    node: str = ""
    batch: int = 0

    def fields(self) -> dict[str, str | int]:
        """The names that there are."""
        named: dict[str, str | int] = {"run": self.run, "pipeline": self.pipeline}
        named |= {"node": self.node, "batch": self.batch}
        return {name: value for name, value in named.items() if value}


current_ids: Final[ContextVar[RunIds | None]] = ContextVar("dataflare_run_ids", default=None)
"""Those of this context; `None` outside of runs."""
