"""The names of types in the text of one component."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

from dataflare.engine.abi.types import FuncT, Interface, Type, has_handles
from dataflare.engine.bridges.wat import named_types, quote, value_type

__all__ = ["TypeNames", "nominal_types", "types_of"]


def types_of(interface: Interface) -> Iterator[Type]:
    """Yield every type that an interface names or uses."""
    yield from interface.types.values()
    for func in interface.funcs.values():
        yield from (ty for _, ty in func.params)
        if func.result is not None:
            yield func.result


def nominal_types(interfaces: Iterable[Interface]) -> list[Type]:
    """List the types in interfaces that need names, inner ones first, each once."""
    return list({t: None for i in interfaces for ty in types_of(i) for t in named_types(ty)})


class TypeNames:
    """Names of types; `resource` names resource types by their index."""

    def __init__(self, resource: Callable[[int], str]) -> None:
        self.resource = resource
        self.names: dict[Type, str] = {}

    def type(self, ty: Type) -> str:
        """Write a type, by its name if it has one."""
        return value_type(ty, self.names, self.resource)

    def definition(self, ty: Type) -> str:
        """Write a type's definition."""
        return value_type(ty, self.names, self.resource, define=True)

    def signature(self, func: FuncT) -> str:
        """Write a function's parameters and result."""
        params = " ".join(f"(param {quote(n)} {self.type(t)})" for n, t in func.params)
        return params + (f" (result {self.type(func.result)})" if func.result is not None else "")

    def define(self, types: Iterable[Type], ready: Container[int], *, imported: bool) -> list[str]:
        """Define types, or import them as equal to their definitions.

        Args:
            types: Inner ones first; skips those that are already defined or need a resource that is not ready.
            ready: Resource types that can be named.
        """
        lines = []
        for ty in types:
            if ty in self.names or any(index not in ready for _, index in has_handles(ty)):
                continue
            name = f"t{len(self.names)}"
            if imported:
                lines.append(f"(type $d{name} {self.definition(ty)})")
                lines.append(f'(import "{name}" (type ${name} (eq $d{name})))')
            else:
                lines.append(f"(type ${name} {self.definition(ty)})")
            self.names[ty] = f"${name}"
        return lines

    def given_to(self, inner: TypeNames) -> list[str]:
        """Write the arguments that satisfy an inner component's imports of types."""
        return [f'(with "{name[1:]}" (type {self.names[ty]}))' for ty, name in inner.names.items()]
