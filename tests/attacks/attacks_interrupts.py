"""Attacks with interrupts that come between any two steps of the host's own work."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arena import ROWS, Arena, Mutation, answers, attack
from attacks_limits import monster
from attacks_processes import Impostor
from dataflare.capabilities import sqlite_state
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.directory_files import DirectoryFiles
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.capabilities.state import MemoryStateStore
from dataflare.errors import WorkerDied
from dataflare.grants import DirectoryGrant
from dataflare.limits import Limits
from dataflare.runtime.datasets import Target
from dataflare.runtime.destination import Destination
from dataflare.runtime.host import Host
from dataflare.runtime.options import Services
from dataflare.runtime.runs import RunLost
from dataflare.runtime.source import Source
from interrupts import attempts, interrupted, moments
from runtime_fakes import FakeEngine, Numbers, Shelf


def descriptors() -> int:
    """How many files are open."""
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    """The processes that this one has started, and that nobody has waited for."""
    found: set[str] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{task}/children") as file:
            found.update(file.read().split())
    return found


def leaves_nothing(action: Callable[[], Any], *, most: int) -> None:
    """Interrupt something at many moments: no descriptor and no process is left, and it can be done afterwards."""
    action()
    count = moments(action)
    gc.collect()
    gc.disable()
    try:
        files, processes, came_out = descriptors(), children(), 0
        for at in attempts(count, most):
            came_out += interrupted(action, at)
            until = time.monotonic() + 10.0
            # One look decides: work that was left to a thread may begin only after it. A loss is seen at the next one.
            while (left := descriptors() - files) > 0 and time.monotonic() < until:
                time.sleep(0.002)
            assert left <= 0, f"{left} descriptors are left, moment {at} of {count}"
        assert came_out > most // 3
        action()
        until = time.monotonic() + 2.0
        while children() - processes and time.monotonic() < until:
            action()  # what was dropped is waited for by the next start
        assert not children() - processes, "processes are left"
    finally:
        gc.enable()


@attack("processes")
def interrupts_while_a_worker_starts(arena: Arena) -> None:
    """Interrupt the start of a worker at any moment, so that descriptors and processes are lost one by one."""
    Impostor(arena, lambda _: None)
    plugin = arena.load(monster().binary, isolation="process", limits=Limits(call_timeout_s=5.0))
    arena.at_close(plugin.close)

    def start() -> None:
        try:
            plugin._launcher._instantiate().instance.close()
        except WorkerDied as error:
            raise AssertionError("an interrupt ended a worker") from error

    leaves_nothing(start, most=170)


def _host(arena: Arena) -> tuple[FakeEngine, Host]:
    engine = FakeEngine()
    host = Host(engine=engine, services=Services(log_sink=lambda _: arena.log_sink))
    arena.at_close(host.close)
    return engine, host


@attack("outputs")
def interrupts_between_reads(arena: Arena) -> None:
    """Interrupt a read at any moment: the next one must not leave out rows that nobody has seen."""
    engine, host = _host(arena)
    source = host.load(engine.add(type("Some", (Numbers,), {})), name="source")
    assert isinstance(source, Source)
    arena.at_close(source.close)

    def begin() -> None:
        source.open()
        assert source.read().rows.column("n").to_pylist() == [0, 1]  # type: ignore[union-attr]

    begin()
    lost = 0
    for at in attempts(moments(source.read), 60):
        begin()
        if interrupted(source.read, at):
            try:
                assert source.read().rows.column("n").to_pylist() == [2, 3], at  # type: ignore[union-attr]
            except RunLost:
                lost += 1
    assert lost > 40


@attack("outputs")
def interrupts_between_writes(arena: Arena) -> None:
    """Interrupt a write or a flush at any moment: rows must not be left out of what is then said to be finished."""
    shelf: list[int] = []
    engine, host = _host(arena)
    destination = host.load(engine.add(type("Some", (Shelf,), {"shelf": shelf})), name="destination")
    assert isinstance(destination, Destination)
    arena.at_close(destination.close)

    def begin() -> None:
        shelf.clear()
        destination.open(Target("rows", ROWS.schema))
        destination.write(ROWS)

    step: Callable[[], object]
    for step in (lambda: destination.write(ROWS), destination.flush, destination.finish):
        begin()
        count = moments(step)
        destination.abort()
        for at in attempts(count, 30):
            begin()
            if interrupted(step, at):
                with contextlib.suppress(RunLost):
                    destination.write(ROWS)
                    destination.finish()
                    assert at <= 2, f"{step}: after the interrupt {at} the run was finished with {shelf}"
            destination.abort()
    begin()
    destination.finish()
    assert shelf == [1, 2, 3]


@attack("neighbours")
def interrupts_within_the_state(arena: Arena) -> None:
    """Interrupt a use of the state at any moment, so that it stays locked for all others."""
    file = arena.folder / "state"
    before, sqlite_state._BUSY_TIMEOUT_S = sqlite_state._BUSY_TIMEOUT_S, 0.3
    arena.at_close(lambda: setattr(sqlite_state, "_BUSY_TIMEOUT_S", before))
    for store in (SqliteStateStore(file), MemoryStateStore()):

        def use(store: SqliteStateStore | MemoryStateStore = store) -> None:
            store.set("n", "k", b"1")
            store.set("n", "j", b"1")
            store.delete("n", "j")
            assert store.compare_and_swap("n", "k", b"1", b"2")
            assert store.list_keys("n", "", None, 0).keys == ["k"]

        def look(store: SqliteStateStore | MemoryStateStore = store) -> list[str]:
            with contextlib.closing(sqlite3.connect(file, timeout=0.2)) as other:
                other.execute("BEGIN IMMEDIATE")
            store.delete("n", "j")
            assert store.get("n", "k") in (b"1", b"2")
            return list(store.list_keys("n", "", None, 0).keys)

        use()
        with ThreadPoolExecutor(1) as elsewhere:
            for at in attempts(moments(use), 90):
                interrupted(use, at)
                try:
                    assert elsewhere.submit(look).result() == ["k"], at
                except (CapabilityFailure, sqlite3.Error) as error:
                    raise AssertionError(f"after the moment {at}: {error}") from error
        store.close()


@attack("files")
def interrupts_while_files_are_opened(arena: Arena) -> None:
    """Interrupt uses of files at any moment, until neither the plugin nor the host can open one any more."""
    (arena.folder / "a").write_bytes(b"abc")

    def use() -> None:
        assert files.stat("data/a").size_bytes == 3 and files.list_entries("data")
        reader, writer = files.open("data/a"), files.create("data/b", True)
        reader.read(9)
        writer.write(b"x")
        writer.publish()
        writer.close_handle()
        reader.close_handle()

    with DirectoryFiles({"data": DirectoryGrant(path=arena.folder, access="write")}) as files:
        leaves_nothing(use, most=120)
        assert not list(files._slots), "places of files are lost"
        assert not [each for each in os.listdir(arena.folder) if each.startswith(".")]


def _here(work: Callable[[], Any]) -> Any:
    return work()


def _held(store: SqliteStateStore, work: Callable[[Any], Any]) -> Any:
    if not store._lock.acquire(timeout=0.3):
        raise CapabilityFailure("unavailable", "locked")
    result = work(store._connection)
    store._lock.release()
    return result


MUTATIONS = [
    Mutation(
        "dataflare.runtime.source:Source._interrupted",
        property(answers(False), answers(None)),
        ("interrupts_between_reads",),
    ),
    Mutation(
        "dataflare.runtime.destination:Destination._interrupted",
        property(answers(False), answers(None)),
        ("interrupts_between_writes",),
    ),
    Mutation("dataflare.capabilities.sqlite_state:SqliteStateStore._use", _held, ("interrupts_within_the_state",)),
    Mutation("dataflare.capabilities.directory_files:interruptible", _here, ("interrupts_while_files_are_opened",)),
    Mutation(
        "dataflare.runtime.isolation.spawn:in_starter",
        lambda make: make(),
        ("interrupts_while_a_worker_starts",),
    ),
]
