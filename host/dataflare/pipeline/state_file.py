"""What a pipeline keeps between its runs, in an SQLite file.

It has the position of each source, the columns that nodes had, and the history of runs.
The file also holds the plugins' own state (`SqliteStateStore`). Only one run at a time can use it: a lock on a file
beside it, which is released when its process dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from dataflare.capabilities.sqlite_state import Guard, SqliteStateStore, problem_of, transaction
from dataflare.errors import ConfigError
from dataflare.locks import Lock
from dataflare.pipeline.run_errors import StateError
from dataflare.user_files import as_path

__all__ = ["DONE", "FOLDER", "MOST_COUNTED", "Checkpoint", "NodeState", "StateFile", "default_place"]

T = TypeVar("T")

FOLDER: Final = ".dataflare"
"""The folder beside a pipeline's file that has its state, unless another file is named."""
_VERSION: Final = 2
_BUSY_S: Final = 10.0
MOST_COUNTED: Final = 2**62
"""What counts stay below: SQLite's numbers end at twice as much, and rows are added to them."""
_FAR_S: Final = 2.0**37
DONE: Final = "done"
"""What the table `intent` has for a part of a run that is finished; no mark of a file is this."""
_UNDONE: Final = "DELETE FROM intent WHERE path = ? AND mark = ?"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS pipeline (name TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS node (
  name TEXT PRIMARY KEY, lineage TEXT NOT NULL, reading TEXT NOT NULL, sequence INTEGER NOT NULL, state BLOB,
  complete INTEGER NOT NULL, rows INTEGER NOT NULL, saved_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pending (
  node TEXT NOT NULL, sequence INTEGER NOT NULL, state BLOB, last INTEGER NOT NULL, rows INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (node, sequence)
);
CREATE TABLE IF NOT EXISTS known_schema (node TEXT PRIMARY KEY, columns TEXT NOT NULL, saved_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS intent (path TEXT PRIMARY KEY, mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run (
  id INTEGER PRIMARY KEY AUTOINCREMENT, begun_at REAL NOT NULL, ended_at REAL, status TEXT NOT NULL, report TEXT
);
CREATE TABLE IF NOT EXISTS schema_change (node TEXT NOT NULL, change TEXT NOT NULL, noted_at REAL NOT NULL);
"""
_ADDED: Final = "ALTER TABLE pending ADD COLUMN rows INTEGER NOT NULL DEFAULT 0"
"""Version 1 has the first three tables, and lacks this column: when it is opened, it is given the rest."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point in a source's rows.

    Args:
        sequence: Its number; they rise, from 1.
        state: Where the source continues after it; `None` where it never said.
        last: Whether it is the end of the rows.
        rows: The rows of the source up to it, since the first run or the last reset; 0 where that is not known.
    """

    sequence: int
    state: bytes | None
    last: bool = False
    rows: int = 0


@dataclass(frozen=True, slots=True)
class NodeState:
    """The saved position of a source.

    Args:
        node: The source's node.
        lineage: Distinguishes this series of checkpoints from those before a reset.
        reading: What is read, as JSON; the state is only valid for this.
        checkpoint: The last one up to which every destination has stored all rows. `last` says that the read was
            completed.
        rows: The rows of the source up to it, since the first run or the last reset.
        saved_at: When it was written, in seconds since 1970.
        pending: Later ones, of a run that ended before it knew whether the destinations had reached them.
    """

    node: str
    lineage: str
    reading: str
    checkpoint: Checkpoint
    rows: int
    saved_at: float
    pending: tuple[Checkpoint, ...] = ()

    @property
    def last_sequence(self) -> int:
        """The highest number that a checkpoint has."""
        return max([self.checkpoint.sequence, *(each.sequence for each in self.pending)])


def default_place(folder: Path, pipeline: str) -> Path:
    """Where the state of a pipeline is, unless another file is named: beside the pipeline's file."""
    return folder / FOLDER / f"{pipeline}.state"


class StateFile:
    """The state of one pipeline. Any thread may call it; a call is on the disk when it returns.

    Args:
        path: The file; it and its folder are made where they are absent.
        pipeline: The pipeline's name; a file belongs to one pipeline.

    Attributes:
        plugins: The state of the plugins themselves.

    Raises:
        StateError: Another run has it, or it cannot be opened, is damaged, of a newer version, or of another pipeline.
    """

    def __init__(self, path: str | os.PathLike[str], *, pipeline: str) -> None:
        self.path = Path(os.path.abspath(as_path(path, where="state")))
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
                self._connection.execute("PRAGMA synchronous = FULL")
                self._prepare(pipeline)
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file for another run; idempotent."""
        with self._lock:
            self._closing.close()

    def nodes(self) -> list[NodeState]:
        """The states of all sources, by name.

        Raises:
            StateError: The file cannot be read.
        """

        def find(connection: sqlite3.Connection) -> list[NodeState]:
            found = [_node(connection, name) for name in _names(connection)]
            return [each for each in found if each is not None]

        return self.read(find)

    def node(self, name: str) -> NodeState | None:
        """The state of a source; `None` where none was kept.

        Raises:
            StateError: The file cannot be read.
        """
        return self.read(lambda connection: _node(connection, name))

    def begin(self, node: str, reading: str) -> NodeState:
        """Start a read from the beginning, and forget the saved position.

        Args:
            node: The source's node.
            reading: What is read, as JSON.

        Raises:
            StateError: The file cannot be written.
        """

        def start(connection: sqlite3.Connection) -> NodeState:
            kept = _node(connection, node)
            # Numbers keep rising: they distinguish what destinations kept of earlier reads.
            lineage, sequence, rows = secrets.token_hex(8), 0, 0
            if kept is not None:
                lineage, sequence, rows = kept.lineage, kept.last_sequence, kept.rows
            begun = NodeState(node, lineage, reading, Checkpoint(sequence, None), rows, time.time())
            _put(connection, begun)
            return begun

        return self.write(start)

    def prepare(self, node: str, checkpoint: Checkpoint) -> None:
        """Save a checkpoint that the destinations are about to reach.

        Raises:
            StateError: The file cannot be written.
        """
        values = (node, checkpoint.sequence, checkpoint.state, checkpoint.last, checkpoint.rows)
        statement = "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?)"
        self.write(lambda connection: connection.execute(statement, values))

    def commit(
        self,
        reached: Iterable[tuple[str, Checkpoint, int]],
        schemas: Iterable[tuple[str, str, Sequence[str]]] = (),
        *,
        ended: bool = False,
        done: str = "",
    ) -> None:
        """Save checkpoints that all destinations have reached, in one step.

        Args:
            reached: The node, the checkpoint, and the rows since the last one.
            schemas: For nodes that read, the known columns (`schema_to_text`), and the changes of this run as JSON.
            ended: Whether the run, or a part of it, is at its end: what it intended is done.
            done: The part that came to its end, of a run with several; empty for none.

        Raises:
            StateError: The file cannot be written.
        """

        def keep(connection: sqlite3.Connection) -> None:
            for node, checkpoint, rows in reached:
                connection.execute(
                    "UPDATE node SET sequence = ?, state = ?, complete = ?, rows = rows + ?, saved_at = ?"
                    " WHERE name = ?",
                    (checkpoint.sequence, checkpoint.state, checkpoint.last, rows, time.time(), node),
                )
                connection.execute("DELETE FROM pending WHERE node = ? AND sequence <= ?", (node, checkpoint.sequence))
            for node, columns, changes in schemas:
                connection.execute("INSERT OR REPLACE INTO known_schema VALUES (?, ?, ?)", (node, columns, time.time()))
                for change in changes:
                    connection.execute("INSERT INTO schema_change VALUES (?, ?, ?)", (node, change, time.time()))
            if ended:
                connection.execute("DELETE FROM intent WHERE mark <> ?", (DONE,))
            if done:
                connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", (done, DONE))

        self.write(keep)

    def intend(self, path: str, mark: str) -> None:
        """Record what is about to become visible in a file, until a run ends.

        Raises:
            StateError: The file cannot be written.
        """
        self.write(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", (path, mark)))

    def intent(self, path: str) -> str | None:
        """Return what a run recorded that did not end; `None` if there is nothing.

        Raises:
            StateError: The file cannot be read.
        """
        return self._text_of("SELECT mark FROM intent WHERE path = ?", path)

    def known_schema(self, node: str) -> str | None:
        """The columns that a node gave in the last completed run, as `schema_to_text` writes them; `None`: not known.

        Raises:
            StateError: The file cannot be read.
        """
        return self._text_of("SELECT columns FROM known_schema WHERE node = ?", node)

    def _text_of(self, query: str, key: str) -> str | None:
        def find(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(query, (key,)).fetchone()
            return None if row is None else _text(row[0])

        return self.read(find)

    def known_schemas(self) -> dict[str, str]:
        """The known columns of all nodes that read; as `known_schema`."""
        query = "SELECT node, columns FROM known_schema ORDER BY node"
        return self.read(
            lambda connection: {_text(node): _text(columns) for node, columns in connection.execute(query)}
        )

    def schema_changes(self) -> list[tuple[str, str, float]]:
        """The changes of columns in completed runs, oldest first: the node, the change as JSON, and when it was saved.

        Raises:
            StateError: The file cannot be read.
        """
        query = "SELECT node, change, noted_at FROM schema_change ORDER BY rowid"
        return self.read(
            lambda connection: [
                (_text(node), _text(change), _moment(noted)) for node, change, noted in connection.execute(query)
            ]
        )

    def kept(self) -> list[str]:
        """The nodes whose position or columns are saved."""
        return self.read(_kept)

    def reset(self, nodes: Sequence[str] | None = None) -> list[str]:
        """Forget where nodes continue, and which columns they had.

        Args:
            nodes: Their names; `None` for all.

        Returns:
            The nodes of which something was saved.

        Raises:
            StateError: The file cannot be written.
        """

        def forget(connection: sqlite3.Connection) -> list[str]:
            forgotten = [name for name in _kept(connection) if nodes is None or name in nodes]
            for name in forgotten:
                connection.execute("DELETE FROM node WHERE name = ?", (name,))
                connection.execute(_UNDONE, (name, DONE))
                connection.execute("DELETE FROM pending WHERE node = ?", (name,))
                connection.execute("DELETE FROM known_schema WHERE node = ?", (name,))
            return forgotten

        return self.write(forget)

    def put(self, states: Iterable[NodeState]) -> None:
        """Replace the saved positions of sources, in one step.

        Raises:
            StateError: The file cannot be written.
        """

        def replace(connection: sqlite3.Connection) -> None:
            for state in states:
                _put(connection, state)

        self.write(replace)

    def _hold(self) -> int:
        descriptor = os.open(
            f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StateError(
                f"{self.path}: another run of this pipeline is under way",
                hint="wait for it, or end it; two pipelines need two state files",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _prepare(self, pipeline: str) -> None:
        def make(connection: sqlite3.Connection) -> Any:
            new = not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'pipeline'").fetchone()[0]
            old = not new and connection.execute("SELECT version FROM pipeline").fetchone() == (1,)
            if old:
                connection.execute(_ADDED)
            if new or old:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
            if new:
                connection.execute("INSERT INTO pipeline VALUES (?, ?)", (pipeline, _VERSION))
            else:
                connection.execute("UPDATE pipeline SET version = ? WHERE version = 1", (_VERSION,))
            return connection.execute("SELECT name, version FROM pipeline").fetchone() or ("", 0)

        row = transaction(self._connection, make)
        name, version = row
        if version != _VERSION:
            newer = isinstance(version, int) and version > _VERSION
            hint = "use the version of this program that wrote it" if newer else "name another file"
            raise StateError(f"{self.path}: it has version {version!r}, not {_VERSION}", hint=hint)
        if name != pipeline:
            raise StateError(
                f"{self.path}: it is the state of pipeline {name!r}, not of {pipeline!r}", hint="name another file"
            )

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

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as error:  # of the store of the plugins, which is in the same file
            raise StateError(error.message.removeprefix("state: "), hint=error.hint) from error.__cause__
        except (sqlite3.Error, UnicodeDecodeError) as error:
            _, _, text = problem_of(error)
            raise StateError(
                f"{self.path}: {text} ({error})", hint="see that its disk has room, or name another file"
            ) from error
        except OSError as error:
            raise StateError(
                f"{self.path}: the state cannot be kept there: {error.strerror or error}",
                hint="name another file with --state, or keep none with --no-state",
            ) from error


def _make_folder(folder: Path) -> None:
    if folder.name != FOLDER or os.path.lexists(folder):
        if folder.name == FOLDER and not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise StateError(f"{folder} is not a folder", hint="name another file with --state")
        return
    folder.mkdir(mode=0o700)
    with suppress(FileExistsError), (folder / ".gitignore").open("x") as file:
        file.write("*\n")


def _require_plain(path: Path) -> None:
    """Refuse a link or a device, so that someone who may write the folder of a pipeline cannot choose another file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise StateError(f"{path} is not a regular file", hint="name another file with --state")


def _names(connection: sqlite3.Connection) -> list[str]:
    return [_text(row[0]) for row in connection.execute("SELECT name FROM node ORDER BY name")]


def _kept(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM node UNION SELECT node FROM known_schema ORDER BY 1"
    return [_text(row[0]) for row in connection.execute(query)]


def _put(connection: sqlite3.Connection, state: NodeState) -> None:
    point = state.checkpoint
    values = (
        *(state.node, state.lineage, state.reading, point.sequence, point.state, point.last),
        *(state.rows, state.saved_at),
    )
    connection.execute("DELETE FROM pending WHERE node = ?", (state.node,))
    connection.execute(_UNDONE, (state.node, DONE))
    connection.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def _node(connection: sqlite3.Connection, name: str) -> NodeState | None:
    columns = "lineage, reading, sequence, state, complete, rows, saved_at"
    row = connection.execute(f"SELECT {columns} FROM node WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    lineage, reading, sequence, state, complete, rows, saved_at = row
    query = "SELECT sequence, state, last, rows FROM pending WHERE node = ? ORDER BY sequence"
    return NodeState(
        name,
        _text(lineage),
        _text(reading),
        _checkpoint(sequence, state, complete),
        _number(rows),
        _moment(saved_at),
        tuple(_checkpoint(*each) for each in connection.execute(query, (name,))),
    )


def _checkpoint(sequence: Any, state: Any, last: Any, rows: Any = 0) -> Checkpoint:
    if state is not None and not isinstance(state, bytes):
        raise sqlite3.DatabaseError("a state is not bytes")
    return Checkpoint(_number(sequence), state, bool(last), _number(rows))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise sqlite3.DatabaseError("a name is not a text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < MOST_COUNTED:
        raise sqlite3.DatabaseError("a count is not a number, or too large")
    return value


def _moment(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value < _FAR_S:
        raise sqlite3.DatabaseError("a time is not a number, or in another age")
    return float(value)
