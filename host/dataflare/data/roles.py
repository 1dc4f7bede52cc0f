"""Roles of columns, as metadata of a schema's fields, as the WIT interface `datasets` specifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from dataflare.data.schemas import SchemaError

__all__ = ["DELETE", "INSERT", "UPDATE", "Roles", "roles_of", "with_roles", "written_roles"]

INSERT: Final = 0
UPDATE: Final = 1
DELETE: Final = 2
"""The values of an operation column; null means insert."""

_KEY: Final = b"dataflare.key"
_ROLE: Final = b"dataflare.role"


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns with a role: the `key` columns in order, the `cursor` and the `operation`; `None` means no such
    column."""

    key: tuple[str, ...] = ()
    cursor: str | None = None
    operation: str | None = None


def roles_of(schema: pa.Schema) -> Roles:
    """Read the roles of a schema's columns.

    Raises:
        SchemaError: A role is not valid; the message names the column.
    """
    key: dict[int, str] = {}
    named: dict[bytes, str] = {}
    for field in schema:
        metadata = field.metadata or {}
        position = metadata.get(_KEY)
        if position is not None:
            at = int(position) if position.isdigit() and len(position) < 6 else -1
            if at < 0 or at in key:
                raise SchemaError(
                    f"column {field.name[:100]!r}: dataflare.key is {position[:100]!r}, not a free position"
                )
            key[at] = field.name
        role = metadata.get(_ROLE)
        if role is not None:
            if role not in (b"cursor", b"operation") or role in named:
                raise SchemaError(f"column {field.name[:100]!r}: dataflare.role is {role[:100]!r}, or is there twice")
            if role == b"operation" and field.type != pa.int8():
                raise SchemaError(f"column {field.name[:100]!r}: an operation column is int8, not {field.type}")
            named[role] = field.name
    if sorted(key) != list(range(len(key))):
        raise SchemaError(f"the positions of the key's columns are {sorted(key)[:20]}, not 0 and up")
    return Roles(tuple(key[at] for at in sorted(key)), named.get(b"cursor"), named.get(b"operation"))


def written_roles(field: pa.Field) -> dict[bytes, bytes]:
    """Return those of a column's roles that destinations go by, as metadata: its place in the key, and `operation`."""
    found = {name: value for name, value in (field.metadata or {}).items() if name in (_KEY, _ROLE)}
    if found.get(_ROLE) == b"cursor":
        del found[_ROLE]
    return found


def with_roles(
    schema: pa.Schema, *, key: Sequence[str] = (), cursor: str | None = None, operation: str | None = None
) -> pa.Schema:
    """Return a schema with these roles; other columns lose theirs.

    Raises:
        SchemaError: A column does not exist, is twice in the key, or the operation column is not `int8`.
    """
    for name in (*key, *(each for each in (cursor, operation) if each is not None)):
        if name not in schema.names:
            raise SchemaError(f"there is no column {name[:100]!r} for a role")
    if len(set(key)) < len(key):
        raise SchemaError("a column is twice in the key")
    fields = []
    for field in schema:
        metadata = {k: v for k, v in (field.metadata or {}).items() if k not in (_KEY, _ROLE)}
        if field.name in key:
            metadata[_KEY] = str(list(key).index(field.name)).encode()
        if field.name in (cursor, operation):
            metadata[_ROLE] = b"cursor" if field.name == cursor else b"operation"
        fields.append(field.with_metadata(metadata or None))
    made = pa.schema(fields, metadata=schema.metadata)
    roles_of(made)
    return made
