"""Component binaries: sections, and a component without its code.

Only the outer frame is read here; what the sections mean is left to wasmtime, which validates every component before
it runs. The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dataflare.errors import NotAComponent

__all__ = [
    "COMPONENT_HEADER",
    "Section",
    "Truncated",
    "check_header",
    "code_end",
    "hollow",
    "name",
    "read_name",
    "read_u32",
    "section",
    "sections",
    "u32",
]

COMPONENT_HEADER: Final = b"\0asm\x0d\0\x01\0"
_MODULE_HEADER: Final = b"\0asm\x01\0\0\0"
_CUSTOM, _CORE_MODULE, _COMPONENT = 0, 1, 4
_MAX_NESTING: Final = 64


class Truncated(Exception):
    """The bytes end within what is being read."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its number, its contents, and the bytes of the file at which it begins and ends."""

    id: int
    payload: memoryview
    start: int
    end: int


def u32(value: int) -> bytes:
    """Encode an unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def name(text: str) -> bytes:
    """Encode a length-prefixed UTF-8 name."""
    raw = text.encode()
    return u32(len(raw)) + raw


def section(number: int, payload: bytes | memoryview) -> bytes:
    """Encode a section."""
    return b"".join((bytes([number]), u32(len(payload)), payload))


def read_u32(data: memoryview, at: int) -> tuple[int, int]:
    """Decode an unsigned LEB128 of at most 32 bits; returns it and where the next thing begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            raise Truncated
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > 0xFFFF_FFFF:
                raise Truncated
            return value, at
        shift += 7


def read_name(data: memoryview, at: int) -> tuple[str, int]:
    """Decode a length-prefixed UTF-8 name."""
    length, at = read_u32(data, at)
    if at + length > len(data):
        raise Truncated
    return bytes(data[at : at + length]).decode(), at + length


def check_header(data: bytes | memoryview, component: str) -> None:
    """Raise `NotAComponent` with the likeliest reason where the bytes do not begin a component."""
    head = bytes(data[:8])
    if head == COMPONENT_HEADER:
        return
    if head[:4] == b"(mod" or head[:5] == b"(comp":
        raise NotAComponent(
            "is WebAssembly text, not a binary", component=component, hint="convert it with wasm-tools parse"
        )
    if head == _MODULE_HEADER:
        raise NotAComponent(
            "is a core WebAssembly module, not a component",
            component=component,
            hint="build it for a component target, or wrap it with wasm-tools component new",
        )
    if head[:4] == b"\0asm":
        raise NotAComponent("is WebAssembly of an unknown version, or cut short", component=component)
    hint = "a component is a .wasm file, as `dataflare build` makes it"
    if component.endswith((".yaml", ".yml")):
        hint = "a pipeline is for `dataflare run`"
    raise NotAComponent("is not WebAssembly" if head else "is empty", component=component, hint=hint)


def sections(data: memoryview) -> Iterator[Section]:
    """The sections of a module or component whose header was checked.

    Raises:
        NotAComponent: The file ends within a section.
    """
    start = 8
    while start < len(data):
        try:
            length, at = read_u32(data, start + 1)
        except Truncated:
            raise NotAComponent(f"is cut short or damaged in the section at byte {start}") from None
        end = at + length
        if end > len(data):
            raise NotAComponent(f"is cut short or damaged in the section at byte {start}")
        yield Section(data[start], data[at:end], start, end)
        start = end


def code_end(component: bytes | memoryview) -> int:
    """Where the valid custom sections at the end of a component begin: what is before them is all that is compiled.

    Raises:
        NotAComponent: The file ends within a section.
    """
    end = 8
    for part in sections(memoryview(component)):
        if part.id != _CUSTOM or not _has_name(part):
            end = part.end
    return end


def _has_name(custom: Section) -> bool:
    try:
        read_name(custom.payload, 0)
    except (Truncated, UnicodeDecodeError):
        return False
    return True


def hollow(component: bytes | memoryview) -> bytes:
    """The same component with all core modules' code, data and elements taken out.

    Its types, imports and exports are those of the original, so that wasmtime can tell them without compiling the
    original's code: milliseconds instead of many seconds for a guest that brings an interpreter. It must never be
    instantiated.
    """
    try:
        return _hollow_component(memoryview(component), 0)
    except (Truncated, UnicodeDecodeError, IndexError):
        raise NotAComponent("is damaged: a core module cannot be read") from None


def _hollow_component(data: memoryview, depth: int) -> bytes:
    if depth > _MAX_NESTING:
        raise NotAComponent(f"nests components more than {_MAX_NESTING} deep")
    out = [bytes(data[:8])]
    for part in sections(data):
        if part.id == _CUSTOM:
            continue
        if part.id == _CORE_MODULE:
            out.append(section(_CORE_MODULE, _hollow_module(part.payload)))
        elif part.id == _COMPONENT:
            out.append(section(_COMPONENT, _hollow_component(part.payload, depth + 1)))
        else:
            out.append(section(part.id, part.payload))
    return b"".join(out)


def _hollow_module(data: memoryview) -> bytes:
    # Core sections: 1 type, 2 import, 3 function, 4 table, 5 memory, 6 global, 7 export, 8 start, 9 element, 10 code,
    # 11 data, 12 data count, 13 tag. Kept are those that the module's type depends on; each body becomes `unreachable`.
    out = [bytes(data[:8])]
    for part in sections(data):
        if part.id in (_CUSTOM, 8, 11, 12):
            continue
        if part.id == 9:
            # Declared references (`ref.func`) in globals need their element segment: keep it, empty bodies do not mind.
            out.append(section(9, part.payload))
        elif part.id == 10:
            count, _ = read_u32(part.payload, 0)
            if count > 10_000_000:
                raise Truncated
            out.append(section(10, u32(count) + b"\x03\0\0\x0b" * count))
        else:
            out.append(section(part.id, part.payload))
    return b"".join(out)
