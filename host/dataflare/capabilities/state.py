"""`dataflare:host/state`: small values that outlive a plugin's instance."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dataflare.capabilities.failures import CapabilityFailure, returns_result
from dataflare.errors import ConfigError

__all__ = ["KeyPage", "MemoryStateStore", "SqliteStateStore", "StateLimits", "StateStore", "imports"]

_MAX_KEY_BYTES = 1024
_MAX_PAGE = 1000
_MAX_U32 = 2**32 - 1
_APPLICATION_ID = 0x44464C52
_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A part of a listing: keys in ascending order, and whether more follow."""

    keys: list[str]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLimits:
    """What one namespace may hold.

    Args:
        value_bytes: The longest value, in bytes.
        namespace_bytes: All keys and values together, in bytes.

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
    """Keys and values in namespaces, which know nothing of one another.

    Each call is atomic, any thread may make it, and it raises `CapabilityFailure` with a case of `state-error`.
    """

    def get(self, namespace: str, key: str) -> bytes | None:
        """Return the value under a key, `None` where there is none."""

    def set(self, namespace: str, key: str, value: bytes) -> None:
        """Put a value under a key."""

    def delete(self, namespace: str, key: str) -> None:
        """Remove a key, if it is there."""

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        """List keys with a prefix, after a key; `limit` 0 stands for 1000, which is also the most."""

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        """Put `replacement` (`None`: remove) if what is there equals `expected` (`None`: nothing); say whether."""

    def close(self) -> None:
        """Let go of the store; idempotent."""


class MemoryStateStore:
    """State as long as the process lives."""

    def __init__(self, *, limits: StateLimits | None = None) -> None:
        self._limits = limits or StateLimits()
        self._lock = threading.Lock()
        self._namespaces: dict[str, dict[bytes, bytes]] = {}
        self._used: dict[str, int] = {}

    def get(self, namespace: str, key: str) -> bytes | None:
        encoded = _encode_key(key)
        with self._lock:
            return self._namespaces.get(namespace, {}).get(encoded)

    def set(self, namespace: str, key: str, value: bytes) -> None:
        encoded = _encode_key(key)
        with self._lock:
            self._put(namespace, encoded, value)

    def delete(self, namespace: str, key: str) -> None:
        encoded = _encode_key(key)
        with self._lock:
            self._put(namespace, encoded, None)

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        start = prefix.encode()
        with self._lock:
            keys = sorted(key for key in self._namespaces.get(namespace, {}) if key.startswith(start))
        first = 0 if after is None else bisect_right(keys, after.encode())
        return _page(keys[first : first + _page_size(limit) + 1], limit)

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        encoded = _encode_key(key)
        with self._lock:
            if self._namespaces.get(namespace, {}).get(encoded) != expected:
                return False
            self._put(namespace, encoded, replacement)
            return True

    def close(self) -> None:
        """Nothing to let go of: the values stay as long as the store."""

    def _put(self, namespace: str, key: bytes, value: bytes | None) -> None:
        entries = self._namespaces.get(namespace, {})
        old = entries.get(key)
        used = self._used.get(namespace, 0) - (0 if old is None else len(key) + len(old))
        if value is None:
            entries.pop(key, None)
        else:
            used = _check_size(self._limits, used, key, value)
            self._namespaces.setdefault(namespace, entries)[key] = bytes(value)
        self._used[namespace] = used


class SqliteStateStore:
    """State in one SQLite file, which several processes may share.

    One connection, one call at a time; a write is on the disk when it returns.

    Args:
        path: The file; it is made where it is absent, its directory is not.
        limits: What each namespace may hold.

    Raises:
        ConfigError: The file cannot be opened, or is something else.
    """

    def __init__(self, path: str | Path, *, limits: StateLimits | None = None) -> None:
        self._limits = limits or StateLimits()
        self._lock = threading.Lock()
        self._path = Path(path)
        self._closed = False
        try:
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise ConfigError(f"{self._path}: {error}", where="state") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise ConfigError(
                f"{self._path}: {error}", where="state", hint="the file is damaged, or not one of this program's"
            ) from error
        except ConfigError:
            self._connection.close()
            raise

    def get(self, namespace: str, key: str) -> bytes | None:
        encoded = _encode_key(key)
        with self._use() as connection:
            return self._find(connection, namespace, encoded)

    def set(self, namespace: str, key: str, value: bytes) -> None:
        encoded = _encode_key(key)
        with self._write() as connection:
            self._put(connection, namespace, encoded, value)

    def delete(self, namespace: str, key: str) -> None:
        encoded = _encode_key(key)
        with self._write() as connection:
            self._put(connection, namespace, encoded, None)

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        start = prefix.encode()
        # UTF-8 has no byte 0xFF, so this is after every key with the prefix.
        query = "SELECT key FROM entries WHERE namespace = ? AND key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?"
        bounds = (namespace, start, start + b"\xff", b"" if after is None else after.encode(), _page_size(limit) + 1)
        with self._use() as connection:
            keys = [row[0] for row in connection.execute(query, bounds)]
        return _page(keys, limit)

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        encoded = _encode_key(key)
        with self._write() as connection:
            if self._find(connection, namespace, encoded) != expected:
                return False
            self._put(connection, namespace, encoded, replacement)
            return True

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def _prepare(self) -> None:
        connection = self._connection
        self._is_made()  # first, so that nothing is changed in a database of something else
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            if self._is_made():
                return
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            connection.execute(
                "CREATE TABLE entries (namespace TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
                " PRIMARY KEY (namespace, key))"
            )
            # Kept beside the entries, so that a write need not add up the whole namespace.
            connection.execute("CREATE TABLE usage (namespace TEXT PRIMARY KEY, bytes INTEGER NOT NULL)")

    def _is_made(self) -> bool:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION_ID:
            raise ConfigError(f"{self._path} is a database of something else", where="state", hint="name another file")
        if tables and version != _SCHEMA_VERSION:
            raise ConfigError(f"{self._path} has version {version}, not {_SCHEMA_VERSION}", where="state")
        return bool(tables)

    def _find(self, connection: sqlite3.Connection, namespace: str, key: bytes) -> bytes | None:
        query = "SELECT value FROM entries WHERE namespace = ? AND key = ?"
        row = connection.execute(query, (namespace, key)).fetchone()
        return None if row is None else bytes(row[0])

    def _put(self, connection: sqlite3.Connection, namespace: str, key: bytes, value: bytes | None) -> None:
        row = connection.execute("SELECT bytes FROM usage WHERE namespace = ?", (namespace,)).fetchone()
        old = self._find(connection, namespace, key)
        used = (0 if row is None else row[0]) - (0 if old is None else len(key) + len(old))
        if value is None:
            connection.execute("DELETE FROM entries WHERE namespace = ? AND key = ?", (namespace, key))
        else:
            used = _check_size(self._limits, used, key, value)
            connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (namespace, key, bytes(value)))
        connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?)", (namespace, used))

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise CapabilityFailure("unavailable", "the store is closed")
            try:
                yield self._connection
            except sqlite3.OperationalError as error:
                raise CapabilityFailure("unavailable", str(error)) from error
            except sqlite3.Error as error:
                raise CapabilityFailure("other", str(error)) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._use() as connection, _transaction(connection):
            yield connection


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


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE takes the write lock at once: a read that grows into a write could find that another process was faster.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _encode_key(key: str) -> bytes:
    encoded = key.encode()
    if not 1 <= len(encoded) <= _MAX_KEY_BYTES:
        raise CapabilityFailure("invalid-key", f"a key has 1 to {_MAX_KEY_BYTES} bytes, not {len(encoded)}")
    return encoded


def _check_size(limits: StateLimits, used: int, key: bytes, value: bytes) -> int:
    if len(value) > limits.value_bytes:
        raise CapabilityFailure("value-too-large", limits.value_bytes)
    total = used + len(key) + len(value)
    if total > limits.namespace_bytes:
        raise CapabilityFailure("quota-exceeded", limits.namespace_bytes)
    return total


def _page_size(limit: int) -> int:
    return min(limit, _MAX_PAGE) if limit else _MAX_PAGE


def _page(keys: list[bytes], limit: int) -> KeyPage:
    size = _page_size(limit)
    return KeyPage([key.decode() for key in keys[:size]], len(keys) > size)
