"""Attacks by plugins that have broken out of the sandbox, and find themselves in a process of their own."""

from __future__ import annotations

import os
import signal
import socket
import time

from arena import Arena, attack, bystander
from attacks_limits import monster
from dataflare.errors import CallTimeout, ProtocolFault, WorkerDied
from dataflare.grants import DirectoryGrant, Grants
from dataflare.limits import Limits
from dataflare.runtime.isolation.process import IsolatedInstance
from dataflare.runtime.isolation.wire import BrokenWire, Wire
from dataflare.runtime.processor import Processor


def isolated(arena: Arena, **limits: float) -> tuple[Processor, IsolatedInstance]:
    plugin = arena.load(monster().binary, isolation="process", limits=Limits(**limits))  # type: ignore[arg-type]
    arena.at_close(plugin.close)
    plugin.start()
    instance = plugin._pool._idle[0][0].instance
    assert isinstance(instance, IsolatedInstance)
    return plugin, instance


@attack("processes")
def process_that_is_ended(arena: Arena) -> None:
    """End the process, to take the host along."""
    plugin, instance = isolated(arena)
    os.kill(instance.pid or 0, signal.SIGKILL)
    arena.raises(WorkerDied, lambda: plugin.process(monster().order("well")), says="signal 9")
    assert plugin.process(monster().order("well")) is None and plugin.stats.faults == 1


@attack("processes")
def process_that_stands_still(arena: Arena) -> None:
    """Never answer, past the time that the worker itself would watch."""
    plugin, instance = isolated(arena, call_timeout_s=0.3)
    os.kill(instance.pid or 0, signal.SIGSTOP)
    began = time.monotonic()
    arena.passes_limit(CallTimeout, lambda: plugin.process(monster().order("well")))
    assert time.monotonic() - began < 6
    assert plugin.process(monster().order("well")) is None


@attack("processes")
def loop_in_a_process(arena: Arena) -> None:
    """Compute for ever, in a process of its own."""
    plugin, _ = isolated(arena, call_timeout_s=0.2)
    arena.passes_limit(CallTimeout, lambda: plugin.process(monster().order("loop")))
    assert plugin.process(monster().order("well")) is None


class Impostor:
    """What a worker says once an attacker speaks for it."""

    def __init__(self, instance: IsolatedInstance, *message: object) -> None:
        ours, theirs = socket.socketpair()
        self._old = instance._wire
        instance._wire = Wire(ours, instance._kept, max_batch_bytes=2**20)
        self._speaker = Wire(theirs, instance._kept, max_batch_bytes=2**20)
        self._speaker.send(*message)

    def close(self) -> None:
        self._old.close()
        self._speaker.close()


def speaking(arena: Arena, *message: object) -> None:
    plugin, instance = isolated(arena)
    impostor = Impostor(instance, *message)
    arena.at_close(impostor.close)
    arena.raises(ProtocolFault, lambda: plugin.process(monster().order("well")))
    assert not instance.alive
    assert plugin.process(monster().order("well")) is None, "the next call has a new worker"


@attack("processes")
def process_that_asks_for_what_was_not_granted(arena: Arena) -> None:
    """Ask the host for a secret over the worker's own connection, past the plugin's imports."""
    speaking(arena, "host", "dataflare:host/secrets@1.0.0", "get", ["token"])


@attack("processes")
def process_that_speaks_another_language(arena: Arena) -> None:
    """Send the host what is no message, hoping that it is unpickled or trusted."""
    speaking(arena, "ready")
    speaking(arena, "result", 1)
    speaking(arena, "failed", "SystemExit", [], {}, True)


@attack("processes")
def memory_that_changes_after_it_was_checked(arena: Arena) -> None:
    """Send a batch in memory that the worker can still change, after the host has validated it."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours, arena, max_batch_bytes=2**20)  # type: ignore[arg-type]  # no handles are sent
    descriptor = os.memfd_create("batch", os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"x" * 64)
    text = b'[["batch", 0]]'
    socket.send_fds(theirs, [(1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(8)], [descriptor])
    theirs.sendall(text)
    arena.raises(BrokenWire, lambda: wire.receive(5), says="could still change")
    os.close(descriptor)
    wire.close()
    theirs.close()


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
    with open(f"/proc/{instance.pid}/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert (status["Seccomp"].strip() == "2") == ("seccomp" in instance.in_force)
    # Granted directories are open in the host alone.
    opened = [os.readlink(f"/proc/{instance.pid}/fd/{each}") for each in os.listdir(f"/proc/{instance.pid}/fd")]
    assert not any(str(folder) in each for each in opened), opened
