"""Calls that a plugin asks to be made again are made again, as a host does it."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dataflare import PluginError

__all__ = ["Patience", "Patient"]

T = TypeVar("T")

_MOST_RETRIES: Final = 5
_FIRST_WAIT_S: Final = 0.5
_MOST_WAITING_S: Final = 30.0


class Patience:
    """The retries of one case.

    A call that answers `rate-limited` is made again after the time that it names, one that answers `unavailable` after
    0.5 s, doubled each time: five times in a row at most, and as long as the waits of the case are 30 s together.

    Args:
        sleep: Waits for some seconds.
    """

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep
        self._left_s = _MOST_WAITING_S
        self._retries: Counter[str] = Counter()
        self._refused_s = 0.0

    @property
    def note(self) -> str:
        """What was retried, for people; empty if nothing was."""
        said = [f"{count} after `{case}`" for case, count in sorted(self._retries.items())]
        notes = [f"calls were made again: {', '.join(said)}"] if said else []
        if self._refused_s:
            notes.append(
                f"the plugin asks for {self._refused_s:g} s more, and a case waits {_MOST_WAITING_S:g} s at most"
            )
        return "; ".join(notes)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a function, and again where the plugin's answer asks for it.

        Raises:
            PluginError: The last answer, when no retry is left.
        """
        for attempt in range(_MOST_RETRIES):
            try:
                return function(*arguments, **named)
            except PluginError as error:
                if not error.retryable:
                    raise
                hint_ms = error.retry_after_ms
                wait_s = _FIRST_WAIT_S * 2**attempt if hint_ms is None else hint_ms / 1000
                if wait_s > self._left_s:
                    self._refused_s = wait_s
                    raise
                self._retries[error.error.case] += 1
            self._left_s -= wait_s
            self._sleep(wait_s)
        return function(*arguments, **named)


class Patient:
    """A plugin whose calls are retried.

    Args:
        plugin: The plugin.
        patience: The retries that are left.
    """

    def __init__(self, plugin: Any, patience: Patience) -> None:
        self._plugin = plugin
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plugin, name)
        return functools.partial(self._patience.call, found) if callable(found) else found
