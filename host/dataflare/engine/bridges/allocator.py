"""The memory of a bridge, with its allocator."""

from __future__ import annotations

from collections.abc import Iterable

from dataflare.engine.abi.layout import FRAME_AT, HOST_HALF_AT, MEMORY_PAGES, OVERFLOW_AT
from dataflare.engine.abi.types import Type, align_up, size

__all__ = ["heap_after", "memory_text"]


def heap_after(frames: Iterable[Type]) -> int:
    """Return the heap's start address, so that each of these values fits before it."""
    return align_up(FRAME_AT + max([size(ty) for ty in frames], default=0), 64)


def memory_text(heap_at: int, end_at: int = HOST_HALF_AT) -> str:
    """Write a memory, and a bump allocator up to `end_at`; the global `top` is reset at each call."""
    return f"""
    (memory (export "memory") {MEMORY_PAGES} {MEMORY_PAGES})
    (global $top (export "top") (mut i32) (i32.const {heap_at}))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $at i32)
      ;; Long contents begin at 64 bytes, as Arrow likes it.
      (if (i32.ge_u (local.get $new) (i32.const 1024)) (then (local.set $align (i32.const 64))))
      (local.set $at (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (if (i32.gt_u (local.get $new) (i32.sub (i32.const {end_at}) (local.get $at))) (then
        (i32.store offset={OVERFLOW_AT} (i32.const 0) (i32.const 1))
        (unreachable)))
      (global.set $top (i32.add (local.get $at) (local.get $new)))
      (if (local.get $old) (then (memory.copy (local.get $at) (local.get $old)
        (select (local.get $size) (local.get $new) (i32.lt_u (local.get $size) (local.get $new))))))
      (local.get $at))"""
