"""The host's side of `dataflare:data/expressions`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import pyarrow as pa

from dataflare.data.batches import MAX_BATCH_BYTES, Batch, as_result
from dataflare.data.charges import BatchMemory, within_room
from dataflare.data.expressions import relations
from dataflare.data.expressions.evaluate import read_plan

__all__ = ["INTERFACE", "imports", "provide"]

INTERFACE: Final = "dataflare:data/expressions@1.0.0"


def imports(*, max_batch_bytes: int = MAX_BATCH_BYTES) -> dict[str, Callable[..., Any]]:
    """Make the functions of `INTERFACE`, by their names in the WIT.

    Args:
        max_batch_bytes: Limit in bytes of a batch that an expression makes; default 512 MiB.

    Returns:
        Functions on `Batch`, in the types of `dataflare.values`. They keep no state and may run in any thread.
    """

    def limited(make: Callable[..., pa.RecordBatch], *args: Any) -> pa.RecordBatch:
        return within_room(functools.partial(make, *args), max_batch_bytes)

    def new(batch: Batch, arrow: pa.RecordBatch) -> Batch:
        return batch.made(arrow, BatchMemory.made(arrow), arrow.schema.names)

    def with_columns(batch: Batch, nodes: Any, outputs: Any) -> Batch:
        plan, wanted = read_plan(nodes), _outputs(outputs)
        before = batch.checked_columns(plan.columns())
        arrow = limited(relations.with_columns, before, plan, wanted)
        names = [name for name, _ in wanted]
        return batch.made(arrow, batch.memory.with_columns(before, arrow, names), batch.checked_names.union(names))

    def select(batch: Batch, nodes: Any, outputs: Any) -> Batch:
        plan = read_plan(nodes)
        before = batch.checked_columns(plan.columns())
        arrow = limited(relations.select, before, plan, _outputs(outputs))
        return batch.made(arrow, batch.memory.returned(before, arrow), arrow.schema.names)

    def filter_by(batch: Batch, condition: Any) -> Batch:
        return new(batch, limited(relations.filter_by, batch.checked(), read_plan(condition)))

    def sort(batch: Batch, keys: Any, nulls: str) -> Batch:
        order = [(each.column, each.descending) for each in keys]
        return new(batch, limited(relations.sort, batch.checked(), order, nulls == "first"))

    def aggregate(batch: Batch, keys: Sequence[str], aggregates: Any) -> Batch:
        wanted = [(each.name, each.aggregate, each.column) for each in aggregates]
        before = batch.checked_columns({*keys, *(column for _, _, column in wanted if column)})
        return new(batch, limited(relations.aggregate, before, list(keys), wanted))

    def join(left: Batch, right: Batch, on: Any, kind: str) -> Batch:
        pairs = [(ours, theirs) for ours, theirs in on]
        return new(left, limited(relations.join, left.checked(), right.checked(), pairs, kind))

    functions: dict[str, Callable[..., Any]] = {
        "with-columns": with_columns,
        "select": select,
        "filter": filter_by,
        "sort": sort,
        "aggregate": aggregate,
        "join": join,
    }
    return {name: as_result(function) for name, function in functions.items()}


def _outputs(outputs: Any) -> list[tuple[str, int]]:
    return [(each.name, int(each.node)) for each in outputs]


class _Context(Protocol):
    @property
    def max_batch_bytes(self) -> int: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(max_batch_bytes=context.max_batch_bytes)
