"""Data segments that are merged: the same memory, in fewer segments."""

from __future__ import annotations

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from dataflare.component_binary import read_u32, sections
from dataflare.toolchain.data_segments import merge_segments

PAGE = 2**16


def module_of(segments: list[tuple[int, bytes]], before: str = "") -> bytes:
    def escaped(data: bytes) -> str:
        return "".join(f"\\{byte:02x}" for byte in data)

    lines = [f'(data (i32.const {offset}) "{escaped(data)}")' for offset, data in segments]
    return bytes(wasmtime.wat2wasm(f'(module {before} (memory (export "memory") 4) {" ".join(lines)})'))


def memory_of(module: bytes) -> bytes:
    store = wasmtime.Store()
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, module), [])
    memory = instance.exports(store)["memory"]
    assert isinstance(memory, wasmtime.Memory)
    return bytes(memory.read(store))


def count_of(module: bytes) -> int:
    return sum(read_u32(each.payload, 0)[0] for each in sections(memoryview(module)) if each.id == 11)


@given(st.lists(st.tuples(st.integers(0, 4 * PAGE - 200), st.binary(max_size=200)), max_size=40))
def test_memory_is_the_same(segments):
    module = module_of(segments)
    assert memory_of(merge_segments(module)) == memory_of(module)


def test_segments_near_each_other_are_one():
    module = module_of(
        [(40 * n, bytes([n] * 20)) for n in reversed(range(200))] + [(3 * PAGE, b"far"), (4 * PAGE, b"")]
    )
    merged = merge_segments(module)
    assert count_of(module) == 202 and count_of(merged) == 3
    assert memory_of(merged) == memory_of(module)


def test_segments_that_overlap_keep_their_order():
    module = module_of([(0, b"first"), (3, b"second"), (1, b"third")])
    assert merge_segments(module) == module


@pytest.mark.parametrize(
    "text",
    [
        '(module (import "a" "m" (memory 1)) (data (i32.const 0) "a") (data (i32.const 8) "b"))',
        '(module (memory 1) (data (i32.const 0) "a") (data "passive") (data (i32.const 8) "b"))',
        '(module (memory 1) (data (i32.const 0) "a") (data (i32.const 8) "b") (func (data.drop 1)))',
        '(module (memory 1) (memory 1) (data (i32.const 0) "a") (data (memory 1) (i32.const 8) "b"))',
        '(module (import "a" "g" (global i32)) (memory 1) (data (global.get 0) "a") (data (i32.const 8) "b"))',
        "(module)",
    ],
)
def test_other_modules_stay_as_they_are(text):
    module = wasmtime.wat2wasm(text)
    assert merge_segments(module) == module
