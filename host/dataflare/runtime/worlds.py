"""Determines a component's kind of plugin, and checks its imports against the grants.

Everything here uses only the component's type: none of its code has been compiled or run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from dataflare.engine.abi.types import ComponentType, Interface
from dataflare.errors import PermissionDenied, WorldMismatch
from dataflare.grants import Grants
from dataflare.interfaces import FREE, INTERFACES, OFFERED, interface_name, is_wasi, provider_of, same_major, short_name
from dataflare.runtime.type_conformance import Comparison, Signatures, standard_signatures

__all__ = [
    "KINDS",
    "LIFECYCLE",
    "Mismatch",
    "check_grants",
    "check_world",
    "kind_interface",
    "kind_world",
    "kinds_of",
    "mismatches",
    "needed_capabilities",
]

KINDS: Final = ("source", "destination", "processor", "transformer", "validator")
"""The kinds of plugins; each has an interface that its plugins export."""

LIFECYCLE: Final = "dataflare:plugin/lifecycle@1.0.0"
"""The interface that every plugin exports."""

_SNAPSHOT = "dataflare:plugin/snapshot@1.0.0"
_REBUILD = "build it against the WIT of this version of dataflare"
_MAX_SHOWN = 5


class Mismatch(NamedTuple):
    """Why a component fits none of the worlds, and what to do about it."""

    text: str
    hint: str


def kind_interface(kind: str) -> str:
    """Return the full name of the interface that a kind's plugins export."""
    return f"dataflare:plugin/{kind}@1.0.0"


def kind_world(kind: str) -> str:
    """Return the full name of the world that a kind's plugins target."""
    return f"dataflare:plugin/{kind}-plugin@1.0.0"


def kinds_of(shape: ComponentType) -> tuple[str, ...]:
    """Return the kinds whose interface a component exports; a plugin has exactly one."""
    return tuple(kind for kind in KINDS if kind_interface(kind) in shape.exports)


def needed_capabilities(shape: ComponentType) -> tuple[str, ...]:
    """Return the sorted short names of the imported interfaces that must be granted."""
    shorts = {short_name(name) for name in shape.imports}
    return tuple(sorted(short for short in shorts if short is not None and short not in FREE))


def mismatches(shape: ComponentType) -> list[Mismatch]:
    """List everything that keeps a component from being a plugin; empty if it is one."""
    signatures = standard_signatures()
    comparison = signatures.compared_with(shape)
    return [
        *_export_mismatches(shape, signatures, comparison),
        *_import_mismatches(shape, signatures, comparison),
    ]


def check_world(shape: ComponentType, *, component: str) -> str:
    """Return a plugin's kind.

    Args:
        shape: What the component imports and exports.
        component: The component's file, for errors.

    Returns:
        One of `KINDS`.

    Raises:
        WorldMismatch: The component exports none or several of the kinds' interfaces, a function is missing or has
            another type, or it imports something that this host does not have.
    """
    found = mismatches(shape)
    if found:
        lines = [each.text for each in found[:_MAX_SHOWN]]
        if len(found) > _MAX_SHOWN:
            lines.append(f"and {len(found) - _MAX_SHOWN} more")
        text = lines[0] if len(lines) == 1 else "".join(f"\n  - {line}" for line in lines)
        raise WorldMismatch(f"is not a plugin of this standard: {text}", component=component, hint=found[0].hint)
    return kinds_of(shape)[0]


def check_grants(shape: ComponentType, grants: Grants, *, plugin: str) -> None:
    """Refuse a plugin that imports more than its operator granted.

    Raises:
        PermissionDenied: An imported interface is not granted; `capability` is the first one, the message names all.
    """
    missing = [short for short in needed_capabilities(shape) if short not in grants.capabilities]
    if missing:
        first = missing[0]
        raise PermissionDenied(
            f"it needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not granted to it",
            plugin=plugin,
            capability=interface_name(first).partition("@")[0],
            missing=tuple(missing),
            hint="if it may use it, grant it in the pipeline:\ngrants:\n"
            + "\n".join(f"  {each}: {INTERFACES[each].example}" for each in missing),
        )


def _export_mismatches(shape: ComponentType, signatures: Signatures, comparison: Comparison) -> Iterator[Mismatch]:
    kinds = kinds_of(shape)
    if not kinds:
        exports = ", ".join(sorted(name for name in shape.exports if name)) or "nothing"
        yield Mismatch(
            f"it exports {exports}, but no {_or(kind_interface(kind) for kind in KINDS)}", _no_kind_hint(shape)
        )
    elif len(kinds) > 1:
        yield Mismatch(
            f"it exports the interfaces of {' and '.join(kinds)}", "a plugin is of one kind: make a component for each"
        )
    if LIFECYCLE not in shape.exports:
        yield Mismatch(f"the export {LIFECYCLE} is missing", f"target {kind_world(kinds[0] if kinds else 'source')}")
    for name in (*(kind_interface(kind) for kind in kinds), LIFECYCLE, _SNAPSHOT):
        if name not in shape.exports:
            continue
        found = shape.exports[name].funcs
        for function in sorted(signatures.functions(name)):
            if function not in found:
                yield Mismatch(f"the export {name}#{function} is missing", _REBUILD)
            elif difference := comparison.difference(name, function, found[function]):
                yield Mismatch(f"the export {name}#{function} has another type: {difference}", _REBUILD)


def _no_kind_hint(shape: ComponentType) -> str:
    for name in shape.exports:
        bare, _, version = name.partition("@")
        if any(bare == kind_interface(kind).partition("@")[0] for kind in KINDS):
            return f"it was built against version {version or 'none'} of the standard; this host has 1.0.0"
    return f"a plugin targets a world such as {kind_world('source')}"


def _import_mismatches(shape: ComponentType, signatures: Signatures, comparison: Comparison) -> Iterator[Mismatch]:
    for name, interface in shape.imports.items():
        row = provider_of(name)
        if not name:
            # Imports of the world itself, outside any interface.
            yield from (Mismatch(f"the import {each} is unknown", _REBUILD) for each in _contents(interface))
        elif row is not None:
            yield from _imported_functions(name, row.full_name, interface, signatures, comparison)
        elif (older := same_major(name)) is not None:
            text = f"the import {name} is newer than {older.full_name}, which this host has"
            yield Mismatch(text, "use a newer version of the host, or build it against this one's WIT")
        elif not (name.startswith("dataflare:plugin/") and name in signatures and not interface.funcs):
            yield Mismatch(f"the import {name} is unknown", f"this host offers {_offers()}")
    for name in shape.passthrough:
        if not is_wasi(name):
            hint = "of WASI, this host has cli, clocks, filesystem, io, random and sockets, version 0.2"
            yield Mismatch(f"the import {name} is unknown", hint)


def _imported_functions(
    name: str, served: str, interface: Interface, signatures: Signatures, comparison: Comparison
) -> Iterator[Mismatch]:
    known = signatures.functions(served)
    for function, found in interface.funcs.items():
        if function not in known:
            yield Mismatch(f"the import {name}#{function} is unknown", _REBUILD)
        elif difference := comparison.difference(served, function, found):
            yield Mismatch(f"the import {name}#{function} has another type: {difference}", _REBUILD)


def _contents(interface: Interface) -> list[str]:
    return sorted({*interface.funcs, *interface.resources})


def _offers() -> str:
    return ", ".join(sorted(interface_name(short) for short in OFFERED))


def _or(names: Iterator[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"
