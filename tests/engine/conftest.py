from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from dataflare.engine.engine import Engine
from dataflare.engine.reference.instance import ReferenceInstance, instantiate_reference
from dataflare.limits import Limits

Host = Mapping[str, Mapping[str, Callable[..., Any]]]
HOSTILE = Path(__file__).parent / "hostile"


@pytest.fixture(scope="session", params=["bridges", "flat"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine of each way to reach a plugin: what cannot be flattened has bridges in both."""
    cache = tmp_path_factory.mktemp("cache") / "compiled"
    with Engine(cache_dir=cache, flatten=None if request.param == "flat" else False) as engine:
        yield engine


@pytest.fixture(scope="session", params=["fast", "reference"])
def instantiate(request: pytest.FixtureRequest, engine: Engine) -> Callable[..., Any]:
    """Makes instances the one way and the other: `instantiate(binary, host, limits=Limits(), name="kit")`."""

    def fast(binary: bytes, host: Host, *, limits: Limits | None = None, name: str = "kit") -> Any:
        limits = limits or Limits()
        return engine.load(binary, name=name, fuel=limits.fuel is not None).instantiate(host, limits=limits)

    def reference(binary: bytes, host: Host, *, limits: Limits | None = None, name: str = "kit") -> ReferenceInstance:
        return instantiate_reference(binary, host, limits=limits or Limits(), name=name)

    return fast if request.param == "fast" else reference


@pytest.fixture(scope="session")
def hostile() -> Callable[[str], bytes]:
    """Reads a component of `tests/engine/hostile` by its name."""

    def read(name: str) -> bytes:
        return bytes(wasmtime.wat2wasm((HOSTILE / f"{name}.wat").read_text()))

    return read
