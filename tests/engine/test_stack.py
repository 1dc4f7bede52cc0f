"""Threads whose stack is too small for a plugin: without a check, wasmtime ends the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from child_kit import run_child

ENDLESS = """
from dataflare.errors import StackOverflow
binary = bytes(wasmtime.wat2wasm('''(component
  (core module $m (func $f (export "f") (param i32) (result i32) (i32.add (local.get 0) (call $f (local.get 0)))))
  (core instance $i (instantiate $m))
  (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))'''))
component = engine.load(binary, name="endless")
found = []

def work():
    try:
        with component.instantiate({}) as instance:
            instance.call("", "f", 1)
    except DataflareError as error:
        found.append(error)

def in_thread():
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found.pop()
"""


@pytest.mark.parametrize("kib", [64, 256, 512])
def test_a_small_stack_is_refused_before_the_plugin_runs(tmp_path: Path, kib: int) -> None:
    run_child(
        f"""{ENDLESS}
threading.stack_size({kib} * 1024)
error = in_thread()
assert type(error) is UsageError and "{kib} KiB" in str(error) and "threading.stack_size" in str(error), error
""",
        tmp_path,
    )


def test_a_stack_of_a_megabyte_is_enough_for_a_plugin_that_uses_all_that_it_may(tmp_path: Path) -> None:
    run_child(
        f"""{ENDLESS}
threading.stack_size(2**20)
assert type(in_thread()) is StackOverflow
threading.stack_size(0)
assert type(in_thread()) is StackOverflow
work()
assert type(found.pop()) is StackOverflow
""",
        tmp_path,
    )
