"""What a plugin's `err` means to the host."""

from __future__ import annotations

from typing import Any, Final

from dataflare.errors import PluginError
from dataflare.values import Err, Ok, Variant

__all__ = ["RETRYABLE", "plugin_error", "unwrap"]

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


def unwrap(result: Any, *, plugin: str, export: str) -> Any:
    """Return the value of a WIT `result`, and anything else, such as what `health-check` returns, as it is.

    Raises:
        PluginError: It is an `err`.
    """
    if isinstance(result, Err):
        raise plugin_error(result.error, plugin=plugin, export=export)
    return result.value if isinstance(result, Ok) else result


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
