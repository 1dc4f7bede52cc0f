"""Steps for sources: the operations of changes, states of other columns, and what follows after the parts of a read."""

from __future__ import annotations

import functools
from typing import Any, Final

import pyarrow as pa

from dataflare import PluginError, Selection
from dataflare.conformance.steps import Bench, NotConformant, NotTested, expect_error, step
from dataflare.conformance.steps_source import each_read, read_all
from dataflare.conformance.values import objects, shown

__all__: list[str] = []

_DELETE: Final = 2


@step("operations")
def operations(bench: Bench, _: Any) -> None:
    """Every change has an operation and a key; a delete has the key alone; an update is of a row that is there."""
    for dataset, selection in each_read(bench, "changes"):
        there: set[str] = set()
        for number, row in enumerate(_rows(bench, selection)):
            change = row.pop("")
            key = [row[name] for name in dataset.key]
            known = repr(key)
            if change is not None and change not in range(_DELETE + 1):
                raise NotConformant(f"{dataset.name}: row {number} has the operation {change}", given=shown(row))
            if None in key:
                raise NotConformant(f"{dataset.name}: row {number} has a null in its key", given=shown(row))
            others = [name for name, value in row.items() if value is not None and name not in dataset.key]
            if change == _DELETE and others:
                what = f"row {number} is a delete, and has a value in {others[0]!r}"
                raise NotConformant(f"{dataset.name}: {what}", given=shown(row))
            if change == 1 and dataset.key and known not in there:
                what = (
                    f"row {number} is an update of a row that is not there: a change of key is a delete and an insert"
                )
                raise NotConformant(f"{dataset.name}: {what}", given=shown(row))
            (there.discard if change == _DELETE else there.add)(known)


def _rows(bench: Bench, selection: Selection) -> list[dict[str, Any]]:
    """The rows of a read, with their operation under the empty name."""
    rows = []
    for schema, chunk in read_all(bench.plugin, selection, most=1000).chunks:
        roles = [(field.metadata or {}).get(b"dataflare.role") for field in schema]
        if roles.count(b"operation") != 1 or schema.types[roles.index(b"operation")] != pa.int8():
            raise NotConformant(f"{selection.dataset}: changes have one column of the role operation, of the type int8")
        name = schema.names[roles.index(b"operation")]
        for row in objects(pa.Table.from_batches([chunk])):
            rows.append({"": row.pop(name), **row})
    return rows


@step("refuse-state")
def refuse_state(bench: Bench, _: Any) -> None:
    """A state or a part that is none of the source's is refused, by `split` too."""
    for dataset, selection in each_read(bench):
        for bad in (b"\xff\xfe no state", b"", b"{", b'{"no": "such state"}'):
            expect_error(
                lambda bad=bad, selection=selection: bench.plugin.open(selection, state=bad),  # type: ignore[misc]
                ["invalid-state"],
                f"`open` with the state {shown(bad)}",
            )
            if "splittable" in dataset.modes:
                divide = functools.partial(bench.plugin.split, selection, at_most=2, state=bad)
                expect_error(divide, ["invalid-state", "unsupported"], f"`split` from the state {shown(bad)}")
        expect_error(
            lambda selection=selection: bench.plugin.open(selection, part=b"\xff no part"),  # type: ignore[misc]
            ["invalid-state", "unsupported"],
            "`open` with a part that `split` never gave",
        )


@step("refuse-other-state")
def refuse_other_state(bench: Bench, _: Any) -> None:
    """A state of another dataset or mode is refused."""
    states: list[tuple[Selection, bytes]] = []
    for _dataset, selection in each_read(bench):
        points = read_all(bench.plugin, selection, most=4).points
        if points:
            states.append((selection, points[0].state))
    others = [(a, state) for a, _ in states for b, state in states if a != b]
    if not others:
        raise NotTested("there is one dataset in one mode")
    for selection, state in others[:20]:
        expect_error(
            lambda selection=selection, state=state: bench.plugin.open(selection, state=state),  # type: ignore[misc]
            ["invalid-state"],
            f"`open` of {selection.dataset} ({selection.mode}) with a state of another dataset or mode",
        )


@step("refuse-state-of-other-columns")
def refuse_state_of_other_columns(bench: Bench, _: Any) -> None:
    """A state of a read of some columns is refused by one of others, and taken by one of the same."""
    tried = False
    for dataset, selection in each_read(bench):
        # These may come in any case: then others do not.
        column = [*dataset.key, *dataset.cursors, *dataset.schema.names][0]
        chosen = Selection(dataset.name, selection.mode, cursor=selection.cursor, columns=[column])
        found = read_all(bench.plugin, chosen, most=4)
        if not found.points or set(found.chunks[0][0].names) >= set(dataset.schema.names):
            continue
        tried = True
        state = found.points[0].state
        expect_error(
            functools.partial(bench.plugin.open, selection, state=state),
            ["invalid-state"],
            f"`open` of all columns of {dataset.name} with a state of {column!r}",
        )
        bench.plugin.open(chosen, state=state)
    if not tried:
        raise NotTested("no read of some columns gives a state")


@step("rest")
def rest(bench: Bench, _: Any) -> None:
    """After its parts, a divided read goes on from the rest, and what the parts had does not come again."""
    tried = False
    for dataset, selection in each_read(bench):
        if "splittable" not in dataset.modes:
            continue
        try:
            division = bench.plugin.split(selection, at_most=3)
        except PluginError:
            continue
        if division.rest is None:
            continue
        tried = True
        try:
            found = read_all(bench.make(), selection, state=division.rest, most=4)
        except PluginError as error:
            raise NotConformant(f"{dataset.name}: `open` refuses the rest of a division: {error.message}") from error
        if found.rows:
            what = f"{found.rows} rows come after the rest of a division, whose parts had all"
            raise NotConformant(f"{dataset.name}: {what}", given=shown(found.tables))
    if not tried:
        raise NotTested("no division has a rest")
