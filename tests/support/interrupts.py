"""Exceptions at the moments at which a signal's handler can raise one, one moment after the other.

Python runs a handler where a function begins, where a call has returned, and where a loop begins anew. What it raises
there comes between any two steps of a program: a file may have been opened, and nobody knows of it yet.
"""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

__all__ = ["Interrupt", "attempts", "interrupted", "moments"]

_OWN: Final = (os.path.dirname(os.path.dirname(__file__)), "<frozen")


class Interrupt(BaseException):
    """What the handler raises."""


@cache
def _places(code: CodeType) -> frozenset[int]:
    """The offsets of a function's instructions before which a handler may run."""
    # An exception that Python raises as a call returns is handled where the call is: where the next instruction is
    # handled elsewhere, raising it there would be another thing.
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # there is no other way to it
    found: set[int] = set()
    called: int | None = None
    for each in dis.get_instructions(code):
        same = called is not None and not any(
            (h.start <= called < h.end) != (h.start <= each.offset < h.end) for h in handlers
        )
        if same or "JUMP_BACKWARD" in each.opname:
            found.add(each.offset)
        called = each.offset if each.opname in ("CALL", "CALL_FUNCTION_EX") else None
    return frozenset(found)


class _Walk:
    def __init__(self, at: int, since: FunctionType | None) -> None:
        self.left = at
        self.passed = 0
        self._awaited = None if since is None else since.__code__

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is self._awaited:
            self._awaited = None
        if self._awaited is not None or frame.f_code.co_filename.startswith(_OWN):  # the caller's own code, and imports
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if event == "call" or (event == "opcode" and frame.f_lasti in _places(frame.f_code)):
            self.passed += 1
            if self.passed == self.left:
                raise Interrupt
        return self.trace


def _run(action: Callable[[], Any], walk: _Walk) -> Any:
    before, unraisable = sys.gettrace(), sys.unraisablehook
    sys.unraisablehook = lambda _: None  # within a destructor, nothing comes of an interrupt
    sys.settrace(walk.trace)
    try:
        return action()
    finally:
        sys.settrace(before)
        sys.unraisablehook = unraisable


def moments(action: Callable[[], Any], *, since: FunctionType | None = None) -> int:
    """How many such moments there are while something is done, from the first call of a function on if one is given."""
    walk = _Walk(0, since)
    _run(action, walk)
    return walk.passed


def interrupted(action: Callable[[], Any], at: int, *, since: FunctionType | None = None) -> bool:
    """Do something, and raise `Interrupt` at its `at`-th moment; say whether that came out."""
    try:
        _run(action, _Walk(at, since))
    except Interrupt:
        return True
    return False


def attempts(count: int, most: int) -> Iterator[int]:
    """At most `most` of the moments 1 to `count`, evenly."""
    step = max(1, -(-count // most))
    return iter(range(1, count + 1, step))
