"""Attacks by plugins that have broken out of the sandbox, and find themselves in a process of their own."""

from __future__ import annotations

import _thread
import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from arena import ROWS, Arena, Mutation, answers, attack, bystander, probe
from attacks_limits import monster
from dataflare.data.ipc import encode_stream
from dataflare.errors import (
    CallTimeout,
    DataflareError,
    HostCallLimitExceeded,
    OutputLimitExceeded,
    ProtocolFault,
    WorkerDied,
)
from dataflare.grants import DirectoryGrant, Grants
from dataflare.limits import Limits
from dataflare.runtime.isolation import spawn
from dataflare.runtime.isolation import wire as wires
from dataflare.runtime.isolation.instance import IsolatedInstance, _Returned
from dataflare.runtime.isolation.wire import Wire
from dataflare.runtime.isolation.worker_task import Task
from dataflare.runtime.processor import Processor
from plugin_wat import Hostile


def isolated(arena: Arena, **limits: float) -> tuple[Processor, IsolatedInstance]:
    plugin = arena.load(monster().binary, isolation="process", limits=Limits(**limits))  # type: ignore[arg-type]
    arena.at_close(plugin.close)
    plugin.start()
    return plugin, instance_of(plugin)


def instance_of(plugin: Processor) -> IsolatedInstance:
    instance = plugin._pool._idle[0][0].instance
    assert isinstance(instance, IsolatedInstance)
    return instance


@attack("processes")
def process_that_is_ended(arena: Arena) -> None:
    """End the process, to take the host along."""
    plugin, instance = isolated(arena)
    os.kill(instance.pid, signal.SIGKILL)
    arena.raises(WorkerDied, lambda: plugin.process(monster().order("well")), says="signal 9")
    assert arena.still_serves(lambda: plugin.process(monster().order("well"))) is None and plugin.stats.faults == 1


@attack("processes")
def process_that_stands_still(arena: Arena) -> None:
    """Never answer, past the time that the worker itself would watch."""
    plugin, instance = isolated(arena, call_timeout_s=0.3)
    os.kill(instance.pid, signal.SIGSTOP)
    began = time.monotonic()
    arena.passes_limit(CallTimeout, lambda: plugin.process(monster().order("well")))
    assert time.monotonic() - began < 4
    assert plugin.process(monster().order("well")) is None


@attack("processes")
def loop_in_a_process(arena: Arena) -> None:
    """Compute forever, in a process of its own."""
    plugin, _ = isolated(arena, call_timeout_s=0.2)
    began = time.monotonic()
    arena.passes_limit(CallTimeout, lambda: plugin.process(monster().order("loop")))
    assert time.monotonic() - began < arena.patience_s
    assert plugin.process(monster().order("well")) is None


class Impostor:
    """What speaks in place of a worker: it starts as a worker does, and answers calls with data as an attacker says."""

    def __init__(self, arena: Arena, answer: Callable[[Impostor], None]) -> None:
        self._answer = answer
        self.stopped = threading.Event()
        arena.at_close(self.close)
        self._threads: list[queue.SimpleQueue[None]] = []
        self._real_start = spawn.start
        spawn.start = self._start
        arena.at_close(self._give_back)

    def _give_back(self) -> None:
        spawn.start = self._real_start

    def _start(self, entry: str, descriptors: Sequence[int], **_: Any) -> spawn.Process:
        connection, self.memory = map(os.dup, descriptors)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=connection)
        self.wire = Wire(self.socket, self.memory, os.fstat(self.memory).st_size)
        self.process = spawn.Process(subprocess.Popen(["sleep", "60"], start_new_session=True))
        ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        # An interrupt within `Thread.start` would leave its locks in disorder.
        _thread.start_new_thread(self._speak, (self.wire, ended))
        self._threads.append(ended)
        return self.process

    def _speak(self, wire: Wire, ended: queue.SimpleQueue[None]) -> None:
        try:
            self._run()
        finally:
            wire.close()
            ended.put(None)

    def _run(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self.wire.receive()
            self.say(["confined", ["nothing"]])
            self.say(["ready", FIGURES])
            while True:
                function = orjson.loads(self.wire.receive()[0])[0][2]
                if function.startswith("process"):
                    self._answer(self)
                else:
                    self.say(["result", FIGURES, True], [NOTHING])

    def say(self, plain: list[Any], typed: Sequence[Any] = (), beside: bytes = b"") -> None:
        self.wire.send(orjson.dumps([plain, list(typed)]), [memoryview(beside)])

    def raw(self, data: bytes) -> None:
        self.socket.setblocking(True)
        self.socket.sendall(data)
        self.socket.setblocking(False)

    def close(self) -> None:
        self.stopped.set()
        for ended in self._threads:
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=5)


SECRETS = "dataflare:host/secrets@1.0.0"
FIGURES = [0] * 9
NOTHING = [0, None]
"""`ok(none)`, as `process` may return it."""


def imposed(
    arena: Arena, answer: Callable[[Impostor], None], component: Hostile | None = None, **options: Any
) -> Processor:
    """A plugin whose worker is an impostor."""
    Impostor(arena, answer)
    options.setdefault("limits", Limits(call_timeout_s=1.0))
    plugin = arena.load((component or monster()).binary, isolation="process", **options)
    arena.at_close(plugin.close)
    return plugin


def speaking(arena: Arena, plain: list[Any], typed: Sequence[Any] = (), *, says: str = "") -> None:
    """One message in place of a worker's answer to `process` is refused, and the instance is gone."""
    plugin = imposed(arena, lambda impostor: impostor.say(plain, typed))
    instance = instance_of(plugin.start())
    arena.raises(ProtocolFault, lambda: plugin.process("x"), says=says)
    assert not instance.alive and instance._process.poll() is not None


def asking(arena: Arena, answer: Callable[[Impostor], None], **limits: int) -> Processor:
    """As `imposed`, with a plugin that may ask for a secret."""
    made = probe("secrets#get", "(i32.const 1024) (i32.const 5) (i32.const 512)")
    grants = Grants(secrets=frozenset({"token"}))
    return imposed(arena, answer, made, grants=grants, limits=Limits(**limits))  # type: ignore[arg-type]


@attack("processes")
def process_that_asks_for_what_was_not_granted(arena: Arena) -> None:
    """Ask the host for a secret over the worker's own connection, past the plugin's imports."""
    answered: list[bytes] = []

    def ask(impostor: Impostor) -> None:
        impostor.say(["host", SECRETS, "get"], ["token"])
        answered.append(impostor.wire.receive()[0])
        impostor.say(["result", FIGURES, True], [NOTHING])

    plugin = imposed(arena, ask)
    arena.raises(ProtocolFault, lambda: plugin.process("x"), says="not granted")
    assert not answered


@attack("processes")
def process_that_speaks_another_language(arena: Arena) -> None:
    """Send the host what is not a message, hoping that it is unpickled or trusted."""
    speaking(arena, ["ready", FIGURES], says="does not fit")
    speaking(arena, ["result", 1], says="does not fit")
    speaking(arena, ["confined", ["everything"]], says="does not fit")
    plugin = imposed(arena, lambda impostor: impostor.raw(b"\x80\x04cos\nsystem\n(S'true'\ntR."))
    arena.raises(ProtocolFault, lambda: plugin.process("x"))


@attack("processes")
def result_of_another_type(arena: Arena) -> None:
    """Answer `process` with a number, `process-batch` with a text, and similar."""
    for value in (5, "text", [0, 5], [0, [5]], [2, None], [0, [[0, 99]]], [1, None], [1, [99, None]], {"ok": None}):
        speaking(arena, ["result", FIGURES, True], [value])
    speaking(arena, ["result", FIGURES, True], [], says="0 values in place of 1")
    plugin = imposed(arena, lambda impostor: impostor.say(["result", FIGURES, True], [[0, 1]]))
    arena.raises(ProtocolFault, lambda: plugin.process_batch(ROWS))


@attack("processes")
def batch_that_is_none(arena: Arena) -> None:
    """Answer with bytes in place of a batch, which the host is to read past their end."""
    plugin = imposed(arena, lambda impostor: impostor.say(["result", FIGURES, True], [[0, [0, 16]]], b"\xff" * 16))
    arena.raises(ProtocolFault, lambda: plugin.process_batch(ROWS), says="batch")


@attack("processes")
def figures_that_are_none(arena: Arena) -> None:
    """Report a negative time, or a huge number of calls, to spoil the metrics."""
    for figures in ([-1] * 9, [2**63] * 9, [True] * 9, ["x"] * 9, [0] * 8):
        speaking(arena, ["result", figures, True], [NOTHING], says="figures")


@attack("processes")
def error_of_the_hosts_own(arena: Arena) -> None:
    """Fail with an exception that ends the host, or that the host takes for its own."""
    for kind in ("SystemExit", "KeyboardInterrupt", "PermissionDenied", "ConfigError", "os", "__doc__"):
        failed = ["failed", kind, "x" * 10**6, "", "", [], FIGURES, True]
        plugin = imposed(arena, lambda impostor, failed=failed: impostor.say(failed))
        error = arena.raises(WorkerDied, lambda plugin=plugin: plugin.process("x"))
        assert len(str(error)) < 20_000
    speaking(arena, ["failed", "GuestPanic", ["text"], "", "", [], FIGURES, True], says="does not fit")


@attack("processes")
def handle_that_the_worker_made_up(arena: Arena) -> None:
    """Drop an object of the host that the plugin does not hold, and use one."""

    def drop(impostor: Impostor, number: int) -> None:
        impostor.say(["drop", number])
        impostor.say(["result", FIGURES, True], [NOTHING])

    for number in (1, -1):
        plugin = imposed(arena, lambda impostor, number=number: drop(impostor, number))
        arena.raises(ProtocolFault, lambda plugin=plugin: plugin.process("x"), says="handle")


@attack("processes")
def arguments_of_another_type(arena: Arena) -> None:
    """Call a function of the host with what its type does not allow."""
    for args in ([5], [["token"]], [None], [[0, 99]], [{"name": "token"}], [], ["token", "token"]):
        plugin = asking(arena, lambda impostor, args=args: impostor.say(["host", SECRETS, "get"], args))
        arena.raises(ProtocolFault, lambda plugin=plugin: plugin.process("x"))
    arena.assert_nothing_denied_is_allowed("secrets")


@attack("processes")
def calls_that_the_worker_does_not_count(arena: Arena) -> None:
    """Call the host more often than `host_calls`, from a worker that has stopped counting."""

    def flood(impostor: Impostor) -> None:
        for _ in range(30):
            impostor.say(["host", SECRETS, "get"], ["token"])
            impostor.wire.receive()
        impostor.say(["result", FIGURES, True], [NOTHING])

    plugin = asking(arena, flood, host_calls=20)
    arena.passes_limit(HostCallLimitExceeded, lambda: plugin.process("x"))


@attack("processes")
def output_that_the_worker_does_not_count(arena: Arena) -> None:
    """Return more than `output_bytes`, from a worker that has stopped counting."""
    text = b"x" * 5000
    answer = [0, [[0, len(text)]]]
    plugin = imposed(
        arena,
        lambda impostor: impostor.say(["result", FIGURES, True], [answer], text),
        limits=Limits(output_bytes=1000),
    )
    arena.passes_limit(OutputLimitExceeded, lambda: plugin.process("x"))


@attack("processes")
def process_that_stops_while_it_is_sent_something(arena: Arena) -> None:
    """Stop during a large transfer to the worker, so that the host waits forever."""
    plugin, instance = isolated(arena, call_timeout_s=0.3)
    os.kill(instance.pid, signal.SIGSTOP)
    began = time.monotonic()
    # All through the connection, which holds less.
    inline, wires._INLINE_BYTES = wires._INLINE_BYTES, 2**30
    try:
        arena.passes_limit(CallTimeout, lambda: plugin.process(monster().order("well", "x" * 4 * 2**20)))
    finally:
        wires._INLINE_BYTES = inline
    assert time.monotonic() - began < 4
    assert plugin.process(monster().order("well")) is None


@attack("processes")
def answer_that_drips(arena: Arena) -> None:
    """Answer byte by byte, each in good time."""

    def drip(impostor: Impostor) -> None:
        impostor.raw(struct.pack("<IQ", 10_000, 0))
        until = time.monotonic() + arena.patience_s
        while not impostor.stopped.wait(0.05) and time.monotonic() < until:
            impostor.raw(b" ")

    plugin = imposed(arena, drip, limits=Limits(call_timeout_s=0.3))
    plugin.start()
    began = time.monotonic()
    arena.passes_limit(CallTimeout, lambda: plugin.process("x"))
    assert time.monotonic() - began < arena.patience_s


@attack("processes")
def memory_that_changes_after_it_was_checked(arena: Arena) -> None:
    """Change a batch in shared memory after the host has validated it."""
    rows = pa.record_batch({"n": list(range(20_000))})
    stream = bytes(encode_stream(rows))
    kept: list[Impostor] = []

    def answer(impostor: Impostor) -> None:
        kept.append(impostor)
        impostor.say(["result", FIGURES, True], [[0, [0, len(stream)]]], stream)

    found = imposed(arena, answer).process_batch(rows)
    os.pwrite(kept[0].memory, b"\xff" * len(stream), 0)
    assert found.equals(rows)


@attack("processes")
def message_without_end(arena: Arena) -> None:
    """Promise a message of gigabytes, so that the host makes room for it."""
    for head in (struct.pack("<IQ", 2**32 - 1, 0), struct.pack("<IQ", 2, 2**40)):
        plugin = imposed(arena, lambda impostor, head=head: impostor.raw(head))
        error = arena.raises_any(DataflareError, lambda plugin=plugin: plugin.process("x"))
        assert type(error) is ProtocolFault and "bytes" in str(error), f"it waits for the rest: {error}"


@attack("processes")
def interrupt_while_the_worker_is_silent(arena: Arena) -> None:
    """Keep the operator's Ctrl-C from having any effect."""
    plugin, instance = isolated(arena)
    os.kill(instance.pid, signal.SIGSTOP)
    arena.at_close(lambda: instance.alive and os.kill(instance.pid, signal.SIGKILL))  # closing would wait for it

    def interrupt() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    arena.raises(KeyboardInterrupt, lambda: plugin.process(monster().order("well")))
    assert time.monotonic() - began < 1
    thread.join()
    assert not instance.alive and plugin.process(monster().order("well")) is None


@attack("processes")
def files_and_sockets_from_within_the_process(arena: Arena) -> None:
    """Use the process's own system calls, past all capabilities: the kernel refuses what it was told to."""
    folder = arena.folder / "data"
    folder.mkdir()
    grants = Grants(files={"data": DirectoryGrant(path=folder)})
    plugin = arena.load(bystander().binary, isolation="process", grants=grants)
    arena.at_close(plugin.close)
    plugin.start()
    instance = plugin._pool._idle[0][0].instance
    with open(f"/proc/{instance.pid}/status") as file:  # type: ignore[attr-defined]
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert (status["Seccomp"].strip() == "2") == ("seccomp" in instance.in_force)  # type: ignore[attr-defined]
    # Granted directories are open in the host alone.
    opened = [os.readlink(f"/proc/{instance.pid}/fd/{each}") for each in os.listdir(f"/proc/{instance.pid}/fd")]  # type: ignore[attr-defined]
    assert not any(str(folder) in each for each in opened), opened


def _from_each_byte(_: Wire, ready: Any, __: float) -> None:
    if not ready.poll(500):
        raise wires.OutOfTime


def _later(task: Task) -> dict[str, Any]:
    return {**_TO_JSON(task), "limits": {"call_timeout_s": 3.0}}


def _give(instance: IsolatedInstance, *_: Any) -> None:
    instance._channel.send(instance._channel.pack("answer"))


def _any_message(instance: IsolatedInstance, _: Any, deadline: float) -> _Returned:
    instance._channel.receive(deadline=deadline)
    return _Returned()


def _waits_longer(wire: Wire, ready: Any, deadline: float) -> None:
    while not ready.poll(1000):
        if time.monotonic() > deadline + 4:
            raise TimeoutError


@staticmethod
def _memory_itself(memory: int, size: int) -> pa.Buffer:
    import mmap

    return pa.py_buffer(mmap.mmap(memory, size))


SUPPORT: Final = str(Path(__file__).parents[1] / "support")
"""Where `unconfined_worker` is."""
PROCESS: Final = "dataflare.runtime.isolation"
_ROOTS = spawn._roots
_TO_JSON = Task.to_json
MUTATIONS = [
    Mutation("dataflare.runtime.launch:Worker.usable", property(answers(True)), ("process_that_is_ended",)),
    Mutation(
        f"{PROCESS}.worker_task:Task.to_json",
        _later,
        ("loop_in_a_process",),
        # The worker watches the time, and the host watches the worker.
        also={f"{PROCESS}.instance:_GRACE_S": 60.0},
    ),
    Mutation(
        f"{PROCESS}.instance:IsolatedInstance._serve_call", _give, ("process_that_asks_for_what_was_not_granted",)
    ),
    Mutation(f"{PROCESS}.instance:IsolatedInstance._serve", _any_message, ("process_that_speaks_another_language",)),
    Mutation(f"{PROCESS}.wire:Wire._wait", _from_each_byte, ("answer_that_drips",)),
    Mutation(f"{PROCESS}.instance:IsolatedInstance._kill", answers(None), ("interrupt_while_the_worker_is_silent",)),
    Mutation(
        f"{PROCESS}.instance:ENTRY",
        "unconfined_worker:main",
        ("files_and_sockets_from_within_the_process",),
        also={f"{PROCESS}.spawn:_roots": lambda: [*_ROOTS(), SUPPORT]},
    ),
    Mutation(
        f"{PROCESS}.wire:Wire._wait",
        _waits_longer,
        ("process_that_stands_still", "process_that_stops_while_it_is_sent_something"),
    ),
    Mutation(f"{PROCESS}.wire:Wire._load", _memory_itself, ("memory_that_changes_after_it_was_checked",)),
    Mutation(f"{PROCESS}.wire:MAX_TEXT_BYTES", 2**40, ("message_without_end",)),
    Mutation(f"{PROCESS}.typed_values:Reader.read", lambda _, ty, value: value, ("result_of_another_type",)),
    Mutation(f"{PROCESS}.typed_values:Reader._text", lambda _, value: value, ("arguments_of_another_type",)),
    Mutation(f"{PROCESS}.instance:IsolatedInstance._take", answers(None), ("figures_that_are_none",)),
    Mutation(
        f"{PROCESS}.instance:IsolatedInstance._error",
        lambda instance, kind, text, *_: getattr(__builtins__, kind, ValueError)(text),
        ("error_of_the_hosts_own",),
    ),
    Mutation(f"{PROCESS}.instance:_Kept.drop", answers(None), ("handle_that_the_worker_made_up",)),
    Mutation(
        "dataflare.engine.call_budget:CallBudget.check_calls", answers(None), ("calls_that_the_worker_does_not_count",)
    ),
    Mutation(
        f"{PROCESS}.instance:IsolatedInstance._result",
        lambda instance, func, message: instance._channel.read(message, [func.result])[0][0],
        ("output_that_the_worker_does_not_count",),
    ),
    Mutation(f"{PROCESS}.typed_values:decode_stream", answers(ROWS), ("batch_that_is_none",)),
]
