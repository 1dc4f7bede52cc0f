"""The exception by which a capability reports a failed call to a plugin."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from dataflare.errors import DataflareError
from dataflare.values import Err, Ok, Variant

__all__ = ["CapabilityFailure", "returns_result"]


class CapabilityFailure(DataflareError):
    """A call of a capability failed; `error` is the WIT value that the plugin gets, `case` the name of its case."""

    def __init__(self, case: str, value: Any) -> None:
        super().__init__(f"{case}: {value}")
        self.error = Variant(case, value)

    @property
    def case(self) -> str:
        return self.error.case


def returns_result(function: Callable[..., Any]) -> Callable[..., Ok[Any] | Err[Any]]:
    """Wrap a function so that it returns a WIT `result`: a `CapabilityFailure` becomes its error."""

    @functools.wraps(function)
    def call(*args: Any) -> Ok[Any] | Err[Any]:
        try:
            return Ok(function(*args))
        except CapabilityFailure as failure:
            return Err(failure.error)

    return call
