"""What sources and destinations have in common: work that one instance keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from dataflare.errors import DataflareError, UsageError

__all__ = ["RunLost", "loses_run"]

P = ParamSpec("P")
T = TypeVar("T")


class RunLost(UsageError):
    """The instance that was reading or writing is gone, and with it what it had not made safe: `open` again."""


class _KeepsRun(Protocol):
    _interrupted: bool


S = TypeVar("S", bound=_KeepsRun)


def loses_run(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let an exception from outside, such as an interrupt, lose the run that the method is a step of.

    Nobody knows whether the plugin took the step: one more read could leave rows out, one more write repeat them.
    """

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except DataflareError:
            raise
        except BaseException:
            self._interrupted = True
            raise

    return call  # type: ignore[return-value]  # mypy takes `self` for a name
