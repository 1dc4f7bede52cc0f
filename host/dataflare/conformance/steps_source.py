"""Steps for sources: what there is, how it is read, and where reads go on."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow as pa

from dataflare import Chunk, Dataset, Ended, Idle, NewSchema, PluginError, Selection
from dataflare.conformance.steps import Bench, NotConformant, NotTested, expect_error, step
from dataflare.conformance.values import by_schema, difference, objects, shown, without_first

__all__ = ["each_read", "read_all", "selections"]

_MOST_READS: Final = 10_000
_MOST_CURSORS: Final = 3
_MOST_ESTIMATES: Final = 3
_MOST_POINTS: Final = 12
"""How many states of a read are tried; of more, those at the beginning, the end, and some between."""


_Progress: TypeAlias = Chunk | NewSchema | Idle | Ended


@dataclass(frozen=True)
class _Point:
    """A state, and how many rows lie before it."""

    state: bytes
    rows: int


@dataclass(frozen=True)
class _Read:
    """What a read gave: each chunk with the schema that was promised for it, and the states."""

    selection: Selection
    chunks: list[tuple[pa.Schema, pa.RecordBatch]]
    points: list[_Point]

    @property
    def tables(self) -> list[pa.Table]:
        """The rows, those of each schema apart."""
        return by_schema([rows for _, rows in self.chunks])

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(rows.num_rows for _, rows in self.chunks)


def selections(dataset: Dataset) -> Iterator[Selection]:
    """How a dataset can be read: once in each of its modes, and by each of its cursors, three at most."""
    if "full" in dataset.modes:
        yield Selection(dataset.name)
    if "incremental" in dataset.modes:
        for cursor in dataset.cursors[:_MOST_CURSORS]:
            yield Selection(dataset.name, "incremental", cursor=cursor)
    if "changes" in dataset.modes:
        yield Selection(dataset.name, "changes")


def read_all(
    plugin: Any,
    selection: Selection,
    *,
    state: bytes | None = None,
    part: bytes | None = None,
    most: int,
    after_each: Callable[[_Progress], object] = lambda progress: None,
) -> _Read:
    """Read to the end, or until nothing comes for now; `after_each` is called with each answer."""
    (schema,) = plugin.open(selection, state=state, part=part)
    chunks: list[tuple[pa.Schema, pa.RecordBatch]] = []
    points: list[_Point] = []
    rows = 0
    for _ in range(_MOST_READS):
        progress = plugin.read(most)
        after_each(progress)
        if isinstance(progress, Ended | Idle):
            if isinstance(progress, Idle) and progress.state is not None:
                points.append(_Point(progress.state, rows))
            return _Read(selection, chunks or [(schema, _none(schema))], points)
        if isinstance(progress, NewSchema):
            schema = progress.schema
            continue
        chunks.append((schema, progress.rows))
        rows += progress.rows.num_rows
        if progress.state is not None:
            points.append(_Point(progress.state, rows))
    raise NotConformant(f"{selection.dataset}: the read did not end after {_MOST_READS} calls of `read({most})`")


def _none(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def each_read(bench: Bench, mode: str | None = None) -> Iterator[tuple[Dataset, Selection]]:
    """Every dataset in every mode, or in one."""
    none = True
    for dataset in bench.plugin.discover():
        for selection in selections(dataset):
            if mode is None or selection.mode == mode:
                none = False
                bench.about = _said(selection)
                yield dataset, selection
    bench.about = ""
    if none:
        raise NotTested("the source has no dataset" + (f" in the mode `{mode}`" if mode else ""))


def _said(selection: Selection) -> str:
    by = f" by {selection.cursor!r}" if selection.cursor else ""
    return f"dataset {str(selection.dataset)!r}, mode `{selection.mode}`{by}"


def _reads(bench: Bench, arguments: Any) -> Iterator[_Read]:
    most = (arguments or {}).get("max-rows", 4)
    for _, each in each_read(bench, (arguments or {}).get("mode")):
        yield read_all(bench.plugin, each, most=most)


@step("discover")
def discover(bench: Bench, _: Any) -> None:
    """What there is is described whole, and in the same way again."""
    found = bench.plugin.discover()
    if not found:
        raise NotTested("the source has no dataset with this configuration")
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise NotConformant("two datasets have one name")
    for each in found:
        if not each.modes & {"full", "incremental", "changes"}:
            raise NotConformant(f"{each.name}: it can be read in no mode")
        if bool(each.cursors) != ("incremental" in each.modes):
            raise NotConformant(
                f"{each.name}: the modes are {sorted(each.modes)}, and the cursors {list(each.cursors)}"
            )
        missing = {*each.key, *each.cursors} - set(each.schema.names)
        if missing:
            raise NotConformant(f"{each.name}: the key or a cursor names {sorted(missing)}, which is no column")
    for what, again in (("the second time", bench.plugin.discover()), ("in another instance", bench.make().discover())):
        if [each.name for each in again] != names:
            others = shown([str(each.name) for each in again])
            raise NotConformant(f"`discover` answers in another way {what}: the datasets are {others}")
        for one, other in zip(found, again, strict=True):
            if one != other:
                field = next(each.name for each in dataclasses.fields(one) if _differs(one, other, each.name))
                came, before = (shown(str(getattr(each, field))) for each in (other, one))
                raise NotConformant(f"{one.name}: `{field}` of `discover` is {came} {what}, and was {before}")


def _differs(one: Dataset, other: Dataset, field: str) -> bool:
    return bool(getattr(one, field) != getattr(other, field))


@step("read")
def read(bench: Bench, arguments: dict[str, Any]) -> None:
    """Every dataset is read to its end, in every mode; each chunk has the promised columns."""
    most = arguments.get("max-rows", 4)
    for found in _reads(bench, arguments):
        for schema, rows in found.chunks:
            if rows.num_rows > most:
                raise NotConformant(f"{found.selection.dataset}: `read({most})` gave {rows.num_rows} rows")
            if rows.schema.names != schema.names or rows.schema.types != schema.types:
                raise NotConformant(f"{found.selection.dataset}: the chunk has {rows.schema.names}, not {schema.names}")
        if found.rows and (not found.points or found.points[-1].rows != found.rows):
            raise NotConformant(f"{found.selection.dataset}: the last state does not cover all rows")


@step("described")
def described(bench: Bench, _: Any) -> None:
    """The columns of a read are those that `discover` describes, and its key identifies the rows of a full read."""
    for dataset, selection in each_read(bench):
        found = read_all(bench.plugin, selection, most=1000)
        if len({str(schema) for schema, _ in found.chunks}) > 1:
            continue  # it describes the columns of now alone
        columns = {field.name: field.type for field in found.chunks[0][0]}
        due = {field.name: field.type for field in dataset.schema}
        more = {} if selection.mode == "changes" else columns.keys() - due.keys()
        if more or any(columns.get(name) != kind for name, kind in due.items()):
            came = ", ".join(f"{name}: {kind}" for name, kind in columns.items())
            raise NotConformant(f"{dataset.name}: `open` returned {came}, and `discover` describes other columns")
        if selection.mode == "full" and dataset.key:
            _require_key(dataset, [row for table in found.tables for row in objects(table.select(list(dataset.key)))])


def _require_key(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if None in row.values() or repr(row) in seen:
            what = "a null in its key" if None in row.values() else "the key of another row"
            raise NotConformant(f"{dataset.name}: row {number} has {what}", given=shown(row))
        seen.add(repr(row))


@step("read-twice")
def read_twice(bench: Bench, arguments: Any) -> None:
    """The same read gives the same rows: from one instance, from another, and in chunks of another size."""
    for found in _reads(bench, arguments):
        for what, plugin, most in (
            ("again", bench.plugin, 4),
            ("in chunks of 1,000", bench.plugin, 1000),
            ("by another instance", bench.make(), 4),
        ):
            other = read_all(plugin, found.selection, most=most)
            if message := difference(other.tables, found.tables):
                raise NotConformant(f"{found.selection.dataset}, read {what}: {message}", given=shown(found.tables))


@step("resume")
def resume(bench: Bench, arguments: Any) -> None:
    """From every state, another instance gives exactly the rows that the state does not cover."""
    tried = 0
    for found in _reads(bench, arguments):
        for point in _some(found.points):
            tried += 1
            rest = read_all(bench.make(), found.selection, state=point.state, most=4)
            if message := difference(rest.tables, without_first(found.tables, point.rows)):
                before = f"{found.selection.dataset}, from the state after {point.rows} rows"
                raise NotConformant(f"{before}: {message}", given=shown(point.state))
    if not tried:
        raise NotTested("no read gave a state")


@step("resume-again")
def resume_again(bench: Bench, arguments: Any) -> None:
    """The states of a read that began at a state are as good as those of a read from the beginning."""
    tried = False
    for found in _reads(bench, arguments):
        for point in found.points[: _MOST_POINTS // 3]:
            rest = read_all(bench.make(), found.selection, state=point.state, most=3)
            for later in (rest.points[:1], rest.points[-1:]):
                if not later:
                    continue
                tried = True
                before = point.rows + later[0].rows
                last = read_all(bench.make(), found.selection, state=later[0].state, most=4)
                if message := difference(last.tables, without_first(found.tables, before)):
                    what = f"{found.selection.dataset}, from the state after {before} rows, of a read that began after"
                    raise NotConformant(f"{what} {point.rows}: {message}", given=shown(later[0].state))
    if not tried:
        raise NotTested("no read from a state gave another state")


def _some(points: list[_Point]) -> list[_Point]:
    if len(points) <= _MOST_POINTS:
        return points
    half = _MOST_POINTS // 3
    middle = points[half:-half]
    return points[:half] + middle[:: max(1, len(middle) // half)][:half] + points[-half:]


@step("reopen")
def reopen(bench: Bench, _: Any) -> None:
    """`open` ends a read that is under way, and begins another at the beginning."""
    for _dataset, selection in each_read(bench):
        due = read_all(bench.make(), selection, most=4)
        bench.plugin.open(selection)
        bench.plugin.read(1)
        again = read_all(bench.plugin, selection, most=4)
        if message := difference(again.tables, due.tables):
            raise NotConformant(f"{selection.dataset}, opened within a read: {message}")


@step("ended-again")
def ended_again(bench: Bench, _: Any) -> None:
    """A read can be stopped anywhere, and twice; another begins afterwards, at the beginning."""
    for _dataset, selection in each_read(bench):
        due = read_all(bench.make(), selection, most=1000)
        bench.plugin.open(selection)
        bench.plugin.read(1)
        bench.plugin.stop()
        bench.plugin.stop()
        found = read_all(bench.plugin, selection, most=1000)
        if message := difference(found.tables, due.tables):
            raise NotConformant(f"{selection.dataset}, read after `close`: {message}")
        bench.plugin.stop()


@step("discover-within")
def discover_within(bench: Bench, _: Any) -> None:
    """`discover` and `estimate` within a read change nothing about it."""
    for _dataset, selection in each_read(bench):
        due = read_all(bench.make(), selection, most=1000)

        def ask(_: _Progress, selection: Selection = selection) -> None:
            bench.plugin.discover()
            bench.plugin.estimate(selection)

        found = read_all(bench.plugin, selection, most=2, after_each=ask)
        if message := difference(found.tables, due.tables):
            raise NotConformant(f"{selection.dataset}, with `discover` and `estimate` between the reads: {message}")


@step("estimate")
def estimate(bench: Bench, _: Any) -> None:
    """An estimate that is exact is the number of rows."""
    known = False
    for dataset, selection in each_read(bench):
        found = bench.plugin.estimate(selection)
        if found is None or not found.exact:
            continue
        known = True
        whole = read_all(bench.make(), selection, most=4)
        promised = {0: found.rows}
        for point in _some(whole.points)[:_MOST_ESTIMATES]:
            left = bench.plugin.estimate(selection, state=point.state)
            if left is not None and left.exact:
                promised[point.rows] = left.rows
        for before, rows in promised.items():
            if rows != whole.rows - before:
                came = f"exactly {rows} rows were promised after {before}, and {whole.rows - before} came"
                raise NotConformant(f"{selection.dataset}: {came}")
        _check_estimates_of_parts(bench, selection, splittable="splittable" in dataset.modes)
    if not known:
        raise NotTested("the source knows no exact number of rows")


def _check_estimates_of_parts(bench: Bench, selection: Selection, *, splittable: bool) -> None:
    try:
        parts = bench.plugin.split(selection, at_most=3).parts if splittable else []
    except PluginError:
        return
    for part in parts:
        found = bench.plugin.estimate(selection, part=part)
        rows = read_all(bench.make(), selection, part=part, most=1000).rows
        if found is not None and found.exact and found.rows != rows:
            came = f"exactly {found.rows} rows of a part were promised, and {rows} came"
            raise NotConformant(f"{selection.dataset}: {came}")


@step("columns")
def columns(bench: Bench, _: Any) -> None:
    """A read of some columns has these, and what the mode needs, with the same values."""
    for dataset, selection in each_read(bench):
        names = list(dataset.schema.names)
        if len(names) < 2:
            continue
        whole = read_all(bench.plugin, selection, most=1000).tables
        for name in names[:5]:
            some = Selection(dataset.name, selection.mode, cursor=selection.cursor, columns=[name])
            chosen = read_all(bench.plugin, some, most=1000)
            came = {field.name: field for schema, _ in chosen.chunks for field in schema}
            if name not in came:
                raise NotConformant(f"{dataset.name}: column {name!r} was selected, and did not come")
            needed = {each for each, field in came.items() if (field.metadata or {}).get(b"dataflare.role")}
            if more := set(came) - {name, *dataset.key, *dataset.cursors, *needed}:
                raise NotConformant(f"{dataset.name}: only {name!r} was selected, and {sorted(more)} came too")
            if message := difference(_column(chosen.tables, name), _column(whole, name)):
                raise NotConformant(f"{dataset.name}, column {name!r} alone: {message}")


def _column(tables: Sequence[pa.Table], name: str) -> list[pa.Table]:
    """A column, where it is there."""
    return by_schema(
        [batch for each in tables if name in each.schema.names for batch in each.select([name]).to_batches()]
    )


@step("acknowledge")
def acknowledge(bench: Bench, arguments: Any) -> None:
    """States are acknowledged as rows get safe, twice too, and the read goes on as if they were not."""
    for due in _reads(bench, arguments):

        def confirm(progress: _Progress) -> None:
            if isinstance(progress, Chunk) and progress.state is not None:
                bench.plugin.acknowledge(progress.state)
                bench.plugin.acknowledge(progress.state)

        found = read_all(bench.plugin, due.selection, most=4, after_each=confirm)
        if message := difference(found.tables, due.tables):
            raise NotConformant(f"{due.selection.dataset}, with every state acknowledged: {message}")


@step("split")
def split(bench: Bench, _: Any) -> None:
    """The parts of a read have every row once, read in any order by instances of their own."""
    tried = False
    for dataset, selection in each_read(bench):
        if "splittable" not in dataset.modes:
            continue
        whole = read_all(bench.make(), selection, most=1000)
        for at_most in (1, 2, 3, 7):
            try:
                division = bench.plugin.split(selection, at_most=at_most)
            except PluginError as error:
                if error.error.case == "unsupported":
                    break
                raise
            tried = True
            parts = [read_all(bench.make(), selection, part=part, most=5) for part in reversed(division.parts)]
            found = sorted(row for part in parts for row in _written(part))
            due = sorted(_written(whole))
            if found != due:
                lost, more = len(set(due) - set(found)), len(found) - len(due)
                what = f"{lost} rows are in no part, and there are {more:+} rows"
                raise NotConformant(f"{dataset.name}, in {len(division.parts)} parts of at most {at_most}: {what}")
        _check_split_from_state(bench, selection)
    if not tried:
        raise NotTested("no dataset can be divided")


def _check_split_from_state(bench: Bench, selection: Selection) -> None:
    """The parts of a read from a state have the rows after it."""
    found = read_all(bench.make(), selection, most=4)
    if len(found.points) < 2:
        return
    point = found.points[len(found.points) // 2 - 1]
    try:
        division = bench.plugin.split(selection, at_most=3, state=point.state)
    except PluginError as error:
        if error.error.case == "unsupported":
            return
        raise
    parts = [read_all(bench.make(), selection, part=part, most=5) for part in division.parts]
    rows = sorted(row for part in parts for row in _written(part))
    due = sorted(repr(row) for table in without_first(found.tables, point.rows) for row in objects(table))
    if rows != due:
        came = f"there are {len(rows)} rows, and should be {len(due)}"
        raise NotConformant(f"{selection.dataset}, the parts after the state of {point.rows} rows: {came}")


def _written(found: _Read) -> list[str]:
    return [repr(row) for table in found.tables for row in objects(table)]


@step("resume-part")
def resume_part(bench: Bench, _: Any) -> None:
    """A part goes on from its states as a whole read does."""
    tried = False
    for dataset, selection in each_read(bench):
        if "splittable" not in dataset.modes:
            continue
        try:
            parts = bench.plugin.split(selection, at_most=2).parts
        except PluginError:
            continue
        states = []
        for part in parts:
            found = read_all(bench.make(), selection, part=part, most=2)
            states += [point.state for point in found.points[:1]]
            for point in _some(found.points):
                tried = True
                rest = read_all(bench.make(), selection, part=part, state=point.state, most=2)
                if message := difference(rest.tables, without_first(found.tables, point.rows)):
                    raise NotConformant(f"{dataset.name}, a part from its state after {point.rows} rows: {message}")
        if len(states) > 1:
            expect_error(
                functools.partial(bench.plugin.open, selection, part=parts[1], state=states[0]),
                ["invalid-state"],
                f"`open` of a part of {dataset.name} with a state of another part",
            )
        whole = read_all(bench.plugin, selection, most=2).points
        for given, what in (
            *(({"state": state}, "a whole read of {} with a state of a part") for state in states[:1]),
            *(({"state": at.state, "part": parts[0]}, "a part of {} with a state of a whole read") for at in whole[:1]),
        ):
            refused = functools.partial(bench.plugin.open, selection, **given)
            expect_error(refused, ["invalid-state"], f"`open` of {what.format(dataset.name)}")
    if not tried:
        raise NotTested("no dataset can be divided, or parts give no states")


@step("cursor-order")
def cursor_order(bench: Bench, _: Any) -> None:
    """An incremental read comes in the order of its cursor, nulls first."""
    for _dataset, selection in each_read(bench, "incremental"):
        assert selection.cursor is not None
        tables = read_all(bench.plugin, selection, most=1000).tables
        values = [value for table in tables for value in objects(table.column(selection.cursor))]
        filled = [value for value in values if value is not None]
        if None in values[len(values) - len(filled) :]:
            raise NotConformant(f"{selection.dataset}: a null of the cursor {selection.cursor!r} comes after a value")
        for one, other in itertools.pairwise(filled):
            if one > other:
                raise NotConformant(f"{selection.dataset}: {shown(other)} comes after {shown(one)} of the cursor")


@step("incremental-again")
def incremental_again(bench: Bench, _: Any) -> None:
    """From the last state of an incremental read, nothing comes that came before."""
    for _dataset, selection in each_read(bench, "incremental"):
        found = read_all(bench.plugin, selection, most=4)
        if not found.points:
            raise NotTested("the read gave no state")
        rest = read_all(bench.make(), selection, state=found.points[-1].state, most=4)
        if rest.rows:
            raise NotConformant(
                f"{selection.dataset}: {rest.rows} rows come again from the last state", given=shown(rest.tables)
            )
