"""What the plugins of a pipeline could do in its last run, so that a plan can tell what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from dataflare.capabilities.sql_state import SqlConnection
from dataflare.pipeline.pipeline_state import PipelineState, upsert
from dataflare.runtime.inspection import Inspection

__all__ = ["Capabilities", "capabilities_of", "capability_changes", "keep_capabilities", "known_capabilities"]

Capabilities: TypeAlias = Mapping[str, tuple[str, ...]]
"""By what they are (`asks for`, `can`): their names."""

_TABLE: Final = "CREATE TABLE IF NOT EXISTS capability (node TEXT PRIMARY KEY, names TEXT NOT NULL)"
_KEPT: Final = TypeAdapter(dict[str, tuple[str, ...]])


def capabilities_of(found: Inspection, abilities: Iterable[str] = ()) -> Capabilities:
    """What a plugin asks for, and what it can do: the modes of a dataset, or the abilities of a destination."""
    return {"asks for": tuple(sorted(found.capabilities)), "can": tuple(sorted(abilities))}


def keep_capabilities(state: PipelineState, found: Mapping[str, Capabilities]) -> None:
    """Keep what the plugins of nodes can do.

    Raises:
        StateError: The file cannot be written.
    """

    changed = {node: each for node, each in found.items() if known_capabilities(state, node) != each}
    if not changed:
        return

    def keep(connection: SqlConnection) -> None:
        connection.execute(_TABLE)
        for node, each in changed.items():
            connection.execute(upsert("capability", "node", "names"), (node, json.dumps(each)))

    state.write(keep)


def known_capabilities(state: PipelineState, node: str) -> Capabilities | None:
    """What a node's plugin could do in the last run; `None` where that is not known.

    Raises:
        StateError: The file cannot be read.
    """

    def find(connection: SqlConnection) -> str | None:
        if not state.has_table(connection, "capability"):
            return None
        row = connection.execute("SELECT names FROM capability WHERE node = ?", (node,)).fetchone()
        return None if row is None else row[0]

    text = state.read(find)
    try:
        return None if text is None else _KEPT.validate_json(text)
    except ValidationError:
        return None  # a plan that knows nothing of the last run says nothing of it


def capability_changes(before: Capabilities | None, now: Capabilities) -> list[str]:
    """Describe each difference, such as `asks for: + http`."""
    if before is None:
        return []
    changes = []
    for kind in sorted({*before, *now}):
        old, new = set(before.get(kind, ())), set(now.get(kind, ()))
        changes += [f"{kind}: + {name}" for name in sorted(new - old)]
        changes += [f"{kind}: - {name}" for name in sorted(old - new)]
    return changes
