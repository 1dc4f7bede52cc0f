"""Tells a plugin's own work from post-return, in which it may not call the host.

wasmtime's adapters let it. But before post-return they write the result to `FRAME_AT`, so a call of the host's that
comes after that is a fault. The bytes that are looked at must change in any case: addresses, discriminants and the like
never have all bits set. A plugin frees something in post-return if its result has a text or a list, and these are never
returned as one core value, which would not be written to memory.
"""

from __future__ import annotations

from typing import Final

from dataflare.engine.abi.bridge_memory import BridgeMemory, BrokenAddress
from dataflare.engine.abi.layout import FRAME_AT
from dataflare.engine.abi.types import (
    MAX_FLAT_RESULTS,
    EnumT,
    ListT,
    OptionT,
    OwnT,
    PrimT,
    RecordT,
    ResultT,
    TupleT,
    Type,
    VariantT,
    cases_of,
    discriminant_size,
    flatten,
    offsets,
)

__all__ = ["ReturnCheck", "result_mark"]

_NOT_RETURNED: Final = {size: b"\xff" * size for size in (1, 2, 4)}
"""What is at a mark until the plugin has returned, by its size in bytes."""
_MARKS: Final = {"string": 4, "char": 4, "bool": 1}


class ReturnCheck:
    """Knows whether the current call of an instance has returned."""

    __slots__ = ("_mark", "_memory")

    def __init__(self) -> None:
        self._memory: BridgeMemory | None = None
        self._mark = slice(0)

    def begin(self, memory: BridgeMemory, mark: slice | None) -> None:
        """Begin a call.

        Args:
            memory: The exports bridge's.
            mark: What `result_mark` says of the result.
        """
        self._memory = None
        if mark is not None:
            memory.view[mark] = _NOT_RETURNED[mark.stop - mark.start]
            self._mark, self._memory = mark, memory

    def check(self) -> None:
        """Refuse a call of the host's after the plugin has returned; generated code does it for flattened plugins.

        Raises:
            BrokenAddress: It has returned, so it is in post-return.
        """
        mark = self._mark
        if self._memory is not None and self._memory.view[mark] != _NOT_RETURNED[mark.stop - mark.start]:
            raise BrokenAddress("broke the canonical ABI: a function of the host was called while post-return ran")


def result_mark(result: Type | None) -> slice | None:
    """Return which bytes of the exports bridge's memory change when a plugin returns; `None` if none do in any case."""
    if result is None or len(flatten(result)) <= MAX_FLAT_RESULTS:
        return None
    found = _mark(result)
    return None if found is None else slice(FRAME_AT + found[0], FRAME_AT + sum(found))


def _mark(ty: Type) -> tuple[int, int] | None:
    """Return the offset and size of a part of a value that never has all bits set; `None` if there is none."""
    match ty:
        case PrimT():
            return (0, _MARKS[ty.name]) if ty.name in _MARKS else None
        case ListT() | OwnT():
            return 0, 4
        case EnumT() | VariantT() | OptionT() | ResultT():
            cases = len(cases_of(ty))
            size = discriminant_size(cases)
            return (0, size) if cases < 1 << 8 * size else None
        case RecordT() | TupleT():
            inner = ((at, _mark(field)) for at, field in offsets(ty))
            return next(((at + found[0], found[1]) for at, found in inner if found is not None), None)
    return None
