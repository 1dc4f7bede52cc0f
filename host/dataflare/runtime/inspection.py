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
        kind: The kind of plugin that it is; `None` for a component that is a plugin of no world.
        worlds: The standard's worlds that it targets, by full name; none where `kind` is `None`.
        problems: Why it is a plugin of no world, in words; empty for a plugin.
        imports: The interfaces that it imports, those of WASI left out.
        capabilities: The short names of those that its operator has to grant, such as `files`.
        wasi: The interfaces of WASI that it imports; plugins get them, but nothing is behind them.
        exports: The interfaces that it exports.
        why_bridges: Why the engine reaches it through bridges; empty if it is flattened, `None` where it was not
            asked.
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
    """Describe a component of this shape, and how the engine reaches it."""
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
    """The interfaces by name; what is in the world itself by the names that it has there."""
    inline = interfaces.get("", Interface())
    return tuple(sorted({*(name for name in interfaces if name), *inline.funcs, *inline.resources}))
