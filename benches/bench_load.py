"""How long until a plugin's first answer, and how long does an instance take?"""

from __future__ import annotations

from collections.abc import Callable

import extism
import pytest

from bench_columns import make_rows
from benchkit.guests import extism_module
from benchkit.results import Contest
from dataflare.capabilities import config, logging
from dataflare.data import batches
from dataflare.data.expressions import interface as expressions
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

LIFECYCLE = "dataflare:plugin/lifecycle@1.0.0"
LIMITS = {
    "bench-columns": "the codecs of the functions that are called are compiled anew, about 45 % of the time",
    "columns-javascript": "hashing the component",
    "columns-python": "hashing the component, and CPython's first call",
    "instance": "wasmtime's instantiation, and mapping the memories",
}
MARKS_MS = {"bench-columns": 5.0, "columns-javascript": 30.0, "columns-python": 60.0}


@pytest.mark.parametrize("name", list(MARKS_MS))
def bench_load(contest: Contest, engine: Engine, host: Host, guest: Callable[[str], bytes], name: str) -> None:
    """Load a plugin that has been compiled before, start it, and make a call."""
    binary, rows = guest(name), make_rows(10)
    contest.ask(
        f"Load {name} from the compiled cache, start it, make the first call, close it", sizes=f"{len(binary):,} B"
    )
    functions = functions_of_a_host()
    module = extism_module()

    def load() -> None:
        with host.load(binary, name=name, config={"column": "a"}) as plugin:
            assert isinstance(plugin, Transformer)
            plugin.transform(rows)

    def load_without_runtime() -> None:
        with engine.load(binary, name=name).instantiate(functions) as instance:
            instance.call(LIFECYCLE, "get-metadata")

    def load_extism() -> None:
        with extism.Plugin(module) as plugin:
            plugin.call("echo", b"1")

    sides = {"ours, Host.load": load, "ours, Engine.load": load_without_runtime}
    if name == "bench-columns":
        sides["extism"] = load_extism
    contest.run(sides, rounds=20)
    contest.time(
        f"load and first call, {name}", "ours, Host.load", unit="ms", at_most=MARKS_MS[name], limited_by=LIMITS[name]
    )
    contest.time(f"load and first call by the engine alone, {name}", "ours, Engine.load", unit="ms")


def bench_fresh_instance(contest: Contest, engine: Engine, guest: Callable[[str], bytes]) -> None:
    """Make an instance and close it."""
    contest.ask(
        "A fresh instance (store, memories, bridges, plugin), closed again", sizes="bench-columns, a Rust guest"
    )
    component, functions = engine.load(guest("bench-columns"), name="bench-columns"), functions_of_a_host()
    contest.run({"ours": lambda: component.instantiate(functions).close()}, rounds=30, repeats={"ours": 50})
    contest.time("a fresh instance, Rust", "ours", unit="ms", at_most=0.2, limited_by=LIMITS["instance"])


def functions_of_a_host() -> dict[str, dict[str, Callable[..., object]]]:
    """What a transformer may import without a grant."""
    log = logging.PluginLog(logging.MemoryLogSink())
    return {
        batches.INTERFACE: batches.imports(),
        expressions.INTERFACE: expressions.imports(),
        "dataflare:host/logging@1.0.0": logging.imports(log),
        "dataflare:host/config@1.0.0": config.imports(config.PluginConfig({})),
    }
