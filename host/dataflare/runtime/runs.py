"""The base of sources and destinations: a read or a run that lives in one instance."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from dataflare.errors import DataflareError, UsageError

__all__ = ["KeepsRun", "RunLost", "loses_run"]

P = ParamSpec("P")
T = TypeVar("T")


class RunLost(UsageError):
    """The instance of a read or a run is gone, and with it all rows that were not safe: call `open` again."""


class KeepsRun:
    """A plugin whose only instance keeps a read or a run from call to call."""

    _interrupted: bool = False
    """Whether an interrupt cut off a step."""

    def lose_run(self) -> None:
        """Give up the current read or run, since the result of its last step was lost. Continue with `open`."""
        self._interrupted = True


S = TypeVar("S", bound=KeepsRun)


def loses_run(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Make a method lose its read or run after an exception from outside, such as an interrupt.

    It is then unknown whether the plugin completed the step: another read could skip rows, another write could repeat
    them.
    """

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except DataflareError:
            raise
        except BaseException:
            self.lose_run()
            raise

    return call  # type: ignore[return-value]  # mypy treats `self` as a named parameter
