"""Reads untrusted FlatBuffers: every access is checked, and an invalid one raises `struct.error`.

A table begins with the distance back to its vtable, which holds the distance of each field from the table, 0 if the
field is absent. https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Table", "root"]

_U16: Final = struct.Struct("<H")
_I16: Final = struct.Struct("<h")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")


def root(data: bytes) -> Table:
    """Return the root table of a buffer."""
    return Table(data, _unpack(_U32, data, 0))


class Table:
    """A table in a buffer; fields are identified by their numbers in the schema."""

    __slots__ = ("_fields", "_position", "data")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self._position = position
        vtable = position - _unpack(_I32, data, position)
        size = _unpack(_U16, data, vtable)
        if size < 4 or size % 2 or vtable + size > len(data):
            raise struct.error("a table without a sound vtable")
        self._fields: tuple[int, ...] = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)

    def u8(self, field: int, default: int = 0) -> int:
        at = self._place(field)
        return default if at is None else self._byte(at)

    def flag(self, field: int) -> bool:
        return self.u8(field) != 0

    def i16(self, field: int, default: int = 0) -> int:
        return self._number(_I16, field, default)

    def i32(self, field: int, default: int = 0) -> int:
        return self._number(_I32, field, default)

    def i64(self, field: int, default: int = 0) -> int:
        return self._number(_I64, field, default)

    def table(self, field: int) -> Table | None:
        at = self._place(field)
        return None if at is None else Table(self.data, self._follow(at))

    def tables(self, field: int) -> list[Table]:
        """Read a vector of tables."""
        places = self._vector(field, "<u4")
        if places is None:
            return []
        values, start = places
        return [Table(self.data, start + 4 * index + int(step)) for index, step in enumerate(values)]

    def structs(self, field: int, dtype: Any) -> npt.NDArray[Any]:
        """Read a vector of numbers, or of structs of numbers."""
        found = self._vector(field, dtype)
        return np.empty(0, dtype) if found is None else found[0]

    def blob(self, field: int) -> bytes | None:
        """Read a string, or a vector of bytes; `None` if the field is absent."""
        found = self._vector(field, "u1")
        return None if found is None else found[0].tobytes()

    def text(self, field: int) -> str | None:
        """Read a string; raise UnicodeDecodeError if it is not UTF-8."""
        found = self.blob(field)
        return None if found is None else found.decode()

    def _vector(self, field: int, dtype: Any) -> tuple[npt.NDArray[Any], int] | None:
        at = self._place(field)
        if at is None:
            return None
        start = self._follow(at) + 4
        count = _unpack(_U32, self.data, start - 4)
        if start + count * np.dtype(dtype).itemsize > len(self.data):
            raise struct.error("a vector past the end")
        return np.frombuffer(self.data, dtype, count, start), start

    def _place(self, field: int) -> int | None:
        distance = self._fields[field] if field < len(self._fields) else 0
        return self._position + distance if distance else None

    def _follow(self, at: int) -> int:
        return at + _unpack(_U32, self.data, at)

    def _number(self, form: struct.Struct, field: int, default: int) -> int:
        at = self._place(field)
        return default if at is None else _unpack(form, self.data, at)

    def _byte(self, at: int) -> int:
        if at >= len(self.data):
            raise struct.error("a byte past the end")
        return self.data[at]


def _unpack(form: struct.Struct, data: bytes, at: int) -> int:
    # A negative offset would count from the end.
    if at < 0:
        raise struct.error("a place before the beginning")
    return int(form.unpack_from(data, at)[0])
