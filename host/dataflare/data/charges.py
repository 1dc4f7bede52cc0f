"""The memory that a batch costs the instance that made it.

Each piece of memory is charged once. A batch that shares columns with another shares their charges too. The bytes are
released with the last batch that uses them.
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
"""Approximate size in bytes of the objects of a batch, and of each of its columns, without the data."""

_NONE: Final[Mapping[str, Charge]] = MappingProxyType({})
T = TypeVar("T")


class Loan:
    """Rows that the host gave to a plugin: free, unless the plugin keeps them, or rows that share memory, after the
    call."""

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
    """The immutable charges of one batch.

    Args:
        columns: Charges by column. A missing column belongs to the rows that the host gave.
        loan: The rows that the host gave; `None` if no column of them is left.
        own: The charge of the batch itself.
        texts: The charge for names and metadata, which every batch made from this one also has, and its bytes.
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
        """Make the memory of rows from the host: nothing is charged yet."""
        return cls(loan=Loan(arrow))

    @classmethod
    def made(cls, arrow: pa.RecordBatch, *, at_least: int = 0) -> BatchMemory:
        """Make the memory of rows that are all new; `at_least`: the bytes that they keep alive in any case.

        Raises:
            OverHostBytes: There is no room for them.
        """
        return cls.of(arrow, Charge(current(), max(at_least, int(arrow.get_total_buffer_size()))))

    @classmethod
    def of(cls, arrow: pa.RecordBatch, charge: Charge) -> BatchMemory:
        """Make the memory of rows whose columns share one charge."""
        return cls(dict.fromkeys(arrow.schema.names, charge), own=_own(arrow))

    def returned(self, before: pa.RecordBatch, after: pa.RecordBatch) -> BatchMemory:
        """Make the memory of rows that another plugin made from rows with this memory; unchanged columns are shared.

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
        """Make the memory of rows with some new or replaced columns; the other columns are shared.

        Args:
            before: The rows with this memory.
            after: The rows made from them.
            columns: The names of the new columns, some of which may be unchanged; no other column has these names.

        Raises:
            OverHostBytes: There is no room for the new columns.
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
        """Make the memory of rows that share the memory of all columns, such as a slice."""
        return BatchMemory(self._columns, self.loan, _own(arrow), self._texts)

    def with_column(self, arrow: pa.RecordBatch, column: str) -> BatchMemory:
        """Make the memory of rows with one new column; the others are shared."""
        size = int(arrow.column(arrow.schema.get_field_index(column)).get_total_buffer_size())
        charge = Charge(current(), size + len(column) + _BATCH_BYTES + _COLUMN_BYTES * arrow.num_columns)
        return self._of({**self._columns, column: charge}, arrow, None)

    def picked(self, arrow: pa.RecordBatch, columns: Sequence[str]) -> BatchMemory:
        """Make the memory of rows with only some of the columns."""
        known = self._columns
        return self._of({name: known[name] for name in columns if name in known}, arrow, _own(arrow))

    def renamed(self, arrow: pa.RecordBatch, column: str, to: str) -> BatchMemory:
        """Make the memory of rows with a renamed column."""
        columns = {to if name == column else name: charge for name, charge in self._columns.items()}
        return self._of(columns, arrow, _own(arrow)).described(len(to))

    def described(self, more_bytes: int) -> BatchMemory:
        """Make the memory of the same rows with more names or metadata."""
        size = more_bytes + (0 if self._texts is None else self._texts[1])
        return BatchMemory(self._columns, self.loan, self._own, (Charge(current(), size), size))

    def _of(self, columns: Mapping[str, Charge], arrow: pa.RecordBatch, own: Charge | None) -> BatchMemory:
        return BatchMemory(columns, self.loan if len(columns) < arrow.num_columns else None, own, self._texts)


def within_room(make: Callable[[int], T], max_bytes: int) -> T:
    """Make something of at most `max_bytes`, and at most the size that the current budget has room for.

    Args:
        make: Makes it, given the limit in bytes, or raises a `DataFailure` of the case `too-large`.
        max_bytes: The limit in bytes, apart from the budget.

    Raises:
        OverHostBytes: It fits into `max_bytes`, but not into the budget.
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
            buffer = pa.py_buffer(view)  # for the address, which is slow to get from numpy
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
    """Charge the memory of columns together; return the charges by name."""
    charge = Charge(current(), sum(int(array.get_total_buffer_size()) for _, array in new))
    return {name: charge for name, _ in new}


def _place(array: pa.Array) -> list[int]:
    return [0 if buffer is None else int(buffer.address) for buffer in array.buffers()]


def _own(arrow: pa.RecordBatch) -> Charge:
    return Charge(current(), _BATCH_BYTES + _COLUMN_BYTES * int(arrow.num_columns))
