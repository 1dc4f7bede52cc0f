"""PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.pipeline.databases.connection import Connection, literal, quoted
from dataflare.pipeline.databases.dialects import decimal_type, no_cursor, no_type, selected
from dataflare.pipeline.databases.layout import Column, Layout

__all__ = ["PostgreSQL"]

_PLAIN: Final = {
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "name": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_NAMES: Final = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.uint8(): "smallint",
    pa.int32(): "integer",
    pa.uint16(): "integer",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric(20,0)",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.null(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
    pa.date32(): "date",
    pa.date64(): "date",
}
_STORED: Final = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "numeric(20,0)": pa.decimal128(20, 0),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_VARCHAR: Final = re.compile(r"character varying\(([0-9]{1,8})\)")
_BASE: Final = (
    "WITH RECURSIVE b(oid) AS (SELECT a.atttypid UNION ALL SELECT d.typbasetype FROM b JOIN pg_type d "
    "ON d.oid = b.oid WHERE d.typtype = 'd') SELECT format_type(b.oid, -1) FROM b JOIN pg_type x ON x.oid = b.oid "
    "WHERE x.typtype <> 'd' AND x.typmodin <> 0"
)
"""The type of the column `a` without its modifier, if such types have one; by way of domains."""


class PostgreSQL:
    """PostgreSQL; see `Dialect`."""

    savepoints = True
    widens = True
    temporary = "pg_temp"
    bytes_type = "bytea"
    flag_type: pa.DataType = pa.bool_()
    row_lock = " FOR UPDATE"
    longest_name: int | None = 63

    def begin(self, connection: Connection, *, writes: bool) -> None:
        """Begin a transaction: one that writes nothing sees the database as it is now."""
        connection.begin("" if writes else "ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # What texts of values look like, and how literals are read, is not left to the server's settings.
        connection.execute(
            "SELECT set_config(name, value, true) FROM (VALUES ('TimeZone', 'UTC'), ('DateStyle', 'ISO'), "
            "('standard_conforming_strings', 'on'), ('extra_float_digits', '1')) AS given(name, value)"
        )

    def lock(self, connection: Connection, table: str, within: str | None) -> bool:
        """Take an advisory lock, which ends with the connection."""
        schema = literal(within) if within else "current_schema()"
        found = f"SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = {_oid(table, within)}"
        owner = f"concat_ws('/', 'dataflare', coalesce(({found}), quote_ident({schema})), {literal(table)})"
        return bool(connection.one(f"SELECT pg_try_advisory_lock(hashtextextended({owner}, 0))", bool))

    def bytes_literal(self, value: bytes) -> str:
        """Write bytes in hexadecimal digits."""
        return f"'\\x{value.hex()}'::bytea"

    def before_renaming(self, connection: Connection) -> None:
        """Do nothing: a table that views need cannot be replaced."""

    def refusals(self, connection: Connection, layout: Layout, stage: str) -> str:
        """Say nothing: the database refuses rows itself."""
        return ""

    def replacing_obstacle(self, connection: Connection, table: str, within: str | None) -> str:
        """Find what `DROP TABLE` refuses, and parts of other tables."""
        oid = _oid(table, within)
        kind = f"SELECT relkind = 'r' AND NOT relispartition FROM pg_class WHERE oid = {oid}"
        if not connection.one(kind, bool):
            return "it is no table of its own, but a view, has partitions or is one, or is a foreign table"
        # What goes together with the table (a key that refers to itself, a trigger) does not keep it.
        found = connection.rows(
            "SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d WHERE d.deptype = 'n' AND ("
            f"d.refclassid = 'pg_class'::regclass AND d.refobjid = {oid} OR d.refclassid = 'pg_type'::regclass "
            f"AND d.refobjid = (SELECT reltype FROM pg_class WHERE oid = {oid})) AND NOT EXISTS (SELECT 1 "
            "FROM pg_depend o WHERE (o.classid, o.objid) = (d.classid, d.objid) AND o.deptype IN ('a', 'i') "
            f"AND o.refclassid = 'pg_class'::regclass AND o.refobjid = {oid}) LIMIT 1",
            str,
        )
        return f"the {found[0][0]} needs it" if found else ""

    def tables(self, connection: Connection, within: str | None) -> list[str]:
        """List the tables; of one with partitions, only itself."""
        schema = "current_schema()" if within is None else literal(within)
        query = (
            "SELECT c.relname::text FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition ORDER BY 1"
        )
        return [row[0] for row in connection.rows(query, str)]

    def table(self, connection: Connection, table: str, within: str | None) -> list[Column] | None:
        """Find the columns of a table or a view."""
        name = literal(quoted([within or "", table]))
        if not connection.one(f"SELECT to_regclass({name}) IS NOT NULL", bool):
            return None
        found = connection.rows(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typname::text, a.atttypmod::int8, "
            f"coalesce(({_BASE}), '') "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            f"WHERE a.attrelid = to_regclass({name}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            *(str, str, str, int, str),
        )
        columns = [_column(name, declared, kind, modifier) for name, declared, kind, modifier, _ in found]
        bases = [row[4] for row in found]
        return [_with_base(column, base) for column, base in zip(columns, bases, strict=True)]

    def query(self, connection: Connection, query: str) -> list[Column] | None:
        """Find the columns of a query."""
        schema = connection.reader(f"SELECT * FROM ({query}\n) AS asked LIMIT 0").schema
        columns = []
        for field in schema:
            metadata = field.metadata or {}
            kind = metadata.get(b"POSTGRESQL:type", b"?").decode()
            columns.append(_column(field.name, kind, kind, int(metadata.get(b"POSTGRESQL:typmod", b"-1"))))
        return columns

    def key(self, connection: Connection, table: str, within: str | None) -> tuple[str, ...]:
        """Find the primary key."""
        found = connection.rows(
            "SELECT a.attname::text FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(at, n) "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.at "
            f"WHERE i.indisprimary AND i.indrelid = to_regclass({literal(quoted([within or '', table]))}) ORDER BY k.n",
            str,
        )
        return tuple(row[0] for row in found)

    def new(self, field: pa.Field) -> Column:
        """Make the column of a new table."""
        declared = _declared(field.type)
        if declared is None:
            raise no_type(field, "PostgreSQL")
        stored = _stored(declared, field.type)
        return Column(field.name, declared, stored, quoted(field.name), stored)

    def check_stored_unchanged(self, values: pa.Array, column: Column) -> None:
        """Refuse spaces at the end of texts that are too long, which the database cuts off.

        The database and its driver refuse all else that they have no form for.
        """
        found = _VARCHAR.fullmatch(column.declared)
        if found is not None and types.is_string(values.type):
            long = values.filter(pc.greater(pc.utf8_length(values), int(found[1])))
            if pc.any(pc.ends_with(long, " ")).as_py():
                raise ValueError("the spaces at its end would be cut off")

    def select(self, columns: Sequence[Column] | None, source: str, *, where: str, order: str) -> tuple[str, int]:
        """Write a query."""
        assert columns is not None
        return selected(columns, source, where=where, order=order), 0

    def ordered(self, name: str, column: Column | None) -> str:
        """Name the column of the source: its name alone would be the text that is selected."""
        return f"asked.{quoted(name)}"

    def unfit(self, connection: Connection, source: str, name: str, column: Column | None, last: str | None) -> str:
        """Find NaN, infinite values, and dates outside the years 1 to 9999."""
        assert column is not None
        at = self.ordered(name, column)
        if types.is_floating(column.type):
            return f"{at} IN ('NaN', 'Infinity', '-Infinity')"
        if column.declared.startswith("numeric"):
            return f"{at}::text IN ('NaN', 'Infinity', '-Infinity')"
        if types.is_date(column.type) or types.is_timestamp(column.type):
            return f"{at} NOT BETWEEN '0001-01-01' AND '9999-12-31'"
        is_text = types.is_string(column.type) and (not column.cast or column.declared == "uuid")
        if not (is_text or types.is_integer(column.type) or types.is_time(column.type)):
            raise no_cursor(name, column.declared, "read by a column of numbers, texts, dates or times")
        return ""

    def value(self, raw: pa.Array, column: Column | None) -> str:
        """Write the last value of a cursor column."""
        last = raw.slice(len(raw) - 1)
        return str(last.cast(pa.string())[0].as_py())

    def literal(self, value: str, column: Column | None) -> str:
        """Write a value of a cursor column as SQL."""
        assert column is not None
        return f"{literal(value)}::{column.declared}"


def _oid(table: str, within: str | None) -> str:
    return f"to_regclass({literal(quoted([within or '', table]))})"


def _with_base(column: Column, base: str) -> Column:
    """Say which type values have before the column's modifier; not where Arrow's type or `COPY` refuses others."""
    is_kept = not column.cast and (types.is_decimal(column.type) or types.is_string(column.type))
    return column if is_kept or base == column.declared else replace(column, base=base)


def _column(name: str, declared: str, kind: str, modifier: int) -> Column:
    expression = quoted(name)
    if kind == "numeric":
        # Texts keep all digits; where the column says how many there are, they become decimals.
        made = _decimal(modifier)
        cast = declared if made is None else ""
        return Column(name, declared, made or pa.string(), f"{expression}::text", pa.string(), cast)
    if kind in _PLAIN:
        return Column(name, declared, _PLAIN[kind], expression, _PLAIN[kind])
    if kind.startswith("_") and kind[1:] in _PLAIN:
        made = pa.list_(_PLAIN[kind[1:]])
        return Column(name, declared, made, expression)
    return Column(name, declared, pa.string(), f"{expression}::text", pa.string(), cast=declared)


def _decimal(modifier: int) -> pa.DataType | None:
    if modifier < 4:
        return None
    # A negative scale is one of more than 0x400, which is beyond all digits.
    return decimal_type(((modifier - 4) >> 16) & 0xFFFF, (modifier - 4) & 0x7FF)


def _declared(data_type: pa.DataType) -> str | None:
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return _declared(data_type.value_type)
    if types.is_timestamp(data_type):
        return "timestamp" if data_type.tz is None else "timestamptz"
    if types.is_time(data_type):
        return "time"
    if types.is_decimal(data_type):
        fits = 0 <= data_type.scale <= data_type.precision <= 38
        return f"numeric({data_type.precision},{data_type.scale})" if fits else None
    if types.is_fixed_size_binary(data_type):
        return "bytea"
    if types.is_list(data_type) or types.is_large_list(data_type):
        inner = None if types.is_nested(data_type.value_type) else _declared(data_type.value_type)
        return None if inner is None or inner.startswith("numeric") else f"{inner}[]"
    return _NAMES.get(data_type)


def _stored(declared: str, data_type: pa.DataType) -> pa.DataType:
    if declared.endswith("[]"):
        return pa.list_(_STORED[declared[:-2]])
    if types.is_decimal(data_type):
        return pa.decimal128(data_type.precision, data_type.scale)
    return _STORED[declared]
