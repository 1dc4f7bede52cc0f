"""Attacks on the state that outlives a run: a full disk, a sudden end, a reader that never finishes."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import time
from pathlib import Path

from arena import Arena, Mutation, answers, attack
from attacks_worker_messages import _in_a_child
from dataflare.capabilities import sqlite_state
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.capabilities.state import ENTRY_BYTES
from jailed import kill


def _count(file: Path, into: int) -> None:
    """Write state without end, and tell of each write that has returned."""
    store = SqliteStateStore(file)
    number = int(store.get("n", "k") or b"0")
    while True:
        number += 1
        store.set("n", "k", b"%d" % number)
        store.set("n", f"other-{number % 50}", b"x" * (number % 3000))
        os.write(into, b"%d\n" % number)


def _is_sound(file: Path) -> None:
    """The counted bytes are those of the entries, and the file is whole."""
    with contextlib.closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = f"SELECT sum(length(key) + length(value) + {ENTRY_BYTES}) FROM entries"
        assert other.execute(query).fetchone() == other.execute("SELECT bytes FROM usage").fetchone()


@attack("neighbours")
def end_in_the_middle_of_a_write(arena: Arena) -> None:
    """Kill the host at any moment while it writes state: acknowledged values are kept, and none is half written."""
    file = arena.folder / "state"
    last = 0
    for round_ in range(4):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                _count(file, into)
            os._exit(1)
        os.close(into)
        with os.fdopen(out, "rb") as told:
            last = int(told.readline())
            time.sleep(0.03 * round_)
            kill(child)
            last = max([last, *(int(line) for line in told if line.endswith(b"\n"))])
        store = SqliteStateStore(file)
        assert int(store.get("n", "k") or b"0") >= last, "a write that had returned is lost"
        store.close()
        _is_sound(file)


@attack("limits")
def disk_that_is_full_of_state(arena: Arena) -> None:
    """Fill the disk by the state, so that nothing of it can be read or written any more."""
    file = arena.folder / "state"

    def attempt() -> list[str]:
        store = SqliteStateStore(file)
        store.set("n", "k", b"kept")
        store.set("n", "k", b"last")
        most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most[1]))
        failures = []
        for number in range(40):
            try:
                store.set("n", f"large-{number}", bytes(50_000))
            except CapabilityFailure as failure:
                failures.append(f"{failure.case}: {'full' if 'is full' in str(failure.error.value) else failure}")
        kept = store.get("n", "k")
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        store.set("n", "k", b"again")
        again = store.get("n", "k")
        store.close()
        return [*sorted(set(failures)), str(kept), str(again)]

    found = _in_a_child(attempt)
    assert found == ["other: full", "b'last'", "b'again'"], found
    _is_sound(file)


@attack("limits")
def reader_that_never_finishes(arena: Arena) -> None:
    """Keep a read of the state open in another process, so that the log of changes beside it fills the disk."""
    most, sqlite_state._MAX_LOG_BYTES = sqlite_state._MAX_LOG_BYTES, 2**20  # type: ignore[misc]
    arena.at_close(lambda: setattr(sqlite_state, "_MAX_LOG_BYTES", most))
    file = arena.folder / "state"
    store = SqliteStateStore(file)
    arena.at_close(store.close)
    store._connection.execute("PRAGMA synchronous = OFF")
    store.set("n", "k", b"0")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM entries").fetchone()

        def fill() -> None:
            for number in range(200):  # SQLite writes no page that stays as it is
                store.set("n", "k", bytes([number]) * 50_000)
                written.append(number)

        written: list[int] = []
        failure = arena.raises(CapabilityFailure, fill, says="keeps the state open")
        assert failure.case == "unavailable" and os.stat(f"{file}-wal").st_size < 2 * 2**20
        assert store.get("n", "k") == bytes([written[-1]]) * 50_000
    fill()
    assert os.stat(f"{file}-wal").st_size < 2 * 2**20


MUTATIONS = [
    Mutation(
        "dataflare.capabilities.sqlite_state:SqliteStateStore._bound_log",
        answers(None),
        ("reader_that_never_finishes",),
    ),
    Mutation("dataflare.capabilities.sqlite_state:_PROBLEMS", {}, ("disk_that_is_full_of_state",)),
    Mutation(
        "dataflare.capabilities.sqlite_state:SqliteStateStore._write",
        lambda store, work: store._use(lambda connection: (connection.execute("BEGIN"), work(connection))[1]),
        ("end_in_the_middle_of_a_write",),
    ),
]
