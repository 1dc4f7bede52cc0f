"""Compares rows with a table: what must change before they fit, and how they are written then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import pyarrow as pa

from dataflare.data.roles import roles_of
from dataflare.pipeline.common_types import common_type
from dataflare.pipeline.databases.connection import Connection, quoted
from dataflare.pipeline.databases.dialects import Dialect
from dataflare.pipeline.databases.layout import Column, Layout, create_table
from dataflare.pipeline.databases.nodes import OWN_TABLES, TableModel
from dataflare.pipeline.run_errors import DataError
from dataflare.runtime.datasets import Target
from dataflare.texts import cut

__all__ = ["TableChange", "check_names", "compare_table"]

_NEW: Final = f"{OWN_TABLES}new_"


@dataclass(frozen=True, slots=True)
class TableChange:
    """A change of a table, and the statements that make it."""

    kind: str
    detail: str
    statements: tuple[str, ...]


def compare_table(
    connection: Connection, dialect: Dialect, table: TableModel, target: Target
) -> tuple[list[TableChange], Layout]:
    """Find what must change before rows of a target fit a table, and how they are written then.

    Raises:
        DataError: The table cannot take such rows.
        DatabaseError: The database answered with an error.
    """
    operation = None if target.mode == "append" else roles_of(target.schema).operation
    if target.mode == "merge" and not target.key:
        raise DataError("to merge, name the columns of the key", hint="key: [COLUMN, ...]")
    if target.mode == "replace" and operation is not None:
        raise DataError("rows with an operation cannot replace a table", hint="write them with `mode: merge`")
    if missing := [each for each in target.key if each not in target.schema.names]:
        raise DataError(f"the key's column {missing[0]!r} is not among the columns")
    for field in map(target.schema.field, target.key):
        if pa.types.is_nested(field.type):
            raise DataError(
                f"the key's column {field.name!r} is {field.type}, and a key consists of single values",
                hint="name other columns as the key, or give this one another type before",
            )
    fields = [field for field in target.schema if field.name != operation]
    columns = [dialect.new(field) for field in fields]
    if not columns:
        raise DataError("a table needs a column", hint="the rows have none")
    check_names(dialect, [table.within or "", table.table, *target.schema.names])
    existing = dialect.table(connection, table.table, table.within)
    if target.mode == "replace":
        return _replace(connection, dialect, table, columns, exists=existing is not None)
    key = target.key if target.mode == "merge" else ()
    name = quoted([table.within or "", table.table])
    if existing is None:
        detail = ", ".join(f"{each.name} {each.declared}" for each in columns)
        changes = [TableChange("create", detail, (create_table(name, columns, key),))]
        staged = bool(key)
    else:
        changes, columns = _add_and_widen(dialect, table, name, fields, columns, existing)
        staged = bool(key) or not dialect.savepoints or any(each.cast or each.base for each in columns)
    return changes, Layout(tuple(columns), table.table, table.within, key, operation, staged)


def check_names(dialect: Dialect, names: Sequence[str]) -> None:
    """Refuse names that the database would cut, and so take for others.

    Raises:
        DataError: A name is too long.
    """
    longest = dialect.longest_name
    if longest is not None and (long := [each for each in names if len(each.encode()) > longest]):
        raise DataError(
            f"the name {long[0]!r} has {len(long[0].encode())} bytes, and the database keeps {longest} of them",
            hint="give the table or the column a shorter name",
        )


def _replace(
    connection: Connection, dialect: Dialect, table: TableModel, columns: Sequence[Column], *, exists: bool
) -> tuple[list[TableChange], Layout]:
    """Write to a new table, which takes the place of the old one at the end."""
    obstacle = dialect.replacing_obstacle(connection, table.table, table.within) if exists else ""
    if obstacle:
        raise DataError(
            f"the table {table.table!r} cannot be replaced: {obstacle}",
            hint="write with `mode: append` or `merge`, or drop that first",
        )
    longest = dialect.longest_name
    is_long = longest is not None and len((_NEW + table.table).encode()) > longest
    made = _NEW + (sha256(table.table.encode()).hexdigest()[:32] if is_long else table.table)
    full = quoted([table.within or "", made])
    statements = (f"DROP TABLE IF EXISTS {full}", create_table(full, columns, ()))
    change = TableChange("replace-rows" if exists else "create", "", statements)
    return [change], Layout(tuple(columns), made, table.within, (), None, False)


def _add_and_widen(
    dialect: Dialect,
    table: TableModel,
    name: str,
    fields: Sequence[pa.Field],
    columns: Sequence[Column],
    existing: Sequence[Column],
) -> tuple[list[TableChange], list[Column]]:
    """Add the columns that an existing table lacks, and widen those that are too narrow."""
    by_name = {each.name: each for each in existing}
    changes: list[TableChange] = []
    fitting: list[Column] = []
    # A column that somebody renamed looks like a new one: only people can tell.
    others = [each.name for each in existing if each.name not in {field.name for field in fields}]
    beside = f" (the table has {cut(', '.join(map(repr, others)))}, which the rows lack)" if others else ""
    for field, wanted in zip(fields, columns, strict=True):
        here = by_name.get(field.name)
        if here is None:
            statement = f"ALTER TABLE {name} ADD COLUMN {quoted(field.name)} {wanted.declared}"
            changes.append(TableChange("add-column", f"{field.name} {wanted.declared}{beside}", (statement,)))
            fitting.append(wanted)
            continue
        stored = _fit(dialect, field, wanted, here)
        if stored is None:
            stored = _widen(dialect, table, name, field, here, changes)
        fitting.append(stored)
    return changes, fitting


def _fit(dialect: Dialect, field: pa.Field, wanted: Column, here: Column) -> Column | None:
    """Decide how values are stored in an existing column without changing it; `None` if they do not fit."""
    if wanted.declared == here.declared or here.type == wanted.type or pa.types.is_null(field.type):
        return here if here.cast or not dialect.widens else replace(here, stored=here.type)
    if here.cast and pa.types.is_string(wanted.type):
        return here
    if here.declared == "numeric" and (pa.types.is_integer(wanted.type) or pa.types.is_decimal(wanted.type)):
        digits = wanted.type if pa.types.is_decimal(wanted.type) else pa.decimal128(20, 0)
        return replace(here, type=digits, stored=digits, cast="")
    if pa.types.is_integer(wanted.type) and pa.types.is_floating(here.type):
        return here  # a number with more digits than it has is an error when it comes
    if common_type(here.type, wanted.type) == here.type:
        return replace(here, stored=here.type) if dialect.widens else here
    return None


def _widen(
    dialect: Dialect, table: TableModel, name: str, field: pa.Field, here: Column, changes: list[TableChange]
) -> Column:
    common = common_type(here.type, dialect.new(field).type)
    if common is None or not dialect.widens:
        raise DataError(
            f"column {field.name!r} is {field.type}, and {here.declared} in the table {table.table!r}",
            hint="change the table's column, write to another table, or give the column another type before "
            "(`schema: discard-row` on the node that reads)",
        )
    made = dialect.new(field.with_type(common))
    statement = f"ALTER TABLE {name} ALTER COLUMN {quoted(field.name)} TYPE {made.declared}"
    changes.append(TableChange("widen-column", f"{field.name} {here.declared} -> {made.declared}", (statement,)))
    return made
