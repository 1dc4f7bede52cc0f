"""The interfaces that plugins can import from the host, and which of them an operator has to grant."""

from __future__ import annotations

from typing import Final

__all__ = ["FREE", "NEEDS_GRANT", "OFFERED", "interface_name", "short_name"]

NEEDS_GRANT: Final = frozenset(
    {"clock", "files", "http", "metrics", "plugins", "random", "secrets", "shared", "state", "tasks"}
)
"""Interfaces of `dataflare:host`, by short name, that reach outside of the plugin."""

FREE: Final = frozenset({"batches", "config", "expressions", "logging", "schemas"})
"""Interfaces that every plugin may use."""

OFFERED: Final = NEEDS_GRANT | FREE
"""Interfaces that this host has: all that the WIT names."""

_DATA = frozenset({"batches", "expressions", "schemas"})
_VERSION = "1.0.0"


def interface_name(short: str) -> str:
    """Write an interface's full name: `files` is `dataflare:host/files@1.0.0`.

    Raises:
        KeyError: There is no such interface.
    """
    if short not in NEEDS_GRANT | FREE:
        raise KeyError(short)
    return f"dataflare:{'data' if short in _DATA else 'host'}/{short}@{_VERSION}"


def short_name(interface: str) -> str | None:
    """Find an interface's short name; `None` for one that is not of this host, or of another version."""
    short = interface.rpartition("/")[2].partition("@")[0]
    return short if short in NEEDS_GRANT | FREE and interface_name(short) == interface else None
