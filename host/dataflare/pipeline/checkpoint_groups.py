"""Finds which nodes of a pipeline make checkpoints together: a source, and all nodes that write its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflare.documents.quantities import parse_duration
from dataflare.pipeline.checkpoints import NO_POSITION, Checkpoints
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.specification import Specification

__all__ = ["checkpoints_of", "obstacle_of"]


def checkpoints_of(
    specification: Specification, kinds: Mapping[str, str], state: PipelineState, *, fresh: bool
) -> dict[str, Checkpoints]:
    """Make the checkpoints of each source that can say where it continues.

    Args:
        specification: The pipeline.
        kinds: The kinds of plugins and tables, by node.
        state: Where checkpoints are kept.
        fresh: Whether sources start from the beginning, even if a position is saved.

    Returns:
        The checkpoints by node: those of the source that it is, or whose rows it takes.
    """
    nodes = specification.pipeline.nodes
    sources = _sources(specification, kinds)
    settings = specification.pipeline.checkpoint
    found: dict[str, Checkpoints] = {}
    for source in dict.fromkeys(sources.values()):
        below = [name for name, top in sources.items() if top == source]
        destinations = frozenset(name for name in below if kinds.get(name) == "destination")
        files = frozenset(name for name in below if _writes_file(nodes[name]))
        letters = frozenset(name for name in below if _writes_letters(nodes[name]))
        checkpoints = Checkpoints(
            source,
            destinations | files | letters,
            destinations,
            state,
            every_rows=settings.rows,
            every_s=parse_duration(settings.every),
            obstacle=_obstacle(specification, below, kinds),
            fresh=fresh,
            replaced=bool(_replaced(specification, below, kinds)),
        )
        found.update(dict.fromkeys(below, checkpoints))
    return found


def obstacle_of(specification: Specification, kinds: Mapping[str, str], source: str) -> str:
    """Say why a run makes no checkpoints of a source before its end; empty where only the run can tell."""
    if kinds.get(source) != "source":
        return NO_POSITION
    return _obstacle(
        specification, [name for name, top in _sources(specification, kinds).items() if top == source], kinds
    )


def _sources(specification: Specification, kinds: Mapping[str, str]) -> dict[str, str]:
    """By node, the source that it is, or whose rows it takes."""
    sources: dict[str, str] = {}
    for name in specification.order:
        if kinds.get(name) == "source":
            sources[name] = name
        elif (above := specification.pipeline.nodes[name].input_name) in sources:
            sources[name] = sources[above]
    return sources


def _obstacle(specification: Specification, below: Sequence[str], kinds: Mapping[str, str]) -> str:
    nodes = specification.pipeline.nodes
    if files := [name for name in below if _writes_file(nodes[name])]:
        return f"node {files[0]!r} writes a file, which is there at the end of the run"
    if replaced := _replaced(specification, below, kinds):
        return f"node {replaced[0]!r} replaces what is there at the end of the run"
    return ""


def _replaced(specification: Specification, below: Sequence[str], kinds: Mapping[str, str]) -> list[str]:
    nodes = specification.pipeline.nodes
    writing = [name for name in below if kinds.get(name) == "destination" or _writes_file(nodes[name])]
    return [name for name in writing if specification.is_replaced(name)]


def _writes_file(node: Node) -> bool:
    """Whether a node makes all its rows safe at once, when the run ends."""
    if isinstance(node, PluginNode):
        return node.violations is not None or node.rejects is not None
    return isinstance(node, WriteNode)


def _writes_letters(node: Node) -> bool:
    """Whether a node may write what is safe at the end alone, and often writes nothing."""
    return "dead_letters" in dict(listings(node))
