"""Schema contracts: what is done with rows whose columns differ from those of the last run, or of earlier rows.

The known columns are kept in the state file. What a source or a file gives is compared with them, column by column, and
the contract of the node decides about each difference. Every difference is in the report.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.json_values import parse_json
from dataflare.pipeline.common_types import common_type
from dataflare.pipeline.contract_keys import ContractAction, ContractModel
from dataflare.pipeline.dead_letters import DeadLetters, Letter
from dataflare.pipeline.report import NodeReport, SchemaChange
from dataflare.pipeline.run_errors import DataError, StateError
from dataflare.texts import cut_name

__all__ = ["SchemaContract", "schema_from_text", "schema_to_text"]

Difference: TypeAlias = Literal["new-column", "changed-type", "missing-column"]

_RESULTS: Final = {
    "evolve": "evolved",
    "discard-column": "column discarded",
    "discard-row": "rows discarded",
}
_NO_COMMON_TYPE: Final = "`schema: {changed_types: discard-row}` leaves such rows out, `discard-column` their values"
_ACCEPT: Final = "to accept it, run once with `schema: evolve`, or forget the known columns with --full-refresh"


@dataclass(frozen=True, slots=True)
class _Column:
    """How a column of the rows is made: `place` is where it is in what came, `None` for nulls."""

    field: pa.Field
    place: int | None
    converts: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done with the batches of one schema.

    Args:
        columns: The columns that go on; `None` where batches go on as they are.
        schema: Their schema.
        rejected: New columns whose rows are left out, by their places.
        all_rows: The missing column for which all rows are left out; empty if there is none.
    """

    columns: tuple[_Column, ...] | None
    schema: pa.Schema
    rejected: tuple[int, ...] = ()
    all_rows: str = ""


class SchemaContract:
    """Compares the rows of a node with the known columns, and acts as the contract says; one thread at a time.

    Args:
        settings: What the pipeline says; `None` lets every schema through and takes note of what differs.
        report: The node's account.
        known: The columns that were known before the run; `None` where there are none.
        letters: Takes the rows that are left out; `None`: nothing takes them.
    """

    def __init__(
        self,
        settings: ContractModel | None,
        report: NodeReport,
        *,
        known: pa.Schema | None = None,
        letters: DeadLetters | None = None,
    ) -> None:
        self.settings = settings
        self._report = report
        self._known = known
        self._since: Literal["run", "read"] = "run"
        self._letters = letters
        self._accepted: list[tuple[pa.Schema, str]] = []
        """Columns that the contract has decided about, each with a known column that they lacked then."""
        self._came: pa.Schema | None = None
        self._plan: _Plan | None = None
        self._rows_before = 0
        self._noted: set[tuple[str, str, str]] = set()

    @property
    def known(self) -> pa.Schema | None:
        """The columns that are known by now."""
        return self._known

    def admit(self, schema: pa.Schema, *, inferred: Collection[str] = (), place: str = "") -> None:
        """Compare columns with the known ones, before the rows that have them.

        Args:
            schema: The columns.
            inferred: The columns whose types were inferred from values: they may be read with another type.
            place: The file that has them; empty for none.

        Raises:
            DataError: They differ, and the contract is to freeze.
        """
        lacks = ""
        if self.settings is None or self._known is None:
            for difference in () if self._known is None else _differences(self._known, schema):
                self._note(*difference, "evolved", place)
            self._known = schema
        else:
            lacks = next((field.name for field in self._known if schema.get_field_index(field.name) < 0), "")
            self._known = pa.schema(list(self._compared(schema, inferred, place)), schema.metadata)
        self._since = "read"
        self._plan = None
        self._accepted.append((schema, lacks))

    def read_as(self, schema: pa.Schema, types: pa.Schema) -> None:
        """Take note that admitted columns are read with other types (`reading_type`)."""
        self._accepted.append((types, self._lack_of(schema) or ""))

    def reading_type(self, name: str, found: pa.DataType) -> pa.DataType:
        """The type to read a column with whose own type was inferred; after `admit`."""
        assert self._known is not None and self.settings is not None
        place = self._known.get_field_index(name)
        if place < 0:
            return found
        known = self._known.field(place).type
        fits = common_type(known, found, inferred=True) == known
        return known if fits or self.settings.changed_types == "evolve" else found

    def apply(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Give a batch the known columns.

        Raises:
            DataError: Its columns differ, and the contract is to freeze; or dead letters cannot be written.
        """
        if self._plan is None or (rows.schema is not self._came and not rows.schema.equals(self._came)):
            if self._lack_of(rows.schema) is None:
                self.admit(rows.schema)
            self._came = rows.schema
            self._plan = self._planned(rows.schema, self._lack_of(rows.schema) or "")
        plan = self._plan
        before, self._rows_before = self._rows_before, self._rows_before + rows.num_rows
        if plan.columns is None:
            return rows
        arrays, refused = [], _Refused(rows.num_rows)
        for place in plan.rejected:
            refused.add(pc.is_valid(rows.column(place)), f"the column {rows.schema.names[place]!r} is new")
        if plan.all_rows and rows.num_rows:
            refused.add(pa.repeat(True, rows.num_rows), f"there is no column {plan.all_rows!r}")
        for column in plan.columns:
            if column.place is None:
                arrays.append(pa.nulls(rows.num_rows, column.field.type))
                continue
            array = rows.column(column.place)
            if column.converts:
                came, (array, unfit) = array.type, _converted(array, column.field.type)
                what = f"column {column.field.name!r}: the value is not {column.field.type}"
                if unfit is not None and self._discards_rows("changed_types"):
                    refused.add(unfit, what)
                elif unfit is not None and self._evolves("changed_types") and pc.any(unfit).as_py():
                    value = cut_name(str(rows.column(column.place).filter(unfit)[0]))
                    raise DataError(f"{what}, which its type became: {value} ({came})", hint=_NO_COMMON_TYPE)
            arrays.append(array)
        made = pa.RecordBatch.from_arrays(arrays, schema=plan.schema)
        return made if refused.mask is None else self._without(rows, made, refused, before)

    def _without(self, rows: pa.RecordBatch, made: pa.RecordBatch, refused: _Refused, before: int) -> pa.RecordBatch:
        numbers = pc.indices_nonzero(refused.mask)
        self._report.failed += len(numbers)
        if self._letters is not None and len(numbers):
            letters = [Letter(before + row, "schema", refused.reasons[row]) for row in numbers.to_pylist()]
            self._letters.write(rows.take(numbers), letters)
        return made.filter(pc.invert(refused.mask))

    def _lack_of(self, schema: pa.Schema) -> str | None:
        """The known column that admitted columns lacked; empty if none, `None` where they were not admitted."""
        return next((lacks for each, lacks in reversed(self._accepted) if each.equals(schema)), None)

    def _evolves(self, key: str) -> bool:
        return self.settings is not None and getattr(self.settings, key) == "evolve"

    def _discards_rows(self, key: str) -> bool:
        return self.settings is not None and getattr(self.settings, key) == "discard-row"

    def _compared(self, schema: pa.Schema, inferred: Collection[str], place: str) -> Iterator[pa.Field]:
        assert self._known is not None and self.settings is not None
        for field in self._known:
            at = schema.get_field_index(field.name)
            if at < 0:
                action = self.settings.missing_columns
                self._note("missing-column", field.name, str(field.type), "", self._result(action, "filled"), place)
                yield field.with_nullable(True)
                continue
            found = schema.field(at)
            merged = common_type(field.type, found.type, inferred=found.name in inferred)
            if merged == field.type:
                yield found.with_type(field.type)
                continue
            action = self.settings.changed_types
            self._note(
                "changed-type", field.name, str(field.type), str(found.type), self._result(action, "evolved"), place
            )
            yield (found.with_type(merged or found.type) if action == "evolve" else field).with_nullable(True)
        for field in schema:
            if self._known.get_field_index(field.name) < 0:
                action = self.settings.new_columns
                self._note("new-column", field.name, "", str(field.type), self._result(action, "evolved"), place)
                if action == "evolve":
                    yield field.with_nullable(True)

    @staticmethod
    def _result(action: ContractAction, evolved: str) -> str:
        return evolved if action == "evolve" else _RESULTS.get(action, "refused")

    def _note(self, what: Difference, column: str, before: str, now: str, result: str, place: str) -> None:
        if result == "refused":
            told = {
                "new-column": f"column {cut_name(column)!r} ({now}) is new",
                "changed-type": f"column {cut_name(column)!r} is {now}, and was {before}",
                "missing-column": f"column {cut_name(column)!r} ({before}) is missing",
            }[what]
            since = "in the last run" if self._since == "run" else "before in this run"
            raise DataError(
                f"the columns are not those {since}: {told}, and `schema` is `freeze`", file=place, hint=_ACCEPT
            )
        if (what, column, now) not in self._noted:
            self._noted.add((what, column, now))
            self._report.schema_changes.append(SchemaChange(what, column, before, now, result, self._since, place))

    def _planned(self, schema: pa.Schema, lacks: str) -> _Plan:
        known = self._known
        assert known is not None
        if self.settings is None or schema.equals(known):
            return _Plan(None, schema)
        columns = []
        for field in known:
            place = schema.get_field_index(field.name)
            if place < 0:
                columns.append(_Column(field, None))
            else:
                columns.append(_Column(field, place, converts=schema.field(place).type != field.type))
        rejected: tuple[int, ...] = ()
        if self._discards_rows("new_columns"):
            rejected = tuple(at for at, field in enumerate(schema) if known.get_field_index(field.name) < 0)
        made = pa.schema([each.field for each in columns], schema.metadata)
        return _Plan(tuple(columns), made, rejected, lacks if self._discards_rows("missing_columns") else "")


class _Refused:
    """Rows that are left out, each with its first reason."""

    def __init__(self, rows: int) -> None:
        self.mask: pa.BooleanArray | None = None
        self.reasons: dict[int, str] = {}

    def add(self, mask: pa.BooleanArray, reason: str) -> None:
        for row in pc.indices_nonzero(mask).to_pylist():
            self.reasons.setdefault(row, reason)
        if self.reasons:
            self.mask = mask if self.mask is None else pc.or_(self.mask, mask)


def _differences(known: pa.Schema, schema: pa.Schema) -> Iterator[tuple[Difference, str, str, str]]:
    for field in known:
        at = schema.get_field_index(field.name)
        if at < 0:
            yield "missing-column", field.name, str(field.type), ""
        elif schema.field(at).type != field.type:
            yield "changed-type", field.name, str(field.type), str(schema.field(at).type)
    for field in schema:
        if known.get_field_index(field.name) < 0:
            yield "new-column", field.name, "", str(field.type)


def _converted(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Give values another type; those that would change become null, and are marked."""
    try:
        made = array.cast(wanted)
        if made.cast(array.type).equals(array):
            return made, None
    except (pa.ArrowException, ValueError):
        pass
    values = [_converted_value(value, wanted) for value in array]
    made = pa.array([None if value is None else value.as_py() for value in values], wanted)
    return made, pc.and_(pc.is_null(made), pc.is_valid(array))


def _converted_value(value: pa.Scalar, wanted: pa.DataType) -> pa.Scalar | None:
    try:
        made = value.cast(wanted)
        back = made.cast(value.type)
    except (pa.ArrowException, ValueError):
        return None
    same = back.equals(value) or (back.as_py() != back.as_py() and value.as_py() != value.as_py())  # not a number
    return made if same else None


def schema_to_text(schema: pa.Schema) -> str:
    """Write columns as JSON, for the state file."""
    columns = []
    for field in schema:
        column: dict[str, Any] = {"name": field.name, "type": str(field.type), "nullable": field.nullable}
        if field.metadata:
            column["metadata"] = {
                name.decode(errors="replace"): value.decode(errors="replace") for name, value in field.metadata.items()
            }
        columns.append(column)
    return json.dumps(columns)


def schema_from_text(text: str) -> pa.Schema:
    """Read what `schema_to_text` wrote.

    Raises:
        StateError: It is something else.
    """
    try:
        columns: Sequence[dict[str, Any]] = parse_json(text)
        return pa.schema(
            [
                pa.field(each["name"], parse_type(each["type"]), each["nullable"], metadata=each.get("metadata"))
                for each in columns
            ]
        )
    except (ValueError, TypeError, KeyError, AttributeError, SchemaError) as error:
        raise StateError(
            "the known columns of a source in the state file cannot be read", hint="forget them with --full-refresh"
        ) from error
