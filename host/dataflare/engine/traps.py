"""Conversion of wasmtime's errors to the package's own."""

from __future__ import annotations

import re
from typing import Final

from dataflare.engine.native.callbacks import OVER_TIME
from dataflare.errors import (
    CallTimeout,
    GuestPanic,
    InstanceLimitExceeded,
    MemoryLimitExceeded,
    OutOfFuel,
    PluginFault,
    ProtocolFault,
    StackOverflow,
    TableLimitExceeded,
)

__all__ = ["cause_of", "classify", "placed_frames"]

# Messages of wasmtime 50 (crates/environ/src/trap_encoding.rs); the C API has no error codes.
_PROTOCOL: Final = (
    "cannot enter component instance",
    "cannot leave component instance",
    "unknown handle index",
    "handle index",
    "invalid utf8 encoding",
    "invalid utf16 encoding",
    "invalid utf-8",
    "invalid UTF-8",
    "incomplete utf-8",
    "unpaired surrogate",
    "string content out-of-bounds",
    "list content out-of-bounds",
    "pointer not aligned",
    "unaligned pointer",
    "invalid `char` bit pattern",
    "invalid char",
    "converting u32 to char",
    "unexpected discriminant",
    "invalid variant discriminant",
    "invalid discriminant",
    "realloc return",
    "string pointer/length out of bounds",
    "list pointer/length out of bounds",
    "cannot remove owned resource while borrowed",
    "borrow handles still remain",
    "cannot lift own resource",
    "use of a borrowed handle",
    "host-owned resource is being borrowed",
)
_FRAME: Final = re.compile(r"^ +(?:\d+: +0x[0-9a-f]+ )?- (?P<name>.+)(?:\n +(?P<place>at .+))?$", re.MULTILINE)


def classify(
    message: str,
    *,
    plugin: str,
    export: str,
    backtrace: tuple[str, ...],
    log_lines: tuple[str, ...],
    timeout_s: float | None,
    fuel: int | None,
    memory_bytes: int,
    memory_refused: bool,
    overflow: bool,
) -> PluginFault:
    """Make the error for a call that wasmtime ended.

    Args:
        message: wasmtime's message, with its causes.
        memory_refused: Whether the plugin was refused memory during this instance's life.
        overflow: Whether a bridge's heap was too small for what the plugin passed.
    """
    cause = cause_of(message)

    def make(kind: type[PluginFault], text: str, hint: str = "") -> PluginFault:
        return kind(text, plugin=plugin, export=export, backtrace=backtrace, log_lines=log_lines, hint=hint)

    if OVER_TIME in message or "wasm trap: interrupt" in message:
        return make(
            CallTimeout,
            f"took longer than call_timeout_s = {timeout_s}",
            "raise the limit, or look for a loop in the plugin",
        )
    if "all fuel consumed" in message:
        return make(OutOfFuel, f"used up its fuel of {fuel}", "raise the limit, or look for a loop in the plugin")
    if "call stack exhausted" in message:
        return make(StackOverflow, "nested its calls too deeply", "look for a recursion without end in the plugin")
    if "exceeds table limits" in message:
        return make(TableLimitExceeded, f"wants a larger table than its limit: {cause}", "raise table_elements")
    if "resource limit exceeded" in message:
        return make(InstanceLimitExceeded, f"is made of too much: {cause}", "raise instances or memories")
    if overflow:
        return make(MemoryLimitExceeded, "passed more than 512 MiB in one call", "use smaller batches")
    if memory_refused:
        return make(
            MemoryLimitExceeded,
            f"asked for more memory than memory_bytes = {memory_bytes}, and ended with: {cause}",
            "raise the limit, or use smaller batches",
        )
    if "BUG:" in message:
        return make(
            ProtocolFault, f"reached a fault of wasmtime itself: {cause}", "report it, with the plugin that does it"
        )
    if any(text in message for text in _PROTOCOL):
        return make(
            ProtocolFault, f"broke the canonical ABI: {cause}", "the plugin's bindings or its toolchain are at fault"
        )
    return make(GuestPanic, f"trapped: {cause}")


def placed_frames(message: str) -> tuple[str, ...]:
    """Return the guest's frames with files and lines, innermost first, of wasmtime's message.

    Empty if it has no lines: only a debug profile reads them, and most components are without.
    """
    frames = [(found["name"], found["place"]) for found in _FRAME.finditer(message)]
    placed = any(place for _, place in frames)
    return tuple(f"{name} {place}" if place else name for name, place in frames) if placed else ()


def cause_of(message: str) -> str:
    """Return the innermost cause of wasmtime's message, which lists one cause per line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    causes = [line for line in lines if not line[:1].isdigit() and line != "Caused by:"]
    numbered = [line.split(": ", 1)[1] for line in lines if line[:1].isdigit() and ": " in line and "!" not in line]
    if "Caused by:" in lines:
        after = lines[lines.index("Caused by:") + 1 :]
        picked = [line.split(": ", 1)[1] if line[:1].isdigit() and ": " in line else line for line in after]
        if picked:
            return picked[-1].removeprefix("wasm trap: ").removeprefix("wasm `unreachable` instruction executed") or (
                "unreachable code was reached"
            )
    return (numbered or causes or ["it trapped"])[-1]
