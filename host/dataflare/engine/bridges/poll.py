"""Waiting that a time limit can end.

`wasi:io/poll` waits inside wasmtime, where no epoch is checked: a plugin that sleeps for a year would not be stopped by
its time limit. So plugins get a `poll` and a `block` that wait in short turns. Each turn adds a timer to what the
plugin waits for; between two turns, compiled code checks the epoch.
"""

from __future__ import annotations

import itertools
from typing import Final

from dataflare.engine.abi.types import ComponentType, Interface, has_handles
from dataflare.engine.bridges.wat import quote

__all__ = ["PollImports"]

_TURN_NS: Final = 5_000_000
_PREFIX: Final = "wasi:io/poll@0.2."

_FUNCTIONS: Final = {
    "poll": ("$poll-f", '(func (param "in" (list (borrow $e))) (result (list u32)))'),
    "[method]pollable.block": ("$block-f", '(func (param "self" (borrow $e)))'),
    "[method]pollable.ready": ("$ready", '(func (param "self" (borrow $e)) (result bool))'),
}

# `$p` is the resource `pollable`. The data of a call begins at address 64, and is discarded when the call ends.
_STEADY: Final = f"""  (import "pollable" (type $p (sub resource)))
  (import "subscribe" (func $subscribe (param "when" u64) (result (own $p))))
  (import "poll" (func $poll (param "in" (list (borrow $p))) (result (list u32))))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (export "next") (mut i32) (i32.const 64))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (local.set $end (i32.add (local.get $at) (local.get 3)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536)))))
          (then unreachable))))
      (global.set $next (local.get $end))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $subscribe (canon lower (func $subscribe)))
  (core func $poll (canon lower (func $poll) (memory $memory) (realloc $realloc)))
  (core func $drop (canon resource.drop $p))
  (core module $code
    (import "libc" "memory" (memory 1))
    (import "libc" "next" (global $next (mut i32)))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "poll" (func $poll (param i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    ;; Waits until one of the handles is ready; leaves the list of their indices, and its length, at 16 and 20.
    (func $wait (param $at i32) (param $count i32)
      (local $list i32) (local $mark i32) (local $timer i32) (local $found i32) (local $left i32)
      (local.set $list (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
        (i32.add (i32.const 4) (i32.shl (local.get $count) (i32.const 2)))))
      (memory.copy (local.get $list) (local.get $at) (i32.shl (local.get $count) (i32.const 2)))
      (local.set $mark (global.get $next))
      (loop $turn
        (global.set $next (local.get $mark))
        (local.set $timer (call $subscribe (i64.const {_TURN_NS})))
        (i32.store (i32.add (local.get $list) (i32.shl (local.get $count) (i32.const 2))) (local.get $timer))
        (call $poll (local.get $list) (i32.add (local.get $count) (i32.const 1)) (i32.const 16))
        (call $drop (local.get $timer))
        ;; The timer's index is the last one, if it is there.
        (local.set $left (i32.load (i32.const 20)))
        (local.set $found (i32.add (i32.load (i32.const 16)) (i32.shl (local.get $left) (i32.const 2))))
        (if (i32.eq (i32.load (i32.sub (local.get $found) (i32.const 4))) (local.get $count))
          (then (local.set $left (i32.sub (local.get $left) (i32.const 1)))))
        (i32.store (i32.const 20) (local.get $left))
        (br_if $turn (i32.eqz (local.get $left)))))
    (func (export "poll") (param $at i32) (param $count i32) (result i32) (local $i i32)
      (if (local.get $count)
        (then (call $wait (local.get $at) (local.get $count)))
        (else (call $poll (local.get $at) (i32.const 0) (i32.const 16))))
      (block $end (loop $next_one
        (br_if $end (i32.eq (local.get $i) (local.get $count)))
        (call $drop (i32.load (i32.add (local.get $at) (i32.shl (local.get $i) (i32.const 2)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next_one)))
      (i32.const 16))
    (func (export "block") (param $handle i32)
      (i32.store (i32.const 32) (local.get $handle))
      (call $wait (i32.const 32) (i32.const 1))
      (call $drop (local.get $handle))
      (global.set $next (i32.const 64)))
    (func (export "forget") (param i32) (global.set $next (i32.const 64))))
  (core instance $code (instantiate $code (with "libc" (instance $libc)) (with "host" (instance
    (export "subscribe" (func $subscribe)) (export "poll" (func $poll)) (export "drop" (func $drop))))))
  (alias core export $code "poll" (core func $poll-code))
  (alias core export $code "block" (core func $block-code))
  (alias core export $code "forget" (core func $forget))
  (func $poll-f (param "in" (list (borrow $p))) (result (list u32))
    (canon lift (core func $poll-code) (memory $memory) (realloc $realloc) (post-return (core func $forget))))
  (func $block-f (param "self" (borrow $p)) (canon lift (core func $block-code)))
  (export $e "pollable" (type $p))"""


class PollImports:
    """Writes the replacement for `wasi:io/poll` in plugins that import it.

    A plugin may import several versions of it, each with functions of its own, on a resource of any of them.
    """

    def __init__(self, shape: ComponentType) -> None:
        taken = set(shape.wasi)
        self._found = [
            _Poll(number, interface, _unused("wasi:clocks/monotonic-clock@0.2.", taken), _unused(_PREFIX, taken))
            for number, (name, interface) in enumerate(shape.wasi.items())
            # Other functions, and those without handles, are not wasmtime's: it refuses to link them.
            if name.startswith(_PREFIX) and _FUNCTIONS.keys() >= interface.funcs.keys() and _resources(interface)
        ]

    def imports(self) -> list[str]:
        """Write the additional imports from the host, under versions that the plugin itself does not import."""
        return [line for poll in self._found for line in poll.imports()]

    def instances(self) -> list[str]:
        """Write the instances; they come before the plugin's."""
        return [line for poll in self._found for line in poll.instance()]

    def instance_of(self, number: int) -> str:
        """Name what the plugin gets for the WASI import with this number."""
        return f"$steady{number}" if any(number == poll.number for poll in self._found) else f"$wasi{number}"


class _Poll:
    """One imported version: the number of its import, and the names of the additional imports for it."""

    def __init__(self, number: int, interface: Interface, clock: str, poll: str) -> None:
        self.number = number
        self._functions = interface.funcs
        self._resource = min(_resources(interface))
        self._aliases = [
            name for name, index in interface.resources.items() if index == self._resource and name != "pollable"
        ]
        self._clock = clock
        self._poll = poll

    def instance(self) -> list[str]:
        number, given = self.number, ""
        parts = [f"(export {quote(name)} (type $e))" for name in self._aliases]
        if "[method]pollable.ready" in self._functions:
            parts.append('(import "ready" (func $ready (param "self" (borrow $p)) (result bool)))')
            given = f'(with "ready" (func $wasi{number} "[method]pollable.ready"))'
        for name in self._functions:
            function, ty = _FUNCTIONS[name]
            parts.append(f"(export {quote(name)} (func {function}) {ty})")
        return [
            f"(component $turns{number} {_STEADY} {' '.join(parts)})",
            f'(instance $steady{number} (instantiate $turns{number} (with "pollable" (type $w{self._resource}))'
            f' (with "subscribe" (func $turnclock{number} "subscribe-duration"))'
            f' (with "poll" (func $turnpoll{number} "poll")) {given}))',
        ]

    def imports(self) -> list[str]:
        same = f'(alias outer 1 $w{self._resource} (type $o)) (export "pollable" (type $t (eq $o)))'
        return [
            f"(import {quote(self._clock)} (instance $turnclock{self.number} {same}"
            ' (export "subscribe-duration" (func (param "when" u64) (result (own $t))))))',
            f"(import {quote(self._poll)} (instance $turnpoll{self.number} {same}"
            ' (export "poll" (func (param "in" (list (borrow $t))) (result (list u32))))))',
        ]


def _resources(interface: Interface) -> set[int]:
    """Return the resources whose handles the functions take."""
    return {index for func in interface.funcs.values() for _, index in has_handles(func.args)}


def _unused(prefix: str, taken: set[str]) -> str:
    """Return a version of an interface that is not taken; now it is."""
    name = next(name for patch in itertools.count() if (name := f"{prefix}{patch}") not in taken)
    taken.add(name)
    return name
