"""Finds which nodes of a pipeline make checkpoints together: a source, and all nodes that write its rows."""

from __future__ import annotations

from collections.abc import Mapping

from dataflare.documents.quantities import parse_duration
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.specification import Specification
from dataflare.pipeline.state_file import StateFile

__all__ = ["checkpoints_of"]


def checkpoints_of(
    specification: Specification, kinds: Mapping[str, str], state: StateFile, *, fresh: bool
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
    sources: dict[str, str] = {}
    for name in specification.order:
        if kinds.get(name) == "source":
            sources[name] = name
        elif (above := nodes[name].input_name) in sources:
            sources[name] = sources[above]
    settings = specification.pipeline.checkpoint
    found: dict[str, Checkpoints] = {}
    for source in dict.fromkeys(sources.values()):
        below = [name for name, top in sources.items() if top == source]
        destinations = frozenset(name for name in below if kinds.get(name) == "destination")
        files = frozenset(name for name in below if _writes_file(nodes[name]))
        letters = frozenset(name for name in below if _writes_letters(nodes[name]))
        replaced = any(specification.is_replaced(name) for name in destinations | files)
        checkpoints = Checkpoints(
            source,
            destinations | files | letters,
            destinations,
            state,
            every_rows=settings.rows,
            every_s=parse_duration(settings.every),
            within=not files and not replaced,
            fresh=fresh,
            replaced=replaced,
        )
        found.update(dict.fromkeys(below, checkpoints))
    return found


def _writes_file(node: Node) -> bool:
    """Whether a node makes all its rows safe at once, when the run ends."""
    if isinstance(node, PluginNode):
        return node.violations is not None or node.rejects is not None
    return isinstance(node, WriteNode)


def _writes_letters(node: Node) -> bool:
    """Whether a node may write what is safe at the end alone, and often writes nothing."""
    return "dead_letters" in dict(listings(node))
