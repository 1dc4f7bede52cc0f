"""What toolchains drag in of WASI, interface by interface, and what a plugin without grants gets from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from arena import Arena
from attacks_wasi import ANSWERS, API, INTERFACES, guest, instance
from dataflare.engine.engine import Engine

BUILT = Path(__file__).parents[2] / "build" / "guests"


@pytest.fixture
def arena(tmp_path: Path, engine: Engine) -> Iterator[Arena]:
    made = Arena(tmp_path, engine)
    yield made
    made.close()


@pytest.mark.parametrize("function", ANSWERS)
def test_function_of_wasi_is_empty(arena: Arena, function: str) -> None:
    name, expected = ANSWERS[function]
    assert function.partition("#")[0] in INTERFACES
    assert instance(arena).call(API, name) == expected


@pytest.mark.parametrize("interface", INTERFACES)
def test_interface_is_linked(engine: Engine, interface: str) -> None:
    binary = bytes(wasmtime.wat2wasm(f'(component (import "{interface}@0.2.0" (instance)))'))
    assert engine.shape(binary, name="wasi").passthrough == (f"{interface}@0.2.0",)
    engine.load(binary, name="wasi").instantiate({}).close()


def test_guest_of_these_tests_imports_what_it_is_asked_for(engine: Engine) -> None:
    imported = {name.partition("@")[0] for name in engine.shape(guest(), name="wasi").passthrough}
    assert imported <= set(INTERFACES)
    assert {function.partition("#")[0] for function in ANSWERS} <= imported


@pytest.mark.guests
def test_toolchains_drag_in_nothing_that_is_not_listed(engine: Engine) -> None:
    components = sorted(BUILT.glob("*.wasm"))
    assert components, "make guests builds them"
    for component in components:
        found = engine.shape(component.read_bytes(), name=component.stem).passthrough
        assert {name.partition("@")[0] for name in found} <= set(INTERFACES), component.name
