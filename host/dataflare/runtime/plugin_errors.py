"""Converts a plugin's `err` to the host's errors."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, Final

from dataflare.data.shapes import mismatch_text
from dataflare.errors import PluginError
from dataflare.texts import cut
from dataflare.values import Variant

__all__ = ["RETRYABLE", "plugin_error"]

RETRYABLE: Final = frozenset({"unavailable", "rate-limited"})
"""The cases of `dataflare:plugin/types.error` for which a retry can help, by their documentation."""

_JSON_POSITION: Final = re.compile(r",? \(?at line [0-9]+,? column [0-9]+\)?")
_KEY: Final = re.compile(r"([A-Za-z_][\w.\-\[\]]{0,99}): ")
_HINTS: Final = {
    "denied": "the host or a service refused something that the plugin needs: look at its grants and credentials",
    "unsupported": "the plugin cannot do this at all: ask it for something else, such as another mode, or use another",
}
_FULL: Final = ("MemoryError", "InternalError: out of memory", "out of memory")
"""The beginning of an error text when a plugin's language has run out of memory: Python, JavaScript and C."""


def plugin_error(error: Variant, *, plugin: str, export: str) -> PluginError:
    """Convert a `dataflare:plugin/types.error` to the caller's error.

    Args:
        error: The WIT value; its texts are shortened.
        plugin: The plugin's name.
        export: The function that returned it, as `interface#function`.
    """
    error = _cut(error)
    return PluginError(
        _describe(error),
        plugin=plugin,
        export=export,
        error=error,
        retryable=error.case in RETRYABLE,
        retry_after_ms=error.value if error.case == "rate-limited" else None,
        hint=_hint(error),
    )


def _hint(error: Variant) -> str:
    """Return the hint for an error. A guess from its text goes only into the hint, on which nothing depends."""
    text = error.value if isinstance(error.value, str) else ""
    if error.case == "invalid-config":
        key = f" at `{found[1]}`" if (found := _KEY.match(text)) else ""
        return f"change the plugin's configuration{key}: `config` in a pipeline, `--config` on the command line"
    if error.case == "internal" and text.startswith(_FULL):
        return "the plugin's memory is full: raise `limits.memory` (`--limit memory=SIZE`), or give it fewer rows"
    return _HINTS.get(error.case, "")


def _cut(value: Any) -> Any:
    """Return the value with shortened texts: errors are kept and passed on, so a plugin must not fill them."""
    match value:
        case str():
            return cut(value)
        case Variant():
            return Variant(value.case, _cut(value.value))
    fields = {name: getattr(value, name) for name in getattr(value, "__match_args__", ())}
    shorter = {name: _cut(each) for name, each in fields.items()}
    return value if shorter == fields else SimpleNamespace(**shorter)


def _describe(error: Variant) -> str:
    value = error.value
    if value is None:
        return error.case
    if error.case == "rate-limited":
        return f"rate-limited: again after {value} ms"
    if isinstance(value, Variant):
        return f"{error.case}: {_describe(value)}"
    if error.case == "wrong-type":
        return f"wrong-type: {mismatch_text(value)}"
    if error.case == "invalid-config":
        # The position refers to JSON that the host made from the configuration, which the user does not see.
        value = _JSON_POSITION.sub("", str(value))
    return f"{error.case}: {value}"
