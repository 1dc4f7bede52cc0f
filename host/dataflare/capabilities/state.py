"""`dataflare:host/state`: small values that outlive a plugin's instance."""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.errors import ConfigError
from dataflare.locks import Lock
from dataflare.values import Err
from dataflare.wit_types.state import KeyPage

__all__ = [
    "ENTRY_BYTES",
    "MemoryStateStore",
    "StateLimits",
    "StateStore",
    "check_size",
    "encode_key",
    "entry_bytes",
    "imports",
    "make_page",
    "page_size",
    "provide",
]

ENTRY_BYTES: Final = 512
"""Bytes counted for each entry in addition to its key and its value: about the overhead in a store's file, including
its namespace twice.
"""


_WRITES: Final = frozenset({"set", "compare-and-swap"})
_PASSED_LIMITS: Final = frozenset({"value-too-large", "quota-exceeded"})
_MAX_KEY_BYTES = 1024
_MAX_PAGE = 1000
_MAX_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLimits:
    """The limits of one namespace.

    Args:
        value_bytes: The longest value, in bytes.
        namespace_bytes: All keys and values together, in bytes, plus 512 for each entry.

    Raises:
        ConfigError: A value is not in 1 to 2**32 - 1.
    """

    value_bytes: int = 2**20
    namespace_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for name in ("value_bytes", "namespace_bytes"):
            if not 1 <= getattr(self, name) <= _MAX_U32:
                raise ConfigError(f"{getattr(self, name)!r} is not in 1 to 2**32 - 1", where=f"state.{name}")


class StateStore(Protocol):
    """Keys and values in separate namespaces.

    Each call is atomic, any thread may make it, and it raises `CapabilityFailure` with a case of `state-error`.
    """

    def get(self, namespace: str, key: str) -> bytes | None:
        """Return the value of a key; `None` if there is none."""

    def set(self, namespace: str, key: str, value: bytes) -> None:
        """Set the value of a key."""

    def delete(self, namespace: str, key: str) -> None:
        """Remove a key, if it exists."""

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        """List the keys with a prefix that come after a key; at most `limit`, which is at most 1000 (0 means 1000)."""

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        """Set `replacement` (`None` removes) if the value equals `expected` (`None`: no value); return whether it
        did."""

    def close(self) -> None:
        """Close the store; idempotent."""


class MemoryStateStore:
    """State in memory, for the life of the process."""

    def __init__(self, *, limits: StateLimits | None = None) -> None:
        self._limits = limits or StateLimits()
        self._lock = Lock()
        self._namespaces: dict[str, _Namespace] = {}

    def get(self, namespace: str, key: str) -> bytes | None:
        encoded = encode_key(key)
        return self._namespace(namespace).get(encoded)

    def set(self, namespace: str, key: str, value: bytes) -> None:
        encoded = encode_key(key)
        found = self._namespace(namespace)
        with found.lock:
            found.put(encoded, value)

    def delete(self, namespace: str, key: str) -> None:
        encoded = encode_key(key)
        found = self._namespace(namespace)
        with found.lock:
            found.put(encoded, None)

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        found = self._namespace(namespace)
        with found.lock:
            keys = found.page(prefix.encode(), None if after is None else after.encode(), page_size(limit) + 1)
        return make_page(keys, limit)

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        encoded = encode_key(key)
        found = self._namespace(namespace)
        with found.lock:
            if found.get(encoded) != expected:
                return False
            found.put(encoded, replacement)
            return True

    def close(self) -> None:
        """Do nothing: the values live as long as the object."""

    def _namespace(self, name: str) -> _Namespace:
        with self._lock:
            return self._namespaces.setdefault(name, _Namespace(self._limits))


class _Namespace:
    """The entries of one namespace. Hold `lock` to change them, or to read several.

    An interrupt at any point leaves every entry among the keys; a key without an entry may remain.
    """

    def __init__(self, limits: StateLimits) -> None:
        self.lock = Lock()
        self._keys = _SortedKeys()
        self._limits = limits
        self._entries: dict[bytes, bytes] = {}
        self._used = 0

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        old = self._entries.get(key)
        used = self._used - (0 if old is None else entry_bytes(key, old))
        if value is not None:
            used, value = check_size(self._limits, used, key, value), bytes(value)
            self._keys.add(key)
            self._entries[key] = value
            self._used = used
        elif old is not None:
            del self._entries[key]
            self._used = used
            self._keys.remove(key)

    def page(self, prefix: bytes, after: bytes | None, count: int) -> list[bytes]:
        """Return the first keys with a prefix, after a key."""
        while True:
            keys = self._keys.page(prefix, after, count)
            left = [key for key in keys if key not in self._entries]
            if not left:
                return keys
            for key in left:
                self._keys.remove(key)


class _SortedKeys:
    """Sorted keys, in parts so short that adding a key moves few others."""

    _LONGEST = 2_000

    def __init__(self) -> None:
        self._parts: list[list[bytes]] = []

    def add(self, key: bytes) -> None:
        """Add a key, unless it exists."""
        if not self._parts:
            self._parts.append([key])
            return
        index = self._part_of(key)
        part = self._parts[index]
        at = bisect_left(part, key)
        if part[at : at + 1] == [key]:
            return
        part.insert(at, key)
        if len(part) > self._LONGEST:
            middle = len(part) // 2
            self._parts[index : index + 1] = [part[:middle], part[middle:]]

    def remove(self, key: bytes) -> None:
        """Remove an existing key."""
        index = self._part_of(key)
        part = self._parts[index]
        del part[bisect_left(part, key)]
        if not part:
            del self._parts[index]

    def page(self, prefix: bytes, after: bytes | None, count: int) -> list[bytes]:
        """Return the first keys with a prefix, after a key."""
        found: list[bytes] = []
        if not self._parts:
            return found
        past = after is not None and after >= prefix
        first = after if past and after is not None else prefix
        index = self._part_of(first)
        begin = (bisect_right if past else bisect_left)(self._parts[index], first)
        while index < len(self._parts) and len(found) < count:
            part = self._parts[index][begin : begin + count - len(found)]
            found += part
            if part and not part[-1].startswith(prefix):
                break
            index, begin = index + 1, 0
        return [key for key in found if key.startswith(prefix)]

    def _part_of(self, key: bytes) -> int:
        return max(0, bisect_right(self._parts, key, key=lambda part: part[0]) - 1)


def imports(store: StateStore, namespace: str) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface over one namespace, by their names in the WIT."""

    def get(key: str) -> bytes | None:
        return store.get(namespace, key)

    def put(key: str, value: bytes) -> None:
        store.set(namespace, key, value)

    def delete(key: str) -> None:
        store.delete(namespace, key)

    def list_keys(prefix: str, after: str | None, limit: int) -> KeyPage:
        return store.list_keys(namespace, prefix, after, limit)

    def compare_and_swap(key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        return store.compare_and_swap(namespace, key, expected, replacement)

    return {
        "get": returns_result(get),
        "set": returns_result(put),
        "delete": returns_result(delete),
        "list-keys": returns_result(list_keys),
        "compare-and-swap": returns_result(compare_and_swap),
    }


# What all stores share.


def encode_key(key: str) -> bytes:
    """Return a key's bytes; raise `CapabilityFailure` with `invalid-key` if it is empty or too long."""
    encoded = key.encode()
    if not 1 <= len(encoded) <= _MAX_KEY_BYTES:
        raise CapabilityFailure("invalid-key", f"a key has 1 to {_MAX_KEY_BYTES} bytes, not {len(encoded)}")
    return encoded


def entry_bytes(key: bytes, value: bytes) -> int:
    """Return the size of an entry in bytes, including the overhead in a store."""
    return len(key) + len(value) + ENTRY_BYTES


def check_size(limits: StateLimits, used: int, key: bytes, value: bytes) -> int:
    """Return the size of a namespace with another entry; raise `CapabilityFailure` if that exceeds a limit."""
    if len(value) > limits.value_bytes:
        raise CapabilityFailure("value-too-large", limits.value_bytes)
    total = used + entry_bytes(key, value)
    if total > limits.namespace_bytes:
        raise CapabilityFailure("quota-exceeded", limits.namespace_bytes)
    return total


def page_size(limit: int) -> int:
    """Return the number of keys of a page."""
    return min(limit, _MAX_PAGE) if limit else _MAX_PAGE


def make_page(keys: list[bytes], limit: int) -> KeyPage:
    """Make a page of keys; `keys` may have one more, which shows that there are further keys."""
    size = page_size(limit)
    return KeyPage([key.decode() for key in keys[:size]], len(keys) > size)


class _Context(Protocol):
    @property
    def plugin(self) -> str: ...
    @property
    def pipeline(self) -> str: ...
    @property
    def state_store(self) -> StateStore: ...
    def count_limit(self, limit: str, amount: int = 1, /) -> None: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    functions = imports(context.state_store, f"{context.pipeline}/{context.plugin}")

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            result = function(*args)
            if isinstance(result, Err) and getattr(result.error, "case", "") in _PASSED_LIMITS:
                context.count_limit("state")
            return result

        return call

    return {name: counted(each) if name in _WRITES else each for name, each in functions.items()}
