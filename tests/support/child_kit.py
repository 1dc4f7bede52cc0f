"""Scripts that run in a process of their own, since what they test has ended processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PRELUDE = """
import ctypes, faulthandler, os, random, signal, sys, threading, time
from pathlib import Path
import wasmtime
faulthandler.enable()
from dataflare.engine.engine import Engine
from dataflare.engine.abi.types import ListT, PrimT
from dataflare.errors import CallCancelled, CallTimeout, DataflareError, GuestPanic, HostShortage, UsageError
from dataflare.limits import Limits
from wat_kit import API, HOST, echo
folder = Path(sys.argv[1])
engine = Engine(cache_dir=folder / "compiled")
LOOP = bytes(wasmtime.wat2wasm('''(component
  (core module $m (func (export "f") (loop $l (br $l))))
  (core instance $i (instantiate $m))
  (func (export "spin") (canon lift (core func $i "f"))))'''))

class Raised(BaseException):
    pass

def raises(*_):
    raise Raised

def same(value):
    return value

class Caller:
    # Calls one component again and again, with a new instance after each that was lost.
    def __init__(self, component, function=same):
        self.component, self.function, self.instance, self.made = component, function, None, 0

    def __call__(self, value=7):
        if self.instance is None or not self.instance.alive:
            self.instance = None
            self.instance = self.component.instantiate({HOST: {"echo": self.function}})
            self.made += 1
        return self.instance.call(API, "echo", value)

def set_exception(thread, kind):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
"""


def run_child(script: str, folder: Path, *, timeout_s: float = 120.0) -> list[str]:
    """Run a script after `PRELUDE`; it must end well, with `done` as its last line. Returns the lines before."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script + "\nprint('done', flush=True)\nos._exit(0)\n", str(folder)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1:] == ["done"], (done.returncode, done.stdout[-500:], done.stderr[-3000:])
    return lines[:-1]


def seconds_of_work(process: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
