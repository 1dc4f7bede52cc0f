"""What a plugin's `err` means to the host."""

from __future__ import annotations

from typing import Final

from dataflare.errors import PluginError
from dataflare.values import Variant

__all__ = ["RETRYABLE", "plugin_error"]

RETRYABLE: Final = frozenset({"unavailable", "rate-limited"})
"""The cases of `dataflare:plugin/types.error` that a retry can help with, as their documentation says."""

_HINTS: Final = {
    "invalid-config": "change the plugin's configuration",
    "denied": "the host refused something that the plugin needs: look at its grants",
}


def plugin_error(error: Variant, *, plugin: str, export: str) -> PluginError:
    """Make the error that a caller gets of a `dataflare:plugin/types.error`.

    Args:
        error: The WIT value.
        plugin: The plugin's name.
        export: The function that returned it, as `interface#function`.
    """
    return PluginError(
        _describe(error),
        plugin=plugin,
        export=export,
        error=error,
        retryable=error.case in RETRYABLE,
        retry_after_ms=error.value if error.case == "rate-limited" else None,
        hint=_HINTS.get(error.case, ""),
    )


def _describe(error: Variant) -> str:
    value = error.value
    if value is None:
        return error.case
    if error.case == "rate-limited":
        return f"rate-limited: again after {value} ms"
    if isinstance(value, Variant):
        return f"{error.case}: {_describe(value)}"
    if error.case == "wrong-type":
        return f"wrong-type: column {value.column!r} is {value.actual}, not {value.expected}"
    return f"{error.case}: {value}"
