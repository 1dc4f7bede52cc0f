"""Custom sections of a component, at its top level.

Only the outer sections are read, never the contents of nested modules and components. Pure functions.
The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from dataflare.component_binary import COMPONENT_HEADER, Truncated, read_name, section, sections
from dataflare.component_binary import name as encode_name
from dataflare.errors import NotAComponent

__all__ = ["CustomSection", "append_section", "custom_sections", "digest_without", "without_sections"]

_MAX_SECTION_ID: Final = 12
_MAX_SECTIONS: Final = 100_000


@dataclass(frozen=True, slots=True)
class CustomSection:
    """A custom section: its name, its contents, and the byte of the component at which it begins."""

    name: str
    payload: bytes
    start: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Any section: its name if it is a custom section, and the offsets of its start, its contents and its end."""

    name: str | None
    start: int
    payload: int
    end: int


def custom_sections(component: bytes) -> Iterator[CustomSection]:
    """Yield the custom sections at the top level, in order.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
    """
    for span in _spans(component):
        if span.name is not None:
            yield CustomSection(span.name, component[span.payload : span.end], span.start)


def without_sections(component: bytes, names: Collection[str]) -> bytes:
    """Return the component without the custom sections of these names; all other bytes are unchanged.

    Raises:
        NotAComponent: Not a component, truncated or damaged.
    """
    kept = [component[span.start : span.end] for span in _spans(component) if span.name not in names]
    return b"".join((component[:8], *kept))


def append_section(component: bytes, name: str, payload: bytes) -> bytes:
    """Return the component with a further custom section at its end."""
    return component + section(0, encode_name(name) + payload)


def digest_without(component: bytes, names: Collection[str]) -> str:
    """Return `sha256:` and the hexadecimal digest of `without_sections(component, names)`."""
    digest = sha256(component[:8])
    view = memoryview(component)
    for span in _spans(component):
        if span.name not in names:
            digest.update(view[span.start : span.end])
    return f"sha256:{digest.hexdigest()}"


def _spans(data: bytes) -> Iterator[_Span]:
    if data[:8] != COMPONENT_HEADER:
        raise NotAComponent(
            "is not a WebAssembly component" if data else "is empty",
            hint="a core module has to be made a component first: wasm-tools component new",
        )
    for count, part in enumerate(sections(memoryview(data)), 1):
        if count > _MAX_SECTIONS:
            raise NotAComponent(f"has more than {_MAX_SECTIONS} sections")
        if part.id > _MAX_SECTION_ID:
            raise NotAComponent(f"has a section of the unknown kind {part.id} at byte {part.start}")
        name, begins = None, 0
        if part.id == 0:
            try:
                name, begins = read_name(part.payload, 0)
            except Truncated:
                raise NotAComponent(f"is cut short or damaged in the section at byte {part.start}") from None
            except UnicodeDecodeError:
                raise NotAComponent(f"has a custom section whose name is not UTF-8, at byte {part.start}") from None
        yield _Span(name, part.start, part.end - len(part.payload) + begins, part.end)
