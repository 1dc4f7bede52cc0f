"""Attacks by a database server: on its driver, and from the process in which the driver runs."""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import socket
import struct
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import adbc_driver_postgresql.dbapi

from arena import Arena, Mutation, answers, attack
from attacks_arrow import survives
from attacks_database_processes import answer, start_unconfined, taken_over
from attacks_parquet import MOST_GROWN_BYTES, memory_bytes
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases import confined
from dataflare.pipeline.databases.confined import ConfinedError
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.run_errors import DatabaseError
from dataflare.runtime.isolation import landlock, seccomp
from fake_postgres import LET_IN, FakeServer, Step, ends_it, last, message
from jailed import calls_beyond_files, jailed_to_server, syscall

_COLUMN = message(b"T", struct.pack(">h", 1) + b"n\0" + struct.pack(">ihihih", 0, 0, 25, -1, -1, 0))
_ROW = message(b"D", struct.pack(">hi", 1, 2**20) + bytes(2**20))


def _pour(connection: socket.socket, _: int) -> None:
    """Send rows of a gigabyte."""
    connection.sendall(_COLUMN)
    for _ in range(2**10):
        connection.sendall(_ROW)
    connection.shutdown(socket.SHUT_RDWR)


_SCRIPTS: tuple[tuple[Step, ...], ...] = (
    (last(b""),),
    (last(bytes(range(256))),),
    (last(message(b"R", b"", 2**31 - 1)),),
    (last(message(b"R", b"", -5)),),
    (last(message(b"R", struct.pack(">i", 10) + b"SCRAM-SHA-256\0" * 1000)),),
    (ends_it(signal.SIGSEGV),),
    (LET_IN, ends_it(signal.SIGABRT)),
    (LET_IN, last(message(b"T", struct.pack(">h", -1)))),
    (LET_IN, last(_COLUMN + message(b"D", struct.pack(">hi", 1, -2) + b"x"))),
    (LET_IN, last(_COLUMN + message(b"D", struct.pack(">hi", 1, 2**31 - 1) + b"x"))),
    (LET_IN, last(message(b"H", struct.pack(">bhh", 1, 1, 1)) + message(b"d", b"\xff" * 2**16))),
    (LET_IN, _pour),
)


@attack("memory")
def server_that_attacks_its_driver(arena: Arena) -> None:
    """Answer as a server with garbage, absurd lengths or gigabytes of rows, or with what ends the driver's process."""

    def run() -> None:
        before = memory_bytes("VmHWM")
        with mock.patch.object(confined, "_MOST_BYTES", 2**28):
            for script in _SCRIPTS:
                with closing(FakeServer(arena.folder, *script)) as server:
                    arena.raises(DatabaseError, lambda s=server: Connection("db", s.grant, None))
                    assert server.peers and os.getpid() not in server.peers, "the driver is in the host"
        assert memory_bytes("VmHWM") - before < MOST_GROWN_BYTES

    survives(run)


@attack("memory")
def code_of_an_error_that_is_none(arena: Arena) -> None:
    """Answer for a database with an error whose SQLSTATE is bytes of any kind, or megabytes of them."""
    for state, expected in (
        *((b"40001", "40001"), (b"", ""), (b"4000\n", ""), (b"\xff" * 5, ""), (b"0\0\0\0\0", "")),
        *((b"40001" * 2, ""), (b"4" * 2**21, "")),
    ):
        with taken_over(answer(b"it failed", state)) as database:
            error = arena.raises(ConfinedError, database.commit, says="it failed")
            assert error.sqlstate == expected, error.sqlstate


@attack("secrets")
def password_beside_the_connection_to_a_server(arena: Arena) -> None:
    """Read the password of a database, or other secrets of the host, from the command or environment of a process."""
    seen: list[bytes] = []

    def look(connection: socket.socket, pid: int) -> None:
        for each in ("cmdline", "environ"):
            seen.append(Path(f"/proc/{pid}/{each}").read_bytes())
        connection.shutdown(socket.SHUT_RDWR)

    secrets = {"DATAFLARE_SECRET_OTHER": "hunter3", "PGPASSWORD": "hunter4"}
    with mock.patch.dict(os.environ, secrets), closing(FakeServer(arena.folder, look)) as server:
        arena.raises(DatabaseError, lambda: Connection("db", server.grant, "hunter2"))
    assert seen and (os.geteuid() != 0 or len(seen) == 2)
    for each in seen:
        assert b"hunter" not in each and b"SECRET" not in each, each


@attack("processes")
def more_than_a_connection_from_a_server(arena: Arena) -> None:
    """Take over the driver as a server, and open files, connect elsewhere, or start a program from its process."""
    key = arena.folder / "root.crt"
    key.write_text("a certificate")
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as theirs,
        closing(socket.create_server(("127.0.0.1", 0))) as other,
    ):
        port, wrong = theirs.getsockname()[1], other.getsockname()[1]

        def connect(at: int) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                made.connect(("127.0.0.1", at))

        until_connected: dict[str, Any] = {
            "read": Path("/etc/passwd").read_text,
            "list": lambda: os.listdir(arena.folder),
            "write": lambda: key.write_text("gone"),
            "make": lambda: (arena.folder / "made").write_text(""),
            "another port": lambda: connect(wrong),
            "remove": key.unlink,
        }
        then = {**until_connected, "read its key": key.read_text, "connect": lambda: connect(port)}

        def through(attempts: dict[str, Any], let: set[Any]) -> list[str]:
            found = [name for name, attempt in attempts.items() if not _is_refused(attempt)]
            calls = [call for call in beyond if call not in let and call[0] not in let]
            return found + [call[0] for call in calls if syscall(*call) != -1]

        beyond = calls_beyond_files(os.getpid())
        kept, families = {str(key): landlock.READ_FILE}, (socket.AF_INET, socket.AF_INET6)
        let = {"connect", *(("socket", each, 1, 0) for each in families)}
        done = jailed_to_server(lambda: through(until_connected, let), kept, families, [port], connected=False)
        unknown = [*until_connected][: 5 if not landlock.version() else 0] or ["another port"]
        assert set(done) <= set(unknown if landlock.version() < 4 else ()), f"before it is connected: {done}"
        done = jailed_to_server(lambda: through(then, set()), kept, families, [port], connected=True)
        assert done == [], f"after it is connected: {done}"


def _is_refused(attempt: Any) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False


@attack("processes")
def server_that_finds_no_jail(arena: Arena) -> None:
    """Rely on a part of the confinement of a server's process that is not there before the server's first byte."""
    seen: list[str] = []

    def look(connection: socket.socket, pid: int) -> None:
        seen.append(Path(f"/proc/{pid}/status").read_text())
        connection.shutdown(socket.SHUT_RDWR)

    with closing(FakeServer(arena.folder, look)) as server:
        arena.raises(DatabaseError, lambda: Connection("db", server.grant, None))
    status = dict(re.findall(r"(?m)^(\w+):\s*(.*)$", seen[0]))
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), status
    assert int(status["CapEff"], 16) == 0, "it has rights of root"


def _drip(connection: socket.socket, _: int) -> None:
    """Send the names of ways to log in, a byte now and then."""
    connection.sendall(struct.pack(">cii", b"R", 2000, 10))
    while True:
        connection.sendall(b"S")
        threading.Event().wait(0.05)


@attack("limits")
def server_that_does_not_let_in(arena: Arena) -> None:
    """Let a database be connected to, and say nothing, too little, a byte now and then, or no more after the login."""
    for script in ((), (b"R",), (LET_IN,), (_drip,), (ends_it(signal.SIGSTOP),)):
        ended: list[Any] = []
        with closing(FakeServer(arena.folder, *script)) as server:
            grant = replace(server.grant, place=f"{server.grant.place}&connect_timeout=1")

            def connect(grant: DatabaseGrant = grant, ended: list[Any] = ended) -> None:
                try:
                    ended.append(Connection("db", grant, None))
                except BaseException as error:
                    ended.append(error)

            connecting = threading.Thread(target=connect, daemon=True)
            connecting.start()
            connecting.join(arena.patience_s)
            for pid in server.peers if not ended else ():
                os.kill(pid, signal.SIGKILL)
        assert ended, f"{script}: the host waits for ever"
        assert type(ended[0]) is DatabaseError and ended[0].unavailable, f"{script}: {ended[0]!r}"
        assert "postgresql://tester@/shop" in str(ended[0]) and "connect_timeout" in ended[0].hint, ended[0]


@attack("processes")
def second_filter_that_the_kernel_refuses(arena: Arena) -> None:
    """Keep what was needed to connect to a server, where the kernel takes the first filter, and not the second."""
    installed: list[Any] = []

    def install(allowed: Any) -> None:
        if installed:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        installed.append(_INSTALL(allowed))

    with mock.patch.object(seccomp, "install", install):
        done = jailed_to_server(lambda: "it goes on", {}, (socket.AF_UNIX,), (), connected=True)
    assert done == f"not confined: seccomp: {os.strerror(errno.ENOMEM)}", done


class InTheHost:
    """The driver of PostgreSQL in the process of the host."""

    in_force = ("landlock-files", "seccomp")

    def __init__(self, grant: DatabaseGrant, password: str | None = None, started: Any = None) -> None:
        try:
            adbc_driver_postgresql.dbapi.connect(grant.uri(password), autocommit=True).close()
        except adbc_driver_postgresql.dbapi.Error as error:
            raise ConfinedError(str(error)) from None


def _all_options(families: tuple[int, ...]) -> dict[str, tuple[seccomp.Rule, ...]]:
    return {**_TO_CONNECT(families), "socket": (), "execve": ()}


_INSTALL = seccomp.install
_TO_CONNECT = seccomp.allowed_to_connect
_OF = "dataflare.pipeline.databases"
_ISOLATION = "dataflare.runtime.isolation"
MUTATIONS = [
    Mutation(f"{_OF}.connection:ConfinedDatabase", InTheHost, ("server_that_attacks_its_driver",)),
    Mutation(f"{_OF}.confined:_STATE", re.compile(b".*", re.DOTALL), ("code_of_an_error_that_is_none",)),
    Mutation(f"{_OF}.confined:_start", start_unconfined, ("server_that_finds_no_jail",)),
    Mutation(
        f"{_ISOLATION}.spawn:_INHERITED",
        ("LD_LIBRARY_PATH", "DATAFLARE_SECRET_OTHER"),
        ("password_beside_the_connection_to_a_server",),
    ),
    Mutation(f"{_ISOLATION}.seccomp:allowed_to_connect", _all_options, ("more_than_a_connection_from_a_server",)),
    Mutation(
        "jailed:leave_connected",
        answers(None),
        ("more_than_a_connection_from_a_server", "second_filter_that_the_kernel_refuses"),
    ),
    Mutation(f"{_OF}.confined:_GRACE_S", math.inf, ("server_that_does_not_let_in",)),
    *(
        [Mutation(f"{_ISOLATION}.jail:_restrict_files", answers(None), ("more_than_a_connection_from_a_server",))]
        if landlock.version()
        else []
    ),
]
