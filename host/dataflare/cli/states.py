"""Where the state of pipelines is, for the commands that use it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import NodeState, StateFile, default_place

__all__ = ["StateOption", "as_json_state", "keeps_state", "open_state", "readable"]

StateOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="The file with the pipeline's state (SQLite).",
        envvar="DATAFLARE_STATE",
        show_default=".dataflare/NAME.state beside the pipeline's file",
    ),
]


def keeps_state(specification: Specification) -> bool:
    """Whether a run has anything to keep: a plugin is a source, or has state of its own."""
    for name, node in specification.pipeline.nodes.items():
        if isinstance(node, PluginNode):
            is_source = node.input is None and bool(specification.consumers(name))
            if is_source or specification.grants[name].state:
                return True
    return False


def open_state(specification: Specification, path: Path | None) -> StateFile:
    """Open the state of a pipeline; `None` is where it is by default.

    Raises:
        StateError: It cannot be opened, or a run has it.
    """
    name = specification.pipeline.name
    return StateFile(default_place(specification.folder, name) if path is None else path, pipeline=name)


def as_json_state(state: NodeState) -> dict[str, Any]:
    """Write the state of a source as what JSON can hold, to be read by `dataflare state import` too."""
    point = state.checkpoint
    return {
        "node": state.node,
        "lineage": state.lineage,
        "reading": _parsed(state.reading),
        "sequence": point.sequence,
        "state": None if point.state is None else base64.b64encode(point.state).decode(),
        "readable": readable(point.state),
        "complete": point.last,
        "rows": state.rows,
        "saved": datetime.fromtimestamp(state.saved_at, UTC).isoformat(timespec="seconds"),
        "pending": len(state.pending),
    }


def readable(state: bytes | None) -> Any:
    """A state as people read it: JSON where it is that, else the text; `None` where it is neither."""
    if state is None:
        return None
    try:
        return _parsed(state.decode())
    except UnicodeDecodeError:
        return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
