"""Finds which nodes of a pipeline make checkpoints together: sources whose rows meet, and all that write their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from dataflare.documents.quantities import parse_duration
from dataflare.pipeline.checkpoints import NO_POSITION, Checkpoints
from dataflare.pipeline.joint_checkpoints import GroupedCheckpoints, JointCheckpoints, SourceGroup
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.pipeline_state import PipelineState
from dataflare.pipeline.specification import Specification

__all__ = ["checkpoints_of", "obstacle_of"]


class _Options(TypedDict):
    every_rows: int
    every_s: float
    obstacle: str
    fresh: bool
    replaced: bool


def checkpoints_of(
    specification: Specification, kinds: Mapping[str, str], state: PipelineState, *, fresh: bool
) -> dict[str, Checkpoints | JointCheckpoints]:
    """Make the checkpoints of each source that can say where it continues.

    Args:
        specification: The pipeline.
        kinds: The kinds of plugins and tables, by node.
        state: Where checkpoints are kept.
        fresh: Whether sources start from the beginning, even if a position is saved.

    Returns:
        The checkpoints by node: those of the source that it is, or of those whose rows it takes. Nodes that take rows
        of a source without a position have none.
    """
    nodes = specification.pipeline.nodes
    above, settings = _sources(specification), specification.pipeline.checkpoint
    found: dict[str, Checkpoints | JointCheckpoints] = {}
    for group in _groups(above, kinds):
        below = [name for name in specification.order if above[name] & group]
        ours = [name for name in below if above[name] <= group]
        destinations = frozenset(name for name in ours if kinds.get(name) == "destination")
        # Those that take rows of other sources too come to no barrier: then nothing is saved before the end.
        writers = frozenset(
            name
            for name in below
            if kinds.get(name) == "destination" or _writes_file(nodes[name]) or _writes_letters(nodes[name])
        )
        shared = SourceGroup(writers, destinations, state)
        made: dict[str, Checkpoints] = {}
        for source in [name for name in below if name in group]:
            own = [name for name in below if source in above[name]]
            options: _Options = {
                "every_rows": settings.rows,
                "every_s": parse_duration(settings.every),
                "obstacle": _obstacle(specification, below, kinds, above),
                "fresh": fresh,
                "replaced": bool(_replaced(specification, own, kinds)),
            }
            if len(group) == 1:
                made[source] = Checkpoints(source, writers, destinations, state, **options)
            else:
                made[source] = GroupedCheckpoints(source, shared, state, **options)
        for name in ours:
            sources = [each for source, each in made.items() if source in above[name]]
            joint = [each for each in sources if isinstance(each, GroupedCheckpoints)]
            found[name] = made[name] if name in made else JointCheckpoints(shared, joint) if joint else sources[0]
    return found


def obstacle_of(specification: Specification, kinds: Mapping[str, str], source: str) -> str:
    """Say why a run makes no checkpoints of a source before its end; empty where only the run can tell."""
    above = _sources(specification)
    group = next((each for each in _groups(above, kinds) if source in each), None)
    if group is None:
        return NO_POSITION
    return _obstacle(specification, [name for name in specification.order if above[name] & group], kinds, above)


def _sources(specification: Specification) -> dict[str, frozenset[str]]:
    """By node, the sources whose rows it takes; for a source, itself."""
    above: dict[str, frozenset[str]] = {}
    for name in specification.order:
        inputs = specification.pipeline.nodes[name].inputs
        above[name] = frozenset().union(*(above[each] for each in inputs)) if inputs else frozenset({name})
    return above


def _groups(above: Mapping[str, frozenset[str]], kinds: Mapping[str, str]) -> list[frozenset[str]]:
    """Divide the sources that have positions: together are those whose barriers meet in a node."""
    groups = {name: frozenset({name}) for name in above if kinds.get(name) == "source"}
    for sources in above.values():
        if sources <= groups.keys():
            together = frozenset().union(*(groups[each] for each in sources))
            groups.update(dict.fromkeys(together, together))
    return list(dict.fromkeys(groups.values()))


def _obstacle(
    specification: Specification,
    below: Sequence[str],
    kinds: Mapping[str, str],
    above: Mapping[str, frozenset[str]],
) -> str:
    nodes = specification.pipeline.nodes
    if files := [name for name in below if _writes_file(nodes[name])]:
        return f"node {files[0]!r} writes a file, which is there at the end of the run"
    if replaced := _replaced(specification, below, kinds):
        return f"node {replaced[0]!r} replaces what is there at the end of the run"
    if not any(kinds.get(name) == "destination" or _writes_letters(nodes[name]) for name in below):
        return "no node keeps the rows"  # so none would come to a barrier
    for name in below:
        if others := [each for each in sorted(above[name]) if kinds.get(each) != "source"]:
            return f"node {name!r} takes rows of {others[0]!r} too, which gives no position"
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
