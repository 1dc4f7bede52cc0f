"""Destructors and allocators that are lowered functions: wasmtime ends the process where it compiles some of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from child_kit import run_child

INNER = """(component $inner
    (core module $m (func (export "destroy") (param i32))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
    (core instance $i (instantiate $m))
    (func (export "destroy") (param "rep" u32) (canon lift (core func $i "destroy")))
    (func (export "realloc") (param "a" u32) (param "b" u32) (param "c" u32) (param "d" u32) (result u32)
      (canon lift (core func $i "realloc"))))
  (instance $first (instantiate $inner))
  (core func $destroy (canon lower (func $first "destroy")))
  (core func $realloc (canon lower (func $first "realloc")))"""
LATER = """(instance $second (instantiate $inner)) (core func $later (canon lower (func $second "destroy")))
  (core module $user (import "h" "f" (func (param i32))))
  (core instance (instantiate $user (with "h" (instance (export "f" (func $later))))))"""
CASES = {
    "destructor": f"{INNER} (type $r (resource (rep i32) (dtor (core func $destroy)))) {LATER}",
    "destructor under another name": f"""{INNER} (core instance $named (export "d" (func $destroy)))
      (type $r (resource (rep i32) (dtor (core func $named "d")))) {LATER}""",
    "destructor in an inner component": f"(component {INNER} (type (resource (rep i32) (dtor (core func $destroy)))))",
    "imported destructor": """(import "destroy" (func $f (param "rep" u32)))
      (core func $destroy (canon lower (func $f)))
      (type $r (resource (rep i32) (dtor (core func $destroy)))) (core func $new (canon resource.new $r))
      (export $e "r" (type $r))
      (func (export "new") (param "rep" u32) (result (own $e)) (canon lift (core func $new)))""",
    "allocator of what the plugin imports": f"""
      (import "wasi:random/random@0.2.0" (instance $w
        (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
      {INNER} (core module $libc (memory (export "memory") 1)) (core instance $libc (instantiate $libc))
      (core func $random (canon lower (func $w "get-random-bytes")
        (memory (core memory $libc "memory")) (realloc (core func $realloc))))
      (core module $m (import "h" "r" (func (param i64 i32))))
      (core instance (instantiate $m (with "h" (instance (export "r" (func $random)))))) {LATER}""",
    "allocator of what the plugin exports": f"""{INNER}
      (core module $m (memory (export "memory") 1) (func (export "f") (param i32 i32)))
      (core instance $i (instantiate $m)) (func (export "f") (param "x" string)
        (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $realloc)))) {LATER}""",
}


@pytest.mark.parametrize("case", CASES)
def test_a_component_that_would_end_the_process_is_refused(tmp_path: Path, case: str) -> None:
    word = "allocator" if "allocator" in case else "destructor"
    run_child(
        f"""
from dataflare.errors import UnsupportedComponent
binary = bytes(wasmtime.wat2wasm('''(component {CASES[case]})'''))
bridged = Engine(cache_dir=folder / "bridged", flatten=False)
for read in (engine.shape, engine.load, bridged.shape, bridged.load):
    try:
        read(binary, name="kit.wasm")
    except UnsupportedComponent as error:
        assert "kit.wasm" in str(error) and "{word}" in str(error)
    else:
        raise AssertionError("it was taken")
""",
        tmp_path,
    )


def test_destructors_of_core_modules_and_of_other_resources_are_taken(tmp_path: Path) -> None:
    run_child(
        """
binary = bytes(wasmtime.wat2wasm('''(component
  (type $q (resource (rep i32))) (core func $newq (canon resource.new $q)) (core func $dropq (canon resource.drop $q))
  (core module $d (func (export "d") (param i32))) (core instance $d (instantiate $d))
  (core instance $named (export "d" (func $d "d")))
  (type $r (resource (rep i32) (dtor (core func $dropq)))) (type $s (resource (rep i32) (dtor (core func $named "d"))))
  (core func $new (canon resource.new $r)) (core func $drop (canon resource.drop $r))
  (core module $m (import "h" "newq" (func $newq (param i32) (result i32)))
    (import "h" "new" (func $new (param i32) (result i32))) (import "h" "drop" (func $drop (param i32)))
    (func (export "f") (call $drop (call $new (call $newq (i32.const 43))))))
  (core instance $i (instantiate $m (with "h" (instance
    (export "newq" (func $newq)) (export "new" (func $new)) (export "drop" (func $drop))))))
  (func (export "f") (canon lift (core func $i "f"))))'''))
for flatten in (None, False):
    with Engine(cache_dir=folder / str(flatten), flatten=flatten).load(binary, name="kit").instantiate({}) as instance:
        instance.call("", "f")
""",
        tmp_path,
    )
