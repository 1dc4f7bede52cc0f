"""Attacks by a database's file that has taken over the process in which it is used, and answers what it likes."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sqlite3
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_arrow import survives
from attacks_databases import write_journal
from attacks_parquet import MOST_GROWN_BYTES, memory_bytes
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases import confined
from dataflare.pipeline.databases.confined import ConfinedDatabase, ConfinedError
from dataflare.runtime.isolation import landlock, seccomp, spawn
from dataflare.runtime.isolation import wire as wires
from dataflare.runtime.isolation.wire import Wire
from jailed import calls_beyond_files, jailed_to_files, syscall

MANY = 600 * 2**20
GRANT = DatabaseGrant(kind="sqlite", place="/nonexistent/a.db")


def answer(said: bytes = b"", beside: bytes = b"") -> bytes:
    """What is sent for an answer."""
    return struct.pack("<IQ", len(said), len(beside)) + said + beside


def rows(*batches: pa.RecordBatch, schema: pa.Schema | None = None) -> bytes:
    """An answer with rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema or batches[0].schema) as writer:
        for each in batches:
            writer.write_batch(each)
    return answer(beside=sink.getvalue().to_pybytes())


@contextlib.contextmanager
def taken_over(*script: bytes | Callable[[socket.socket], None]) -> Iterator[ConfinedDatabase]:
    """A database that opens, and then gives one answer of a script after the other, the last one always."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        requests, following = Wire(theirs.dup(), None, 2**29), iter(script)
        said = answer()
        with contextlib.suppress(EOFError, OSError), theirs:
            while True:
                requests.receive()
                theirs.setblocking(True)
                if callable(said):
                    said(theirs)
                else:
                    theirs.sendall(said)
                said = next(following, said)

    threading.Thread(target=serve, daemon=True).start()

    def end() -> None:
        with contextlib.suppress(OSError):  # it has ended
            theirs.shutdown(socket.SHUT_RDWR)

    process = mock.Mock(end=end, kill=end)
    with mock.patch.object(confined, "_start", lambda: (Wire(ours, None, confined._MOST_BESIDE), process)):
        made = ConfinedDatabase(GRANT)
    with closing(made):
        yield made


def _pour(size: int) -> Callable[[socket.socket], None]:
    def pour(connection: socket.socket) -> None:
        connection.sendall(struct.pack("<IQ", 0, size))
        for _ in range(size // 2**20):
            connection.sendall(bytes(2**20))

    return pour


@attack("memory")
def answers_of_a_database_without_bound(arena: Arena) -> None:
    """Answer for a database with more bytes than any answer may have, or claim so, or claim fewer than none."""

    def run() -> None:
        before = memory_bytes("VmHWM")
        with taken_over(_pour(MANY)) as database:
            arena.raises(ConfinedError, database.commit, says="cannot have")
        assert memory_bytes("VmHWM") - before < MOST_GROWN_BYTES
        for size, text in ((2**63, 0), (2**64 - 1, 0), (0, 2**32 - 1)):
            with taken_over(struct.pack("<IQ", text, size)) as database:
                arena.raises(ConfinedError, database.commit, says="cannot have")
                arena.raises(ConfinedError, database.commit, says="has ended")

    survives(run)


@attack("memory")
def answer_of_a_database_that_is_none(arena: Arena) -> None:
    """Answer for a database in JSON of any type, with rows where none are due, or with an error of megabytes."""
    for said in (b"true", b"-1", b"1e9", b"[" * 100_000, b'{"bytes": -1}', b"\xff\xfe", b"\0"):
        with taken_over(answer(said)) as database:
            arena.raises(ConfinedError, database.commit)
            arena.raises(ConfinedError, lambda d=database: d.execute("SELECT 1"))
        with taken_over(answer(beside=said)) as database:
            arena.raises(ConfinedError, database.commit, says="cannot have")
            arena.raises(ConfinedError, lambda d=database: d.execute("SELECT 1"), says="malformed")
    with taken_over(answer(b"x" * 2**23)) as database:
        assert len(str(arena.raises(ConfinedError, database.commit))) <= 2**14


@attack("limits")
def answer_of_a_database_that_never_ends(arena: Arena) -> None:
    """Begin an answer for a database, send nothing more or a byte now and then, and never end."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(struct.pack("<IQ", 0, 2**20))
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.01)

    with mock.patch.object(wires, "TRANSFER_S", wires.TRANSFER_S / 200):
        for script in (b"\0", answer(beside=bytes(100))[:50], drip):
            with taken_over(script) as database:
                failed: list[str] = []

                def ask(database: ConfinedDatabase = database, failed: list[str] = failed) -> None:
                    failed.append(str(arena.raises(ConfinedError, database.commit)))

                asking = threading.Thread(target=ask, daemon=True)
                asking.start()
                asking.join(arena.patience_s)
                assert failed and "in time" in failed[0], "the host waits for ever"


@attack("memory")
def rows_of_a_database_that_took_over(arena: Arena) -> None:
    """Answer for a database with other columns than were told, or with a few bytes that are billions of values."""
    schema = pa.schema({"n": pa.int64()})
    others = (
        pa.record_batch({"n": ["text"]}),
        pa.record_batch({"m": [1]}),
        pa.record_batch({"n": [1], "m": [1]}),
        pa.record_batch({}),
    )
    for other in others:
        with taken_over(rows(schema=schema), rows(other), answer()) as database:
            database.execute("SELECT n FROM t")
            arena.raises(ConfinedError, database.fetchall, says="cannot have")
    nulls = pa.record_batch({"n": pa.nulls(2**31 - 1)})
    with taken_over(rows(schema=nulls.schema), rows(nulls)) as database:
        database.execute("SELECT n FROM t")
        arena.raises(ConfinedError, database.fetch_record_batch().read_next_batch, says="cannot have")
    for kind in (pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.dictionary(pa.int8(), pa.string()))):
        with taken_over(rows(schema=pa.schema({"n": kind}))) as database:
            arena.raises(ConfinedError, lambda d=database: d.execute("SELECT n FROM t"), says="cannot have")


@attack("limits")
def rows_of_a_database_without_end(arena: Arena) -> None:
    """Answer a question about the tables of a database with rows that never end."""
    few = pa.record_batch({"n": pa.nulls(2**18)})
    ended = [rows(few)] * 8
    with taken_over(rows(schema=few.schema), *ended, answer()) as database:
        database.execute("SELECT name FROM tables")
        arena.raises(ConfinedError, database.fetchall, says="too long")


@attack("processes")
def files_beside_those_of_a_database(arena: Arena) -> None:
    """Read, replace, rename or remove other files from the process that uses a database's file."""
    folder, other = arena.folder / "databases", arena.folder / "other"
    for each in (folder, other):
        each.mkdir()
    secret = other / "secret"
    secret.write_text("hunter2")
    attempts: dict[str, Callable[[], Any]] = {
        "read": secret.read_text,
        "read another": Path("/etc/passwd").read_text,
        "list": lambda: os.listdir(other),
        "write": lambda: secret.write_text("gone"),
        "make": lambda: (other / "made").write_text(""),
        "remove": secret.unlink,
        "move": lambda: (folder / "mine").rename(other / "mine"),
        "link": lambda: (folder / "link").symlink_to(secret),
        "hard link": lambda: (folder / "link").hardlink_to(secret),
        "folder": (folder / "folder").mkdir,
        "mode": lambda: os.chmod(secret, 0o777),
        "owner": lambda: os.chown(secret, 1, 1),
        "times": lambda: os.utime(secret),
        "set-user-id": lambda: _with_mode(folder / "mine", stat.S_ISUID | 0o755),
    }

    def try_all() -> list[str]:
        (folder / "mine").write_text("what is its own")
        return [name for name, attempt in attempts.items() if not _is_refused(attempt)]

    done = jailed_to_files(try_all, {str(folder): landlock.WRITE})
    if not landlock.version():
        done = [each for each in done if each in ("mode", "owner", "times", "set-user-id")]
    assert done == [], done


def _with_mode(path: Path, mode: int) -> None:
    with path.open() as file:
        os.fchmod(file.fileno(), mode)


def _is_refused(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False


@attack("processes")
def more_than_files_from_a_database(arena: Arena) -> None:
    """Open a connection, start a program, end the host or read its memory from the process that uses a database."""
    calls = calls_beyond_files(os.getpid())
    found = jailed_to_files(lambda: [syscall(*each) for each in calls], {})
    through = [call[0] for call, result in zip(calls, found, strict=True) if result != -1]
    assert not through, through


@attack("processes")
def database_that_finds_no_jail(arena: Arena) -> None:
    """Rely on a part of the confinement of a database's process that is reported and not there."""
    for kind in ("sqlite", "duckdb"):
        place = arena.folder / f"a.{kind}"
        with closing(ConfinedDatabase(DatabaseGrant(kind=kind, place=str(place), access="write"))) as database:  # type: ignore[arg-type]
            process = Path(f"/proc/{database._process.pid}")
            lines = (process / "status").read_text().splitlines()
            status = {name: value.strip() for name, _, value in (each.partition(":") for each in lines)}
            assert {"no-capabilities", "rlimits", "no-new-privileges", "seccomp"} <= {*database.in_force}
            assert {*landlock.parts(landlock.version())} <= {*database.in_force}
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), kind
        assert int(status["CapEff"], 16) & ~0b11011 == 0, f"{kind}: more than the rights of root on files"


@attack("files-in")
def journal_put_there_after_the_check(arena: Arena) -> None:
    """Put a journal that names another file beside a database between the check and its opening."""
    folder, victim = arena.folder / "databases", arena.folder / "victim.txt"
    folder.mkdir()
    victim.write_text("precious")
    place = folder / "a.db"
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("CREATE TABLE t (n)")
    write_journal(place, victim)
    database = ConfinedDatabase(DatabaseGrant(kind="sqlite", place=str(place)))
    with closing(database), contextlib.suppress(ConfinedError):
        database.execute("SELECT * FROM t")
    assert not landlock.version() or victim.exists(), "it was deleted"


@contextlib.contextmanager
def pretending() -> Iterator[None]:
    """Let processes that start have a jail that says what it is to, and takes nothing away."""
    with mock.patch.object(spawn, "_BOOT", _PRETENDS + spawn._BOOT):
        yield


def start_unconfined() -> tuple[Wire, spawn.Process]:
    """Start the process of a database so."""
    with pretending():
        return _START()


_START = confined._start
_PRETENDS = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); from dataflare.runtime.isolation import jail, landlock; "
    "jail.confine_to_files = lambda _: ('no-capabilities', 'rlimits', 'no-new-privileges', "
    "*landlock.parts(landlock.version()), 'seccomp'); jail.confine_to_server = lambda *_: jail.confine_to_files({}); "
    "jail.leave_connected = lambda in_force: None; jail.confine = lambda **_: jail.confine_to_files({}); "
)
_OF = "dataflare.pipeline.databases.confined"
_JAIL = "dataflare.runtime.isolation.jail"
MUTATIONS = [
    Mutation(f"{_OF}:_MOST_BESIDE", 2**64, ("answers_of_a_database_without_bound",)),
    Mutation(f"{_OF}:_MOST_SAID", 2**40, ("answer_of_a_database_that_is_none",)),
    Mutation(f"{_OF}:ConfinedDatabase._order", ConfinedDatabase._ask, ("answer_of_a_database_that_is_none",)),
    Mutation("dataflare.runtime.isolation.wire:TRANSFER_S", math.inf, ("answer_of_a_database_that_never_ends",)),
    Mutation(f"{_OF}:_check_fits", answers(None), ("rows_of_a_database_that_took_over",)),
    Mutation(f"{_OF}:_MOST_CELLS", 2**60, ("rows_of_a_database_that_took_over",)),
    Mutation(f"{_OF}:_check_types", answers(None), ("rows_of_a_database_that_took_over",)),
    Mutation(f"{_OF}:_start", start_unconfined, ("database_that_finds_no_jail",)),
    Mutation("dataflare.runtime.isolation.seccomp:_REFUSE", seccomp._ALLOW, ("more_than_files_from_a_database",)),
    Mutation(
        "dataflare.runtime.isolation.seccomp:ALLOWED_WITH_FILES",
        {**seccomp.ALLOWED_WITH_FILES, "fchmod": ()},
        ("files_beside_those_of_a_database",),
    ),
    *(
        [
            Mutation(f"{_JAIL}:_restrict_files", answers(None), ("files_beside_those_of_a_database",)),
            Mutation(f"{_OF}:_start", start_unconfined, ("journal_put_there_after_the_check",)),
        ]
        if landlock.version()
        else []
    ),
    Mutation(f"{_OF}:_MOST_FETCHED_VALUES", 2**60, ("rows_of_a_database_without_end",)),
]
