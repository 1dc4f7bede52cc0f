"""Databases of the connector `sql`: under a policy, only those that it grants by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from dataflare.errors import PermissionDenied
from dataflare.grants import Access
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.security.connectors import ConnectorFiles, Record
from dataflare.user_files import check_journal

__all__ = ["ConnectorDatabases"]

_CONNECTOR = "sql"
_BESIDE_DUCKDB: Final = (".wal", ".wal.checkpoint", ".wal.recovery")


class ConnectorDatabases:
    """Finds the databases of one run. Any thread may use it.

    Args:
        granted: The databases, by the policy's names; `None` without a policy: those of the pipeline are used.
        files: Without a policy, refuses files that must not be an output.
        record: Writes each use and each refusal to the audit log.
        source: The policy's file, for errors.
    """

    def __init__(
        self, granted: Mapping[str, DatabaseGrant] | None, *, files: ConnectorFiles, record: Record, source: str = ""
    ) -> None:
        self._granted = granted
        self._files = files
        self._record = record
        self._source = source

    def find(self, name: str, access: Access, own: Mapping[str, DatabaseGrant]) -> DatabaseGrant:
        """Find a database, and check that the run may use it.

        Args:
            name: Its name.
            access: The requested access.
            own: The databases in the pipeline's file. Under a policy, they are ignored.

        Raises:
            PermissionDenied: The database is not granted, or not for writing.
            ConfigError: With a journal beside the file, the database would delete or overwrite another file.
        """
        what = f"databases:{access}:{name}"
        found = (own if self._granted is None else self._granted).get(name)
        where = self._source if self._granted is not None else "the pipeline"
        if found is None:
            hint = f"grant it under `connectors.grants.databases` in {self._source}"
            raise self._refused(what, f"{where} grants no database {name!r} to connectors", hint)
        if access == "write" and found.access != "write":
            raise self._refused(what, f"{where} grants the database {name!r} for reading only", "say `access: write`")
        if found.is_file:
            path = Path(found.place)
            if self._granted is None:
                check = self._files.check_output if access == "write" else self._files.check_input
                check(path, connector=_CONNECTOR)
            check_journal(path, *([_BESIDE_DUCKDB] if found.kind == "duckdb" else ()))
        self._record(_CONNECTOR, "connect", what, "allow", "")
        return replace(found, access=access)

    def _refused(self, what: str, reason: str, hint: str) -> PermissionDenied:
        self._record(_CONNECTOR, "connect", what, "deny", reason)
        return PermissionDenied(f"connector {_CONNECTOR!r}: {reason}", capability=what, hint=hint)
