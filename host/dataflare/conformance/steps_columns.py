"""Steps for destinations whose columns change: in the middle of a run, or between two of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from dataflare import PluginError
from dataflare.conformance.samples import plain_texts
from dataflare.conformance.steps import Bench, NotConformant, NotTested, step
from dataflare.conformance.steps_destination import batches, modes, running, target
from dataflare.conformance.steps_files import texts_in_files

__all__: list[str] = []

_ADDED: Final = "conformance_added"
_TEXT: Final = "an added text"
_NARROWER: Final = {pa.int64(): pa.int32(), pa.float64(): pa.float32()}


@step("columns-added")
def columns_added(bench: Bench, arguments: dict[str, Any]) -> None:
    """With `add-columns`, a schema with a column more is accepted, `at: change-schema` or at the next `at: open`."""
    _require(bench, "add-columns")
    before = batches(bench)[0]
    after = before.append_column(pa.field(_ADDED, pa.string()), pa.array([_TEXT] * before.num_rows))
    _changed(bench, before, after, at=arguments["at"])
    found = texts_in_files(bench, {_TEXT, *plain_texts(before)})
    if found and _TEXT not in found:
        raise NotConformant(f"the values of a column that was added are in no file; those of the others are: {found}")


@step("columns-widened")
def columns_widened(bench: Bench, arguments: dict[str, Any]) -> None:
    """With `widen-columns`, a schema with a wider type is accepted, `at: change-schema` or at the next `at: open`."""
    _require(bench, "widen-columns")
    wide, narrow = _two_widths(bench)
    _changed(bench, narrow, wide, at=arguments["at"])


@step("columns-narrower")
def columns_narrower(bench: Bench, arguments: dict[str, Any]) -> None:
    """A schema with a narrower type is accepted: at the next `at: open`; at `change-schema` with `widen-columns`."""
    if arguments["at"] == "change-schema":
        _require(bench, "widen-columns")  # for a host, any other type is a change
    wide, narrow = _two_widths(bench)
    _changed(bench, wide, narrow, at=arguments["at"])


def _two_widths(bench: Bench) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Rows of the sample, and the same with a column of a narrower type."""
    rows = batches(bench)[0]
    for place, field in enumerate(rows.schema):
        narrow = _NARROWER.get(field.type)
        if narrow is not None:
            try:
                column = rows.column(place).cast(narrow)
            except pa.ArrowInvalid:
                continue
            return rows, rows.set_column(place, field.with_type(narrow), column)
    raise NotTested("the sample has no column of int64 or float64 whose values fit a narrower type")


@step("columns-left-out")
def columns_left_out(bench: Bench, _: Any) -> None:
    """A schema without the last column is accepted, and rows without it; with `add-columns`, so is the first one."""
    before = batches(bench)[0]
    if before.num_columns < 2:
        raise NotTested("the sample has one column")
    after = before.select(before.schema.names[:-1])
    # For a host, the column that comes again is an added one.
    _changed(bench, before, after, at="change-schema", back="add-columns" in bench.plugin.abilities())


@step("columns-unfit")
def columns_unfit(bench: Bench, arguments: dict[str, Any]) -> None:
    """A type that is not wider is `unsupported`, or accepted; where it is refused, the target stays as it was."""
    before = batches(bench)[0]
    if arguments["at"] == "open":
        _either_later(bench, before, _other_type(before))
        return
    _require(bench, "widen-columns")
    _either(bench, before, _other_type(before))


@step("plan-unfit")
def plan_unfit(bench: Bench, _: Any) -> None:
    """What `plan` answers to a type that is not wider, and to a column more, is what `open` then answers."""
    before = batches(bench)[0]
    more = before.append_column(pa.field(_ADDED, pa.string()), pa.nulls(before.num_rows, pa.string()))
    for number, (mode, after) in enumerate(itertools.product(modes(bench), (_other_type(before), more))):
        with running(bench, target(bench, mode, before.schema), 3 * number + 1) as plugin:
            _write(plugin, before, "rows of the first schema")
            plugin.finish(b"1")
        changed = target(bench, mode, after.schema)
        planned = _refusal(plugin.plan, changed)
        opened = _refusal(plugin.open, changed, pipeline="conformance", generation=3 * number + 3)
        if planned != opened:
            raise NotConformant(
                f"mode `{mode}`: with {_columns_of(after)}, after {_columns_of(before)}, `plan` {_said(planned)}, and "
                f"`open` {_said(opened)}"
            )
        if not opened:
            plugin.abort()


def _refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The case of the error of a call; empty if there is none."""
    try:
        call(*arguments, **named)
    except PluginError as error:
        return str(error.error.case)
    return ""


def _said(case: str) -> str:
    return f"answers `{case}`" if case else "does not refuse them"


def _either_later(bench: Bench, before: pa.RecordBatch, after: pa.RecordBatch) -> None:
    """Open a run with another schema, which may be refused; rows of the schema that then holds are accepted."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode, before.schema), 3 * number + 1) as plugin:
            _write(plugin, before, "rows of the first schema")
            plugin.finish(b"1")
        holds, what = after, "rows of the changed schema"
        try:
            run = {"pipeline": "conformance", "run": f"run-{3 * number + 2}", "generation": 3 * number + 2}
            plugin.open(target(bench, mode, after.schema), **run)
        except PluginError as error:
            if error.error.case != "unsupported" or mode == "replace":
                due = "accept any columns" if mode == "replace" else "answer `unsupported`, or accept them"
                raise NotConformant(
                    f"mode `{mode}`: `open` with {_columns_of(after)}, after {_columns_of(before)}, answered "
                    f"`{error.error.case}`, and should {due}"
                ) from error
            holds, what = before, "rows of the first schema, after `open` refused another"
            plugin.open(target(bench, mode, before.schema), pipeline="conformance", generation=3 * number + 3)
        _write(plugin, holds, what)
        plugin.finish(b"2")


@step("columns-unasked")
def columns_unasked(bench: Bench, _: Any) -> None:
    """A column more without `add-columns`, and another type without `widen-columns`, are `unsupported`.

    Hosts ask for neither. The target stays as it was.
    """
    found = bench.plugin.abilities()
    before = batches(bench)[0]
    changes = {
        "add-columns": before.append_column(pa.field(_ADDED, pa.string()), pa.nulls(before.num_rows, pa.string())),
        "widen-columns": _other_type(before),
    }
    unasked = [after for ability, after in changes.items() if ability not in found]
    if not unasked:
        raise NotTested("it adds columns and widens them")
    for number, after in enumerate(unasked):
        _either(bench, before, after, first=number * len(modes(bench)) + 1, accepted=False)


def _other_type(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows with nulls of another type, to which no value can be widened, in the last column."""
    last = rows.num_columns - 1
    other = pa.bool_() if rows.schema.field(last).type != pa.bool_() else pa.date32()
    field = rows.schema.field(last).with_type(other).with_nullable(True)
    return rows.set_column(last, field, pa.nulls(rows.num_rows, other))


def _changed(bench: Bench, before: pa.RecordBatch, after: pa.RecordBatch, *, at: str, back: bool = False) -> None:
    """Write rows, then rows of another schema; with `back`, rows of the first one again."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode, before.schema), 2 * number + 1) as plugin:
            _write(plugin, before, "rows of the first schema")
            if at == "change-schema":
                plugin.change_schema(after.schema)
                _write(plugin, after, "rows of the changed schema")
            if back:
                plugin.change_schema(before.schema)
                _write(plugin, before, "rows of the first schema, to which it came back")
            plugin.finish(b"1")
        if at == "open":
            with running(bench, target(bench, mode, after.schema), 2 * number + 2) as plugin:
                _write(plugin, after, "rows of the changed schema")
                plugin.finish(b"2")


def _either(
    bench: Bench, before: pa.RecordBatch, after: pa.RecordBatch, *, first: int = 1, accepted: bool = True
) -> None:
    """Change the schema, which may be `accepted`; rows of the schema that then holds are accepted."""
    for number, mode in enumerate(modes(bench)):
        with running(bench, target(bench, mode, before.schema), first + number) as plugin:
            _write(plugin, before, "rows of the first schema")
            holds, what = after, "rows of the changed schema"
            try:
                plugin.change_schema(after.schema, any_change=True)
            except PluginError as error:
                if error.error.case != "unsupported":
                    raise NotConformant(
                        f"mode `{mode}`: `change-schema` answered `{error.error.case}`, and should `unsupported`"
                        + (", or accept it" if accepted else "")
                    ) from error
                holds, what = before, "rows of the first schema, after `change-schema` refused another"
            else:
                if not accepted:
                    raise NotConformant(
                        f"mode `{mode}`: `change-schema` accepted a change that is not among the abilities, from "
                        f"{_columns_of(before)} to {_columns_of(after)}, and `unsupported` was due"
                    )
            _write(plugin, holds, what)
            plugin.finish(b"1")


def _columns_of(rows: pa.RecordBatch) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in rows.schema)


def _write(plugin: Any, rows: pa.RecordBatch, what: str) -> None:
    try:
        rejected = plugin.write(rows)
    except PluginError as error:
        raise NotConformant(f"{what} are refused: {error.message}") from error
    if len(rejected) == rows.num_rows:
        raise NotTested(f"it rejects all {what}: {rejected[0].reason}")


def _require(bench: Bench, ability: str) -> None:
    if ability not in bench.plugin.abilities():
        raise NotTested(f"the destination has not the ability `{ability}`")
