"""Opens the databases of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.confined import Started, start_process
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.dialects import Dialect
from dataflare.pipeline.databases.duckdb import DuckDB
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.databases.postgresql import PostgreSQL
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.databases.sqlite import SQLite
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.run_errors import DatabaseError

__all__ = ["open_database", "password_of"]

_DIALECTS: Final[dict[str, Callable[[], Dialect]]] = {
    "postgresql": PostgreSQL,
    "sqlite": SQLite,
    "duckdb": DuckDB,
}


def open_database(
    node: SqlRead | SqlWrite, grant: DatabaseGrant, secret: Callable[[str], str | None]
) -> SqlSource | SqlDestination:
    """Make what reads or writes a node's table; it connects when it is started.

    Args:
        node: What is read or written.
        grant: Where it is.
        secret: Finds a secret by its name; `None` where there is none.
    """

    ahead: list[Started] = []
    with suppress(OSError):  # it is told when the connection is made
        ahead.append(start_process())  # it imports what it needs while plugins are loaded

    # The first connection is made before a row moves; an outage later ends the run, as within a transaction.
    patience_s = [node.errors.max_outage_s]

    def connect() -> tuple[Connection, Dialect]:
        password = password_of(node.database, grant, secret)
        retries = Retries(node.errors.retries, max_outage_s=patience_s.pop() if patience_s else 0.0)
        try:
            connection = retries.call(_connected, node.database, grant, password, ahead)
        except DatabaseError as error:
            error.retryable = False  # by those who call this
            raise
        return connection, _DIALECTS[grant.kind]()

    return SqlSource(node, connect) if isinstance(node, SqlRead) else SqlDestination(node, connect)


def password_of(name: str, grant: DatabaseGrant, secret: Callable[[str], str | None]) -> str | None:
    """Find the password of a database; `None` if it needs none.

    Raises:
        ConfigError: There is no such secret.
    """
    if grant.password is None:
        return None
    password = secret(grant.password)
    if password is None:
        raise ConfigError(
            f"there is no secret {grant.password!r} for the database {name!r}",
            hint=f"set DATAFLARE_SECRET_{grant.password.upper().replace('-', '_')}",
        )
    return password


def _connected(name: str, grant: DatabaseGrant, password: str | None, ahead: list[Started]) -> Connection:
    """Connect; whether an error passes is known of servers, and of files that one process at a time may open."""
    try:
        return Connection(name, grant, password, ahead.pop() if ahead else None)
    except DatabaseError as error:
        error.retryable = error.unavailable and grant.kind != "sqlite"
        raise
