"""Worlds that run: imports, limits, isolation, and components and implementations that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
import wasmtime

from bindings_kit import files_of, files_of_component, imported
from dataflare.bindgen.world import WorldOptions
from dataflare.engine.engine import Engine
from dataflare.errors import CallTimeout, ConfigError, UsageError, ValueTypeError, WorldMismatch
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.runtime.host import Host

BINARY = bytes(wasmtime.wat2wasm((Path(__file__).parent / "bucket.wat").read_text()))
WIT = """
package test:kit@1.0.0;
interface store {
  resource bucket { constructor(start: u32); add: func(n: u32) -> u32; }
  divide: func(a: u32, b: u32) -> result<u32, u8>;
}
world buckets {
  import store;
  export fill: func(start: u32, n: u32) -> u32;
  export half: func(a: u32, b: u32) -> result<u32, u8>;
  export spin: func();
}
"""


class Bucket:
    closed = 0

    def __init__(self, start: int) -> None:
        self.total = start

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def close_handle(self) -> None:
        Bucket.closed += 1


@pytest.fixture
def bindings(tmp_path: Path) -> Iterator[Any]:
    with imported(files_of(WIT), tmp_path) as bindings:
        yield bindings


def store(bindings: Any, **functions: Any) -> Any:
    """An implementation of the imports; `functions` take the place of its own."""
    from importlib import import_module

    error = import_module(f"{bindings.__name__}.errors").U8Exception

    def divide(a: int, b: int) -> int:
        if b == 0:
            raise error(7)
        return a // b

    return SimpleNamespace(store=SimpleNamespace(**{"bucket": Bucket, "divide": divide, **functions}))


def test_a_component_uses_resources_of_the_embedder(bindings: Any, host: Host) -> None:
    before = Bucket.closed
    with bindings.Buckets(BINARY, imports=store(bindings), host=host) as world:
        assert world.fill(5, 2) == 7
    assert Bucket.closed == before + 1


def test_an_error_is_raised_on_both_sides(bindings: Any, host: Host) -> None:
    with bindings.Buckets(BINARY, imports=store(bindings), host=host) as world:
        assert world.half(8, 2) == 4
        with pytest.raises(Exception, match="7") as raised:
            world.half(1, 0)
        assert type(raised.value).__name__ == "U8Exception" and raised.value.error == 7  # type: ignore[attr-defined]
        assert world.alive


def test_a_world_without_a_host_has_one_of_its_own(bindings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "buckets.wasm").write_bytes(BINARY)
    with bindings.Buckets(tmp_path / "buckets.wasm", imports=store(bindings)) as world:
        assert world.fill(1, 1) == 2
    with pytest.raises(UsageError):
        world.fill(1, 1)
    world.close()


def test_a_world_takes_every_option_that_it_declares(bindings: Any, host: Host) -> None:
    options: Any = {
        "name": "bucket",
        "config": {"a": 1},
        "grants": Grants(clock=True),
        "limits": Limits(),
        "pipeline": "billing",
        "signature": None,
        "certificate": None,
        "isolation": "none",
        "host": host,
    }
    assert options.keys() == get_type_hints(WorldOptions, localns={"Host": Host}).keys()
    with bindings.Buckets(BINARY, imports=store(bindings), **options) as world:
        assert world.fill(1, 1) == 2


def test_limits_hold(bindings: Any, host: Host) -> None:
    limits = Limits(call_timeout_s=0.1)
    with bindings.Buckets(BINARY, imports=store(bindings), host=host, limits=limits) as world:
        with pytest.raises(CallTimeout):
            world.spin()
        assert not world.alive


def test_a_world_runs_in_a_process_of_its_own(bindings: Any, host: Host) -> None:
    with bindings.Buckets(
        BINARY, imports=store(bindings), host=host, isolation="process-best-effort", limits=Limits(call_timeout_s=20)
    ) as world:
        assert world.fill(5, 2) == 7
        with pytest.raises(Exception, match="7"):
            world.half(1, 0)
        assert world.half(9, 3) == 3


def test_a_missing_import_is_named(bindings: Any, host: Host) -> None:
    for imports, said in (
        (SimpleNamespace(), "has no attribute 'store', which implements test:kit/store@1.0.0"),
        (None, "None has no attribute 'store'"),
        (SimpleNamespace(store=SimpleNamespace(bucket=Bucket)), r"imports\.store: .* has no method 'divide'"),
        (store(bindings, divide=lambda a: a), r"imports\.store\.divide: cannot be called with \(a, b\)"),
        (store(bindings, divide=5), r"imports\.store\.divide: is a int, not a plain function"),
    ):
        with pytest.raises(ConfigError, match=said):
            bindings.Buckets(BINARY, imports=imports, host=host)


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ({"bucket": lambda start: None}, "expected a Bucket, not a NoneType"),
        ({"bucket": lambda start: 5}, "expected a Bucket, not a int, which has no method 'add'"),
        ({"divide": lambda a, b: "x"}, "returned what does not fit"),
    ],
)
def test_an_implementation_that_returns_something_else_is_told_so(
    bindings: Any, host: Host, functions: Any, said: str
) -> None:
    with (
        bindings.Buckets(BINARY, imports=store(bindings, **functions), host=host) as world,
        pytest.raises(ValueTypeError, match=said),
    ):
        if "bucket" in functions:
            world.fill(1, 1)
        else:
            world.half(4, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("add: func(n: u32) -> u32", "add: func(n: u64) -> u32"), r"\[method\]bucket.add\(n\) is u32, not u64"),
        (("add: func(n: u32)", "add: func(m: u32)"), r"takes \(self, n\), not \(self, m\)"),
        (("divide: func(a: u32, b: u32)", "other: func(a: u32, b: u32)"), "imports test:kit/store@1.0.0#divide"),
        (("export spin: func()", "export turn: func()"), "does not export turn"),
        (("export spin: func()", "export spin: func() -> list<string>"), r"spin result is nothing, not list<string>"),
        (("u32, u8>;\n}\nworld", "u32, string>;\n}\nworld"), r"divide result.err is u8, not string"),
        (("test:kit@1.0.0", "test:kit@2.0.0"), "imports test:kit/store@1.0.0, which the world does not have"),
    ],
)
def test_what_differs_between_component_and_world_is_said(
    host: Host, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in WIT
    with imported(files_of(WIT.replace(*change)), tmp_path) as bindings:
        functions = {"bucket": Bucket, "divide": lambda a, b: a, "other": lambda a, b: a}
        imports = SimpleNamespace(store=SimpleNamespace(**functions))
        with pytest.raises(WorldMismatch, match=said):
            bindings.Buckets(BINARY, imports=imports, host=host)


def test_a_component_alone_gives_the_same_bindings_but_for_its_documentation() -> None:
    with Engine() as engine:
        found = files_of_component(engine, BINARY, "buckets")
    assert "class Bucket(_t.Protocol)" in found["store.py"]
    assert "def half(self, a: int, b: int) -> int:" in found["__init__.py"]
