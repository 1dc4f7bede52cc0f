"""Batches of rows. The host holds them; a plugin has a handle, and takes the columns that it looks at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

from dataflare_plugin.bindings import batches, expressions
from dataflare_plugin.datasets import Field, as_schema, fields_of
from dataflare_plugin.errors import InvalidInput
from dataflare_plugin.expressions import Expression, nodes_of

__all__ = ["Batch", "as_batch"]

_WORD = 64


class Batch:
    """Rows of named columns; never changes. Methods that "change" one return a new one, which shares the rest.

    The handle is released when the call of the plugin ends; `close` or `with` releases it earlier.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        """The handle, as the bindings have it."""

    def __repr__(self) -> str:
        return f"Batch({len(self)} rows: {', '.join(self.columns)})"

    def __len__(self) -> int:
        return int(self.raw.num_rows())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the handle."""
        self.raw.__exit__(None, None, None)

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]], schema: Any = None) -> Batch:
        """Make a batch of records; `schema` maps columns to Arrow types, and is inferred where it is `None`."""
        lines = "".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records)
        return cls(batches.from_json_lines(lines, None if schema is None else as_schema(schema)))

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any]]) -> Batch:
        """Make a batch of columns of equal length, each of booleans, integers, floats, texts or bytes, or `None`."""
        made = cls(batches.new_batch(len(next(iter(columns.values()), ()))))
        for name, values in columns.items():
            made = made.with_column(name, values)
        return made

    @classmethod
    def concat(cls, parts: Sequence[Batch]) -> Batch:
        """Put batches of the same columns one after the other."""
        return cls(batches.concat([part.raw for part in parts]))

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self.raw.column_names())

    @property
    def schema(self) -> list[Field]:
        """The columns with their types."""
        return fields_of(self.raw.schema())

    def column(self, name: str) -> list[Any]:
        """The values of a column, `None` for a null.

        Dates, times, timestamps and durations are whole numbers in the column's own unit; decimals are floats.

        Raises:
            InvalidInput: There is no such column, or one of a type that has no values here.
        """
        field = next((each for each in self.schema if each.name == name), None)
        if field is None:
            raise InvalidInput(f"there is no column {name!r}, only {', '.join(self.columns) or 'none'}")
        values = self._values(field)
        validity = self.raw.validity(name)
        if validity is None:
            return values
        return [v if validity[row // _WORD] >> (row % _WORD) & 1 else None for row, v in enumerate(values)]

    def _values(self, field: Field) -> list[Any]:
        kind, name = field.type, field.name
        if "string" in kind.partition("indices")[0]:
            texts = self.raw.text_column(name)
            return _split(texts.text, texts.offsets)
        if kind == "bool":
            return list(self.raw.boolean_column(name))
        if kind.startswith(("float", "double", "halffloat", "decimal")):
            return list(self.raw.float64_column(name))
        if "binary" in kind:
            found = self.raw.binary_column(name)
            return [bytes(found.data[begin:end]) for begin, end in pairwise(found.offsets)]
        return list(self.raw.int64_column(name))

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries of what JSON has; dates and times are texts."""
        # Not `splitlines`: texts may hold U+2028 and other characters that it takes for ends of lines.
        return [json.loads(line) for line in self.raw.to_json_lines().split("\n")[:-1]]

    def with_column(self, name: str, values: Sequence[Any] | Expression, type: str = "") -> Batch:
        """Add or replace a column.

        Args:
            name: Its name.
            values: Its values, `None` for a null, all of one type; or an expression.
            type: The Arrow type of the result, such as `float` or `date32[day]`.
        """
        made = (
            self._with_values(name, values)
            if not isinstance(values, Expression)
            else self.with_columns(**{name: values})
        )
        return made.cast(name, type) if type else made

    def with_columns(self, **columns: Expression) -> Batch:
        """Add or replace columns by expressions, which the host computes."""
        nodes, places = nodes_of(columns)
        outputs = [expressions.Output(name, place) for name, place in zip(columns, places, strict=True)]
        return Batch(expressions.with_columns(self.raw, nodes, outputs))

    def _with_values(self, name: str, values: Sequence[Any]) -> Batch:
        if len(values) != len(self):
            raise InvalidInput(f"column {name!r}: {len(values)} values for {len(self)} rows")
        validity = None
        if any(value is None for value in values):
            validity = _bitmap([value is not None for value in values])
        sample = next((value for value in values if value is not None), "")
        match sample:
            case bool():
                return Batch(self.raw.with_boolean_column(name, [bool(value) for value in values], validity))
            case int() if not any(isinstance(value, float) for value in values):
                return Batch(self.raw.with_int64_column(name, [value or 0 for value in values], validity))
            case int() | float():
                return Batch(self.raw.with_float64_column(name, [float(value or 0) for value in values], validity))
            case bytes():
                data = b"".join(value or b"" for value in values)
                offsets = _offsets(len(value or b"") for value in values)
                return Batch(self.raw.with_binary_column(name, batches.BinaryValues(offsets, data), validity))
            case str():
                text = "".join(value or "" for value in values)
                ascii = text.isascii()
                offsets = _offsets(len(v or "") if ascii else len((v or "").encode()) for v in values)
                return Batch(self.raw.with_text_column(name, batches.TextValues(offsets, text), validity))
        raise InvalidInput(f"column {name!r}: a column cannot hold a {type(sample).__name__}")

    def cast(self, name: str, type: str) -> Batch:
        """Convert a column to another Arrow type."""
        return Batch(self.raw.cast_column(name, type))

    def select(self, *names: str) -> Batch:
        """Keep these columns, in this order."""
        return Batch(self.raw.select(list(names)))

    def rename(self, name: str, to: str) -> Batch:
        """Give a column another name."""
        return Batch(self.raw.rename_column(name, to))

    def filter(self, rows: Expression | Sequence[bool]) -> Batch:
        """Keep the rows for which an expression holds, or those that are true in a list."""
        if isinstance(rows, Expression):
            return Batch(expressions.filter(self.raw, nodes_of({"": rows})[0]))
        return Batch(self.raw.filter(_bitmap(rows)))

    def slice(self, offset: int, length: int) -> Batch:
        """Keep rows from an offset on."""
        return Batch(self.raw.slice(offset, length))

    def sort(self, *columns: str, descending: bool = False) -> Batch:
        """Order the rows by columns, nulls last."""
        keys = [expressions.SortKey(name, descending) for name in columns]
        return Batch(expressions.sort(self.raw, keys, expressions.NullOrder.LAST))


def as_batch(rows: Any, schema: Any) -> Batch:
    """Make a batch of what a plugin returned: a batch, records, or columns by name."""
    if isinstance(rows, Batch):
        return rows
    if isinstance(rows, Mapping):
        return Batch.from_columns(rows)
    return Batch.from_records(rows, schema)


def _bitmap(bits: Sequence[bool]) -> list[int]:
    words = [0] * -(-len(bits) // _WORD)
    for row, bit in enumerate(bits):
        if bit:
            words[row // _WORD] |= 1 << (row % _WORD)
    return words


def _offsets(lengths: Iterable[int]) -> list[int]:
    offsets = [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    return offsets


def _split(text: str, offsets: Sequence[int]) -> list[str]:
    if text.isascii():
        return [text[begin:end] for begin, end in pairwise(offsets)]
    data = text.encode()
    return [data[begin:end].decode() for begin, end in pairwise(offsets)]
