"""The errors of plugins that the generated code of flattened components reports.

A fault is written into the host's memory, at `OVERFLOW_AT`, before the code ends with a trap.
"""

from __future__ import annotations

from typing import Final

from dataflare.engine.abi.layout import OVERFLOW_AT

__all__ = [
    "ALIGNMENT",
    "BORROWS",
    "BOUNDS",
    "CHAR",
    "DISCRIMINANT",
    "FAULTS",
    "FAULT_TEXT",
    "HANDLE",
    "LEAVE",
    "LENT",
    "NOT_OWNED",
    "REALLOC",
    "TEXT",
    "TOO_MANY_HANDLES",
    "WRONG_TYPE",
    "fault",
]

FAULTS: Final = {
    2: "an address is out of bounds",
    3: "an address is not aligned",
    4: "a discriminant is not one of its type's",
    5: "a char is not a Unicode scalar value",
    6: "a text is not valid UTF-8",
    7: "realloc returned an address that is out of bounds or not aligned",
    8: "a function of the host was called while realloc or post-return ran",
    9: "a handle is unknown, or was dropped or given away before",
    10: "a handle was used as one of another resource",
    11: "a borrowed handle was given away as an owned one",
    12: "a handle was given away in the same call that lends it",
    13: "borrowed handles were not dropped when the call ended",
}
"""Messages by the number at `OVERFLOW_AT`."""
BOUNDS, ALIGNMENT, DISCRIMINANT, CHAR, TEXT, REALLOC, LEAVE, HANDLE, WRONG_TYPE, NOT_OWNED, LENT, BORROWS = FAULTS
TOO_MANY_HANDLES: Final = 14
"""A table of handles is full; this is a limit, not a fault of the plugin's bindings."""

FAULT_TEXT: Final = f"""
  (func $fault (param i32) (i32.store offset={OVERFLOW_AT} (i32.const 0) (local.get 0)) unreachable)"""
"""The function that ends the plugin's call with a fault; memory 0 belongs to the host."""


def fault(number: int) -> str:
    """Write the instructions that end the plugin's call with a fault."""
    return f"(call $fault (i32.const {number}))"
