"""Attacks through WASI, which toolchains for Python, Go and JavaScript drag in whether a plugin uses it or not."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime import _bindings as raw

from arena import Arena, Mutation, answers, attack
from dataflare.engine.instance import Instance
from dataflare.errors import CallTimeout, GuestPanic, PluginFault, WorldMismatch
from dataflare.limits import Limits
from plugin_wat import hostile

API: Final = "test:kit/api@1.0.0"
ERROR: Final = 256
CLOSED: Final = ERROR + 1
ACCESS_DENIED: Final = ERROR + 1
NO_SUCH_NAME: Final = ERROR + 20

ANSWERS: Final[dict[str, tuple[str, int]]] = {
    "wasi:cli/environment#get-environment": ("environment", 0),
    "wasi:cli/environment#get-arguments": ("arguments", 0),
    "wasi:cli/environment#initial-cwd": ("cwd", 0),
    "wasi:cli/stdin#get-stdin": ("stdin", CLOSED),
    "wasi:cli/stdout#get-stdout": ("stdout", 0),
    "wasi:cli/stderr#get-stderr": ("stderr", 0),
    "wasi:cli/terminal-stdin#get-terminal-stdin": ("terminals", 0),
    "wasi:cli/terminal-stdout#get-terminal-stdout": ("terminals", 0),
    "wasi:filesystem/preopens#get-directories": ("directories", 0),
    "wasi:sockets/tcp-create-socket#create-tcp-socket": ("tcp-create", ACCESS_DENIED),
    "wasi:sockets/udp-create-socket#create-udp-socket": ("udp-create", ACCESS_DENIED),
    "wasi:sockets/ip-name-lookup#resolve-addresses": ("lookup", NO_SUCH_NAME),
}
"""What a function of WASI answers to a plugin without any grant: the guest's own name for it, and how many it got, or
256 and the case of the error."""

INTERFACES: Final[dict[str, str]] = {
    "wasi:cli/environment": "no variables, no arguments, no working directory",
    "wasi:cli/exit": "ends the plugin's instance alone (`GuestPanic`)",
    "wasi:cli/stdin": "a stream that is closed",
    "wasi:cli/stdout": "a stream that leads nowhere",
    "wasi:cli/stderr": "a stream into the plugin's own log, held to its rate",
    "wasi:cli/terminal-input": "only a type",
    "wasi:cli/terminal-output": "only a type",
    "wasi:cli/terminal-stdin": "no terminal",
    "wasi:cli/terminal-stdout": "no terminal",
    "wasi:cli/terminal-stderr": "no terminal",
    "wasi:clocks/monotonic-clock": "the time, and timers that end with the call's time limit",
    "wasi:clocks/wall-clock": "the time",
    "wasi:filesystem/preopens": "no directories",
    "wasi:filesystem/types": "nothing: there is no directory to begin with",
    "wasi:io/error": "only a type",
    "wasi:io/poll": "waiting, in turns that the call's time limit ends",
    "wasi:io/streams": "nothing but the three streams above",
    "wasi:random/insecure": "random numbers",
    "wasi:random/insecure-seed": "random numbers",
    "wasi:random/random": "random bytes, at most 64 MiB at a time",
    "wasi:sockets/instance-network": "a network in which nothing is allowed",
    "wasi:sockets/ip-name-lookup": "no name has an address",
    "wasi:sockets/network": "only types",
    "wasi:sockets/tcp": "nothing: there is no socket to begin with",
    "wasi:sockets/tcp-create-socket": "`access-denied`",
    "wasi:sockets/udp": "nothing: there is no socket to begin with",
    "wasi:sockets/udp-create-socket": "`access-denied`",
}
"""What is behind each interface that toolchains drag in, for a plugin without any grant."""


@cache
def guest() -> bytes:
    return bytes(wasmtime.wat2wasm((Path(__file__).parent / "wasi.wat").read_text()))


def instance(arena: Arena, lines: list[str] | None = None, **limits: Any) -> Instance:
    made = arena.engine.load(guest(), name="wasi").instantiate(
        {}, limits=Limits(**limits), stderr=(lines if lines is not None else []).append
    )
    arena.at_close(made.close)
    return made


def asked(arena: Arena, function: str, expected: int) -> None:
    found = instance(arena).call(API, function)
    assert found == expected, f"{function}: {found} instead of {expected}"


@attack("wasi")
def environment_of_the_host(arena: Arena) -> None:
    """Read environment variables and arguments of the host's process, where credentials often are."""
    os.environ["DATAFLARE_TEST_CREDENTIAL"] = "hunter2"
    try:
        for function in ("environment", "arguments", "cwd"):
            asked(arena, function, 0)
    finally:
        del os.environ["DATAFLARE_TEST_CREDENTIAL"]


@attack("wasi")
def directories_of_the_host(arena: Arena) -> None:
    """Find a directory that was opened for the plugin without being granted."""
    asked(arena, "directories", 0)


@attack("wasi")
def sockets_of_the_host(arena: Arena) -> None:
    """Open a socket past the broker."""
    asked(arena, "tcp-create", ACCESS_DENIED)
    asked(arena, "udp-create", ACCESS_DENIED)


@attack("wasi")
def names_looked_up_past_the_broker(arena: Arena) -> None:
    """Carry data out in the names that are looked up."""
    asked(arena, "lookup", NO_SUCH_NAME)


@attack("wasi")
def terminal_of_the_host(arena: Arena) -> None:
    """Read what the operator types, or write to the operator's screen."""
    lines: list[str] = []
    guest_instance = instance(arena, lines)
    assert guest_instance.call(API, "stdin") == CLOSED
    assert guest_instance.call(API, "terminals") == 0
    reading, writing = os.pipe()
    screen = os.dup(1)
    try:
        os.dup2(writing, 1)
        guest_instance.call(API, "stdout")
    finally:
        os.dup2(screen, 1)
        for descriptor in (screen, writing):
            os.close(descriptor)
    assert os.read(reading, 100) == b"", "what it writes to its standard output goes nowhere"
    os.close(reading)
    assert lines == []
    guest_instance.call(API, "stderr")
    assert lines == ["a line of the guest's"], "its standard error goes to its own log"


@attack("wasi")
def exit_of_the_host(arena: Arena) -> None:
    """End the host's process."""
    for status in (0, 1):
        arena.raises(GuestPanic, lambda status=status: instance(arena).call(API, "exit", status), says="exit")


@attack("limits")
def sleep_past_the_time_limit(arena: Arena) -> None:
    """Wait within WASI, where no compiled code runs that a time limit could stop."""
    for function, arguments in (("sleep", (60_000,)), ("first-of-three", (60_000,)), ("nap", ())):
        began = time.monotonic()
        sleeper = instance(arena, call_timeout_s=0.2)
        arena.raises(CallTimeout, lambda: sleeper.call(API, function, *arguments))  # noqa: B023  # called at once
        assert time.monotonic() - began < 2.2
    began = time.monotonic()
    assert instance(arena).call(API, "sleep", 60) is None
    assert time.monotonic() - began >= 0.06, "who may wait does wait"
    assert instance(arena).call(API, "first-of-three", 30) == 111


@attack("limits")
def storm_of_timers(arena: Arena) -> None:
    """Make timers without end, which take the host's memory rather than the plugin's."""
    storm = instance(arena, call_timeout_s=20)
    error = arena.raises(GuestPanic, lambda: storm.call(API, "pollables"))
    assert "limit" in str(error)


@attack("limits")
def gigabytes_of_randomness(arena: Arena) -> None:
    """Ask for more random bytes than the host has memory."""
    assert instance(arena).call(API, "random", 16) == 16
    arena.raises(GuestPanic, lambda: instance(arena).call(API, "random", 0xF000_0000), says="exceeds limit")


@attack("files-in")
def wait_for_nothing(arena: Arena) -> None:
    """Wait for an empty list, which has no end."""
    try:
        instance(arena).call(API, "none")
    except PluginFault as fault:
        assert type(fault) is GuestPanic
    else:
        raise AssertionError("it came back")


@attack("wasi")
def interface_that_is_no_part_of_it(arena: Arena) -> None:
    """Import WASI's HTTP, which would be a way past the broker."""
    import_ = '(import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))'
    made = hostile({"nothing": ""}, beside=import_)
    arena.refused_load(WorldMismatch, lambda: arena.load(made.binary), says="wasi:http")


class _OfTheHost(wasmtime.WasiConfig):
    """What the host's process has."""

    def __init__(self) -> None:
        super().__init__()
        self.inherit_env()
        self.inherit_argv()
        self.inherit_stdout()
        self.preopen_dir("/", "/")
        raw.wasi_config_inherit_network(self.ptr())
        raw.wasi_config_allow_ip_name_lookup(self.ptr(), True)


MUTATIONS = [
    Mutation(
        "dataflare.engine.compile_profile:wasmtime.WasiConfig",
        _OfTheHost,
        (
            *("environment_of_the_host", "directories_of_the_host", "terminal_of_the_host"),
            "names_looked_up_past_the_broker",
        ),
    ),
    Mutation("dataflare.runtime.worlds:mismatches", answers([]), ("interface_that_is_no_part_of_it",)),
]
