"""Names of files and tables that have the name of a dataset in them: `out/{dataset}.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite, TableModel, TablesModel
from dataflare.pipeline.dataset_models import ReadModel
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import WriteNode
from dataflare.runtime.datasets import DatasetName
from dataflare.texts import cut_name

__all__ = ["NAMESPACE", "below", "check_names", "choice_of", "label_of", "names_of", "with_names"]

DATASET: Final = "{dataset}"
NAMESPACE: Final = "{namespace}"
_PLAIN: Final = frozenset(" -_.+=@~,")
_LONGEST: Final = 160


def choice_of(node: Node) -> ReadModel | TablesModel | None:
    """What a node selects, if it is several datasets."""
    if isinstance(node, SqlRead):
        return node.read if isinstance(node.read, TablesModel) else None
    chosen = node.source if isinstance(node, PluginNode) else None
    return chosen if chosen is not None and chosen.datasets is not None else None


def below(nodes: Mapping[str, Node], order: Sequence[str], source: str) -> set[str]:
    """A node, and those that take its rows, directly or not."""
    found = {source}
    for name in order:  # each stands after its inputs
        if not found.isdisjoint(nodes[name].inputs):
            found.add(name)
    return found


def check_names(nodes: Mapping[str, Node], order: Sequence[str], document: Document) -> None:
    """Check that what is written below a node with several datasets is named by them, and takes no other rows.

    Raises:
        ConfigError: A file or a table has the same name for all, or rows of one of the datasets meet others.
    """
    for source in order:
        if choice_of(nodes[source]) is None:
            continue
        names = below(nodes, order, source)
        for name in sorted(names, key=list(order).index):
            if others := [each for each in nodes[name].inputs if each not in names and name != source]:
                raise ConfigError(
                    f"node {name!r} would take the rows of {others[0]!r} with those of each dataset of {source!r}",
                    where=document.where(("nodes", name, "input")),
                    hint=f"take all inputs from nodes below {source!r}, or read one dataset, or write to two places",
                )
            for keys, text in names_of(nodes[name]):
                if DATASET not in text:
                    path = Path(text)
                    example = str(path.with_name(DATASET + path.suffix)) if path.name else DATASET
                    raise ConfigError(
                        f"node {name!r} would write all datasets of node {source!r} to {cut_name(text)!r}",
                        where=document.where(("nodes", name, *keys)),
                        hint=f"name each by its dataset, such as `{example}`",
                    )


def names_of(node: Node) -> Iterator[tuple[tuple[str, ...], str]]:
    """The files and tables that a node writes to, by its keys."""
    if isinstance(node, WriteNode):
        yield ("write",), node.write
    elif isinstance(node, SqlWrite):
        yield ("write",), node.table.table
    elif isinstance(node, PluginNode) and node.destination is not None and node.destination.dataset is not None:
        yield ("destination", "dataset"), node.destination.dataset
    for key, text in listings(node):
        yield (key,), text


def with_names(node: Node, dataset: DatasetName) -> Node:
    """Fill in the names of what a node writes to."""
    update: dict[str, Any] = {key: _in_path(text, dataset) for key, text in listings(node)}
    if isinstance(node, WriteNode):
        update["write"] = _in_path(node.write, dataset)
    elif isinstance(node, SqlWrite):
        table = node.table
        within = None if table.within is None else _in_text(table.within, dataset) or None
        update["write"] = TableModel(table=_in_text(table.table, dataset), within=within)
    elif isinstance(node, PluginNode) and node.destination is not None and node.destination.dataset is not None:
        names = {"dataset": node.destination.dataset, "namespace": node.destination.namespace}
        filled = {key: _in_text(text, dataset) for key, text in names.items()}
        update["destination"] = node.destination.model_copy(update=filled)
    return node.model_copy(update=update)


def label_of(dataset: DatasetName) -> str:
    """How a dataset is named in the names of nodes."""
    return _escaped(str(dataset))


def _in_text(text: str, dataset: DatasetName) -> str:
    return text.replace(NAMESPACE, dataset.namespace).replace(DATASET, dataset.name)


def _in_path(text: str, dataset: DatasetName) -> str:
    """Fill in the name of a file: who names a dataset does not choose the folder."""
    return text.replace(NAMESPACE, _escaped(dataset.namespace)).replace(DATASET, _escaped(dataset.name))


def _escaped(text: str) -> str:
    """Write a text as a part of the name of a file or a node. Two texts never become the same."""
    made = "".join(each if each.isalnum() or each in _PLAIN else _percent(each) for each in text)
    if made.startswith("."):
        made = f"%2E{made[1:]}"
    if len(made.encode()) > _LONGEST:
        made = f"{made[: _LONGEST // 8]}%{sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}"
    return made


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))
