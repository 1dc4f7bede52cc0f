"""Steps for sources: the roles of columns, rows whose cursor is null, several datasets, and reads that have ended."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from dataflare import Chunk, Dataset, DatasetName, Ended, Idle, PluginError, Selection
from dataflare.conformance.steps import Bench, NotConformant, NotTested, expect_error, step
from dataflare.conformance.steps_source import each_read, read_all, selections
from dataflare.conformance.values import objects, shown

__all__: list[str] = []

_NOTHING: Final = "conformance-nothing"
_MOST_PAIRS: Final = 5
_MOST_READS: Final = 1_000


@step("ended")
def ended(bench: Bench, _: Any) -> None:
    """A read that has ended answers so again."""
    tried = False
    for _dataset, selection in each_read(bench):
        last: list[Any] = []
        read_all(bench.plugin, selection, most=1000, after_each=last.append)
        if isinstance(last[-1], Idle):
            continue
        tried = True
        for _ in range(2):
            again = bench.plugin.read(4, ended_too=True)
            if not isinstance(again, Ended):
                came = f"after its end, `read` returned {type(again).__name__}, and `ended` was due"
                raise NotConformant(f"{selection.dataset}: {came}")
    if not tried:
        raise NotTested("no read ends")


@step("roles")
def roles(bench: Bench, _: Any) -> None:
    """The columns of the key have its role, and so has the cursor of an incremental read, and no other column."""
    for dataset in bench.plugin.discover():
        _require_key_roles(dataset, dataset.schema, "`discover`")
    for dataset, selection in each_read(bench):
        for schema, _rows in read_all(bench.plugin, selection, most=1000).chunks:
            if set(dataset.key) <= set(schema.names):
                _require_key_roles(dataset, schema, "`open`")
            cursors = [field.name for field in schema if _metadata(field).get(b"dataflare.role") == b"cursor"]
            if selection.mode == "incremental" and cursors != [selection.cursor]:
                what = (
                    f"the role cursor is that of {cursors or 'no column'}, and should be that of {selection.cursor!r}"
                )
                raise NotConformant(f"{dataset.name}: {what}")


def _require_key_roles(dataset: Dataset, schema: pa.Schema, where: str) -> None:
    found = {field.name: _metadata(field)[b"dataflare.key"] for field in schema if b"dataflare.key" in _metadata(field)}
    due = {name: str(place).encode() for place, name in enumerate(dataset.key)}
    if found != due:
        positions = {name: place.decode("utf-8", "replace") for name, place in found.items()}
        what = f"the key is {list(dataset.key)}, and {where} gives the role of a key to {positions or 'no column'}"
        raise NotConformant(f"{dataset.name}: {what}")


def _metadata(field: pa.Field) -> dict[bytes, bytes]:
    return dict(field.metadata or {})


@step("null-cursors")
def null_cursors(bench: Bench, _: Any) -> None:
    """From a state after them, rows whose cursor is null do not come."""
    tried = False
    for _dataset, selection in each_read(bench, "incremental"):
        assert selection.cursor is not None
        whole = read_all(bench.plugin, selection, most=2)
        values = [value for table in whole.tables for value in objects(table.column(selection.cursor))]
        after = [point for point in whole.points if point.rows > values.count(None)]
        if None not in values or not after:
            continue
        tried = True
        rest = read_all(bench.make(), selection, state=after[0].state, most=2)
        if any(None in objects(table.column(selection.cursor)) for table in rest.tables):
            what = f"a row whose cursor {selection.cursor!r} is null comes from a state after all of these"
            raise NotConformant(f"{selection.dataset}: {what}", given=shown(after[0].state))
    if not tried:
        raise NotTested("no incremental read has rows whose cursor is null, and a state after them")


@step("refuse-state-of-other-selections")
def refuse_state_of_other_selections(bench: Bench, _: Any) -> None:
    """A state or a part of a read of some datasets is refused by a read of more of them, and of fewer."""
    tried = False
    for one, other in itertools.islice(_pairs(bench), _MOST_PAIRS):
        bench.about = f"datasets {str(one.dataset)!r} and {str(other.dataset)!r}, mode `{one.mode}`"
        reads: tuple[list[Selection], ...] = ([one], [one, other])
        for opened, others in (reads, reads[::-1]):
            what = f"`open` of {_names(others)}"
            if (state := _first_state(bench.plugin, opened)) is not None:
                tried = True
                refused = functools.partial(bench.plugin.open, others, state=state)
                expect_error(refused, ["invalid-state"], f"{what} with a state of {_names(opened)}")
            if (part := _first_part(bench.plugin, opened)) is not None:
                tried = True
                refused = functools.partial(bench.plugin.open, others, part=part)
                expect_error(refused, ["invalid-state"], f"{what} with a part of {_names(opened)}")
    if not tried:
        raise NotTested("no two datasets can be read together, or no such read gives a state")


def _pairs(bench: Bench) -> Iterator[tuple[Selection, Selection]]:
    """Selections of two datasets in one mode that can be read together."""
    found = [selection for _, selection in each_read(bench)]
    for one, other in itertools.combinations(found, 2):
        if one.dataset == other.dataset or one.mode != other.mode:
            continue
        try:
            bench.plugin.open([one, other])
        except PluginError as error:
            if error.error.case != "invalid-config":
                raise
            continue
        yield one, other


@step("refuse-selections")
def refuse_selections(bench: Bench, _: Any) -> None:
    """A dataset, a mode or a column that does not exist is `invalid-config`, also where no host checks it before."""
    for dataset in bench.plugin.discover():
        column = dataset.schema.names[0]
        first = next(selections(dataset))
        cursor = next((name for name in dataset.schema.names if name not in dataset.cursors), None)
        wrong = {
            "a dataset": dataclasses.replace(first, dataset=DatasetName(_NOTHING, dataset.name.namespace)),
            "a column": dataclasses.replace(first, columns=(column, _NOTHING)),
            "the mode `full`": None if "full" in dataset.modes else Selection(dataset.name),
            "the mode `changes`": None if "changes" in dataset.modes else Selection(dataset.name, "changes"),
            "a cursor": None if cursor is None else Selection(dataset.name, "incremental", cursor=cursor),
        }
        for what, selection in wrong.items():
            if selection is not None:
                refused = functools.partial(bench.plugin.open, selection, any_selection=True)
                expect_error(refused, ["invalid-config"], f"`open` of {what} that {dataset.name} does not have")


def _names(opened: Sequence[Selection]) -> str:
    return " and ".join(repr(str(each.dataset)) for each in opened)


def _first_state(plugin: Any, opened: Sequence[Selection]) -> bytes | None:
    plugin.open(opened)
    for _ in range(_MOST_READS):
        found = plugin.read(2)
        if isinstance(found, Chunk | Idle) and found.state is not None:
            return found.state
        if isinstance(found, Ended | Idle):
            break
    return None


def _first_part(plugin: Any, opened: Sequence[Selection]) -> bytes | None:
    modes = {each.name: each.modes for each in plugin.discover()}
    if any("splittable" not in modes[each.dataset] for each in opened):
        return None
    try:
        return bytes(plugin.split(opened, at_most=2).parts[0])
    except PluginError as error:
        if error.error.case != "unsupported":
            raise
        return None
