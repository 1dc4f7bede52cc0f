"""Small values that outlive the plugin's instance; `plugin.yaml` lists `state` under `needs`.

Each plugin of each pipeline has values of its own. Every call is atomic, and durable when it returns if the operator's
store is. A function that fails raises a `StateError`: one of its subclasses where the reason is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from dataflare_plugin import errors
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = [
    "InvalidKey",
    "QuotaExceeded",
    "StateError",
    "Unavailable",
    "ValueTooLarge",
    "compare_and_swap",
    "delete",
    "get",
    "keys",
    "set",
]

_state = interface("state")


class StateError(errors.PluginError):
    """A call failed; the text says why. This class itself: for another reason than those below."""


class InvalidKey(StateError):
    """The key is empty, or longer than 1,024 bytes."""


class ValueTooLarge(StateError, errors.Denied):
    """The value is longer than the operator's limit for one value."""


class QuotaExceeded(StateError, errors.Denied):
    """The store would hold more than the operator's limit."""


class Unavailable(StateError, errors.Unavailable):
    """The store cannot be reached now; a retry can help."""


def _too_large(limit_bytes: int) -> ValueTooLarge:
    return ValueTooLarge(f"the value is longer than {limit_bytes} bytes, the operator's limit")


def _exceeded(limit_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(f"the state would take more than {limit_bytes} bytes, the operator's limit")


_call = host_call(
    {
        "InvalidKey": InvalidKey,
        "ValueTooLarge": _too_large,
        "QuotaExceeded": _exceeded,
        "Unavailable": Unavailable,
    },
    StateError,
)


def get(key: str) -> bytes | None:
    """The value of a key; `None` if it is absent.

    Raises:
        StateError: The store cannot be read.
    """
    found = _call(_state.get, key)
    return None if found is None else bytes(found)


def set(key: str, value: bytes) -> None:
    """Set the value of a key, or replace it.

    Raises:
        StateError: The key or the value is not valid, or the store cannot be written.
    """
    _call(_state.set, key, value)


def delete(key: str) -> None:
    """Remove a key; an absent one is not an error.

    Raises:
        StateError: The store cannot be written.
    """
    _call(_state.delete, key)


def keys(prefix: str = "") -> Iterator[str]:
    """Yield the keys that begin with a prefix, in ascending order of their bytes.

    Raises:
        StateError: The store cannot be read.
    """
    after, more = None, True
    while more:
        page = _call(_state.list_keys, prefix, after, 0)
        yield from page.keys
        more = page.more and bool(page.keys)
        after = page.keys[-1] if page.keys else None


def compare_and_swap(key: str, expected: bytes | None, replacement: bytes | None) -> bool:
    """Set a key, but only if its value is the expected one; returns whether it did.

    Args:
        key: The key.
        expected: What its value must be; `None`: it must be absent.
        replacement: Its new value; `None` removes it.

    Raises:
        StateError: The key or the value is not valid, or the store cannot be written.
    """
    return bool(_call(_state.compare_and_swap, key, expected, replacement))
