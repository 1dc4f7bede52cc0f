"""Ctrl-C while a plugin of any kind loops, in each of its functions."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from dataflare import Host, Limits
from plugin_wat import hostile

ROWS = pa.record_batch({"n": [1, 2, 3]})
CALLS: dict[tuple[str, str], Callable[[Any], object]] = {
    ("processor", "get-metadata"): lambda plugin: plugin.metadata,
    ("processor", "configure"): lambda plugin: plugin.start(),
    ("processor", "initialize"): lambda plugin: plugin.start(),
    ("processor", "shutdown"): lambda plugin: plugin.start().close(),
    ("processor", "health-check"): lambda plugin: plugin.health(),
    ("processor", "process"): lambda plugin: plugin.process("x"),
    ("processor", "process-batch"): lambda plugin: plugin.process_batch(ROWS),
    ("transformer", "output-schema"): lambda plugin: plugin.output_schema(ROWS.schema),
    ("transformer", "transform"): lambda plugin: plugin.transform(ROWS),
    ("validator", "rules"): lambda plugin: plugin.rules(),
    ("validator", "validate"): lambda plugin: plugin.validate(ROWS),
    ("source", "discover"): lambda plugin: plugin.discover(),
    ("destination", "abilities"): lambda plugin: plugin.abilities(),
}
LOOP = "(loop $l (br $l)) (unreachable)"


def interrupt_soon(sent: list[float], after_s: float) -> threading.Thread:
    def send() -> None:
        time.sleep(after_s)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def assert_interrupted(
    component: bytes, call: Callable[[Any], object], cache: Path, isolation: Literal["none", "process"] = "none"
) -> None:
    with Host(cache_dir=cache) as host:
        plugin = host.load(component, name="p", limits=Limits(call_timeout_s=100), isolation=isolation)
        sent: list[float] = []
        # A worker has to start first.
        thread = interrupt_soon(sent, 0.1 if isolation == "none" else 1.0)
        with pytest.raises(KeyboardInterrupt):
            call(plugin)
        took_s = time.monotonic() - sent[0]
        thread.join()
    assert took_s < 2, f"it took {took_s} s"


@pytest.mark.parametrize(("kind", "function"), CALLS)
def test_looping_plugin_gives_control_back(kind: str, function: str, tmp_path: Path) -> None:
    component = hostile({}, kind=kind, bodies={function: LOOP}).binary
    assert_interrupted(component, CALLS[kind, function], tmp_path)


def test_start_function_that_loops_gives_control_back(tmp_path: Path) -> None:
    component = hostile({}, extra="(func $spin (loop $l (br $l))) (start $spin)").binary
    assert_interrupted(component, lambda plugin: plugin.start(), tmp_path)


@pytest.mark.parametrize(("kind", "function"), [("processor", "process"), ("source", "discover")])
def test_looping_plugin_in_a_worker_gives_control_back(kind: str, function: str, tmp_path: Path) -> None:
    component = hostile({}, kind=kind, bodies={function: LOOP}).binary
    assert_interrupted(component, CALLS[kind, function], tmp_path, "process")
