"""Describes a component without running any of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from dataflare.engine.abi.types import ComponentType, Interface
from dataflare.runtime.worlds import kind_world, kinds_of, mismatches, needed_capabilities

__all__ = ["Inspection", "inspect_shape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a component is, and what it could do if it were allowed to.

    Args:
        kind: The kind of plugin; `None` if the component fits none of the standard's worlds.
        worlds: The standard's worlds that it targets, by full name; empty if `kind` is `None`.
        problems: Why it fits none of the worlds, in words; empty for a plugin.
        imports: The interfaces that it imports, without those of WASI.
        capabilities: The short names of the interfaces that its operator must grant, such as `files`.
        wasi: The WASI interfaces that it imports; plugins get them, but they give access to nothing.
        exports: The interfaces that it exports.
        why_bridges: Why the engine gives it bridges; empty if it is flattened, `None` if that was not checked.
        size_bytes: The size of the component.
        digest: `sha256:...` of the component.
    """

    kind: str | None
    worlds: tuple[str, ...]
    problems: tuple[str, ...]
    imports: tuple[str, ...]
    capabilities: tuple[str, ...]
    wasi: tuple[str, ...]
    exports: tuple[str, ...]
    why_bridges: str | None
    size_bytes: int
    digest: str


def inspect_shape(binary: bytes, shape: ComponentType, why_bridges: str | None) -> Inspection:
    """Describe a component of this type, and how the engine calls it."""
    problems = tuple(each.text for each in mismatches(shape))
    kind = None if problems else kinds_of(shape)[0]
    return Inspection(
        kind=kind,
        worlds=() if kind is None else (kind_world(kind),),
        problems=problems,
        imports=_names(shape.imports),
        capabilities=needed_capabilities(shape),
        wasi=tuple(sorted(shape.passthrough)),
        exports=_names(shape.exports),
        why_bridges=why_bridges,
        size_bytes=len(binary),
        digest="sha256:" + hashlib.sha256(binary).hexdigest(),
    )


def _names(interfaces: Mapping[str, Interface]) -> tuple[str, ...]:
    """Return the names of the interfaces, and of the items of the world itself."""
    inline = interfaces.get("", Interface())
    return tuple(sorted({*(name for name in interfaces if name), *inline.funcs, *inline.resources}))
