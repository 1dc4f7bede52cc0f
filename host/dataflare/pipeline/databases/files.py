"""What is wrong with the file of a database before its library opens it, whose own words for it mislead."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.run_errors import DatabaseError

__all__ = ["check_file"]

_NAMES: Final = {"sqlite": "SQLite", "duckdb": "DuckDB"}
_MARKS: Final = {"sqlite": (0, b"SQLite format 3\0"), "duckdb": (8, b"DUCK")}
"""Where in the file of each kind which bytes are."""
_PATH: Final = "is the path in `url` right? It is relative to the pipeline's file"


def check_file(name: str, grant: DatabaseGrant) -> None:
    """Refuse a file that is not there, may not be used, or is not a database.

    Args:
        name: The database's name in the pipeline.
        grant: Where it is; a server is not looked at.

    Raises:
        DatabaseError: It cannot be opened.
    """
    if grant.is_file and (found := _problem(grant)):
        what, hint = found
        raise DatabaseError(f"database {name!r} ({grant.shown}): {what}", hint=hint)


def _problem(grant: DatabaseGrant) -> tuple[str, str] | None:
    path = Path(grant.place)
    rights = os.R_OK | (os.W_OK if grant.access == "write" else 0)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return "it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file", _PATH
        if not os.access(path, rights):
            return "Permission denied", "may this user read the file, and write to it where rows are written?"
        with path.open("rb") as file:
            beginning = file.read(16)
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}", f"make it, or {_PATH}"
        return None if grant.access == "write" else ("the file is not there", _PATH)
    except OSError as error:
        return error.strerror or str(error), _PATH
    kinds = [kind for kind, (start, mark) in _MARKS.items() if beginning[start:].startswith(mark)]
    if not beginning or grant.kind in kinds:
        return None
    hint = f"url: '{kinds[0]}:PATH'" if kinds else "read other files with their connectors, such as `connector: csv`"
    return f"it is not a {_NAMES[grant.kind]} database", hint
