"""Checks how a pipeline's nodes are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflare.capabilities.plugins import check_edges
from dataflare.documents.models import nearest
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.pipeline.branches import is_rejected, node_of
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.models import Node, Pipeline, PluginNode
from dataflare.pipeline.nodes import ReadNode, WriteNode

__all__ = ["check_calls", "check_graph"]


def check_graph(pipeline: Pipeline, document: Document) -> tuple[str, ...]:
    """Order the nodes, each after its inputs; otherwise in the order of the file.

    What depends on the kinds of plugins is left to `Specification.check_kinds`.

    Raises:
        ConfigError: An input is not a node or takes rows only, nodes go in a circle, or rows that are read go nowhere.
    """
    nodes = pipeline.nodes
    inputs = {name: node.inputs for name, node in nodes.items()}
    for name, position, given in [(name, *each) for name, node in nodes.items() for each in enumerate(node.taken)]:
        place = (position,) if len(nodes[name].taken) > 1 else ()
        where, source = document.where(("nodes", name, "input", *place)), node_of(given)
        if source not in nodes:
            raise ConfigError(f"node {name!r}: there is no node {source!r}", where=where, hint=nearest(source, nodes))
        if isinstance(nodes[source], WriteNode | SqlWrite):
            written = "a file" if isinstance(nodes[source], WriteNode) else "a table"
            what = f"node {name!r} takes its rows from {source!r}, which writes {written} and gives none"
            raise ConfigError(what, where=where, hint=f"take them from {_listed(inputs[source])}, as {source!r} does")
        if is_rejected(given):
            _check_rejecting(name, source, nodes[source], where)
    order = _sorted(inputs, document)
    taken = {each for names in inputs.values() for each in names}
    for name, node in nodes.items():
        if isinstance(node, ReadNode | SqlRead) and name not in taken:
            raise ConfigError(
                f"the rows of node {name!r} go nowhere",
                where=document.where(("nodes", name)),
                hint=f"add a node that takes them, with `input: {name}`",
            )
    return order


def check_calls(pipeline: Pipeline, document: Document) -> None:
    """Check which plugins may call which.

    Raises:
        ConfigError: One is not a plugin of the pipeline, or they may call each other in a circle.
    """
    edges: dict[str, frozenset[str]] = {}
    plugins = [name for name, node in pipeline.nodes.items() if isinstance(node, PluginNode)]
    for name, node in pipeline.nodes.items():
        if not isinstance(node, PluginNode):
            continue
        for position, callee in enumerate(node.grants.plugins):
            if callee not in plugins:
                where = document.where(("nodes", name, "grants", "plugins", position))
                hint = nearest(callee, [other for other in plugins if other != name])
                raise ConfigError(f"node {name!r}: there is no plugin {callee!r} to call", where=where, hint=hint)
        edges[name] = frozenset(node.grants.plugins)
        try:
            check_edges(edges)
        except ConfigError as error:
            where = document.where(("nodes", name, "grants", "plugins"))
            message = error.message.removeprefix(f"{error.where}: ")
            raise ConfigError(message, where=where, hint=error.hint) from error


def _check_rejecting(name: str, source: str, node: Node, where: str) -> None:
    if not isinstance(node, PluginNode):
        what = f"node {name!r} takes the rejected rows of {source!r}, which is not a validator"
        raise ConfigError(what, where=where, hint=f"take all of its rows: `input: {source}`")
    if "drop" not in (node.actions.info, node.actions.warning, node.actions.error):
        what = f"node {name!r} takes the rejected rows of {source!r}, which rejects none"
        raise ConfigError(what, where=where, hint=f"give {source!r} the key `on_violation: drop`")


def _sorted(inputs: Mapping[str, Sequence[str]], document: Document) -> tuple[str, ...]:
    order: dict[str, None] = {}
    for start in inputs:
        path = [] if start in order else [start]
        while path:
            above = next((each for each in inputs[path[-1]] if each not in order), None)
            if above is None:
                order[path.pop()] = None
            elif above in path:
                circle = [*path[path.index(above) :], above]
                raise ConfigError(
                    f"nodes go in a circle: {' takes from '.join(map(repr, circle))}",
                    where=document.where(("nodes", above, "input")),
                    hint="give one of them an input outside of the circle",
                )
            else:
                path.append(above)
    return tuple(order)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
