"""WebAssembly for the handle tables of a flattened component.

Two tables are in the imports memory, above its heap. The plugin's table has its handles to resources of the host and to
its own. The host's table has its handles to the plugin's resources. A handle is an index into a table. Freed indices
are reused, the last one first, as the canonical ABI requires.

An entry has 16 bytes: its tag (the type of the resource and whether the handle is borrowed; 0 if the entry is free);
its representation, or the next free index; the number of the call that lends it. Entry 0 is never a handle: it has the
number of entries and the first free index.

The representation of a handle to a host resource is the number that the host chose. When the plugin drops such a
handle, its number is put on a list, which the host reads at the next call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dataflare.engine.abi.layout import DROPPED_CAPACITY, DROPPED_COUNT_AT, DROPPED_LIST_AT, HOST_HALF_AT
from dataflare.engine.abi.types import BorrowT, OwnT
from dataflare.engine.flat.faults import (
    BORROWS,
    FAULT_TEXT,
    HANDLE,
    LENT,
    NOT_OWNED,
    TOO_MANY_HANDLES,
    WRONG_TYPE,
    fault,
)

__all__ = ["HANDLES_NEEDED", "HANDLES_TEXT", "MAX_HANDLES", "TABLES_AT", "Handles"]

MAX_HANDLES: Final = 2**20 - 1
_TABLE_BYTES: Final = 16 * (MAX_HANDLES + 1)
_HOSTS_AT: Final = HOST_HALF_AT - _TABLE_BYTES
TABLES_AT: Final = _HOSTS_AT - _TABLE_BYTES
"""Address at which the heap ends and the tables begin."""

_COUNT: Final = f"(i32.load offset={DROPPED_COUNT_AT} (i32.const 0))"

HANDLES_TEXT: Final = f"""{FAULT_TEXT}
  (global $borrows (mut i32) (i32.const 0))
  (global $calls (mut i64) (i64.const 0))
  (func $new (export "new") (param $table i32) (param $tag i32) (param $rep i32) (result i32)
    (local $index i32) (local $entry i32)
    (if (local.tee $index (i32.load offset=12 (local.get $table)))
      (then
        (local.set $entry (i32.add (local.get $table) (i32.shl (local.get $index) (i32.const 4))))
        (i32.store offset=12 (local.get $table) (i32.load offset=4 (local.get $entry))))
      (else
        (local.set $index (i32.add (i32.load offset=8 (local.get $table)) (i32.const 1)))
        (if (i32.gt_u (local.get $index) (i32.const {MAX_HANDLES})) (then {fault(TOO_MANY_HANDLES)}))
        (i32.store offset=8 (local.get $table) (local.get $index))
        (local.set $entry (i32.add (local.get $table) (i32.shl (local.get $index) (i32.const 4))))))
    (i32.store (local.get $entry) (local.get $tag))
    (i32.store offset=4 (local.get $entry) (local.get $rep))
    (i64.store offset=8 (local.get $entry) (i64.const 0))
    (local.get $index))
  ;; The entry of a handle of this type, owned or borrowed.
  (func $entry (param $table i32) (param $tag i32) (param $index i32) (result i32) (local $found i32)
    (if (i32.gt_u (local.get $index) (i32.const {MAX_HANDLES})) (then {fault(HANDLE)}))
    (local.set $index (i32.add (local.get $table) (i32.shl (local.get $index) (i32.const 4))))
    (local.set $found (i32.load (local.get $index)))
    (if (i32.eqz (local.get $found)) (then {fault(HANDLE)}))
    (if (i32.ne (i32.and (local.get $found) (i32.const -2)) (local.get $tag)) (then {fault(WRONG_TYPE)}))
    (local.get $index))
  (func $free (param $table i32) (param $entry i32)
    (i32.store (local.get $entry) (i32.const 0))
    (i32.store offset=4 (local.get $entry) (i32.load offset=12 (local.get $table)))
    (i32.store offset=12 (local.get $table)
      (i32.shr_u (i32.sub (local.get $entry) (local.get $table)) (i32.const 4))))
  ;; What is behind an owned handle, which is gone then.
  (func $take-own (export "take-own") (param $table i32) (param $tag i32) (param $index i32) (result i32)
    (local $entry i32)
    (local.set $entry (call $entry (local.get $table) (local.get $tag) (local.get $index)))
    (if (i32.and (i32.load (local.get $entry)) (i32.const 1)) (then {fault(NOT_OWNED)}))
    (if (i64.eq (i64.load offset=8 (local.get $entry)) (i64.add (global.get $calls) (i64.const 1)))
      (then {fault(LENT)}))
    (i32.load offset=4 (local.get $entry))
    (call $free (local.get $table) (local.get $entry)))
  ;; What is behind a handle that is lent until the call ends.
  (func $lend (export "lend") (param $table i32) (param $tag i32) (param $index i32) (result i32)
    (local $entry i32)
    (local.set $entry (call $entry (local.get $table) (local.get $tag) (local.get $index)))
    (i64.store offset=8 (local.get $entry) (i64.add (global.get $calls) (i64.const 1)))
    (i32.load offset=4 (local.get $entry)))
  ;; Handles are lent until here.
  (func $lent (export "lent") (global.set $calls (i64.add (global.get $calls) (i64.const 1))))
  (func $borrow (export "borrow") (param $tag i32) (param $rep i32) (result i32)
    (global.set $borrows (i32.add (global.get $borrows) (i32.const 1)))
    (call $new (i32.const {TABLES_AT}) (i32.or (local.get $tag) (i32.const 1)) (local.get $rep)))
  (func $returned (export "returned") (if (global.get $borrows) (then {fault(BORROWS)})))
  (func $rep (export "rep") (param $tag i32) (param $index i32) (result i32)
    (i32.load offset=4 (call $entry (i32.const {TABLES_AT}) (local.get $tag) (local.get $index))))
  ;; Drops a handle of the plugin's; gives what was behind it.
  (func $drop (export "drop") (param $tag i32) (param $index i32) (result i32) (local $entry i32)
    (local.set $entry (call $entry (i32.const {TABLES_AT}) (local.get $tag) (local.get $index)))
    (global.set $borrows
      (i32.sub (global.get $borrows) (i32.and (i32.load (local.get $entry)) (i32.const 1))))
    (i32.load offset=4 (local.get $entry))
    (call $free (i32.const {TABLES_AT}) (local.get $entry)))
  (func (export "drop-hosted") (param $tag i32) (param $index i32) (local $number i32)
    (local.set $number (call $drop (local.get $tag) (local.get $index)))
    (if (i32.ge_u {_COUNT} (i32.const {DROPPED_CAPACITY})) (then (call $full)))
    (i32.store offset={DROPPED_LIST_AT} (i32.shl {_COUNT} (i32.const 2)) (local.get $number))
    (i32.store offset={DROPPED_COUNT_AT} (i32.const 0) (i32.add {_COUNT} (i32.const 1))))"""
"""The functions of the tables, for the module of the imports memory, which imports `$full`."""

HANDLES_NEEDED: Final = "".join(
    f'(import "i" "{name}" (func ${name} {declared}))'
    for name, declared in (
        ("new", "(param i32 i32 i32) (result i32)"),
        ("take-own", "(param i32 i32 i32) (result i32)"),
        ("lend", "(param i32 i32 i32) (result i32)"),
        ("lent", ""),
        ("borrow", "(param i32 i32) (result i32)"),
        ("returned", ""),
        ("rep", "(param i32 i32) (result i32)"),
        ("drop", "(param i32 i32) (result i32)"),
        ("drop-hosted", "(param i32 i32)"),
    )
)
"""The imports of a module that passes handles."""


class Handles:
    """Writes the instructions for handles.

    Args:
        hosted: Whether a resource belongs to the host, by its index in the component's type; for each resource that may
            cross.
        tags: The tag of each of them.
    """

    def __init__(self, hosted: Mapping[int, bool], tags: Mapping[int, int]) -> None:
        self._hosted = hosted
        self._tags = tags

    def out(self, ty: OwnT | BorrowT) -> str:
        """Write the code that converts the plugin's handle at `$p` to the host's."""
        tag = self._tag(ty)
        if isinstance(ty, BorrowT):
            return _in_place(f"(call $lend (i32.const {TABLES_AT}) {tag} {_AT_P})")
        taken = f"(call $take-own (i32.const {TABLES_AT}) {tag} {_AT_P})"
        if self._hosted[ty.resource]:
            return _in_place(taken)
        return _in_place(f"(call $new (i32.const {_HOSTS_AT}) {tag} {taken})")

    def into(self, ty: OwnT | BorrowT) -> str:
        """Write the code that converts the host's handle at `$p` to the plugin's."""
        tag = self._tag(ty)
        if self._hosted[ty.resource]:
            how = f"new (i32.const {TABLES_AT})" if isinstance(ty, OwnT) else "borrow"
            return _in_place(f"(call ${how} {tag} {_AT_P})")
        if isinstance(ty, BorrowT):  # the maker of the resource gets its representation
            return _in_place(f"(call $lend (i32.const {_HOSTS_AT}) {tag} {_AT_P})")
        taken = f"(call $take-own (i32.const {_HOSTS_AT}) {tag} {_AT_P})"
        return _in_place(f"(call $new (i32.const {TABLES_AT}) {tag} {taken})")

    def given_up(self, resource: int, address: int) -> str:
        """Write the code that removes the host's handle at a fixed address, and gives the resource's representation."""
        handle = f"(i32.load (i32.const {address}))"
        return f"(call $take-own (i32.const {_HOSTS_AT}) (i32.const {self._tags[resource]}) {handle})"

    def _tag(self, ty: OwnT | BorrowT) -> str:
        return f"(i32.const {self._tags[ty.resource]})"


_AT_P: Final = "(i32.load (local.get $p))"


def _in_place(value: str) -> str:
    return f"(i32.store (local.get $p) {value})"
