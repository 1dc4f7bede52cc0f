"""What a pipeline keeps between its runs, in an SQLite file.

It has the position of each source, the columns that nodes had, and the history of runs.
The file also holds the plugins' own state (`SqliteStateStore`). Only one run at a time can use it: a lock on a file
beside it, which is released when its process dies.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from dataflare.capabilities.sql_state import DAMAGED, SqlConnection
from dataflare.capabilities.sqlite_state import Guard, SqliteStateStore, problem_of, transaction
from dataflare.errors import ConfigError
from dataflare.locks import Lock
from dataflare.pipeline.pipeline_state import TABLES, VERSION, Damaged, PipelineState, check_pipeline
from dataflare.pipeline.run_errors import StateError
from dataflare.security.protected import STATES_FOLDER
from dataflare.texts import cut
from dataflare.user_files import as_path

__all__ = ["StateFile", "default_place"]

T = TypeVar("T")
_log = logging.getLogger("dataflare.pipeline")

_DAMAGES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_S: Final = 10.0
_LOCKED_S: Final = 1.0
"""How long to wait for the lock: commands that only look at the state have it for a moment."""
_AGAIN_S: Final = 0.02
_TYPES: Final = {"blob": "BLOB", "integer": "INTEGER", "real": "REAL", "serial": "INTEGER PRIMARY KEY AUTOINCREMENT"}
_CHECKED_S: Final = 1.0
"""How long pages are looked at when the file is opened; 32 MiB take 50 ms."""
_OWN_TABLES: Final = {"pipeline", "node", "pending", "known_schema", "intent"}
"""What says where sources continue; each is small."""
_ANOTHER: Final = "put a copy of it back, or move it away and start again with --full-refresh"
_ADDED: Final = "ALTER TABLE pending ADD COLUMN rows INTEGER NOT NULL DEFAULT 0"
"""Version 1 has the first three tables, and lacks this column: when it is opened, it is given the rest."""


def default_place(folder: Path, pipeline: str) -> Path:
    """Where the state of a pipeline is, unless another file is named: beside the pipeline's file."""
    return folder / STATES_FOLDER / f"{pipeline}.state"


class StateFile(PipelineState):
    """The state of one pipeline. Any thread may call it; a call is on the disk when it returns.

    Args:
        path: The file; it and its folder are made where they are absent.
        pipeline: The pipeline's name; a file belongs to one pipeline.

    Attributes:
        plugins: The state of the plugins themselves.

    Raises:
        StateError: Another run has it, or it cannot be opened, is damaged, of a newer version, or of another pipeline.
    """

    _ROW = "rowid"
    plugins: SqliteStateStore

    def __init__(self, path: str | os.PathLike[str], *, pipeline: str) -> None:
        self.path = Path(os.path.abspath(as_path(path, where="state")))
        self.place = str(self.path)
        self._lock = Lock()
        with ExitStack() as stack:
            with self._translated():
                _make_folder(self.path.parent)
                _require_plain(self.path)
                stack.callback(os.close, self._hold())
                self.plugins = SqliteStateStore(self.path)
                stack.callback(self.plugins.close)
                self._connection = sqlite3.connect(
                    self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
                )
                stack.callback(self._connection.close)
                self._guard = Guard(self._connection)
                self._guard.begin()
                self._check_pages()
                self._connection.execute("PRAGMA synchronous = FULL")
                self._prepare(pipeline)
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Release the file for another run; idempotent."""
        with self._lock:
            self._closing.close()

    def _hold(self) -> int:
        descriptor = os.open(
            f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
        try:
            until_s = time.monotonic() + _LOCKED_S
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return descriptor
                if time.monotonic() > until_s:
                    raise StateError(
                        f"{self.path}: another run of this pipeline is under way",
                        hint="wait for it, or end it; two pipelines need two state files",
                    )
                time.sleep(_AGAIN_S)
        except BaseException:
            os.close(descriptor)
            raise

    def _check_pages(self) -> None:
        """Refuse a file with damaged pages, also if this run would not read them; without sums, not changed values.

        What says where sources continue is always checked. The rest, which plugins may let grow, is for some time.

        Raises:
            StateError: There is one.
        """
        names = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for name in _OWN_TABLES & names:
            self._check(name)
        ending = threading.Timer(_CHECKED_S, self._connection.interrupt)
        ending.start()
        try:
            self._check("1")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            _log.info("%s: in %s s, not all of its pages could be checked for damage", self.path, _CHECKED_S)
        finally:
            ending.cancel()
            ending.join()  # it must not interrupt what comes next

    def _check(self, what: str) -> None:
        (said,) = self._connection.execute(f"PRAGMA quick_check({what})").fetchone()
        if said != "ok":
            raise StateError(f"{self.path}: {DAMAGED} ({cut(' '.join(said.split()))})", hint=_ANOTHER)

    def _prepare(self, pipeline: str) -> None:
        def make(connection: sqlite3.Connection) -> Any:
            tables = TABLES.format(**_TYPES)
            new = not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'pipeline'").fetchone()[0]
            old = not new and connection.execute("SELECT version FROM pipeline").fetchone() == (1,)
            if old:
                connection.execute(_ADDED)
            if new or old:
                for statement in tables.split(";"):
                    connection.execute(statement)
            if new:
                connection.execute("INSERT INTO pipeline VALUES (?, ?)", (pipeline, VERSION))
            else:
                connection.execute("UPDATE pipeline SET version = ? WHERE version = 1", (VERSION,))
            return connection.execute("SELECT name, version FROM pipeline").fetchone()

        check_pipeline(self.place, transaction(self._connection, make), pipeline)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read from the file.

        Raises:
            StateError: That failed.
        """
        with self._lock, self._translated():
            self._guard.begin()
            return work(self._connection)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Change the file in one transaction.

        Raises:
            StateError: That failed, and nothing is changed.
        """
        return self.read(lambda connection: transaction(connection, work))

    def has_table(self, connection: SqlConnection, name: str) -> bool:
        """Whether there is a table."""
        return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone() is not None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:  # of the store of the plugins, which is in the same file
            raise StateError(error.message.removeprefix("state: "), hint=error.hint) from error.__cause__
        except (sqlite3.Error, UnicodeDecodeError, Damaged) as error:
            code, _, text = problem_of(error)
            hint = _ANOTHER if code in _DAMAGES else "see that its disk has room, or name another file"
            raise StateError(f"{self.path}: {text} ({error})", hint=hint) from error
        except OSError as error:
            raise StateError(
                f"{self.path}: the state cannot be kept there: {error.strerror or error}",
                hint="name another file with --state; a run can also keep no state, with --no-state",
            ) from error


def _make_folder(folder: Path) -> None:
    if folder.name != STATES_FOLDER or os.path.lexists(folder):
        if folder.name == STATES_FOLDER and not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise StateError(f"{folder} is not a folder", hint="name another file with --state")
        return
    folder.mkdir(mode=0o700)
    ignore = folder / ".gitignore"
    try:
        with ignore.open("x") as file:
            file.write("*\n")
    except FileExistsError:
        pass
    except OSError:  # a full disk: an empty one would stay for good, and let states into a repository
        ignore.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
        raise


def _require_plain(path: Path) -> None:
    """Refuse a link or a device, so that someone who may write the folder of a pipeline cannot choose another file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise StateError(f"{path} is not a regular file", hint="name another file with --state")
