"""Steps for destinations: rows that it has to reject, or may, while the rows beside them count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from dataflare import RejectedRow
from dataflare.conformance.samples import BATCH_ROWS
from dataflare.conformance.steps import Bench, NotConformant, NotTested, step
from dataflare.conformance.steps_destination import modes, running, target
from dataflare.conformance.steps_files import times_in_files
from dataflare.conformance.values import as_table, objects, shown

__all__: list[str] = []

_OPERATION: Final = "conformance_operation"
_OPERATIONS: Final = (0, 3, None, -1)
"""One for each row of a batch; the second and the last are not operations."""
_TEXT: Final = "text of a null key"


@step("odd-operations")
def odd_operations(bench: Bench, _: Any) -> None:
    """In the mode `merge`, rows whose operation is another number are rejected for this column, and no others."""
    if "delete" not in bench.plugin.abilities():
        raise NotTested("the destination has not the ability `delete`")
    rows = _rows(bench)
    field = pa.field(_OPERATION, pa.int8(), metadata={"dataflare.role": "operation"})
    odd = rows.append_column(field, pa.array(_OPERATIONS[: rows.num_rows], pa.int8()))
    with running(bench, target(bench, "merge", odd.schema), 1) as plugin:
        found = {each.row: each for each in plugin.write(odd)}
        for row, operation in enumerate(_OPERATIONS):
            if operation in (0, None):
                continue
            if row not in found:
                what = f"row {row} has the operation {operation}, and is not rejected"
                raise NotConformant(what, given=shown(odd))
            if found[row].column != _OPERATION:
                what = f"row {row} is rejected for the column {found[row].column!r}, and should for its operation"
                raise NotConformant(what, given=shown(odd))
        _require_others(list(found.values()), {1, 3}, odd)
        plugin.finish(b"")


@step("null-keys")
def null_keys(bench: Bench, _: Any) -> None:
    """In the mode `merge`, a row with a null in its key is rejected, or is there once; the rows beside it count."""
    if "merge" not in modes(bench):
        raise NotTested("the destination has not the ability `merge`")
    rows = _rows(bench)
    odd = _with_null(rows, 0)
    texts = [place for place, field in enumerate(odd.schema) if place and field.type == pa.string()]
    if texts:
        values = objects(odd.column(texts[0]))
        odd = odd.set_column(texts[0], odd.schema.field(texts[0]), pa.array([_TEXT, *values[1:]]))
    answers = []
    for generation in (1, 2):
        with running(bench, target(bench, "merge", odd.schema), generation) as plugin:
            answers.append(plugin.write(odd))
            _require_others(answers[-1], {0}, odd)
            _require_column(answers[-1], 0, odd)
            plugin.finish(b"")
    if len({0 in [each.row for each in answer] for answer in answers}) > 1:
        raise NotConformant("row 0, whose key is null, is rejected once, and taken once", given=shown(odd))
    if texts and (times := times_in_files(bench, _TEXT)) > 1:
        what = f"row 0, whose key is null, was written twice and is in the files {times} times"
        raise NotConformant(what, given=shown(odd))


@step("nulls-later")
def nulls_later(bench: Bench, arguments: dict[str, Any]) -> None:
    """Columns that may be null, after they might not, change nothing: a row with a null is taken or rejected."""
    rows = _rows(bench)
    strict = pa.RecordBatch.from_arrays(rows.columns, schema=pa.schema([e.with_nullable(False) for e in rows.schema]))
    last = rows.num_columns - 1
    if not last:
        raise NotTested("the sample has one column")
    odd = _with_null(rows, last)
    for number, mode in enumerate(each for each in modes(bench) if each != "replace"):
        with running(bench, target(bench, mode, strict.schema), 2 * number + 1) as plugin:
            plugin.write(strict)
            if arguments["at"] == "change-schema":
                plugin.change_schema(odd.schema)
                _write_odd(plugin, odd, last)
            plugin.finish(b"1")
        if arguments["at"] == "open":
            with running(bench, target(bench, mode, odd.schema), 2 * number + 2) as plugin:
                _write_odd(plugin, odd, last)
                plugin.finish(b"2")


def _write_odd(plugin: Any, odd: pa.RecordBatch, place: int) -> None:
    rejected = plugin.write(odd)
    _require_others(rejected, {0}, odd)
    _require_column(rejected, place, odd)


def _rows(bench: Bench) -> pa.RecordBatch:
    """A batch of the sample whose columns may be null, and are not."""
    sample = as_table(bench["sample"]).drop_null().slice(0, BATCH_ROWS)
    if sample.num_rows < BATCH_ROWS:
        raise NotTested(f"the sample has not {BATCH_ROWS} rows without nulls")
    schema = pa.schema([field.with_nullable(True) for field in sample.schema])
    return pa.RecordBatch.from_arrays(sample.combine_chunks().to_batches()[0].columns, schema=schema)


def _with_null(rows: pa.RecordBatch, place: int) -> pa.RecordBatch:
    """The rows, with a null in a column of the first."""
    column = pa.concat_arrays([pa.nulls(1, rows.schema.field(place).type), rows.column(place).slice(1)])
    return rows.set_column(place, rows.schema.field(place), column)


def _require_others(rejected: Sequence[RejectedRow], odd: set[int], rows: pa.RecordBatch) -> None:
    """Demand that a row beside the odd ones is taken; a sample may have rows that are always rejected."""
    if {each.row for each in rejected} >= set(range(rows.num_rows)) - odd:
        raise NotConformant(f"the rows beside {sorted(odd)} are rejected with them", given=shown(rows))


def _require_column(rejected: Sequence[RejectedRow], place: int, rows: pa.RecordBatch) -> None:
    """Demand that the first row, if it is rejected, is so for a column, or for none."""
    name = rows.schema.names[place]
    for each in rejected:
        if each.row == 0 and each.column not in (name, None):
            what = f"row 0 has a null in {name!r}, and is rejected for the column {each.column!r}"
            raise NotConformant(what, given=shown(rows))
