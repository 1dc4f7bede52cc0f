"""What sources and destinations have in common: work that one instance keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from dataflare.errors import DataflareError, UsageError

__all__ = ["KeepsRun", "RunLost", "loses_run"]

P = ParamSpec("P")
T = TypeVar("T")


class RunLost(UsageError):
    """The instance that was reading or writing is gone, and with it what it had not made safe: `open` again."""


class KeepsRun:
    """A plugin whose one instance keeps a read or a run from call to call."""

    _interrupted: bool = False
    """Whether an interrupt came in the middle of a step."""

    def lose_run(self) -> None:
        """Give up the read or run that is under way: nobody got what its last step returned. Continue with `open`."""
        self._interrupted = True


S = TypeVar("S", bound=KeepsRun)


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
            self.lose_run()
            raise

    return call  # type: ignore[return-value]  # mypy takes `self` for a name
