"""What a batch costs the instance that made it.

Each distinct piece of memory is charged once: a batch that shares columns with another shares their charges too, and
the bytes are given back when the last batch that uses them goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from dataflare.budgets import Charge, HostBudget, OverHostBytes, current
from dataflare.data.shapes import BinaryValues, DataFailure, TextValues

__all__ = ["BatchMemory", "Loan", "new_bytes", "within_room"]

_BATCH_BYTES: Final = 1024
_COLUMN_BYTES: Final = 256
"""About what the objects of a batch, and of each of its columns, take beside the data."""

_NONE: Final[Mapping[str, Charge]] = MappingProxyType({})
T = TypeVar("T")


class Loan:
    """Rows that a plugin was given: free, unless it keeps them past the call, or others that share their memory."""

    __slots__ = ("_arrow", "_charge")

    def __init__(self, arrow: pa.RecordBatch) -> None:
        self._arrow = arrow
        self._charge: Charge | None = None

    def keep(self, budget: HostBudget) -> None:
        """Charge the rows to the instance that kept them; once.

        Raises:
            OverHostBytes: There is no room for them.
        """
        if self._charge is None:
            self._charge = Charge(budget, int(self._arrow.nbytes))


class BatchMemory:
    """The charges behind one batch, which never change.

    Args:
        columns: Charges by column. A column that is not there is part of what was given.
        loan: What was given, where a column of it is left.
        own: What the batch itself takes.
        texts: The charge for names and metadata, which pass on to every batch that is made of this one, and its bytes.
    """

    __slots__ = ("_columns", "_own", "_texts", "loan")

    def __init__(
        self,
        columns: Mapping[str, Charge] = _NONE,
        loan: Loan | None = None,
        own: Charge | None = None,
        texts: tuple[Charge, int] | None = None,
    ) -> None:
        self._columns = columns
        self.loan = loan
        self._own = own
        self._texts = texts

    @classmethod
    def given(cls, arrow: pa.RecordBatch) -> BatchMemory:
        """Of rows that come from the host: nothing is charged yet."""
        return cls(loan=Loan(arrow))

    @classmethod
    def made(cls, arrow: pa.RecordBatch, *, at_least: int = 0) -> BatchMemory:
        """Of rows that were made for a plugin, all new; `at_least`: bytes that they keep alive, seen or not.

        Raises:
            OverHostBytes: There is no room for them.
        """
        return cls.of(arrow, Charge(current(), max(at_least, int(arrow.get_total_buffer_size()))))

    @classmethod
    def of(cls, arrow: pa.RecordBatch, charge: Charge) -> BatchMemory:
        """Of rows whose columns are all under one charge."""
        return cls(dict.fromkeys(arrow.schema.names, charge), own=_own(arrow))

    def returned(self, before: pa.RecordBatch, after: pa.RecordBatch) -> BatchMemory:
        """Of rows that another plugin made of rows with this memory; columns that it left alone are shared.

        Raises:
            OverHostBytes: There is no room for the others.
        """
        if after is before:
            return self
        old = {name: _place(array) for name, array in zip(before.schema.names, before.columns, strict=True)}
        new = [
            (name, a) for name, a in zip(after.schema.names, after.columns, strict=True) if old.get(name) != _place(a)
        ]
        kept = {name: each for name, each in self._columns.items() if name in after.schema.names}
        return self._of({**kept, **_charged(new)}, after, _own(after))

    def with_columns(self, before: pa.RecordBatch, after: pa.RecordBatch, columns: Iterable[str]) -> BatchMemory:
        """Of rows that have some columns anew, some of which may be as they were, and share the others.

        Args:
            before: The rows with this memory.
            after: Those that were made of them.
            columns: The names of those columns; no other column has one of them.

        Raises:
            OverHostBytes: There is no room for what is new.
        """
        if after is before:
            return self
        new = []
        for name in columns:
            array, at = after.column(name), before.schema.get_field_index(name)
            if at < 0 or _place(before.column(at)) != _place(array):
                new.append((name, array))
        return self._of({**self._columns, **_charged(new)}, after, _own(after))

    def shared(self, arrow: pa.RecordBatch) -> BatchMemory:
        """Of rows that share the memory of all columns, such as a slice."""
        return BatchMemory(self._columns, self.loan, _own(arrow), self._texts)

    def with_column(self, arrow: pa.RecordBatch, column: str) -> BatchMemory:
        """Of rows that have one column anew, and share the others."""
        size = int(arrow.column(arrow.schema.get_field_index(column)).get_total_buffer_size())
        charge = Charge(current(), size + len(column) + _BATCH_BYTES + _COLUMN_BYTES * arrow.num_columns)
        return self._of({**self._columns, column: charge}, arrow, None)

    def picked(self, arrow: pa.RecordBatch, columns: Sequence[str]) -> BatchMemory:
        """Of rows that have some of the columns."""
        known = self._columns
        return self._of({name: known[name] for name in columns if name in known}, arrow, _own(arrow))

    def renamed(self, arrow: pa.RecordBatch, column: str, to: str) -> BatchMemory:
        """Of rows whose column has another name."""
        columns = {to if name == column else name: charge for name, charge in self._columns.items()}
        return self._of(columns, arrow, _own(arrow)).described(len(to))

    def described(self, more_bytes: int) -> BatchMemory:
        """Of the same rows with more names or metadata."""
        size = more_bytes + (0 if self._texts is None else self._texts[1])
        return BatchMemory(self._columns, self.loan, self._own, (Charge(current(), size), size))

    def _of(self, columns: Mapping[str, Charge], arrow: pa.RecordBatch, own: Charge | None) -> BatchMemory:
        return BatchMemory(columns, self.loan if len(columns) < arrow.num_columns else None, own, self._texts)


def within_room(make: Callable[[int], T], max_bytes: int) -> T:
    """Make something that takes `max_bytes` at most, and no more than the current budget has room for.

    Args:
        make: Given the most bytes, makes it, or raises a `DataFailure` of the case `too-large`.
        max_bytes: The most bytes where the budget has room.

    Raises:
        OverHostBytes: It would have been made, had there been room.
    """
    room = current().room()
    if room >= max_bytes:
        return make(max_bytes)
    try:
        return make(max(0, int(room)))
    except DataFailure as failure:
        if failure.error.case == "too-large":
            raise OverHostBytes(f"more than the {room} bytes that are left") from failure
        raise


def new_bytes(view: Any, array: pa.Array | None = None) -> int:
    """Count the bytes of a view that are not the column's own memory."""
    match view:
        case np.ndarray():
            buffer = pa.py_buffer(view)  # to have the address, which numpy takes long to tell
        case pa.Buffer():
            buffer = view
        case TextValues():
            return new_bytes(view.offsets, array) + new_bytes(view.text, array)
        case BinaryValues():
            return new_bytes(view.offsets, array) + new_bytes(view.data, array)
        case _:
            return 0
    start, size = buffer.address, buffer.size
    for each in () if array is None else array.buffers():
        if each is not None and each.address <= start and start + size <= each.address + each.size:
            return 0
    return int(size)


def _charged(new: Sequence[tuple[str, pa.Array]]) -> dict[str, Charge]:
    """Charge what columns take together, by their names."""
    charge = Charge(current(), sum(int(array.get_total_buffer_size()) for _, array in new))
    return {name: charge for name, _ in new}


def _place(array: pa.Array) -> list[int]:
    return [0 if buffer is None else int(buffer.address) for buffer in array.buffers()]


def _own(arrow: pa.RecordBatch) -> Charge:
    return Charge(current(), _BATCH_BYTES + _COLUMN_BYTES * int(arrow.num_columns))
