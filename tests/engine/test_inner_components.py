"""Components within components: handed out, handed in, and instantiated again and again."""

from __future__ import annotations

from typing import Any

import pytest
import wasmtime

from dataflare.engine.engine import Engine
from dataflare.engine.reading.instantiations import MAX_ITEMS
from dataflare.errors import UnsupportedComponent

GO = """(core module $m (func (export "go") (result i32) (i32.const 3))) (core instance $c (instantiate $m))
  (func $go (result u32) (canon lift (core func $c "go")))"""
PASSES = '(import "f" (func $f (result u32))) (export "g" (func $f))'
MADE = f"""(component $a {{around}} (component $b {{within}} {PASSES}) (export "b" (component $b)))
  (instance $i (instantiate $a)) (alias export $i "b" (component $bb))
  (instance $j (instantiate $bb (with "f" (func $go)))) (export "go" (func $j "g"))"""
HANDED = {
    "out": f"{GO} {MADE.format(around='', within='')}",
    "out, with types from around it": f"""(type $t u32) {GO} {
        MADE.format(
            around="(alias outer 1 $t (type $u))",
            within='(alias outer 2 $t (type $v)) (alias outer 1 $u (type $w)) (import "x" (type (eq $w)))',
        ).replace('(with "f"', '(with "x" (type $t)) (with "f"')
    }""",
    "in": f"""{GO} (component $b {PASSES})
      (component $a
        (import "c" (component $c (import "f" (func (result u32))) (export "g" (func (result u32)))))
        (import "f" (func $f (result u32))) (instance $i (instantiate $c (with "f" (func $f))))
        (export "h" (func $i "g")))
      (instance $i (instantiate $a (with "c" (component $b)) (with "f" (func $go)))) (export "go" (func $i "h"))""",
}


@pytest.mark.parametrize("way", HANDED)
def test_a_component_that_is_handed(engine: Engine, instantiate: Any, way: str) -> None:
    whole = bytes(wasmtime.wat2wasm(f"(component {HANDED[way]})"))
    assert engine.load(whole, name="kit").flattened is (engine.flatten is None)
    with instantiate(whole, {}) as instance:
        assert instance.call("", "go") == 3


def doubling(levels: int) -> bytes:
    """A component whose innermost one is instantiated 2 ** (levels - 1) times."""
    text = "(component $c0)" + "".join(
        f"(component $c{n} (alias outer 1 $c{n - 1} (component $c)) (instance (instantiate $c))"
        " (instance (instantiate $c)))"
        for n in range(1, levels)
    )
    return _instantiating(text, f"$c{levels - 1}")


def doubling_through_imports(levels: int) -> bytes:
    """The same, with components that are handed in and out."""
    text = "(component $c0)" + "".join(
        f"""(component $w{n} (import "c" (component $c)) (component $k (alias outer 1 $c (component $p))
          (instance (instantiate $p)) (instance (instantiate $p))) (export "k" (component $k)))
        (instance $i{n} (instantiate $w{n} (with "c" (component $c{n - 1}))))
        (alias export $i{n} "k" (component $c{n}))"""
        for n in range(1, levels)
    )
    return _instantiating(text, f"$c{levels - 1}")


def _instantiating(text: str, inner: str) -> bytes:
    return bytes(
        wasmtime.wat2wasm(f'(component {text} (instance (instantiate {inner})) {GO} (export "go" (func $go)))')
    )


@pytest.mark.parametrize("made", [doubling, doubling_through_imports])
def test_components_that_multiply_are_refused(engine: Engine, made: Any) -> None:
    with engine.load(made(7), name="kit").instantiate({}) as instance:
        assert instance.call("", "go") == 3
    for levels in (18, 40):
        for read in (engine.shape, engine.load):
            with pytest.raises(UnsupportedComponent, match=f"instantiated too often.* {MAX_ITEMS:,} parts"):
                read(made(levels), name="kit")
