"""The records of `dataflare:data/batches`, and the failure that becomes its `data-error`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflare.errors import DataflareError
from dataflare.values import Variant
from dataflare.wit_types.batches import TypeMismatch

__all__ = [
    "BinaryValues",
    "DataFailure",
    "TextValues",
    "malformed",
    "mismatch_text",
    "no_such_column",
    "no_such_function",
    "other",
    "out_of_range",
    "too_large",
    "wrong_type",
]

_MAX_TEXT = 500
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class TextValues:
    """A column of strings: `offsets` is uint32 with rows + 1 items, `text` is a buffer of UTF-8."""

    offsets: npt.NDArray[np.uint32]
    text: Any


@dataclass(frozen=True, slots=True)
class BinaryValues:
    """A column of byte strings: `offsets` is uint32 with rows + 1 items, `data` is a buffer of bytes."""

    offsets: npt.NDArray[np.uint32]
    data: Any


def mismatch_text(mismatch: Any) -> str:
    """Describe a `type-mismatch` in words."""
    what = f"column {mismatch.column!r}" if mismatch.column else "what it is given"
    where = f"{mismatch.function_name}: " if mismatch.function_name else ""
    return f"{where}{what} is {mismatch.actual}, not {mismatch.expected}"


class DataFailure(DataflareError):
    """An operation on a batch failed.

    Args:
        error: The `data-error` that a plugin gets.
        remedy: What to do about a batch or a file that is valid, and has what is not taken; empty for any other.
    """

    def __init__(self, error: Variant, remedy: str = "") -> None:
        payload = error.value
        if isinstance(payload, TypeMismatch):
            payload = mismatch_text(payload)
        super().__init__(f"{error.case}: {payload}")
        self.error = error
        self.reason = str(payload)
        self.remedy = remedy

    def about(self, columns: Sequence[str]) -> DataFailure:
        """Return the same failure, with the names of the columns from which a function's arguments came."""
        case, value = self.error.case, self.error.value
        named = ", ".join(column[:100] for column in columns[:_MAX_NAMED])
        if isinstance(value, TypeMismatch):
            return DataFailure(Variant(case, replace(value, column=named)), self.remedy)
        return _failure(case, f"{value} (of {named})", self.remedy) if named else self


def _failure(case: str, text: str, remedy: str = "") -> DataFailure:
    # Arrow's messages can contain whole values, which would fill the guest's memory.
    return DataFailure(Variant(case, text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."), remedy)


def no_such_column(column: str) -> DataFailure:
    """Make the failure: the batch has no column of this name."""
    return _failure("no-such-column", column)


def no_such_function(name: str) -> DataFailure:
    """Make the failure: expressions have no function of this name."""
    return _failure("no-such-function", name)


def wrong_type(column: str, expected: str, actual: Any, *, function: str = "", remedy: str = "") -> DataFailure:
    """Make the failure: the column's type does not fit the operation, or the expression function that is named."""
    return DataFailure(Variant("wrong-type", TypeMismatch(column, function, expected, str(actual))), remedy)


def out_of_range(text: str) -> DataFailure:
    """Make the failure: a length, an offset, a value or a row number does not fit."""
    return _failure("out-of-range", text)


def malformed(text: str, remedy: str = "") -> DataFailure:
    """Make the failure: the bytes or the text are not valid, or not taken; then with a remedy."""
    return _failure("malformed", text, remedy)


def too_large(text: str, remedy: str = "") -> DataFailure:
    """Make the failure: a limit would be exceeded."""
    return _failure("too-large", text, remedy)


def other(text: str) -> DataFailure:
    """Make a failure of any other kind."""
    return _failure("other", text)
