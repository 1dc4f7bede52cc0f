"""What do calls through generated bindings cost beside the engine's own, and beside wasmtime-py's?"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime import component as wc

from benchkit.results import Contest
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.reflected import reflected_catalog
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host

CALLS = 5_000
MOST_US = 1.5
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
    """The same function of the same component, called three ways in one run."""
    binary = bytes(wasmtime.wat2wasm(TEXT))
    shape = engine.shape(binary, name="calls")
    package = f"bench_bindings_{name}"
    write_folder(tmp_path / package, generate(*reflected_catalog(shape, component="calls", name="calls")))
    monkeypatch.syspath_prepend(str(tmp_path))
    bindings = importlib.import_module(package)
    api = sys.modules[f"{package}.api"]
    args = (3, 4) if name == "add" else (api.Point(3.0, 4.0),)
    what = "two numbers" if name == "add" else "a record there and back"
    contest.ask(
        f"What a call through generated bindings costs: {what}",
        sizes=f"{CALLS} calls",
    )
    with (
        bindings.Calls(binary, host=host) as world,
        engine.load(binary, name="calls").instantiate({}) as instance,
    ):
        generated = getattr(world.api, name)
        peer = wasmtime_function(binary, name)
        assert generated(*args) == (7 if name == "add" else api.Point(4.0, 3.0))
        contest.run(
            {
                "generated": lambda: generated(*args),
                "engine": lambda: instance.call(INTERFACE, name, *args),
                "wasmtime-py": lambda: peer(*args),
            },
            rounds=20,
            repeats=dict.fromkeys(("generated", "engine", "wasmtime-py"), CALLS),
        )
    contest.time(f"a generated call of `{name}`", "generated", unit="us")
    contest.time(f"the engine's own call of `{name}`", "engine", unit="us")
    contest.speedup(f"a generated call of `{name}`, over wasmtime-py's", "generated", over="wasmtime-py")
    sides = contest.question.sides
    # The processor's own time: what else runs on the machine is not part of the difference.
    pairs = zip(sides["generated"].cpus, sides["engine"].cpus, strict=True)
    more_us = sorted((ours - engines) * 1e6 for ours, engines in pairs)
    assert more_us[len(more_us) // 2] <= MOST_US
