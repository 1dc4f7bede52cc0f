"""The check of which datasets and columns of a source or a destination its operator allows.

It holds for a plugin that follows the protocol. It does not stop a hostile one, which can return any rows under the
name of a granted dataset. Only its other grants limit what it can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from dataflare.data.roles import roles_of, with_roles
from dataflare.errors import PermissionDenied
from dataflare.grants import DatasetGrants
from dataflare.runtime.datasets import Dataset, DatasetName
from dataflare.texts import cut_name, first_repeated

__all__ = ["DatasetRules"]


class DatasetRules:
    """The datasets that a plugin may read or write.

    Args:
        granted: Columns by the name of the dataset; `None` allows all datasets.
        plugin: The plugin's name.
        refused: Called with each refusal: the function, the dataset and why.
    """

    def __init__(self, granted: DatasetGrants | None, *, plugin: str, refused: Callable[[str, str, str], None]) -> None:
        self._granted = granted
        self._plugin = plugin
        self._refused = refused

    def visible(self, datasets: Sequence[Dataset]) -> list[Dataset]:
        """Return the granted datasets, each with only its granted columns.

        Raises:
            PermissionDenied: Two datasets have the same written name, so a grant cannot distinguish them.
        """
        granted = self._granted
        if granted is None:
            return list(datasets)
        found = [each for each in datasets if str(each.name) in granted]
        if (twice := first_repeated(str(each.name) for each in found)) is not None:
            self._deny("discover", twice, "two datasets are written in this way, and a grant cannot tell them apart")
        return [self._reduced(each, granted[str(each.name)]) for each in found]

    def require_dataset(self, function: str, dataset: DatasetName) -> None:
        """Check that a dataset is granted.

        Raises:
            PermissionDenied: It is not.
        """
        if self._granted is not None and str(dataset) not in self._granted:
            self._deny(function, str(dataset), "it is not granted")

    def chosen(self, dataset: Dataset, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns to select: if all are requested and not all are granted, the granted ones.

        Args:
            dataset: A dataset that `visible` returned.
            columns: The requested columns; empty for all.
        """
        allowed = self._columns(dataset.name)
        return tuple(dataset.schema.names) if allowed is not None and not columns else columns

    def require_columns(self, function: str, dataset: DatasetName, schema: pa.Schema) -> None:
        """Check that rows of a dataset have only granted columns; the operation column needs no grant.

        Raises:
            PermissionDenied: The dataset, or a column, is not granted.
        """
        self.require_dataset(function, dataset)
        allowed = self._columns(dataset)
        if allowed is None:
            return
        for name in _beyond(schema.names, allowed | {roles_of(schema).operation or ""}):
            self._deny(function, str(dataset), f"column {cut_name(name)!r} is not granted", column=name)

    def require_selected(self, dataset: DatasetName, columns: Iterable[str]) -> None:
        """Check that columns that are selected by name are granted.

        Raises:
            PermissionDenied: A column is not granted.
        """
        allowed = self._columns(dataset)
        for name in _beyond(columns, allowed) if allowed is not None else ():
            self._deny("open", str(dataset), f"column {cut_name(name)!r} is not granted", column=name)

    def _columns(self, dataset: DatasetName) -> frozenset[str] | None:
        """The granted columns; `None` for all."""
        columns = "any" if self._granted is None else self._granted.get(str(dataset), frozenset[str]())
        return None if isinstance(columns, str) else columns

    def _reduced(self, dataset: Dataset, columns: frozenset[str] | str) -> Dataset:
        if isinstance(columns, str):
            return dataset
        fields = [field for field in dataset.schema if field.name in columns]
        roles = roles_of(dataset.schema)
        schema = with_roles(
            pa.schema(fields, metadata=dataset.schema.metadata),
            # A part of a key does not identify a row.
            key=roles.key if columns.issuperset(roles.key) else (),
            cursor=roles.cursor if roles.cursor in columns else None,
            operation=roles.operation if roles.operation in columns else None,
        )
        key = dataset.key if columns.issuperset(dataset.key) else ()
        cursors = tuple(name for name in dataset.cursors if name in columns)
        modes = dataset.modes if cursors else dataset.modes - {"incremental"}
        return replace(dataset, schema=schema, key=key, cursors=cursors, modes=modes)

    def _deny(self, function: str, dataset: str, why: str, *, column: str = "") -> None:
        shown = cut_name(dataset)
        self._refused(function, shown, why)
        raise PermissionDenied(
            f"dataset {shown!r}: {why}",
            plugin=self._plugin,
            capability=f"datasets:{shown}" + (f".{cut_name(column)}" if column else ""),
            hint="add it to the plugin's `datasets` grant, or leave it out",
        )


def _beyond(names: Iterable[str], allowed: Iterable[str]) -> list[str]:
    known = frozenset(allowed)
    return [name for name in names if name not in known]
