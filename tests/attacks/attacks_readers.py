"""Attacks by a file that has taken over the process in which it is read, on all else."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from unittest import mock

from arena import Arena, Mutation, answers, attack
from attacks_database_processes import pretending
from dataflare.pipeline.reading import confined
from dataflare.pipeline.reading.confined import BrokeDown, Found, OutOfTime, read_confined
from dataflare.pipeline.run_errors import DataError
from dataflare.runtime.isolation import landlock, spawn
from dataflare.runtime.isolation.jail import PARTS
from dataflare.runtime.isolation.spawn import Process

SUPPORT: Final = str(Path(__file__).parents[1] / "support")
_START: Final = confined._start


@contextlib.contextmanager
def started() -> Iterator[list[Process]]:
    """Collect the processes that are started, and end those that are left."""
    processes: list[Process] = []

    def start(*args: Any) -> Any:
        found = _start_now(*args)
        processes.append(found[2])
        return found

    _start_now = confined._start
    with mock.patch.object(confined, "_start", start):
        try:
            yield processes
        finally:
            for each in processes:
                each.kill()


def taken_over(arena: Arena, how: str, request: dict[str, Any] | None = None, **options: Any) -> Iterator[Any]:
    """Read a file with a function of `hostile_reader`."""
    path = arena.folder / "taken.over"
    path.write_bytes(b"something")
    file = path.open("rb")
    try:
        reader = f"hostile_reader:{how}"
        yield from read_confined(reader, file, request or {}, max_bytes=2**26, roots=[SUPPORT], **options)
    finally:
        file.close()


@attack("processes")
def more_than_its_file_from_a_reader(arena: Arena) -> None:
    """Take over the process that reads a file, and open others, connect, start a program, or lift its own limits."""
    abstract = f"dataflare-{secrets.token_hex(8)}"
    with closing(socket.socket(socket.AF_UNIX)) as hidden, closing(socket.create_server(("127.0.0.1", 0))) as server:
        hidden.bind("\0" + abstract)
        hidden.listen()
        request = {
            **{"folder": str(arena.folder), "path": str(arena.folder / "taken.over"), "abstract": abstract},
            "port": server.getsockname()[1],
        }
        found, *rest = taken_over(arena, "tries_all", request)
    assert isinstance(found, Found) and len(rest) == 1
    assert found.own["through"] == [], found.own["through"]
    assert found.own["open"] == ["file", "pipe", "pipe"], found.own["open"]
    assert (arena.folder / "taken.over").read_bytes() == b"something"
    assert not (arena.folder / "made").exists()


@attack("processes")
def reader_that_finds_no_jail(arena: Arena) -> None:
    """Rely on a part of the confinement of a process that reads files that is reported and not there."""
    with started() as processes:
        parts = taken_over(arena, "waits", {"batches": 0, "each_s": 0})
        found = next(parts)
        # It may have ended, but not been waited for.
        text = Path(f"/proc/{processes[0].pid}/status").read_text()
        parts.close()  # type: ignore[attr-defined]
    status = dict(re.findall(r"(?m)^(\w+):\s*(.*)$", text))
    necessary = {"no-capabilities", "rlimits", "parent-death", "no-new-privileges", "seccomp"}
    assert necessary | {*landlock.parts(landlock.version())} <= {*found.in_force} <= {*PARTS}, found.in_force
    assert os.geteuid() != 0 or "unprivileged" in found.in_force, found.in_force
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), status
    assert all(int(status[f"Cap{each}"], 16) == 0 for each in ("Inh", "Prm", "Eff", "Amb")), status
    assert "unprivileged" not in found.in_force or "0" not in status["Uid"].split(), status["Uid"]


def held_up(arena: Arena, how: str, expected: type[Exception], says: str, **options: Any) -> None:
    """Assert that a reader does not hold the host up."""
    ended: list[Any] = []

    def read() -> None:
        try:
            ended.append(list(taken_over(arena, how, **options)))
        except BaseException as error:
            ended.append(error)

    with started() as processes:
        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        reading.join(arena.patience_s)
        assert ended, f"{how}: the host waits for ever"
        assert type(ended[0]) is expected and says in str(ended[0]), f"{how}: {ended[0]!r}"
        assert all(each.poll() is not None for each in processes), f"{how}: the process was left behind"


@attack("limits")
def reader_that_stands_still(arena: Arena) -> None:
    """Sleep in place of a file's reader, stop its process, or send a byte of an answer now and then."""
    with mock.patch.multiple(confined, _STILL_S=confined._STILL_S / 1000, _LOAD=confined._LOAD / 10):
        for how in ("sleeps", "stops", "drips"):
            held_up(arena, how, DataError, "stands still")


@attack("limits")
def reader_that_computes_without_end(arena: Arena) -> None:
    """Compute without end in place of a file's reader, and ignore the signal that ends it."""
    held_up(arena, "loops", OutOfTime, "", answer_s=0.2)
    held_up(arena, "ignores", BrokeDown, "")


@attack("limits")
def reader_that_sends_batches_without_end(arena: Arena) -> None:
    """Send batches without rows in place of a file's reader, or more rows than the file can have, without end."""
    with mock.patch.object(confined, "_MOST_EMPTY", 1000):
        held_up(arena, "repeats", BrokeDown, "cannot say", request={"rows": 0})
    held_up(arena, "repeats", BrokeDown, "cannot say", request={"rows": 10}, max_rows=1000)


def start_unconfined(*args: Any) -> Any:
    """Start the process with a jail that says what it is to, and takes nothing away."""
    with pretending():
        return _START(*args)


_SOFT: Final = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); from dataflare.pipeline.reading import own_limits as own; "
    "own._limit = lambda what, soft, hard: own.resource.setrlimit(what, (soft, own.resource.getrlimit(what)[1])); "
)
_OF: Final = "dataflare.pipeline.reading.confined"
_ISOLATION: Final = "dataflare.runtime.isolation"
MUTATIONS = [
    Mutation(f"{_OF}:_start", start_unconfined, ("more_than_its_file_from_a_reader", "reader_that_finds_no_jail")),
    Mutation(
        f"{_OF}:_counted",
        lambda batches, _: itertools.islice(batches, 5000),
        ("reader_that_sends_batches_without_end",),
    ),
    Mutation(f"{_OF}:_STILL_S", math.inf, ("reader_that_stands_still",)),
    Mutation(f"{_ISOLATION}.spawn:Process.computed_s", answers(0.0), ("reader_that_computes_without_end",)),
    Mutation(f"{_ISOLATION}.spawn:_BOOT", _SOFT + spawn._BOOT, ("reader_that_computes_without_end",)),
]
