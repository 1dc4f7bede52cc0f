"""Attacks by interrupts between any two steps of a run from one database to another."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final
from unittest import mock

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_database_files import Unconfined
from dataflare.errors import DataflareError
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline import runner
from dataflare.pipeline.checkpoints import Position
from dataflare.pipeline.databases import connection
from dataflare.pipeline.databases.confined import ConfinedError
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.layout import Layout
from dataflare.pipeline.datasets import DatasetWriter
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.wit_types.destination import RejectedRow
from interrupts import attempts, interrupted, moments

_PATIENCE_S: Final = 30.0


class InProcess(Unconfined):
    """Also what the end of the process does: no more statements, and what was not committed is undone."""

    def __init__(self, grant: DatabaseGrant, password: str | None = None, started: Any = None) -> None:
        super().__init__(grant)
        self._lock = threading.Lock()
        self._ended = False
        for name in ("execute", "adbc_ingest", "fetchall", "commit", "rollback"):
            setattr(self, name, self._unless_ended(getattr(self, name)))

    def _unless_ended(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def used(*args: Any, **options: Any) -> Any:
            with self._lock:
                if self._ended:
                    raise ConfinedError("it has ended")
                try:
                    return work(*args, **options)
                except adbc_driver_manager.Error as error:
                    raise ConfinedError(str(error)) from None

        return used

    def adbc_cancel(self) -> None:
        with self._lock:  # what is under way ends first
            if not self._ended:
                self._ended = True
                self._connection.rollback()

    def close(self) -> None:
        traced = sys.gettrace()
        sys.settrace(None)  # the end of a process is one step
        try:
            with self._lock:
                self._ended = True
                self._cursor.close()
                self._connection.close()
        finally:
            sys.settrace(traced)

    def __del__(self) -> None:
        self.close()


class Steps:
    """Counts the changes of the destination and of the state, and interrupts the run before one of them.

    The main thread is interrupted while it waits for the one that writes; this goes on when it has been told to end.

    Args:
        at: The number of the step; 0 for none.
    """

    def __init__(self, at: int = 0) -> None:
        self.names: list[str] = []
        self._at = at
        self._wanted, self._taken, self._ending = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch a run."""
        with ExitStack() as stack:
            for owner, name in ((Connection, "execute"), (Connection, "ingest"), (Connection, "commit")):
                stack.enter_context(mock.patch.object(owner, name, self._before(getattr(owner, name), name)))
            keep = self._before(StateFile.write, "keep")
            stack.enter_context(mock.patch.object(StateFile, "write", keep))
            stack.enter_context(mock.patch.object(Connection, "cancel", self._then_going_on(Connection.cancel)))
            stack.enter_context(mock.patch.object(runner, "_PROGRESS_INTERVAL_S", 0.002))
            yield

    def look(self, _: object) -> None:
        """Interrupt the main thread, where the other one waits for it; called as its progress is."""
        if self._wanted.is_set() and not self._taken.is_set():
            self._taken.set()
            raise KeyboardInterrupt

    def _before(self, action: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(owner: Any, *args: Any, **options: Any) -> Any:
            if getattr(owner, "name", "other") == "other":
                self.names.append(name)
                if len(self.names) == self._at:
                    if threading.current_thread() is threading.main_thread():
                        raise KeyboardInterrupt
                    self._wanted.set()
                    assert self._taken.wait(_PATIENCE_S)
                # While the state is kept, its locks are held: that comes to its end.
                if name != "keep" and self._taken.is_set():
                    assert self._ending.wait(_PATIENCE_S)
            return action(owner, *args, **options)

        return step

    def _then_going_on(self, cancel: Callable[[Connection], None]) -> Callable[[Connection], None]:
        def cancelled(owner: Connection) -> None:
            cancel(owner)
            if owner.name == "other":
                self._ending.set()

        return cancelled


class Copying:
    """A pipeline that copies the rows of a table into another database, with a checkpoint after two of three rows."""

    def __init__(self, arena: Arena, state: StateFile) -> None:
        self._state = state
        self._from, self._to = arena.folder / "a.db", arena.folder / "b.db"
        self._rows = 0
        reading = {"connector": "sql", "database": "db", "read": "t", "mode": "incremental", "cursor": "n"}
        writing = {"connector": "sql", "database": "other", "write": "u", "input": "read"}
        document = {
            "name": "p",
            "checkpoint": {"rows": 4, "every": "1h"},
            "databases": {"db": {"url": "sqlite:a.db"}, "other": {"url": "sqlite:b.db", "access": "write"}},
            "nodes": {"read": reading, "write": writing},
        }
        self._specification = build_specification(document, folder=arena.folder)
        with closing(sqlite3.connect(self._from, isolation_level=None)) as made:
            made.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")

    def add_rows(self) -> None:
        """Add rows that are to be copied."""
        with closing(sqlite3.connect(self._from, isolation_level=None)) as made:
            for _ in range(3):
                self._rows += 1
                made.execute("INSERT INTO t VALUES (?)", (self._rows,))

    def copy(self, steps: Steps | None = None) -> None:
        """Run it."""
        run(self._specification, state=self._state, progress=None if steps is None else steps.look)

    def is_interrupted(self, at: int) -> bool:
        """Run it, and interrupt it before a step; says whether that came out."""
        steps = Steps(at)
        with steps.watched():
            try:
                self.copy(steps)
            except KeyboardInterrupt:
                return True
        return False

    def steps(self) -> list[str]:
        """Run it, and say of which steps it is made."""
        steps = Steps()
        with steps.watched():
            self.copy(steps)
        return steps.names

    def check(self, when: str) -> None:
        """After an interrupt, there are the rows up to the token; and all of them after one more run."""
        found, token = self._found(when)
        kept = self._state.node("read")
        assert kept is not None
        known = {kept.checkpoint.sequence: kept.rows, **{each.sequence: each.rows for each in kept.pending}}
        sequence = json.loads(token)["sequence"]
        assert found == [*range(1, known.get(sequence, -1) + 1)], f"{when}: {found} with the token {token!r} of {known}"
        try:
            self.copy()
        except DataflareError as error:
            raise AssertionError(f"{when}: the next run fails: {error}") from error
        found, _ = self._found(when)
        assert found == [*range(1, self._rows + 1)], f"{when}, and one more run: {found}"

    def _found(self, when: str) -> tuple[list[int], bytes]:
        # By the library that the run uses: within a process, another one does not see its locks.
        with closing(adbc_driver_sqlite.dbapi.connect(str(self._to), autocommit=True)) as made, made.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                cursor.execute("BEGIN EXCLUSIVE")
            except adbc_driver_manager.Error as error:
                raise AssertionError(f"{when}: a transaction is left open: {error}") from error
            cursor.execute("SELECT n FROM u ORDER BY n")
            rows = [n for (n,) in cursor.fetchall()]
            cursor.execute("SELECT token FROM _dataflare_tokens")
            return rows, cursor.fetchall()[0][0]


@attack("outputs")
def interrupts_while_databases_are_used(arena: Arena) -> None:
    """Interrupt a run from one database to another at any moment: no row may be lost or written twice."""
    with StateFile(arena.folder / "state", pipeline="p") as state:
        copying = Copying(arena, state)
        copying.add_rows()
        copying.copy()  # the first run makes what the others find

        def each_step(numbers: Callable[[list[str]], list[int]]) -> None:
            copying.add_rows()
            names = copying.steps()
            for at in numbers(names):
                copying.add_rows()
                when = f"before the step {at} of {names}"
                assert copying.is_interrupted(at), f"{when}, it was not interrupted"
                copying.check(when)

        with mock.patch.object(connection, "ConfinedDatabase", InProcess):
            each_step(lambda names: [*range(1, len(names) + 1)])
            # From where rows are made safe in the main thread, Python itself has many more moments.
            copying.add_rows()
            count, came_out = moments(copying.copy, since=SqlDestination.finish), 0
            for at in attempts(count, 24):
                copying.add_rows()
                came_out += interrupted(copying.copy, at, since=SqlDestination.finish)
                copying.check(f"after the moment {at} of {count}")
            assert came_out > 12
        # As it really is: with its process, an open transaction ends.
        each_step(lambda names: [names.index("ingest") + 2])


def _rows_first(destination: SqlDestination, token: bytes) -> None:
    """Make rows safe, and then the token."""
    destination._claim()
    destination._commit()
    _KEEP(destination, token)


def _each_write(destination: SqlDestination, rows: pa.RecordBatch) -> list[RejectedRow]:
    """Make rows safe as they are written."""
    rejected = _WRITE(destination, rows)
    destination._commit()
    return rejected


def _token_first(destination: SqlDestination, layout: Layout, rows: pa.RecordBatch) -> None:
    """Make the token safe, and then the rows."""

    def commit() -> None:
        del destination._commit
        destination._commit()
        _PUT(destination, layout, rows)
        destination._commit()

    destination._commit = commit  # type: ignore[method-assign]


def _state_first(writer: DatasetWriter, point: Checkpoint) -> None:
    """Keep how far the source came, and then the rows up to there."""
    points = writer._checkpoints
    assert points is not None
    points.prepare(point)
    writer._token = points.token(point)
    if not point.last:
        points.reach(writer._node, point, durable=True)
        writer._flush()


def _forget(destination: SqlDestination) -> None:
    """Neither undo what is open nor close it."""
    _FORGOTTEN.append(destination._connection)
    destination._connection = None


_KEEP, _WRITE, _PUT = SqlDestination._keep, SqlDestination.write, SqlDestination._put
_FORGOTTEN: Final[list[Connection | None]] = []
_NOTICED = ("interrupts_while_databases_are_used",)
_DESTINATION = "dataflare.pipeline.databases.destination:SqlDestination"
_CHECKPOINTS = "dataflare.pipeline.checkpoints"
MUTATIONS = [
    Mutation(f"{_DESTINATION}._keep", _rows_first, _NOTICED),
    Mutation(f"{_DESTINATION}.write", _each_write, _NOTICED),
    Mutation(f"{_DESTINATION}._put", _token_first, _NOTICED),
    Mutation("dataflare.pipeline.datasets:DatasetWriter.checkpoint", _state_first, _NOTICED),
    Mutation(f"{_DESTINATION}.abort", _forget, _NOTICED),
    Mutation(f"{_CHECKPOINTS}:position_of", answers(Position()), _NOTICED),
    Mutation(f"{_CHECKPOINTS}:Checkpoints.prepare", answers(None), _NOTICED),
]
