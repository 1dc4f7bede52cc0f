"""The closed list of Arrow types that plugins can use, at any depth of nesting.

Not on the list: unions, run-end encoding, list views, intervals, types of width zero (a count of rows or items would be
their only content), dictionaries of other than plain values, structs with two fields of the same name, and extension
types within others. At the top level, an extension type stands for its storage, and a view of strings or bytes for the
large type of the same values. In a stream or file, such a view stands for that at any depth.
"""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa

from dataflare.data.flatbuffers import root
from dataflare.texts import first_repeated

__all__ = [
    "DECIMAL_DIGITS",
    "FEWER_COLUMNS",
    "KINDS",
    "MAX_COLUMNS",
    "MAX_DEPTH",
    "MAX_METADATA_BYTES",
    "MAX_WIDTH",
    "OTHER_NAME",
    "OTHER_TYPE",
    "is_flat",
    "is_zero_width",
    "kind",
    "note_of",
    "reduced",
    "refusal",
    "type_name",
]

MAX_DEPTH: Final = 32
"""Maximum nesting of types: Arrow itself overflows the stack at a few thousand levels."""
MAX_COLUMNS: Final = 16_384
"""Maximum number of columns of a batch, and of fields of a schema, nested fields included."""
MAX_WIDTH: Final = 2**24
"""Maximum number of bytes or items in one row of a type of fixed width."""
MAX_METADATA_BYTES: Final = 2**24
"""Maximum bytes of a schema with its metadata, and of the header of a batch."""

OTHER_TYPE: Final = "write it with another type for the column, or without the column"
OTHER_NAME: Final = "write it with another name for one of them"
FEWER_COLUMNS: Final = "write it with fewer columns, or as several files"
"""What to do about valid batches and files that are refused."""

DECIMAL_DIGITS: Final = {"decimal32": 9, "decimal64": 18, "decimal128": 38, "decimal256": 76}
_INTEGERS: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLAT: Final = (
    *(pa.bool_(), *_INTEGERS, pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()),
    *(pa.time32("s"), pa.time64("us"), pa.timestamp("s"), pa.duration("s")),
    *(pa.decimal32(5), pa.decimal64(5), pa.decimal128(5), pa.decimal256(5)),
    *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(1)),
)
_NAMES: Final = {
    **{each.id: re.split(r"[\[(]", str(each))[0] for each in _FLAT},
    **{pa.null().id: "null", pa.struct([]).id: "struct", pa.map_(pa.int8(), pa.int8()).id: "map"},
    **{pa.list_(pa.int8()).id: "list", pa.large_list(pa.int8()).id: "large_list"},
    **{pa.list_(pa.int8(), 1).id: "fixed_size_list", pa.dictionary(pa.int8(), pa.int8()).id: "dictionary"},
}
KINDS: Final = frozenset(_NAMES.values())
"""The names of all types on the list, without their parameters."""
_FLAT_NAMES: Final = frozenset(_NAMES[each.id] for each in _FLAT)
_INTEGER_NAMES: Final = frozenset(map(str, _INTEGERS))
# `localtime` and `posixrules` would tell a plugin where the machine is, and a leading slash names a file.
_ZONE: Final = re.compile(r"(?!/|localtime$|posixrules$)[A-Za-z0-9_+\-/:]{1,64}")
_STORAGE_LEVELS: Final = 4
_PARAMETERS: Final = b"ARROW:extension:metadata"
_PREFIX_BYTES: Final = 8  # of a message: its marker and its length


def kind(data_type: pa.DataType) -> str:
    """Return a type's name without parameters, such as `int64` or `list`; empty for a type that is not on the list."""
    return _NAMES.get(data_type.id, "")


def is_flat(data_type: pa.DataType) -> bool:
    """Whether a value of the type is a single number, text or byte string."""
    return kind(data_type) in _FLAT_NAMES


def is_zero_width(data_type: pa.DataType) -> bool:
    """Whether values take no memory: nulls, and structs of only nulls."""
    if kind(data_type) == "struct":
        return all(is_zero_width(data_type.field(i).type) for i in range(data_type.num_fields))
    return kind(data_type) == "null"


def type_name(data_type: pa.DataType) -> str:
    """Write a type in Arrow's notation; if a name within it is not UTF-8, only its kind."""
    try:
        return str(data_type)
    except UnicodeDecodeError:
        return kind(data_type) or "a type with a name that is not UTF-8"


def reduced(data_type: pa.DataType) -> pa.DataType:
    """Return the type that plugins see for a column: for an extension its storage, for a view the large type."""
    for _ in range(_STORAGE_LEVELS):
        if not isinstance(data_type, pa.BaseExtensionType):
            break
        data_type = data_type.storage_type
    if pa.types.is_string_view(data_type):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(data_type) else data_type


def note_of(field: pa.Field) -> dict[bytes, bytes]:
    """Return the metadata of a field; for an extension type also what Arrow's format records about it.

    That is its name and its parameters, which are needed to restore the type from its storage.
    """
    if not isinstance(field.type, pa.BaseExtensionType):
        return dict(field.metadata or {})
    # For Arrow's own extension types, only the serialized schema has the parameters.
    header = root(pa.schema([field]).serialize().to_pybytes()[_PREFIX_BYTES:]).table(2)
    assert header is not None
    (noted,) = header.tables(1)
    pairs = {pair.blob(0) or b"": pair.blob(1) or b"" for pair in noted.tables(6)}
    if not pairs.get(_PARAMETERS):
        pairs.pop(_PARAMETERS, None)
    return pairs


def refusal(data_type: pa.DataType) -> str:
    """Say why a type is not on the list; empty if it is on the list."""
    try:
        return _refusal(data_type, 1)
    except UnicodeDecodeError:
        return "a name within it is not UTF-8"


def _refusal(data_type: pa.DataType, depth: int, *, of_map: bool = False) -> str:
    if depth > MAX_DEPTH:
        return f"it nests deeper than {MAX_DEPTH} levels"
    name = kind(data_type)
    if not name:
        return f"{_plain_name(data_type)} is not on the list of types for plugins"
    if name in _FLAT_NAMES:
        return _flat_refusal(data_type, name)
    if name == "null":
        return ""
    if name == "dictionary":
        if kind(data_type.index_type) not in _INTEGER_NAMES or not is_flat(data_type.value_type):
            return "a dictionary is not of plain values"
        return _refusal(data_type.value_type, depth + 1)
    if name == "map" and not is_flat(data_type.key_type):
        return "the keys of a map are not plain values"
    if name == "fixed_size_list":
        if data_type.list_size < 1 or is_zero_width(data_type.value_type):
            return "a list of a fixed size has no items, or items that take no memory"
        if _width(data_type) > MAX_WIDTH:
            return f"a value takes more than {MAX_WIDTH} bytes"
    children = [data_type.field(position) for position in range(data_type.num_fields)]
    twice = first_repeated([child.name for child in children])  # pyarrow decodes the names here
    # As JSON, a reader would lose one of two values with the same name. A map's entries have fixed names there.
    if twice is not None and not of_map:
        return f"two fields of a struct are named {twice[:80]!r}"
    for child in children:
        if reason := _refusal(child.type, depth + 1, of_map=name == "map"):
            return reason
    return ""


def _flat_refusal(data_type: pa.DataType, name: str) -> str:
    if name in DECIMAL_DIGITS:
        # Arrow uses the scale as an unchecked index into tables of powers of ten.
        if not 1 <= data_type.precision <= DECIMAL_DIGITS[name]:
            return f"the precision {data_type.precision} of a decimal is not in 1 to {DECIMAL_DIGITS[name]}"
        if abs(data_type.scale) > data_type.precision:
            return f"the scale {data_type.scale} of a decimal is beyond its precision, {data_type.precision}"
    elif name == "fixed_size_binary":
        if not 1 <= data_type.byte_width <= MAX_WIDTH:
            return f"the width {data_type.byte_width} is not in 1 to {MAX_WIDTH}"
    elif name == "timestamp" and data_type.tz is not None and not _ZONE.fullmatch(data_type.tz):
        return "the time zone is not a name or an offset"
    return ""


def _width(data_type: pa.DataType) -> int:
    """Return the bytes that a value takes even if it is null; at least 1."""
    name = kind(data_type)
    if name == "fixed_size_list":
        return int(data_type.list_size) * _width(data_type.value_type)
    if name == "fixed_size_binary":
        return int(data_type.byte_width)
    if name == "struct":
        return 1 + sum(_width(data_type.field(i).type) for i in range(data_type.num_fields))
    return 8


def _plain_name(data_type: pa.DataType) -> str:
    return re.split(r"[<\[(]", type_name(data_type))[0]
