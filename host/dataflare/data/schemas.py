"""Arrow schemas as WIT values (`dataflare:data/schemas`), and Arrow's notation of types.

```
type    = plain                                  bool, int8 ... uint64, halffloat, float, double, string, null ...
        | "timestamp[" unit [", tz=" zone] "]"   and the other types with a parameter in brackets
        | "list<" field ">" | "large_list<" field ">" | "fixed_size_list<" field ">[" size "]"
        | "struct<" [field {", " field}] ">"
        | "map<" type [name] ", " type [name] [", keys_sorted"] [name] ">"
        | "dictionary<values=" type ", indices=" type ", ordered=" ("0" | "1") ">"
field   = name ": " type [" not null"]
name    = " ('" name "')"                        of a map's keys, values and entries, where it is not the usual one
```

The notation has no metadata of nested fields, and does not say whether a map's values may be null. It escapes no names.
A nested field's name that contains `: ` or begins with `>`, or a map field's name that contains `'), `, `')>` or `')
(`, cannot be read back. The functions keep no state and may run in any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from dataflare.data.guard.types import MAX_COLUMNS, MAX_DEPTH, note_of, reduced, refusal, type_name
from dataflare.data.type_spellings import respelled
from dataflare.errors import DataflareError
from dataflare.wit_types.schemas import Field, Schema

__all__ = ["SchemaError", "from_wit", "metadata_from_wit", "parse_type", "to_wit"]

_MAX_TYPE_NAME = 65_536
_MAX_METADATA_PAIRS = 4_096

_PLAIN: dict[str, pa.DataType] = {
    str(plain): plain
    for plain in (
        *(pa.null(), pa.bool_(), pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()),
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary()),
        *(pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
        *(pa.duration("s"), pa.duration("ms"), pa.duration("us"), pa.duration("ns")),
    )
}
_PARAMETRIC: tuple[tuple[re.Pattern[str], Callable[..., pa.DataType]], ...] = (
    (re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=([^\]]{1,256}))?\]"), pa.timestamp),
    (re.compile(r"fixed_size_binary\[([0-9]{1,10})\]"), lambda width: pa.binary(int(width))),
    (re.compile(r"decimal32\(([0-9]{1,3}), (-?[0-9]{1,3})\)"), lambda p, s: pa.decimal32(int(p), int(s))),
    (re.compile(r"decimal64\(([0-9]{1,3}), (-?[0-9]{1,3})\)"), lambda p, s: pa.decimal64(int(p), int(s))),
    (re.compile(r"decimal128\(([0-9]{1,3}), (-?[0-9]{1,3})\)"), lambda p, s: pa.decimal128(int(p), int(s))),
    (re.compile(r"decimal256\(([0-9]{1,3}), (-?[0-9]{1,3})\)"), lambda p, s: pa.decimal256(int(p), int(s))),
)
_PLAIN_NAME = re.compile(f"(?:{'|'.join(map(re.escape, sorted(_PLAIN, key=len, reverse=True)))})(?![a-z0-9_\\[])")
_MAP_NAME = re.compile(r" \('(.*?)'\)(?=, |>| \(')", re.DOTALL)
_FIXED_SIZE = re.compile(r">\[([0-9]{1,10})\]")


class SchemaError(DataflareError):
    """A schema or the name of a type is not valid; the message names the part."""


def to_wit(schema: pa.Schema) -> Schema:
    """Describe an Arrow schema as a WIT value.

    An extension type becomes its storage, with its name in the metadata, as in an Arrow stream. Metadata pairs that are
    not UTF-8 are left out, since a WIT string cannot hold them.
    """
    return Schema(tuple(_field_to_wit(field) for field in schema), _metadata_to_wit(schema.metadata))


def from_wit(schema: Any) -> pa.Schema:
    """Convert a WIT value to an Arrow schema; any object with the attributes of `Schema` is accepted.

    Raises:
        SchemaError: The name of a type is not in Arrow's notation, a column name or a metadata key is repeated, or the
            schema is too large.
    """
    if len(schema.fields) > MAX_COLUMNS:
        raise SchemaError(f"the schema has {len(schema.fields)} columns, more than {MAX_COLUMNS}")
    names: set[str] = set()
    fields = []
    for field in schema.fields:
        if field.name in names:
            raise SchemaError(f"the column {_shorten(field.name)} is named twice")
        names.add(field.name)
        fields.append(_field_from_wit(field))
    return pa.schema(fields, metadata=metadata_from_wit(schema.metadata, "the schema"))


def parse_type(text: str) -> pa.DataType:
    """Read a type in Arrow's own notation: `str(type)` of pyarrow, `type-name` of a WIT field.

    Raises:
        SchemaError: The text is not in the notation, longer than 65,536 characters, or nested deeper than `MAX_DEPTH`.
    """
    if len(text) > _MAX_TYPE_NAME:
        raise SchemaError(f"the name of a type has {len(text)} characters, more than {_MAX_TYPE_NAME}")
    try:
        parsed = _parse(text)
    except SchemaError as error:
        if meant := _meant(text):
            raise SchemaError(error.message, hint=f"Arrow writes this type as {meant}") from None
        raise
    if reason := refusal(parsed):
        raise SchemaError(f"the type {_shorten(text)} cannot be: {reason}")
    return parsed


def _parse(text: str) -> pa.DataType:
    parser = _TypeParser(text)
    parsed = parser.type(depth=0)
    if parser.position != len(text):
        raise parser.unexpected("the end")
    return parsed


def _meant(text: str) -> str:
    """Return the type that the text means in another notation; empty if unknown."""
    meant = respelled(text)
    try:
        return meant if meant != text and not refusal(_parse(meant)) else ""
    except SchemaError:
        return ""


def _field_to_wit(field: pa.Field) -> Field:
    return Field(field.name, type_name(reduced(field.type)), field.nullable, _metadata_to_wit(note_of(field)))


def _field_from_wit(field: Any) -> pa.Field:
    try:
        data_type = parse_type(field.type_name)
    except SchemaError as error:
        raise SchemaError(f"column {_shorten(field.name)}: {error.message}", hint=error.hint) from error
    metadata = metadata_from_wit(field.metadata, f"column {_shorten(field.name)}")
    if pa.types.is_null(data_type) and not field.nullable:
        raise SchemaError(f"column {_shorten(field.name)} is of nulls, and must be nullable")
    return pa.field(field.name, data_type, nullable=field.nullable, metadata=metadata)


def _metadata_to_wit(metadata: Any) -> tuple[tuple[str, str], ...]:
    pairs = []
    for key, value in (metadata or {}).items():
        try:
            pairs.append((key.decode(), value.decode()))
        except UnicodeDecodeError:
            continue
    return tuple(pairs)


def metadata_from_wit(pairs: Sequence[Iterable[str]], owner: str) -> dict[str, str] | None:
    """Read metadata pairs; `None` if there are none.

    Args:
        pairs: Keys and values.
        owner: What they belong to, for errors.

    Raises:
        SchemaError: A key is repeated, or there are more than 4,096 pairs.
    """
    if len(pairs) > _MAX_METADATA_PAIRS:
        raise SchemaError(f"{owner} has {len(pairs)} pairs of metadata, more than {_MAX_METADATA_PAIRS}")
    metadata: dict[str, str] = {}
    for key, value in pairs:
        if key in metadata:
            raise SchemaError(f"{owner} has the metadata key {_shorten(key)} twice")
        metadata[key] = value
    return metadata or None


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


class _TypeParser:
    """A recursive-descent parser for one type; `position` is its position in the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def type(self, depth: int) -> pa.DataType:
        if depth >= MAX_DEPTH:
            raise SchemaError(f"the type {_shorten(self.text)} nests deeper than {MAX_DEPTH} levels")
        try:
            nested = self._nested(depth + 1)
            # Not `or`: a struct type without fields is false.
            return self._simple() if nested is None else nested
        except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
            raise SchemaError(f"the type {_shorten(self.text)} cannot be: {error}") from error

    def _simple(self) -> pa.DataType:
        for pattern, make in _PARAMETRIC:
            if match := pattern.match(self.text, self.position):
                self.position = match.end()
                return make(*match.groups())
        if match := _PLAIN_NAME.match(self.text, self.position):
            self.position = match.end()
            return _PLAIN[match.group()]
        raise self.unexpected("a type")

    def _nested(self, depth: int) -> pa.DataType | None:
        if self._skip("struct<"):
            return self._struct(depth)
        if self._skip("list<"):
            item = self._field(depth)
            self._expect(">")
            return pa.list_(item)
        if self._skip("large_list<"):
            item = self._field(depth)
            self._expect(">")
            return pa.large_list(item)
        if self._skip("fixed_size_list<"):
            item = self._field(depth)
            size = _FIXED_SIZE.match(self.text, self.position)
            if size is None:
                raise self.unexpected("`>[` and a size")
            self.position = size.end()
            return pa.list_(item, int(size.group(1)))
        if self._skip("map<"):
            key_type = self.type(depth)
            key = pa.field(self._map_name("key"), key_type, nullable=False)
            self._expect(", ")
            value_type = self.type(depth)
            value = pa.field(self._map_name("value"), value_type)
            keys_sorted = self._skip(", keys_sorted")
            self._map_name("entries")  # pyarrow cannot make a map with another name
            self._expect(">")
            return pa.map_(key, value, keys_sorted=keys_sorted)
        if self._skip("dictionary<values="):
            values = self.type(depth)
            self._expect(", indices=")
            indices = self.type(depth)
            ordered = self._skip(", ordered=1")
            if not ordered:
                self._expect(", ordered=0")
            self._expect(">")
            return pa.dictionary(indices, values, ordered)
        return None

    def _struct(self, depth: int) -> pa.DataType:
        fields: list[pa.Field] = []
        if self._skip(">"):
            return pa.struct(fields)
        while True:
            fields.append(self._field(depth))
            if self._skip(">"):
                return pa.struct(fields)
            self._expect(", ")

    def _field(self, depth: int) -> pa.Field:
        end = self.text.find(": ", self.position)
        if end < 0:
            raise self.unexpected("a field, `name: type`")
        name = self.text[self.position : end]
        self.position = end + 2
        data_type = self.type(depth)
        return pa.field(name, data_type, nullable=not self._skip(" not null"))

    def _map_name(self, usual: str) -> str:
        match = _MAP_NAME.match(self.text, self.position)
        if match is None:
            return usual
        self.position = match.end()
        return match.group(1)

    def _skip(self, token: str) -> bool:
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise self.unexpected(f"`{token}`")

    def unexpected(self, expected: str) -> SchemaError:
        rest = self.text[self.position :]
        found = _shorten(rest) if rest else "the end"
        return SchemaError(
            f"the type {_shorten(self.text)}: {expected} was expected at character {self.position}, not {found}"
        )
