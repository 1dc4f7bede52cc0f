"""How rows go into a table: its columns, and the statements."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from pyarrow import types

from dataflare.pipeline.databases.connection import quoted

__all__ = ["DELETED", "Column", "Layout", "create_table", "divided", "keys_alike", "merging", "staged_type"]

DELETED: Final = "_dataflare_deleted"
"""The column of the temporary table that says which rows are deletes."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or a query.

    Args:
        name: Its name.
        declared: Its type in SQL.
        type: What it is in Arrow.
        expression: What a query selects to read it.
        stored: The type in which its values are handed to the driver, and come from it; `None` where that is `type`.
        cast: The type that texts are cast to by the database when they are written; empty for none.
        base: The same type without its modifier, where values with the modifier could be others; empty for none.
    """

    name: str
    declared: str
    type: pa.DataType
    expression: str
    stored: pa.DataType | None = None
    cast: str = ""
    base: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows go into the table.

    Args:
        columns: The columns of the rows that are written, as the table has them.
        table: The table that they go into.
        within: Its schema; `None` for the database's own.
        key: The columns that identify a row, for `merge`; else empty.
        operation: The column that says which rows are deletes; `None` for none.
        staged: Whether they go into a temporary table first.
    """

    columns: tuple[Column, ...]
    table: str
    within: str | None
    key: tuple[str, ...]
    operation: str | None
    staged: bool


def merging(layout: Layout, stage: str) -> Iterator[str]:
    """Write the statements that put the rows of the temporary table into the table, and empty it."""
    target = quoted([layout.within or "", layout.table])
    values = {each.name: f"s.{quoted(each.name)}{_cast(each)}" for each in layout.columns}
    same = " AND ".join(f"t.{quoted(name)} = {values[name]}" for name in layout.key)
    names = ", ".join(quoted(name) for name in values)
    others = [name for name in values if name not in layout.key]
    if layout.key and layout.operation is not None:
        deleted = f"SELECT 1 FROM {stage} AS s WHERE s.{quoted(DELETED)} AND {same}"
        yield f"DELETE FROM {target} AS t WHERE EXISTS ({deleted})"
    if layout.key and others:
        assigned = ", ".join(f"{quoted(name)} = {values[name]}" for name in others)
        yield f"UPDATE {target} AS t SET {assigned} FROM {stage} AS s WHERE {same} AND NOT s.{quoted(DELETED)}"
    new = f" AND NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same})" if layout.key else ""
    listed = ", ".join(values.values())
    yield f"INSERT INTO {target} ({names}) SELECT {listed} FROM {stage} AS s WHERE NOT s.{quoted(DELETED)}{new}"
    yield f"DELETE FROM {stage}"


def keys_alike(layout: Layout, stage: str) -> str:
    """Write a query that finds keys in the temporary table that are the same to the table, as by its collation.

    The table's columns, of which no row is taken, bring its comparison. The query is empty where values that differ
    differ to every database.
    """
    keys = [each for each in layout.columns if each.name in layout.key]
    if not any(types.is_string(each.type) or types.is_floating(each.type) for each in keys):
        return ""
    names = ", ".join(quoted(each.name) for each in keys)
    values = ", ".join(f"s.{quoted(each.name)}{_cast(each)}" for each in keys)
    target = quoted([layout.within or "", layout.table])
    both = f"SELECT {names} FROM {target} WHERE 1 = 0 UNION ALL SELECT {values} FROM {stage} AS s"
    return f"SELECT 1 FROM ({both}) AS k GROUP BY {names} HAVING count(*) > 1 LIMIT 1"


def divided(numbers: list[int], rows: pa.RecordBatch, key: Sequence[str]) -> list[tuple[list[int], pa.RecordBatch]]:
    """Divide rows that cannot be written together: those with keys that a table may take for one, or else in halves."""
    columns = [rows.column(rows.schema.get_field_index(name)).to_pylist() for name in key]
    parts: list[list[int]] = []
    seen: Counter[tuple[object, ...]] = Counter()
    for row, values in enumerate(zip(*columns, strict=True)):
        alike = tuple(map(_without_marks, values))
        # The later one comes with a later part.
        if seen[alike] == len(parts):
            parts.append([])
        parts[seen[alike]].append(row)
        seen[alike] += 1
    if len(parts) < 2:
        half = rows.num_rows // 2
        return [(numbers[:half], rows.slice(0, half)), (numbers[half:], rows.slice(half))]
    return [([numbers[row] for row in part], rows.take(pa.array(part, pa.int64()))) for part in parts]


def _without_marks(value: object) -> object:
    """Leave out what a collation may leave out: case, accents and spaces at the end."""
    if not isinstance(value, str):
        return value
    letters = unicodedata.normalize("NFKD", value.casefold())
    return "".join(each for each in letters if not unicodedata.combining(each)).rstrip()


def create_table(name: str, columns: Sequence[Column], key: Sequence[str]) -> str:
    """Write the statement that creates a table."""
    parts = [f"{quoted(each.name)} {each.declared}" for each in columns]
    if key:
        parts.append(f"PRIMARY KEY ({', '.join(map(quoted, key))})")
    return f"CREATE TABLE {name} ({', '.join(parts)})"


def staged_type(column: Column) -> str:
    """Find the type of a column in the temporary table: texts that the database casts are texts in it."""
    return "text" if column.cast else column.base or column.declared


def _cast(column: Column) -> str:
    """The cast of a text, without the modifier: what a cast cuts off, the column refuses."""
    return f"::{column.base or column.cast}" if column.cast else ""
