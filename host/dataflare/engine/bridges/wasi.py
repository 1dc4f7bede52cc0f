"""Imports that wasmtime satisfies: declared as the plugin declares them, and passed through."""

from __future__ import annotations

from dataflare.engine.abi.types import ComponentType, Interface, Type, has_handles
from dataflare.engine.bridges.type_names import TypeNames, types_of
from dataflare.engine.bridges.wat import named_types, quote

__all__ = ["WasiImports"]


class WasiImports:
    """Writes the imports `$wasi0`, `$wasi1` and so on. Their resource types are called `$w` and their index."""

    def __init__(self, shape: ComponentType) -> None:
        self._shape = shape
        self._named: dict[Type, str] = {}

    def text(self) -> list[str]:
        """Write all imports, each after those that it uses."""
        return [
            line
            for number, (name, interface) in enumerate(self._shape.wasi.items())
            for line in self._declare(number, name, interface)
        ]

    def _declare(self, number: int, name: str, interface: Interface) -> list[str]:
        inner: list[str] = []
        names = TypeNames(lambda index: f"$l{index}")
        fresh: dict[int, str] = {}
        named = set(interface.resources.values())
        for index in sorted({index for ty in types_of(interface) for _, index in has_handles(ty)} - named):
            inner.append(f"(alias outer 1 $w{index} (type $l{index}))")
        for item, index in interface.resources.items():
            if index not in named:  # it has a name already, to which this one is equal
                inner.append(f"(export {quote(item)} (type (eq $l{index})))")
                continue
            named.remove(index)
            if self._shape.resources[index].interface == name:
                inner.append(f"(export {quote(item)} (type $l{index} (sub resource)))")
                fresh[index] = item
            else:
                inner.append(f"(alias outer 1 $w{index} (type $o{index}))")
                inner.append(f"(export {quote(item)} (type $l{index} (eq $o{index})))")
        own = set(interface.types.values())
        for ty in {t: None for used in types_of(interface) for t in named_types(used) if t not in own}:
            # The interface uses a type that holds this one, whose name only another interface has.
            names.names[ty] = f"$a{len(names.names)}"
            inner.append(f"(alias outer 1 {self._named[ty]} (type {names.names[ty]}))")
        for place, (item, ty) in enumerate(sorted(interface.types.items(), key=lambda it: len(named_types(it[1])))):
            inner.append(f"(type $d{place} {names.definition(ty)})")
            inner.append(f"(export {quote(item)} (type $n{place} (eq $d{place})))")
            names.names[ty] = f"$n{place}"
        inner += [f"(export {quote(item)} (func {names.signature(func)}))" for item, func in interface.funcs.items()]
        lines = [f"(import {quote(name)} (instance $wasi{number} {' '.join(inner)}))"]
        lines += [f"(alias export $wasi{number} {quote(item)} (type $w{index}))" for index, item in fresh.items()]
        for item, ty in interface.types.items():
            if ty not in self._named:
                self._named[ty] = f"$wt{len(self._named)}"
                lines.append(f"(alias export $wasi{number} {quote(item)} (type {self._named[ty]}))")
        return lines
