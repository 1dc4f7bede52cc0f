"""SQLite: its values have types of their own, whatever a column declares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.pipeline.databases.connection import Connection, literal, quoted
from dataflare.pipeline.databases.dialects import decimal_type, no_cursor, no_type
from dataflare.pipeline.databases.layout import Column, Layout

__all__ = ["SQLite"]

_BUSY_MS: Final = 10_000
_DECIMAL: Final = re.compile(r"DECIMAL_TEXT\((\d{1,2}), ?(\d{1,2})\)")
_DATE: Final = re.compile(
    r"((?:[0-9]{4}-[0-9]{2}-[0-9]{2})?"
    r"(?:[ T]?[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?)(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_BY_NAME: Final = {
    "BOOLEAN": (pa.bool_(), pa.int64()),
    "BOOL": (pa.bool_(), pa.int64()),
    "DATE": (pa.date32(), pa.string()),
    "TIME": (pa.time64("us"), pa.string()),
    "TIMESTAMP": (pa.timestamp("us"), pa.string()),
    "DATETIME": (pa.timestamp("us"), pa.string()),
    "TIMESTAMPTZ": (pa.timestamp("us", "UTC"), pa.string()),
}
_SAMPLES: Final = {pa.int64(): "0", pa.string(): "''", pa.float64(): "0.5", pa.binary(): "x''"}
"""The driver takes the type of a column from its first rows: a row of these comes before them."""


class SQLite:
    """SQLite; see `Dialect`."""

    savepoints = True
    widens = False
    temporary = "temp"
    bytes_type = "BLOB"
    flag_type: pa.DataType = pa.int64()
    row_lock = ""
    longest_name: int | None = None

    def begin(self, connection: Connection, *, writes: bool) -> None:
        """Wait for locks for up to 10 s; let readers only read."""
        connection.rows(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if not writes:
            connection.execute("PRAGMA query_only = 1")

    def lock(self, connection: Connection, table: str, within: str | None) -> bool:
        """Do nothing: there is one writer at a time."""
        return True

    def bytes_literal(self, value: bytes) -> str:
        """Write bytes in hexadecimal digits."""
        return f"x'{value.hex()}'"

    def before_renaming(self, connection: Connection) -> None:
        """Keep SQLite from writing the new name into views."""
        connection.execute("PRAGMA legacy_alter_table = ON")

    def refusals(self, connection: Connection, layout: Layout, stage: str) -> str:
        """Say nothing: the database refuses rows itself."""
        return ""

    def replacing_obstacle(self, connection: Connection, table: str, within: str | None) -> str:
        """Find out whether it is a view."""
        master = quoted([within or "", "sqlite_master"])
        is_view = f"SELECT 1 FROM {master} WHERE type = 'view' AND name = {literal(table)} COLLATE NOCASE"
        return "it is a view" if connection.rows(is_view) else ""

    def tables(self, connection: Connection, within: str | None) -> list[str]:
        """List the tables that SQLite does not keep for itself."""
        query = f"SELECT name FROM {quoted([within or '', 'sqlite_master'])} WHERE type = 'table' ORDER BY name"
        return [row[0] for row in connection.rows(query, str) if not row[0].startswith("sqlite_")]

    def table(self, connection: Connection, table: str, within: str | None) -> list[Column] | None:
        """Find the columns of a table or a view."""
        query = f"SELECT name, type FROM pragma_table_info({literal(table)}{_schema(within)}) ORDER BY cid"
        found = connection.rows(query, str, str | None)
        return [_column(name, declared or "") for name, declared in found] or None

    def query(self, connection: Connection, query: str) -> list[Column] | None:
        """Say nothing: the types of a query are those of its first rows."""
        return None

    def key(self, connection: Connection, table: str, within: str | None) -> tuple[str, ...]:
        """Find the primary key."""
        query = f"SELECT name FROM pragma_table_info({literal(table)}{_schema(within)}) WHERE pk > 0 ORDER BY pk"
        return tuple(row[0] for row in connection.rows(query, str))

    def new(self, field: pa.Field) -> Column:
        """Make the column of a new table."""
        declared = _declared(field.type)
        if declared is None:
            raise no_type(field, "SQLite")
        return _column(field.name, declared)

    def check_stored_unchanged(self, values: pa.Array, column: Column) -> None:
        """Refuse NaN, in place of which SQLite has NULL, -0.0, and dates that its text form has no place for."""
        if types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
            raise ValueError("NaN, which SQLite stores as NULL")
        if types.is_floating(values.type) and _has_negative_zero(values):
            raise ValueError("-0.0, which SQLite stores as 0 (`negative_zero: zero` allows that)")
        if types.is_string(values.type) and (types.is_date(column.type) or types.is_timestamp(column.type)):
            within = pc.and_not(pc.match_substring_regex(values, "^[0-9]{4}-"), pc.starts_with(values, "0000"))
            if pc.any(pc.invert(within)).as_py():
                raise ValueError("a date outside the years 1 to 9999")

    def select(self, columns: Sequence[Column] | None, source: str, *, where: str, order: str) -> tuple[str, int]:
        """Write a query; where the columns are known, a row with their types comes first."""
        filtered = f" WHERE {where}" if where else ""
        if columns is None:
            return f"SELECT * FROM {source} AS asked{filtered}{f' ORDER BY {order}' if order else ''}", 0
        listed = ", ".join(f"{each.expression} AS {quoted(each.name)}" for each in columns)
        samples = ", ".join(
            f"{_SAMPLES[each.stored if each.stored in _SAMPLES else pa.string()]} AS {quoted(each.name)}"
            for each in columns
        )
        rows = f"SELECT {listed} FROM {source} AS asked{filtered}"
        if not order:
            return f"SELECT {samples} UNION ALL {rows}", 1
        names = ", ".join(quoted(each.name) for each in columns)
        rows = f"SELECT 1, {order}, {listed} FROM {source} AS asked{filtered}"
        inner = f'SELECT 0 AS "_dataflare", NULL AS "_dataflare_order", {samples} UNION ALL {rows}'
        return f'SELECT {names} FROM ({inner}) ORDER BY "_dataflare", "_dataflare_order" COLLATE BINARY', 1

    def ordered(self, name: str, column: Column | None) -> str:
        """Compare bytes, whatever the column's collation."""
        return f"asked.{quoted(name)} COLLATE BINARY"

    def unfit(self, connection: Connection, source: str, name: str, column: Column | None, last: str | None) -> str:
        """Find infinite numbers, bytes, and dates and times that are not written as the others are."""
        at = f"asked.{quoted(name)}"
        infinite = f"{at} IN (9e999, -9e999)"
        if column is None:
            first = connection.rows(f"SELECT typeof({at}) FROM {source} AS asked LIMIT 1", str)
            kinds = "'text'" if first and first[0][0] == "text" else "'integer', 'real'"
            return f"{infinite} OR typeof({at}) NOT IN ({kinds})"
        if types.is_date(column.type) or types.is_time(column.type) or types.is_timestamp(column.type):
            found = connection.rows(f"SELECT CAST({at} AS TEXT) FROM {source} AS asked LIMIT 1", str)
            texts = [row[0] for row in found] + ([] if last is None else [last.removeprefix("text:")])
            forms = {_form(text) for text in texts}
            if len(forms) > 1 or None in forms:
                raise no_cursor(name, column.declared, "write all its values alike, such as 2024-12-31 23:59:59")
            return " OR ".join([f"typeof({at}) <> 'text'", *(f"{at} NOT GLOB {literal(str(each))}" for each in forms)])
        if column.type == pa.float64():
            return infinite
        if column.type == pa.int64() or (column.type == pa.string() and column.expression == quoted(name)):
            return ""
        raise no_cursor(name, column.declared or "of no type", "read by a query that casts it to INTEGER, REAL or TEXT")

    def value(self, raw: pa.Array, column: Column | None) -> str:
        """Write the last value of a cursor column, with what says its type."""
        value = raw[len(raw) - 1].as_py()
        return f"text:{value}" if isinstance(value, str) else f"number:{value!r}"

    def literal(self, value: str, column: Column | None) -> str:
        """Write a value of a cursor column as SQL."""
        kind, _, text = value.partition(":")
        return literal(text) if kind == "text" else str(float(text) if "." in text or "e" in text else int(text))


def _has_negative_zero(values: pa.Array) -> bool:
    zeros = values.filter(pc.equal(values, 0), null_selection_behavior="drop")
    return bool(np.signbit(zeros.to_numpy(zero_copy_only=False)).any())


def _form(text: str | None) -> str | None:
    """The pattern of dates and times that are ordered as their texts are, with the same zone; `None` for no date."""
    found = _DATE.fullmatch(text or "")
    return None if found is None else re.sub("[0-9]", "[0-9]", found[1]) + (found[2] or "")


def _schema(within: str | None) -> str:
    return f", {literal(within)}" if within else ""


def _column(name: str, declared: str) -> Column:
    expression, upper = quoted(name), declared.upper().strip()
    if upper in _BY_NAME:
        made, stored = _BY_NAME[upper]
        return Column(name, declared, made, expression, stored)
    found = _DECIMAL.fullmatch(upper)
    if found is not None and (decimal := decimal_type(int(found[1]), int(found[2]))) is not None:
        return Column(name, declared, decimal, expression, pa.string())
    # The rules of SQLite for what a column prefers.
    if "INT" in upper:
        return Column(name, declared, pa.int64(), expression, pa.int64())
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return Column(name, declared, pa.string(), expression, pa.string())
    if "BLOB" in upper:
        return Column(name, declared, pa.binary(), expression, pa.binary())
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return Column(name, declared, pa.float64(), expression, pa.float64())
    # Whole numbers, others and texts side by side: as texts, none of them changes.
    text = (
        f"CASE typeof({expression}) WHEN 'real' THEN printf('%!.17g', {expression}) ELSE CAST({expression} AS TEXT) END"
    )
    return Column(name, declared, pa.string(), text, pa.string())


def _declared(data_type: pa.DataType) -> str | None:
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return _declared(data_type.value_type)
    if types.is_boolean(data_type):
        return "BOOLEAN"
    if data_type == pa.uint64():
        return "DECIMAL_TEXT(20,0)"
    if types.is_integer(data_type):
        return "INTEGER"
    if types.is_floating(data_type):
        return "REAL"
    if types.is_string(data_type) or types.is_large_string(data_type) or types.is_null(data_type):
        return "TEXT"
    if types.is_binary(data_type) or types.is_large_binary(data_type) or types.is_fixed_size_binary(data_type):
        return "BLOB"
    if types.is_date(data_type):
        return "DATE"
    if types.is_time(data_type):
        return "TIME"
    if types.is_timestamp(data_type):
        return "TIMESTAMP" if data_type.tz is None else "TIMESTAMPTZ"
    if types.is_decimal(data_type) and 0 <= data_type.scale <= data_type.precision:
        return f"DECIMAL_TEXT({data_type.precision},{data_type.scale})"
    return None
