"""What a pipeline keeps between its runs: the same tables in a file of SQLite and in PostgreSQL.

It has the position of each source, the columns that nodes had, the history of runs, and the plugins' own state. Only
one run at a time can use it.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeVar

from dataflare.capabilities.sql_state import SqlConnection, SqlStateStore
from dataflare.pipeline.run_errors import StateError

__all__ = [
    "DONE",
    "MOST_COUNTED",
    "TABLES",
    "VERSION",
    "Checkpoint",
    "Damaged",
    "NodeState",
    "PipelineState",
    "check_pipeline",
    "upsert",
]

T = TypeVar("T")

VERSION: Final = 2
MOST_COUNTED: Final = 2**62
"""What counts stay below: SQLite's numbers end at twice as much, and rows are added to them."""
_FAR_S: Final = 2.0**37
DONE: Final = "done"
"""What the table `intent` has for a part of a run that is finished; no mark of a file is this."""
_UNDONE: Final = "DELETE FROM intent WHERE path = ? AND mark = ?"
TABLES: Final = """
CREATE TABLE IF NOT EXISTS pipeline (name TEXT NOT NULL, version {integer} NOT NULL);
CREATE TABLE IF NOT EXISTS node (
  name TEXT PRIMARY KEY, lineage TEXT NOT NULL, reading TEXT NOT NULL, sequence {integer} NOT NULL, state {blob},
  complete {integer} NOT NULL, rows {integer} NOT NULL, saved_at {real} NOT NULL
);
CREATE TABLE IF NOT EXISTS pending (
  node TEXT NOT NULL, sequence {integer} NOT NULL, state {blob}, last {integer} NOT NULL,
  rows {integer} NOT NULL DEFAULT 0, PRIMARY KEY (node, sequence)
);
CREATE TABLE IF NOT EXISTS known_schema (node TEXT PRIMARY KEY, columns TEXT NOT NULL, saved_at {real} NOT NULL);
CREATE TABLE IF NOT EXISTS intent (path TEXT PRIMARY KEY, mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run (
  id {serial}, begun_at {real} NOT NULL, ended_at {real}, status TEXT NOT NULL, report TEXT
);
CREATE TABLE IF NOT EXISTS schema_change (node TEXT NOT NULL, change TEXT NOT NULL, noted_at {real} NOT NULL);
"""


class Damaged(Exception):
    """A value is not one that this program wrote."""


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


class PipelineState(ABC):
    """The state of one pipeline. Any thread may call it; a call is on the disk when it returns.

    Attributes:
        place: Where it is, as errors say it.
        plugins: The state of the plugins themselves.
    """

    _ROW: ClassVar[str]
    """What orders rows as they were added."""
    place: str
    plugins: SqlStateStore

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release it for another run; idempotent."""

    @abstractmethod
    def read(self, work: Callable[[Any], T]) -> T:
        """Read from it.

        Raises:
            StateError: That failed.
        """

    @abstractmethod
    def write(self, work: Callable[[Any], T]) -> T:
        """Change it in one transaction.

        Raises:
            StateError: That failed, and nothing is changed.
        """

    @abstractmethod
    def has_table(self, connection: SqlConnection, name: str) -> bool:
        """Whether there is a table."""

    def nodes(self) -> list[NodeState]:
        """The states of all sources, by name.

        Raises:
            StateError: The file cannot be read.
        """

        def find(connection: SqlConnection) -> list[NodeState]:
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

        def start(connection: SqlConnection) -> NodeState:
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
        statement = upsert("pending", "node, sequence", "state, last, rows")
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

        def keep(connection: SqlConnection) -> None:
            for node, checkpoint, rows in reached:
                connection.execute(
                    "UPDATE node SET sequence = ?, state = ?, complete = ?, rows = rows + ?, saved_at = ?"
                    " WHERE name = ?",
                    (checkpoint.sequence, checkpoint.state, checkpoint.last, rows, time.time(), node),
                )
                connection.execute("DELETE FROM pending WHERE node = ? AND sequence <= ?", (node, checkpoint.sequence))
            for node, columns, changes in schemas:
                connection.execute(upsert("known_schema", "node", "columns, saved_at"), (node, columns, time.time()))
                for change in changes:
                    connection.execute("INSERT INTO schema_change VALUES (?, ?, ?)", (node, change, time.time()))
            if ended:
                connection.execute("DELETE FROM intent WHERE mark <> ?", (DONE,))
            if done:
                connection.execute(upsert("intent", "path", "mark"), (done, DONE))

        self.write(keep)

    def intend(self, path: str, mark: str) -> None:
        """Record what is about to become visible in a file, until a run ends.

        Raises:
            StateError: The file cannot be written.
        """
        self.write(lambda connection: connection.execute(upsert("intent", "path", "mark"), (path, mark)))

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
        def find(connection: SqlConnection) -> str | None:
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
        query = f"SELECT node, change, noted_at FROM schema_change ORDER BY {self._ROW}"
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

        def forget(connection: SqlConnection) -> list[str]:
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

        def replace(connection: SqlConnection) -> None:
            for state in states:
                _put(connection, state)

        self.write(replace)


def check_pipeline(place: str, found: Any, pipeline: str) -> None:
    """Compare the row of the table `pipeline` with what it has to be.

    Raises:
        StateError: It is of another version, or of another pipeline.
    """
    name, version = found or ("", 0)
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        hint = "use the version of this program that wrote it" if newer else "name another file"
        raise StateError(f"{place}: it has version {version!r}, not {VERSION}", hint=hint)
    if name != pipeline:
        raise StateError(
            f"{place}: it is the state of pipeline {name!r}, not of {pipeline!r}", hint="name another file"
        )


def upsert(table: str, keys: str, others: str) -> str:
    """Write the statement that adds a row, or replaces the one with its keys."""
    columns = f"{keys}, {others}".split(", ")
    given = ", ".join("?" * len(columns))
    changed = ", ".join(f"{name} = excluded.{name}" for name in others.split(", "))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({given}) ON CONFLICT ({keys}) DO UPDATE SET {changed}"


def _names(connection: SqlConnection) -> list[str]:
    return [_text(row[0]) for row in connection.execute("SELECT name FROM node ORDER BY name")]


def _kept(connection: SqlConnection) -> list[str]:
    query = "SELECT name FROM node UNION SELECT node FROM known_schema ORDER BY 1"
    return [_text(row[0]) for row in connection.execute(query)]


def _put(connection: SqlConnection, state: NodeState) -> None:
    point = state.checkpoint
    values = (
        *(state.node, state.lineage, state.reading, point.sequence, point.state, point.last),
        *(state.rows, state.saved_at),
    )
    connection.execute("DELETE FROM pending WHERE node = ?", (state.node,))
    connection.execute(_UNDONE, (state.node, DONE))
    connection.execute(upsert("node", "name", "lineage, reading, sequence, state, complete, rows, saved_at"), values)


def _node(connection: SqlConnection, name: str) -> NodeState | None:
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
        raise Damaged("a state is not bytes")
    return Checkpoint(_number(sequence), state, bool(last), _number(rows))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Damaged("a name is not a text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < MOST_COUNTED:
        raise Damaged("a count is not a number, or too large")
    return value


def _moment(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value < _FAR_S:
        raise Damaged("a time is not a number, or in another age")
    return float(value)
