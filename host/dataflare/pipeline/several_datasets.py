"""Several datasets of one source: the pipeline is run once for each, one after the other.

A node that reads several datasets stands for a pipeline for each of them. In it, the nodes are named `NODE[DATASET]`,
so each dataset has its own position, known columns, targets and lines in the report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from dataflare.documents.models import nearest
from dataflare.errors import ConfigError
from dataflare.pipeline.branches import REJECTED, is_rejected, node_of
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite, TableModel, TablesModel
from dataflare.pipeline.dataset_models import DatasetsModel
from dataflare.pipeline.dataset_names import NAMESPACE, below, choice_of, label_of, names_of, with_names
from dataflare.pipeline.models import Node, PluginNode
from dataflare.pipeline.specification import Specification, base_name
from dataflare.runtime.datasets import DatasetName
from dataflare.texts import cut_name

__all__ = ["Slice", "by_dataset"]

_COMPARED: Final = 1000
_OTHERS: Final = "other nodes"


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a pipeline that is run on its own.

    Args:
        name: `NODE[DATASET]`; `other nodes` for those that have nothing to do with several datasets; empty for a whole
            pipeline.
        specification: The pipeline of that part.
    """

    name: str
    specification: Specification


def by_dataset(specification: Specification, discover: Callable[[str], Sequence[DatasetName]]) -> list[Slice]:
    """Divide a pipeline by the datasets that it reads.

    Args:
        specification: The pipeline.
        discover: Finds the datasets that there are, for a node that reads several.

    Returns:
        The parts, in the order in which they are run; the pipeline itself if no node reads several datasets.

    Raises:
        ConfigError: A dataset does not exist, none is left, or two would be written to one place.
    """
    nodes, order = specification.pipeline.nodes, specification.order
    sources = {name: below(nodes, order, name) for name in order if choice_of(nodes[name]) is not None}
    if not sources or specification.replays is not None:
        return [Slice("", specification)]
    called = {name for name in order if not specification.moves_rows(name)}
    rest = set(order).difference(*sources.values())
    slices = []
    if rest - called:
        slices.append(Slice(_OTHERS, _part(specification, {name: nodes[name] for name in order if name in rest})))
    written: dict[object, DatasetName] = {}
    for source, names in sources.items():
        for dataset, options in _chosen(specification, source, discover(source)):
            label = label_of(dataset)
            made: dict[str, Node] = {}
            for name in order:
                if name in names:
                    node = with_names(_reading(nodes[name], dataset, options), dataset)
                    _check_places(specification, name, node, dataset, written)
                    above = [f"{node_of(each)}[{label}]{REJECTED * is_rejected(each)}" for each in node.taken]
                    made[f"{name}[{label}]"] = node.model_copy(update={"input": above} if above else {})
                elif name in called:
                    made[name] = nodes[name]
            slices.append(Slice(f"{source}[{label}]", _part(specification, made, dataset)))
    return slices


def _part(specification: Specification, nodes: Mapping[str, Node], dataset: DatasetName | None = None) -> Specification:
    bases = {name: base_name(name) for name in nodes}
    return dataclasses.replace(
        specification,
        pipeline=specification.pipeline.model_copy(update={"nodes": nodes}),
        order=tuple(nodes),
        grants={name: specification.grants[base] for name, base in bases.items() if base in specification.grants},
        limits={name: specification.limits[base] for name, base in bases.items() if base in specification.limits},
        dataset=dataset,
    )


def _chosen(
    specification: Specification, source: str, there: Sequence[DatasetName]
) -> Iterator[tuple[DatasetName, DatasetsModel]]:
    """The datasets that a node selects, in the order of the source, each with the first entry that it fits."""
    node = specification.pipeline.nodes[source]
    choice = choice_of(node)
    assert choice is not None
    chosen = choice.tables if isinstance(choice, TablesModel) else choice.datasets
    keys = ("read", "tables") if isinstance(node, SqlRead) else ("source", "datasets")
    where = specification.where("nodes", source, *keys)
    entries = [
        each if isinstance(each, DatasetsModel) else DatasetsModel(dataset=each)
        for each in (["*"] if chosen == "all" else chosen or [])
    ]
    for entry in entries:
        if not any(_fits(name, entry.dataset) for name in there):
            known = there[:_COMPARED]
            hint = nearest(entry.dataset, {cut_name(text) for each in known for text in (each.name, str(each))})
            raise ConfigError(f"node {source!r}: there is no dataset {entry.dataset!r}", where=where, hint=hint)
    labels: set[str] = set()
    for name in there:
        fitting = next((each for each in entries if _fits(name, each.dataset)), None)
        if fitting is None or any(_fits(name, each) for each in choice.exclude):
            continue
        if label_of(name) in labels:
            what = f"node {source!r}: there are two datasets {cut_name(str(name))!r}"
            raise ConfigError(what, where=where, hint="they differ in their namespaces: read each by a node of its own")
        labels.add(label_of(name))
        yield name, fitting
    if not labels:
        raise ConfigError(f"node {source!r}: no dataset is left to read", where=where, hint="see `exclude`")


def _fits(name: DatasetName, pattern: str) -> bool:
    return fnmatchcase(str(name), pattern) or fnmatchcase(name.name, pattern)


def _reading(node: Node, dataset: DatasetName, options: DatasetsModel) -> Node:
    """Let a node that reads several datasets read one of them."""
    if isinstance(node, SqlRead) and isinstance(node.read, TablesModel):
        return node.model_copy(update={"read": TableModel(table=dataset.name, within=dataset.namespace or None)})
    if isinstance(node, PluginNode) and node.source is not None:
        return node.model_copy(update={"source": node.source.of_one(dataset, options)})
    return node


def _check_places(
    specification: Specification, name: str, node: Node, dataset: DatasetName, written: dict[object, DatasetName]
) -> None:
    """Refuse two datasets that would be written to one place."""
    for keys, text in names_of(node):
        place: object = specification.path(text)
        if isinstance(node, SqlWrite) and keys == ("write",):
            place = (node.database, node.table.within, text)
        elif isinstance(node, PluginNode) and node.destination is not None and keys[0] == "destination":
            place = (name, node.destination.namespace, text)
        other = written.setdefault(place, dataset)
        if other != dataset:
            raise ConfigError(
                f"node {name!r} would write the datasets {cut_name(str(other))!r} and {cut_name(str(dataset))!r} to "
                f"{cut_name(text)!r}",
                where=specification.where("nodes", name, *keys),
                hint=f"name them by `{NAMESPACE}` too",
            )
