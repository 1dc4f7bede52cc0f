"""Attacks by workers that know the wire: what they say too often, too large, too early, or not at all."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa

from arena import Arena, Mutation, answers, attack
from attacks_jail import HERE, NOWHERE, refused
from attacks_limits import monster
from attacks_processes import FIGURES, NOTHING, SECRETS, Impostor, asking, imposed, instance_of, isolated
from dataflare import run, waiting_pipes
from dataflare.engine.abi.types import ListT, PrimT
from dataflare.errors import ConfigError, GuestPanic, HostBytesExceeded, ProtocolFault, UsageError
from dataflare.limits import Limits
from dataflare.runtime.isolation import privileges, seccomp, spawn
from dataflare.runtime.isolation import typed_values as values
from dataflare.runtime.isolation.instance import IsolatedInstance
from dataflare.runtime.isolation.wire import BrokenWire, Wire, make_memory
from dataflare.runtime.pool import PoolSettings
from jailed import ended_by, jailed


@attack("processes")
def names_of_files_by_their_errors(arena: Arena) -> None:
    """Learn which files there are from what opening them answers."""
    there, not_there = b"/etc/passwd", NOWHERE
    refused(*(("openat", HERE, path, os.O_RDONLY, 0) for path in (there, not_there, b"/usr/share/zoneinfo/UTC")))


@attack("processes")
def data_out_of_band(arena: Arena) -> None:
    """Send and receive with rarely used flags, such as out-of-band data, to reach little-tested kernel code."""
    for flags in (0x1, 0x2, 0x4, 0x80, 0x100, 0x200, 0x2000, 0x8000, 0x4000000, 0x20000000):
        refused(("sendto", -1, 0, 0, flags, 0, 0), ("recvfrom", -1, 0, 0, flags, 0, 0))


@attack("processes")
def waits_that_inherit_priorities(arena: Arena) -> None:
    """Use the kernel's priority-inheritance locks (futexes), which had many vulnerabilities."""
    refused(*(("futex", 0, operation | flags, 0, 0, 0, 0) for operation in (6, 7, 8, 11, 12, 13) for flags in (0, 384)))
    refused(("futex", 0, 2, 0, 0, 0, 0), ("futex", 0, 1 | 0x200, 0, 0, 0, 0))


@attack("processes")
def pages_that_others_share(arena: Arena) -> None:
    """Have pages of libraries, which other processes share, written out or joined."""
    refused(*(("madvise", 0, 0, advice) for advice in (9, 12, 20, 21, 22, 23, 25, 100, 101)))


@attack("processes")
def threads_of_the_hosts_user(arena: Arena) -> None:
    """Start threads without end where they are counted with those of the host's own user."""

    noted: list[int] = []

    def fail() -> None:
        noted.append(privileges.threads_of_user())
        raise OSError

    install, enter, own = seccomp.install, privileges.enter_namespaces, privileges.is_own_user

    def note(*arguments: Any) -> None:
        noted.append(resource.getrlimit(resource.RLIMIT_NPROC)[1])
        install(*arguments)

    seccomp.install, privileges.enter_namespaces, privileges.is_own_user = note, fail, lambda: False
    try:
        there, most = jailed(lambda: noted)
    finally:
        seccomp.install, privileges.enter_namespaces, privileges.is_own_user = install, enter, own
    assert 0 < most < there + 2000, (most, there)


@attack("processes")
def message_that_grows_when_it_is_read(arena: Arena) -> None:
    """Send a text of a few megabytes that becomes gigabytes of objects, before its type is looked at."""
    for text in (b"[]," * 10**6, b'{"":0},' * 10**6, b"0," * 10**6):
        text = b'[["result"],[' + text + b"0]]"
        plugin = imposed(
            arena,
            lambda impostor, text=text: impostor.wire.send(text),
            limits=Limits(call_timeout_s=5.0, host_memory_bytes=16 * 2**20),
        )
        arena.raises(HostBytesExceeded, lambda plugin=plugin: plugin.process("x"))


@attack("processes")
def bytes_that_are_said_many_times(arena: Arena) -> None:
    """Name the same megabytes beside a message again and again, each time as another text."""
    size = 2**20
    beside = memoryview(bytes(size))
    reader = values.Reader((), None, pa.py_buffer(beside), max_batch_bytes=0)  # type: ignore[arg-type]
    ty = ListT(PrimT("string"))
    arena.raises(BrokenWire, lambda: reader.read(ty, [[0, size]] * 64))
    reader = values.Reader((), None, pa.py_buffer(beside), max_batch_bytes=0)  # type: ignore[arg-type]
    assert len(reader.read(ty, [[0, 5], [5, size - 5]])) == 2


@attack("processes")
def worker_that_stays_when_its_start_has_failed(arena: Arena) -> None:
    """Say that the plugin failed at its start, and go on living, once for each attempt."""
    started: list[spawn.Process] = []

    class Failing(Impostor):
        def _run(self) -> None:
            self.wire.receive()
            started.append(self.process)
            self.say(["confined", ["nothing"]])
            self.say(["failed", "UsageError", "wrong", "", "", [], FIGURES, True])

    Failing(arena, lambda _: None)
    arena.raises(UsageError, lambda: arena.load(monster().binary, isolation="process").start())
    assert started and all(each.poll() is not None for each in started)


@attack("processes")
def worker_that_does_not_end(arena: Arena) -> None:
    """Hold the host up at its end: many workers that stand still, each to be waited for."""
    plugin, instance = isolated(arena)
    os.kill(instance.pid, signal.SIGSTOP)
    began = time.monotonic()
    instance.close()
    assert time.monotonic() - began < 0.4 and instance._process.poll() is not None
    plugin.close()


@attack("processes")
def frames_nested_in_frames(arena: Arena) -> None:
    """Fail with a backtrace that is nested so deeply, or so long, that the host fails at showing it."""
    nested: Any = ["x" * 1000]
    for _ in range(250):
        nested = [nested]
    for frames in (nested, [5, None, {"a": 1}], ["x" * 100] * 100_000):
        failed = ["failed", "GuestPanic", "text", "hint", "", frames, FIGURES, False]
        plugin = imposed(arena, lambda impostor, failed=failed: impostor.say(failed))
        error = arena.raises(GuestPanic, lambda plugin=plugin: plugin.process("x"))
        if frames is nested:
            assert error.backtrace == ()
        assert len(error.backtrace) <= 50 and all(isinstance(each, str) for each in error.backtrace)
        assert len(str(error)) < 20_000

    class Named(Impostor):
        def _run(self) -> None:
            self.wire.receive()
            self.say(["confined", nested])

    Named(arena, lambda _: None)
    arena.raises(ProtocolFault, lambda: arena.load(monster().binary, isolation="process").start(), says="jail")


@attack("processes")
def figures_that_add_up_to_too_much(arena: Arena) -> None:
    """Say numbers that fit, but whose sum over all instances cannot be written into a report."""

    def answer(impostor: Impostor) -> None:
        impostor.say(["result", [2**63 - 1] * 9, True], [NOTHING])

    arena.raises(ProtocolFault, lambda: imposed(arena, answer).process("x"), says="figures")
    plugin = imposed(arena, lambda impostor: impostor.say(["result", [2**50] * 9, True], [NOTHING]))
    plugin.process("x")
    orjson.dumps([1000 * each for each in (plugin.stats.host_calls, plugin.stats.bytes_in, plugin.stats.marshal_ns)])


def _in_a_child(attempt: Callable[[], Any]) -> Any:
    """What it returns, as JSON; the number of the signal, negative, where it ends the process."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, orjson.dumps(attempt()))
        except BaseException as error:
            os.write(into, orjson.dumps(f"{type(error).__name__}: {error}"))
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        said = file.read()
    status = os.waitpid(child, 0)[1]
    return orjson.loads(said) if said else os.waitstatus_to_exitcode(status)


@attack("processes")
def worker_whose_end_ends_the_host(arena: Arena) -> None:
    """Close the connection, so that a program that leaves SIGPIPE to the system ends when it writes."""

    def attempt() -> str:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair()
        wire = Wire(ours, make_memory(4096), 4096)
        theirs.close()
        try:
            wire.send(b"[]")
        except EOFError as error:
            return type(error).__name__
        return "sent"

    found = _in_a_child(attempt)
    assert found == "Gone", found


@attack("processes")
def files_that_the_host_has_no_more_of(arena: Arena) -> None:
    """Use up the host's file descriptors, so that starting a worker fails halfway."""

    def attempt() -> list[str]:
        plugin = arena.load(monster().binary, isolation="process")
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        held = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        found = []
        for _ in range(6):
            try:
                plugin.start()
                found.append("started")
            except ConfigError:
                found.append("ConfigError")
            os.close(held.pop())
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        # What was opened for a worker that did not start is closed again.
        return [*found, str(len(held))]

    found = _in_a_child(attempt)
    assert isinstance(found, list) and found[:2] == ["ConfigError"] * 2, found
    assert "started" in found or int(found[-1]) > 0


@attack("processes")
def worker_that_a_fork_shares(arena: Arena) -> None:
    """Get two processes, a program and its fork, to speak over one connection, and mix up their answers."""
    plugin, instance = isolated(arena)

    def attempt() -> list[Any]:
        assert not instance.alive
        return [plugin.process(monster().order("well")), plugin._pool._idle[0][0].instance.pid != instance.pid]  # type: ignore[attr-defined]

    # In the fork another worker is started; the first one still serves the process that started it.
    assert _in_a_child(attempt) == [None, True]
    assert plugin.process(monster().order("well")) is None
    assert instance.alive and plugin._pool._idle[0][0].instance is instance


@attack("processes")
def errors_of_the_system_from_the_host(arena: Arena) -> None:
    """Have a failure of the host reported as the end of the worker, or as a timeout."""
    for error in (OSError("disk"), TimeoutError("slow"), EOFError("end"), BrokenPipeError("pipe")):

        def fail(name: bytes, error: Exception = error) -> Any:
            raise error

        plugin = asking(arena, lambda impostor: impostor.say(["host", SECRETS, "get"], ["token"]))
        instance_of(plugin.start())._host = {SECRETS: {"get": fail}}
        arena.raises(type(error), lambda plugin=plugin: plugin.process("x"))


@attack("limits")
def fork_while_every_lock_is_held(arena: Arena) -> None:
    """Keep locks and instances busy in other threads, so that a fork of the program waits for threads it has not."""
    plugin = arena.load(monster().binary, pool=PoolSettings(maximum=1))
    assert plugin.process(monster().order("well")) is None
    plugin._pool._lock.acquire()
    plugin._launcher._lock.acquire()

    def attempt() -> Any:
        signal.alarm(2)
        return plugin.process(monster().order("well"))

    try:
        found = _in_a_child(attempt)
    finally:
        plugin._launcher._lock.release()
        plugin._pool._lock.release()
    assert found is None, found
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with plugin._pool.lease():
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    try:
        found = _in_a_child(attempt)
    finally:
        leave.set()
        thread.join()
    assert found is None, found


@attack("files-in")
def pipe_that_nobody_writes_to(arena: Arena) -> None:
    """Put a named pipe in an input's place, so that the run waits without end."""
    path = arena.folder / "in.csv"
    os.mkfifo(path)

    def attempt() -> str:
        signal.alarm(10)
        waiting_pipes._PIPE_S = 0.2  # type: ignore[misc]
        read = {"connector": "csv", "read": str(path)}
        write = {"connector": "csv", "input": "read", "write": str(arena.folder / "out.csv")}
        run({"name": "waits", "nodes": {"read": read, "write": write}})
        return "opened"

    assert "nothing was written" in str(_in_a_child(attempt))


@attack("processes")
def worker_that_an_interrupt_forgets(arena: Arena) -> None:
    """Keep running, with the host's descriptors, when an interrupt loses the reference that would close it."""
    plugin, _ = isolated(arena)
    gc.collect()  # what others left: its descriptors must not go while they are counted
    before = len(os.listdir("/proc/self/fd"))
    instance = plugin._launcher._instantiate().instance
    assert isinstance(instance, IsolatedInstance)
    pid = instance.pid
    os.kill(pid, signal.SIGSTOP)
    del instance
    gc.collect()
    if not ended_by(pid, 2.0):
        os.kill(pid, signal.SIGKILL)
        raise AssertionError("the worker lives on")
    assert len(os.listdir("/proc/self/fd")) == before


@attack("processes")
def machine_without_a_list_of_calls(arena: Arena) -> None:
    """Run on a processor whose system calls are not listed, so that no filter can be made."""
    machine, seccomp._MACHINE = seccomp._MACHINE, "riscv64"  # type: ignore[misc]
    try:
        found, weaker = jailed(lambda: "inside"), jailed(lambda: "inside", best_effort=True)
    finally:
        seccomp._MACHINE = machine  # type: ignore[misc]
    assert found == "not confined: seccomp: there is no filter of system calls for riscv64", found
    assert weaker == "inside"  # which the operator has to ask for
    for numbers in seccomp.NUMBERS.values():
        assert set(seccomp.ALLOWED) - set(numbers) <= {"poll", "time"} and len(set(numbers.values())) == len(numbers)


class _Forgetful(list[Any]):
    def add(self, thing: Any) -> None:
        pass


_KILL = IsolatedInstance._kill


def _ends_by_itself(instance: IsolatedInstance) -> None:
    time.sleep(0.5)
    _KILL(instance)


def _any_part(reader: values.Reader, value: Any) -> pa.Buffer:
    return reader._beside.slice(*value)


_ERROR = IsolatedInstance._error


def _shown(instance: IsolatedInstance, kind: str, text: str, hint: str, frames: list[Any]) -> Exception:
    return _ERROR(instance, kind, text, hint, list(map(str, frames)))


ISOLATION = "dataflare.runtime.isolation"
MUTATIONS = [
    Mutation(f"{ISOLATION}.seccomp:_REFUSE", seccomp._ALLOW, ("names_of_files_by_their_errors",)),
    Mutation(
        f"{ISOLATION}.seccomp:_checks",
        answers([]),
        ("data_out_of_band", "waits_that_inherit_priorities", "pages_that_others_share"),
    ),
    Mutation(f"{ISOLATION}.seccomp:install", answers(None), ("machine_without_a_list_of_calls",)),
    Mutation(f"{ISOLATION}.jail:_limit_each", answers(None), ("threads_of_the_hosts_user",)),
    Mutation(f"{ISOLATION}.channel:_VALUE_BYTES", (), ("message_that_grows_when_it_is_read",)),
    Mutation(f"{ISOLATION}.typed_values:Reader._part", _any_part, ("bytes_that_are_said_many_times",)),
    Mutation(f"{ISOLATION}.spawn:Process.end", answers(None), ("worker_that_stays_when_its_start_has_failed",)),
    Mutation(f"{ISOLATION}.instance:IsolatedInstance._kill", _ends_by_itself, ("worker_that_does_not_end",)),
    Mutation(f"{ISOLATION}.instance:IsolatedInstance._error", _shown, ("frames_nested_in_frames",)),
    Mutation(f"{ISOLATION}.instance:_MAX_FIGURE", 2**63, ("figures_that_add_up_to_too_much",)),
    Mutation(f"{ISOLATION}.wire:socket.MSG_NOSIGNAL", 0, ("worker_whose_end_ends_the_host",)),
    Mutation(f"{ISOLATION}.instance:ConfigError", OSError, ("files_that_the_host_has_no_more_of",)),
    Mutation(
        f"{ISOLATION}.instance:IsolatedInstance.alive",
        property(lambda instance: instance._alive),
        ("worker_that_a_fork_shares",),
    ),
    Mutation("dataflare.security.connectors:open_plain", open, ("pipe_that_nobody_writes_to",)),
    Mutation(f"{ISOLATION}.spawn:Process.__del__", answers(None), ("worker_that_an_interrupt_forgets",)),
    Mutation("dataflare.locks:_locks", _Forgetful(), ("fork_while_every_lock_is_held",)),
    Mutation(
        "dataflare.runtime.pool:_pools", _Forgetful(), ("fork_while_every_lock_is_held", "worker_that_a_fork_shares")
    ),
    Mutation(f"{ISOLATION}.instance:Gone", (EOFError, OSError), ("errors_of_the_system_from_the_host",)),
]
