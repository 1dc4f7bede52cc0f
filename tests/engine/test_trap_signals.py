"""Signals by which compiled code traps stay with wasmtime, and everything else as the program has set it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import faulthandler, signal, sys
import wasmtime
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, PluginFault
BINARY = bytes(wasmtime.wat2wasm('''(component (core module $m (func (export "f") unreachable))
  (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))'''))
def traps():
    with Engine(cache_dir=sys.argv[1]) as engine:
        try:
            engine.load(BINARY, name="plugin").instantiate({}).call("", "f")
        except PluginFault:
            print("trapped", flush=True)
"""


def run(code: str, folder: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD + code, str(folder)], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_thread_that_blocks_signals_still_does_after_a_call(tmp_path):
    done = run(
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); before = signal.pthread_sigmask(0, ())\n"
        "traps(); assert signal.pthread_sigmask(0, ()) == before, before; print('same')",
        tmp_path,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["trapped", "same"]), done.stderr


def test_an_engine_of_wasmtimes_and_faulthandler_may_come_first(tmp_path):
    done = run("wasmtime.Engine(); faulthandler.enable(); traps(); assert faulthandler.is_enabled(); traps()", tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["trapped", "trapped"]), done.stderr


def test_faulthandler_tells_of_crashes_when_it_was_turned_on_first(tmp_path):
    done = run("faulthandler.enable(); traps(); import ctypes; ctypes.string_at(8)", tmp_path)
    assert done.returncode < 0 and done.stdout.split() == ["trapped"]
    assert "Fatal Python error: Segmentation fault" in done.stderr


def test_a_program_that_took_the_signals_before_the_host_is_told(tmp_path):
    done = run(
        "wasmtime.Engine(); signal.signal(signal.SIGSEGV, signal.SIG_DFL)\n"
        "try:\n    traps()\nexcept ConfigError as error:\n    print(error.message, '|', error.hint)",
        tmp_path,
    )
    assert done.returncode == 0 and "handles SIGSEGV itself" in done.stdout and "make the host before" in done.stdout


def test_a_handler_of_the_programs_own_does_not_keep_a_trap(tmp_path):
    done = run("traps(); signal.signal(signal.SIGILL, lambda *_: None); traps()", tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["trapped", "trapped"]), done.stderr


@pytest.mark.parametrize("taken", ["signal.SIG_IGN", "lambda *_: print('handled')"])
def test_handlers_of_other_signals_are_left_alone(tmp_path, taken):
    done = run(
        f"taken = {taken}\nsignal.signal(signal.SIGUSR1, taken); traps(); traps()\n"
        "assert signal.getsignal(signal.SIGUSR1) == taken; signal.raise_signal(signal.SIGUSR1)",
        tmp_path,
    )
    assert done.returncode == 0 and done.stdout.split()[:2] == ["trapped", "trapped"], done.stderr
