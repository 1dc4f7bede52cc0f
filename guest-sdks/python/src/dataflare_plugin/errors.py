"""Errors, by what the caller can do. Anything else that a plugin raises becomes `internal`, with file and line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any, get_args

from dataflare_plugin.bindings import Err, batches, types

__all__ = [
    "Cancelled",
    "Denied",
    "InvalidConfig",
    "InvalidInput",
    "InvalidState",
    "PluginError",
    "RateLimited",
    "Superseded",
    "Unavailable",
    "Unsupported",
    "as_wit",
    "host_call",
]

_DATA_ERRORS = get_args(batches.DataError)
_ERRORS = get_args(types.Error)
_SDK = os.path.basename(os.path.dirname(__file__))


class PluginError(Exception):
    """An error of the plugin that fits none of the others; its text is for people."""

    def to_wit(self) -> Any:
        """The case of the standard's `error`."""
        return types.Error_Other(str(self))


class InvalidConfig(PluginError):
    """The configuration is wrong: only the operator can correct it. Name the key."""

    def to_wit(self) -> Any:
        return types.Error_InvalidConfig(str(self))


class InvalidInput(PluginError):
    """This record or batch is wrong; others may be right."""

    def to_wit(self) -> Any:
        return types.Error_InvalidInput(str(self))


class InvalidState(PluginError):
    """A state or a part does not come from this plugin and its configuration."""

    def to_wit(self) -> Any:
        return types.Error_InvalidState(str(self))


class Denied(PluginError):
    """The host or a service refused something that the plugin needs, or it is too large; a retry does not help."""

    def to_wit(self) -> Any:
        return types.Error_Denied(str(self))


class Unavailable(PluginError):
    """Something cannot be reached for now; the same call may be made again."""

    def to_wit(self) -> Any:
        return types.Error_Unavailable(str(self))


class RateLimited(PluginError):
    """The same call may be made again after a while.

    Args:
        retry_after_ms: How long to wait, in milliseconds.
    """

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"wait for {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms

    def to_wit(self) -> Any:
        return types.Error_RateLimited(self.retry_after_ms)


class Superseded(PluginError):
    """A newer run has taken this one's place."""

    def to_wit(self) -> Any:
        return types.Error_Superseded(str(self))


class Cancelled(PluginError):
    """The work ended because it was cancelled."""

    def to_wit(self) -> Any:
        return types.Error_Cancelled()


class Unsupported(PluginError):
    """The plugin cannot do this at all."""

    def to_wit(self) -> Any:
        return types.Error_Unsupported(str(self))


def host_call(reasons: Mapping[str, Callable[[Any], Exception]], other: type[Exception]) -> Callable[..., Any]:
    """Make what calls functions of a host interface, and raises exceptions for its errors.

    Args:
        reasons: What makes the exception of each case of the interface's error, given what the case holds.
        other: The exception of any other case.
    """

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Err as error:
            case = type(error.value).__name__.partition("_")[2]
            raise reasons.get(case, other)(getattr(error.value, "value", "")) from None

    return call


def as_wit(error: Exception) -> Err:
    """What a call returns in place of an exception, which would end the whole instance if it left an export."""
    if isinstance(error, PluginError):
        return Err(error.to_wit())
    value = error.value if isinstance(error, Err) else None
    if isinstance(value, _DATA_ERRORS):
        return Err(types.Error_Data(value))
    if isinstance(value, _ERRORS):
        return error
    what = f"{type(value).__name__.partition('_')[2]}: {getattr(value, 'value', '')}" if value else _message(error)
    return Err(types.Error_Internal(f"{what}{_place(error)}"))


def _message(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _place(error: Exception) -> str:
    """The lines of the plugin that the error passed through, the innermost first; not those of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [f"{os.path.basename(each.filename)}:{each.lineno}, in {each.name}" for each in frames if not _ours(each)]
    return "".join(f"\n  at {line}" for line in reversed(shown))


def _ours(frame: traceback.FrameSummary) -> bool:
    return os.path.basename(os.path.dirname(frame.filename)) == _SDK
