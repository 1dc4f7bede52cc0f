"""What do calls through generated bindings cost beside the engine's own, wasmtime-py's, and jco's on Node?"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime import component as wc

from benchkit.jco import jco_calls
from benchkit.measure import Operation, Spread
from benchkit.results import Contest
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.reflected import reflected_catalog
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.toolchain.run_tool import ToolchainMissing

CALLS = 5_000
MOST_US = 1.5
LIMITED_BY = "three calls of Python functions, and what follows a call: logs, audit, metrics"
INTERFACE = "bench:calls/api@1.0.0"
TEXT = (Path(__file__).parent / "calls.wat").read_text()


def wasmtime_function(binary: bytes, name: str) -> Callable[..., Any]:
    """A function as wasmtime-py itself calls it."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    compiled = wc.Component(engine, binary)
    instance = wc.Linker(engine).instantiate(store, compiled)
    api = compiled.get_export_index(INTERFACE)
    assert api is not None
    index = compiled.get_export_index(name, api)
    assert index is not None
    function = instance.get_func(store, index)
    assert function is not None

    def call(*args: Any) -> Any:
        result = function(store, *args)
        function.post_return(store)
        return result

    return call


@pytest.mark.parametrize("name", ["add", "mirrored"])
def bench_generated_calls(
    contest: Contest, host: Host, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The same function of the same component, called four ways in one run."""
    binary = bytes(wasmtime.wat2wasm(TEXT))
    shape = engine.shape(binary, name="calls")
    package = f"bench_bindings_{name}"
    write_folder(tmp_path / package, generate(*reflected_catalog(shape, component="calls", name="calls")))
    monkeypatch.syspath_prepend(str(tmp_path))
    bindings = importlib.import_module(package)
    api = sys.modules[f"{package}.api"]
    args, in_json = {
        "add": ((3, 4), ([3, 4], 7)),
        "mirrored": ((api.Point(3.0, 4.0),), ([{"x": 3, "y": 4}], {"x": 4, "y": 3})),
    }[name]
    what = {"add": "two numbers", "mirrored": "a record there and back"}[name]
    with ExitStack() as stack:
        world = stack.enter_context(bindings.Calls(binary, host=host))
        instance = stack.enter_context(engine.load(binary, name="calls").instantiate({}))
        generated = getattr(world.api, name)
        peer = wasmtime_function(binary, name)
        assert generated(*args) == (7 if name == "add" else api.Point(4.0, 3.0))
        sides: dict[str, Operation] = {
            "generated": lambda: generated(*args),
            "engine": lambda: instance.call(INTERFACE, name, *args),
            "wasmtime-py": lambda: peer(*args),
        }
        left_out = ""
        (folder := tmp_path / "jco").mkdir()
        given, expected = (json.dumps(each, separators=(",", ":")) for each in in_json)
        try:
            sides["jco on Node"] = stack.enter_context(jco_calls(binary, name, given, expected, folder))
        except ToolchainMissing as missing:
            left_out = f"; without jco on Node: {missing.message}"
        contest.ask(f"What a call through generated bindings costs: {what}", sizes=f"{CALLS} calls{left_out}")
        contest.run(sides, rounds=20, repeats=dict.fromkeys(sides, CALLS))
    row = f"a generated call of `{name}`"
    contest.time(row, "generated", unit="us")
    contest.time(f"the engine's own call of `{name}`", "engine", unit="us")
    contest.speedup(f"{row}, over wasmtime-py's", "generated", over="wasmtime-py")
    if not left_out:
        contest.time(f"jco's call of `{name}`, on Node", "jco on Node", unit="us")
        contest.cost(f"{row}, of jco's time on Node", "generated", over="jco on Node")
    ours, engines = contest.question.sides["generated"].cpus, contest.question.sides["engine"].cpus
    # The processor's own time: what else runs on the machine is not part of the difference.
    more_us = Spread.of([(one - other) * 1e6 for one, other in zip(ours, engines, strict=True)])
    contest.value(
        f"{row}, beside the engine's own", more_us, unit="us", clock="cpu", at_most=MOST_US, limited_by=LIMITED_BY
    )
