"""Checks how a pipeline's nodes are joined."""

from __future__ import annotations

from dataflare.errors import ConfigError
from dataflare.pipeline.document import Document
from dataflare.pipeline.models import Pipeline, ReadNode, WriteNode, nearest

__all__ = ["check_graph"]


def check_graph(pipeline: Pipeline, document: Document) -> tuple[str, ...]:
    """Order the nodes, each after its input; otherwise in the order of the file.

    What depends on the kinds of plugins is left to `Specification.check_kinds`.

    Raises:
        ConfigError: An input is no node or takes rows only, nodes go in a circle, or rows that are read go nowhere.
    """
    nodes = pipeline.nodes
    inputs = {name: node.input_name for name, node in nodes.items()}
    for name, source in inputs.items():
        if source is None:
            continue
        where = document.where(("nodes", name, "input"))
        if source not in nodes:
            raise ConfigError(f"node {name!r}: there is no node {source!r}", where=where, hint=nearest(source, nodes))
        if isinstance(nodes[source], WriteNode):
            what = f"node {name!r} takes its rows from {source!r}, which writes a file and gives none"
            raise ConfigError(what, where=where, hint=f"take them from {inputs[source]!r}, as {source!r} does")
    order = _sorted(inputs, document)
    for name, node in nodes.items():
        if isinstance(node, ReadNode) and name not in inputs.values():
            raise ConfigError(
                f"the rows of node {name!r} go nowhere",
                where=document.where(("nodes", name)),
                hint=f"add a node that takes them, with `input: {name}`",
            )
    return order


def _sorted(inputs: dict[str, str | None], document: Document) -> tuple[str, ...]:
    order: dict[str, None] = {}
    for start in inputs:
        chain: list[str] = []
        name: str | None = start
        while name is not None and name not in order:
            if name in chain:
                circle = [*chain[chain.index(name) :], name]
                raise ConfigError(
                    f"nodes go in a circle: {' takes from '.join(map(repr, circle))}",
                    where=document.where(("nodes", name, "input")),
                    hint="give one of them an input outside of the circle",
                )
            chain.append(name)
            name = inputs[name]
        order.update(dict.fromkeys(reversed(chain)))
    return tuple(order)
