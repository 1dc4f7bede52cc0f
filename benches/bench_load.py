"""How long until a plugin's first answer, how long does an instance take, and how long does compiling?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import extism
import pytest

from bench_columns import make_rows
from benchkit.guests import ROOT, extism_module
from benchkit.results import Contest
from dataflare.capabilities import config, logging
from dataflare.data import batches
from dataflare.data.expressions import interface as expressions
from dataflare.engine.engine import Engine
from dataflare.runtime.host import Host
from dataflare.runtime.transformer import Transformer

LIFECYCLE = "dataflare:plugin/lifecycle@1.0.0"
# By parts, the best of 40 loads; what is not named is spread over the host.
LIMITS = {
    "bench-columns": "of 2.1 ms: comparing with the standard 0.3, the cache's record 0.3, calls 0.3, mapping code 0.2",
    "columns-javascript": "of 20 ms: SHA-256 of 13.6 MB, by which the component was known, 9.7 (half),"
    " and BLAKE3 takes a fifth of that; instantiating 3.2, SpiderMonkey's first calls 1.4, mapping 34 MB of code 1.3,"
    " comparing with the standard 0.8",
    "columns-python": "of 32 ms: SHA-256 of 18.4 MB 13.3, and BLAKE3 takes a fifth of that; instantiating 12, nearly"
    " all of it copying CPython's memory (wasmtime 50 panics on copy-on-write images of memories that a host made);"
    " mapping code 2.9",
    "instance": "wasmtime's instantiation, and mapping the memories",
    "compile": "398 of the 404 KB that Cranelift compiles are the plugin's own code, the same both ways; with bridges"
    " it is 411 KB",
}
MARKS_MS = {"bench-columns": 2.5, "columns-javascript": 15.0, "columns-python": 30.0}


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
    contest.time("a fresh instance, Rust", "ours", unit="ms", at_most=0.12, limited_by=LIMITS["instance"])


def bench_compile(contest: Contest, tmp_path: Path) -> None:
    """Compile csv-source, flattened and with bridges."""
    binary = (ROOT / "guest-sdks" / "rust" / "components" / "csv-source.wasm").read_bytes()
    contest.ask("Compile csv-source: flattened, and with bridges", sizes=f"{len(binary):,} B, a Rust guest")
    folders = (tmp_path / str(number) for number in itertools.count())

    def compiling(flatten: bool | None) -> Callable[[], object]:
        def compile_it() -> None:
            with Engine(cache_dir=next(folders), flatten=flatten) as engine:
                assert engine.load(binary, name="csv-source").flattened is (flatten is None)

        return compile_it

    contest.run({"flattened": compiling(None), "bridges": compiling(False)}, rounds=10)
    contest.time("compile csv-source", "flattened", unit="ms")
    contest.speedup(
        "compile csv-source, flattened, over bridges",
        "flattened",
        over="bridges",
        at_least=1.2,
        limited_by=LIMITS["compile"],
    )


def functions_of_a_host() -> dict[str, dict[str, Callable[..., object]]]:
    """What a transformer may import without a grant."""
    log = logging.PluginLog(logging.MemoryLogSink())
    return {
        batches.INTERFACE: batches.imports(),
        expressions.INTERFACE: expressions.imports(),
        "dataflare:host/logging@1.0.0": logging.imports(log),
        "dataflare:host/config@1.0.0": config.imports(config.PluginConfig({})),
    }
