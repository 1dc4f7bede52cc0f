"""DuckDB: its types are those of Arrow, it has no savepoints, and an error undoes the whole transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from pyarrow import types

from dataflare.data.guard.types import MAX_COLUMNS, MAX_DEPTH
from dataflare.pipeline.databases.connection import Connection, literal, quoted
from dataflare.pipeline.databases.dialects import decimal_type, has_infinite_time, no_cursor, no_type, selected
from dataflare.pipeline.databases.duckdb_checks import checks, here_in, same_name
from dataflare.pipeline.databases.layout import Column, Layout

__all__ = ["DuckDB"]

_NAMES: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}
"""The types that go both ways."""
_ALIKE: Final = {
    pa.null(): pa.string(),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
}
_TYPES: Final = {name: made for made, name in _NAMES.items()} | {
    "TIMESTAMP_S": pa.timestamp("s"),
    "TIMESTAMP_MS": pa.timestamp("ms"),
}
_DECIMAL: Final = re.compile(r"DECIMAL\(([0-9]{1,3}),([0-9]{1,3})\)")
_FIELD: Final = re.compile(r'\s*(?:"((?:[^"]++|"")*+)"|(\w+)) (.*)', re.DOTALL)
_PARTS: Final = re.compile(r"""\"(?:[^"]++|"")*+"|'(?:[^']++|'')*+'|[(),]|[^"'(),]+""")
_WHOLE: Final = pa.decimal128(38, 0)


class DuckDB:
    """DuckDB; see `Dialect`."""

    widens = True
    savepoints = False
    temporary = "temp"
    bytes_type = "BLOB"
    flag_type: pa.DataType = pa.bool_()
    row_lock = ""
    longest_name: int | None = None

    def begin(self, connection: Connection, *, writes: bool) -> None:
        """Do nothing: a transaction is open, and a file that is only read was opened so."""

    def lock(self, connection: Connection, table: str, within: str | None) -> bool:
        """Do nothing: the whole file has one writer."""
        return True

    def bytes_literal(self, value: bytes) -> str:
        """Write bytes in hexadecimal digits."""
        return f"unhex('{value.hex()}')"

    def before_renaming(self, connection: Connection) -> None:
        """Do nothing: views keep the text of their query."""

    def refusals(self, connection: Connection, layout: Layout, stage: str) -> str:
        """Check before rows are written what the database would check then, since its errors undo all rows."""
        return checks(connection, layout, stage)

    def replacing_obstacle(self, connection: Connection, table: str, within: str | None) -> str:
        """Find out whether it is a view, or tables have keys that refer to it."""
        here = here_in(within)
        if connection.rows(f"SELECT 1 FROM duckdb_views() WHERE {here} AND {same_name('view_name', table)}"):
            return "it is a view"
        referring = f"{here} AND {same_name('referenced_table', table)} AND NOT {same_name('table_name', table)}"
        found = connection.rows(f"SELECT table_name FROM duckdb_constraints() WHERE {referring} LIMIT 1", str)
        return f"a key of the table {found[0][0]!r} refers to it" if found else ""

    def tables(self, connection: Connection, within: str | None) -> list[str]:
        """List the tables."""
        query = f"SELECT table_name FROM duckdb_tables() WHERE {here_in(within)} AND NOT temporary ORDER BY 1"
        return [row[0] for row in connection.rows(query, str)]

    def table(self, connection: Connection, table: str, within: str | None) -> list[Column] | None:
        """Find the columns of a table or a view."""
        query = f"SELECT 1 FROM duckdb_columns() WHERE {here_in(within)} AND {same_name('table_name', table)} LIMIT 1"
        return self._described(connection, quoted([within or "", table])) if connection.rows(query) else None

    def query(self, connection: Connection, query: str) -> list[Column] | None:
        """Find the columns of a query."""
        return self._described(connection, f"({query}\n)")

    def key(self, connection: Connection, table: str, within: str | None) -> tuple[str, ...]:
        """Find the primary key."""
        key = f"constraint_type = 'PRIMARY KEY' AND {here_in(within)} AND {same_name('table_name', table)}"
        query = f"SELECT unnest(constraint_column_names) FROM duckdb_constraints() WHERE {key}"
        return tuple(row[0] for row in connection.rows(query, str))

    def new(self, field: pa.Field) -> Column:
        """Make the column of a new table."""
        stored = _stored(field.type)
        if stored is None:
            raise no_type(field, "DuckDB")
        return Column(field.name, _declared(stored), stored, quoted(field.name), stored)

    def check_stored_unchanged(self, values: pa.Array, column: Column) -> None:
        """Refuse the dates and times in place of which DuckDB has infinity."""
        if has_infinite_time(values):
            raise ValueError("a date or time that DuckDB stores as infinity")

    def select(self, columns: Sequence[Column] | None, source: str, *, where: str, order: str) -> tuple[str, int]:
        """Write a query."""
        assert columns is not None
        return selected(columns, source, where=where, order=order), 0

    def ordered(self, name: str, column: Column | None) -> str:
        """Compare the bytes of texts, whatever the column's collation."""
        at = f"asked.{quoted(name)}"
        return f"encode({at})" if column is not None and column.declared == "VARCHAR" else at

    def unfit(self, connection: Connection, source: str, name: str, column: Column | None, last: str | None) -> str:
        """Find NaN, infinite values, and dates outside the years 1 to 9999."""
        assert column is not None
        at = f"asked.{quoted(name)}"
        if types.is_floating(column.type):
            return f"NOT isfinite({at})"
        if types.is_date(column.type) or types.is_timestamp(column.type):
            return f"{at} NOT BETWEEN '0001-01-01' AND '9999-12-31'"
        is_text = types.is_string(column.type) and not column.cast
        if not (
            is_text or types.is_integer(column.type) or types.is_decimal(column.type) or types.is_time(column.type)
        ):
            raise no_cursor(name, column.declared, "read by a column of numbers, texts, dates or times")
        return ""

    def value(self, raw: pa.Array, column: Column | None) -> str:
        """Write the last value of a cursor column."""
        return str(raw.slice(len(raw) - 1).cast(pa.string())[0].as_py())

    def literal(self, value: str, column: Column | None) -> str:
        """Write a value of a cursor column as SQL."""
        assert column is not None
        text = literal(value)
        return f"encode({text})" if types.is_string(column.type) else f"CAST({text} AS {column.declared})"

    def _described(self, connection: Connection, source: str) -> list[Column]:
        query = f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {source} AS asked)"
        return [_column(name, declared) for name, declared in connection.rows(query, str, str)]


def _column(name: str, declared: str) -> Column:
    expression = quoted(name)
    if declared in ("HUGEINT", "UHUGEINT"):
        # A cast makes an error of what is longer than Arrow's decimals.
        return Column(name, declared, _WHOLE, f"CAST({expression} AS DECIMAL(38,0))", _WHOLE)
    made = _parsed(declared)
    if made is not None:
        return Column(name, declared, made, expression, made)
    return Column(name, declared, pa.string(), f"CAST({expression} AS VARCHAR)", pa.string(), cast=declared)


def _parsed(declared: str, depth: int = 0) -> pa.DataType | None:
    """Find what a type is in Arrow; `None` where it has values that only a text keeps, or nests too deeply."""
    if depth == MAX_DEPTH:
        return None
    if declared.endswith("[]"):
        inner = _parsed(declared[:-2], depth + 1)
        return None if inner is None else pa.list_(inner)
    if (found := _DECIMAL.fullmatch(declared)) is not None:
        return decimal_type(int(found[1]), int(found[2]))
    if declared.startswith("STRUCT(") and declared.endswith(")"):
        fields = [_FIELD.fullmatch(each) for each in _separated(declared[len("STRUCT(") : -1])]
        if len(fields) > MAX_COLUMNS or not all(fields):
            return None
        made = [(each[2] or each[1].replace('""', '"'), _parsed(each[3], depth + 1)) for each in fields if each]
        is_whole = all(each is not None for _, each in made)
        return pa.struct(made) if is_whole else None
    return _TYPES.get(declared)


def _separated(text: str) -> list[str]:
    """Divide at the commas that are not in brackets or quotes."""
    found, depth = [""], 0
    for part in _PARTS.findall(text):
        depth += (part == "(") - (part == ")")
        if part == "," and not depth:
            found.append("")
        else:
            found[-1] += part
    return found


def _stored(data_type: pa.DataType) -> pa.DataType | None:
    """The type in which DuckDB keeps a type's values; `None` where there is none."""
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return _stored(data_type.value_type)
    if types.is_fixed_size_binary(data_type):
        return pa.binary()
    if types.is_time(data_type):
        return pa.time64("us")
    if types.is_timestamp(data_type):
        zone = None if data_type.tz is None else "UTC"
        return pa.timestamp("ns" if data_type.unit == "ns" and zone is None else "us", zone)
    if types.is_decimal(data_type):
        fits = 0 <= data_type.scale <= data_type.precision <= 38
        return pa.decimal128(data_type.precision, data_type.scale) if fits else None
    if types.is_list(data_type) or types.is_large_list(data_type):
        inner = _stored(data_type.value_type)
        return None if inner is None else pa.list_(inner)
    if types.is_struct(data_type):
        kept = [(field.name, _stored(field.type)) for field in data_type]
        return pa.struct(kept) if kept and all(each is not None for _, each in kept) else None
    made = _ALIKE.get(data_type, data_type)
    return made if made in _NAMES else None


def _declared(stored: pa.DataType) -> str:
    """Write a type that `_stored` made."""
    if types.is_decimal(stored):
        return f"DECIMAL({stored.precision},{stored.scale})"
    if types.is_list(stored):
        return f"{_declared(stored.value_type)}[]"
    if types.is_struct(stored):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {_declared(field.type)}' for field in stored)})"
    return _NAMES[stored]
