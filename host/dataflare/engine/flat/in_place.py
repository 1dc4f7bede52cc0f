"""Long values in the plugin's own memory: how the host finds that memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct
from typing import Final

from dataflare.engine.abi.bridge_memory import BridgeMemory
from dataflare.engine.abi.layout import IN_PLACE_AT, MARK_AT
from dataflare.engine.flat.protocol import MARK, MARK_BYTES, UNMARK
from dataflare.engine.native.memories import MemoryBudget

__all__ = ["use_in_place"]

_U32: Final = Struct("<I")


def use_in_place(
    budget: MemoryBudget, exports: BridgeMemory, imports: BridgeMemory, run: Callable[[int], None]
) -> None:
    """Read and write long values in the plugin's memory from now on, if that memory can be found.

    Generated code writes a random mark to its first bytes for a moment, in which no code of the plugin runs. If not
    exactly one memory begins with the mark, nothing changes.

    Args:
        budget: The instance's memories.
        exports: The host's memory for exports, from which generated code takes the mark.
        imports: The host's memory for imports.
        run: Runs one of the functions that are not exports, by its number.
    """
    mark = os.urandom(MARK_BYTES)
    exports.view[MARK_AT : MARK_AT + MARK_BYTES] = mark
    run(MARK)
    found = budget.find(mark)
    run(UNMARK)
    if found is None:
        return
    contents = budget.contents(found)

    def plugin() -> memoryview:
        nonlocal contents
        if len(contents) != budget.size(found):
            contents = budget.contents(found)
        return contents

    for memory in (exports, imports):
        memory.plugin = plugin
        _U32.pack_into(memory.view, IN_PLACE_AT, 1)
