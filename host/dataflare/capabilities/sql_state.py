"""State in tables of a database: what SQLite and PostgreSQL share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.state import StateLimits, check_size, encode_key, entry_bytes, make_page, page_size
from dataflare.wit_types.state import KeyPage

__all__ = ["DAMAGED", "SqlConnection", "SqlRows", "SqlStateStore", "checked"]

T = TypeVar("T")

DAMAGED: Final = "the state's file is damaged"
_SET_ENTRY: Final = (
    "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value"
)
_SET_USAGE: Final = "INSERT INTO usage VALUES (?, ?) ON CONFLICT (namespace) DO UPDATE SET bytes = excluded.bytes"


class SqlRows(Protocol):
    """The answer to a statement."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class SqlConnection(Protocol):
    """What runs statements, whose values stand where `?` does."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> SqlRows: ...


class SqlStateStore(ABC):
    """State in the tables `entries` and `usage`.

    Args:
        limits: The limits of each namespace; `None` for the defaults.
    """

    def __init__(self, limits: StateLimits | None) -> None:
        self._limits = limits or StateLimits()

    def get(self, namespace: str, key: str) -> bytes | None:
        encoded = encode_key(key)
        return self._use(lambda connection: self._find(connection, namespace, encoded))

    def set(self, namespace: str, key: str, value: bytes) -> None:
        encoded = encode_key(key)
        self._write(lambda connection: self._put(connection, namespace, encoded, value))

    def delete(self, namespace: str, key: str) -> None:
        encoded = encode_key(key)
        self._write(lambda connection: self._put(connection, namespace, encoded, None))

    def list_keys(self, namespace: str, prefix: str, after: str | None, limit: int) -> KeyPage:
        start = prefix.encode()
        # UTF-8 has no byte 0xFF, so this is after every key with the prefix.
        query = "SELECT key FROM entries WHERE namespace = ? AND key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?"
        bounds = (namespace, start, start + b"\xff", b"" if after is None else after.encode(), page_size(limit) + 1)

        def find(connection: SqlConnection) -> KeyPage:
            return make_page([checked(row[0], bytes) for row in connection.execute(query, bounds)], limit)

        return self._use(find)

    def compare_and_swap(self, namespace: str, key: str, expected: bytes | None, replacement: bytes | None) -> bool:
        encoded = encode_key(key)

        def swap(connection: SqlConnection) -> bool:
            if self._find(connection, namespace, encoded) != expected:
                return False
            self._put(connection, namespace, encoded, replacement)
            return True

        return self._write(swap)

    @abstractmethod
    def close(self) -> None:
        """Close the store; idempotent."""

    @abstractmethod
    def _use(self, work: Callable[[Any], T]) -> T:
        """Read; raises `CapabilityFailure`."""

    @abstractmethod
    def _write(self, work: Callable[[Any], T]) -> T:
        """Change in one transaction; raises `CapabilityFailure`."""

    def _find(self, connection: SqlConnection, namespace: str, key: bytes) -> bytes | None:
        query = "SELECT value FROM entries WHERE namespace = ? AND key = ?"
        row = connection.execute(query, (namespace, key)).fetchone()
        return None if row is None else checked(row[0], bytes)

    def _put(self, connection: SqlConnection, namespace: str, key: bytes, value: bytes | None) -> None:
        row = connection.execute("SELECT bytes FROM usage WHERE namespace = ?", (namespace,)).fetchone()
        old = self._find(connection, namespace, key)
        used = (0 if row is None else checked(row[0], int)) - (0 if old is None else entry_bytes(key, old))
        if used < 0:
            raise CapabilityFailure("other", DAMAGED)
        if value is None:
            connection.execute("DELETE FROM entries WHERE namespace = ? AND key = ?", (namespace, key))
        else:
            used = check_size(self._limits, used, key, value)
            connection.execute(_SET_ENTRY, (namespace, key, bytes(value)))
        connection.execute(_SET_USAGE, (namespace, used))


def checked(value: Any, expected: type[T]) -> T:
    """Return a value of a table if it has the expected type; a damaged file may have any type."""
    if not isinstance(value, expected):
        raise CapabilityFailure("other", DAMAGED)
    return value
