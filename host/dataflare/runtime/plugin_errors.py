"""Turns a plugin's `err` into the host's errors."""

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
"""The cases of `dataflare:plugin/types.error` that a retry can help with, as their documentation says."""

_JSON_POSITION: Final = re.compile(r",? \(?at line [0-9]+,? column [0-9]+\)?")
_KEY: Final = re.compile(r"([A-Za-z_][\w.\-\[\]]{0,99}): ")
_HINTS: Final = {
    "denied": "the host or a service refused something that the plugin needs: look at its grants and credentials",
    "unsupported": "the plugin cannot do this at all: ask it for something else, such as another mode, or use another",
}
_FULL: Final = ("MemoryError", "InternalError: out of memory", "out of memory")
"""How an error of a plugin begins whose language found no memory: Python, JavaScript and C."""


def plugin_error(error: Variant, *, plugin: str, export: str) -> PluginError:
    """Make the error that a caller gets of a `dataflare:plugin/types.error`.

    Args:
        error: The WIT value; its texts are cut.
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
    """What to do about an error. A guess from its text goes into the hint alone, which nothing depends on."""
    text = error.value if isinstance(error.value, str) else ""
    if error.case == "invalid-config":
        key = f" at `{found[1]}`" if (found := _KEY.match(text)) else ""
        return f"change the plugin's configuration{key}: `config` in a pipeline, `--config` on the command line"
    if error.case == "internal" and text.startswith(_FULL):
        return "the plugin's memory is full: raise `limits.memory` (`--limit memory=SIZE`), or give it fewer rows"
    return _HINTS.get(error.case, "")


def _cut(value: Any) -> Any:
    """The value with its texts cut: an error is kept and passed on, where a plugin may have filled it."""
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
        # A position in JSON that the host made of the configuration, which nobody has seen.
        value = _JSON_POSITION.sub("", str(value))
    return f"{error.case}: {value}"
