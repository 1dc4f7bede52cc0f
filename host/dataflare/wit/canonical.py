"""The binding parts of an interface or a world, as text, to compare versions.

Documentation, comments, layout and the order of types and functions are not binding. The order of fields, cases, flags
and parameters is binding, since it determines their layout in the canonical ABI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from dataflare.wit.catalog import UnfoldedWorld
from dataflare.wit.model import (
    Alias,
    Borrow,
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    ListOf,
    Named,
    OptionOf,
    Own,
    Primitive,
    Record,
    Resource,
    ResultOf,
    TupleOf,
    Type,
    TypeDefinition,
    Variant,
)
from dataflare.wit.versions import Version

__all__ = ["by_track", "interface_digest", "interface_gates", "interface_members", "world_digest", "world_members"]

Owner = Callable[[str], str]


def by_track(full_name: str) -> str:
    """Shorten the version in a full name to the part that decides about compatibility: `dataflare:data/batches@1`."""
    name, _, version = full_name.partition("@")
    return f"{name}@{Version.parse(version).track}" if version else name


def interface_members(interface: Interface, owner: Owner = str) -> dict[str, str]:
    """Return the types and functions of a resolved interface, such as `func batch.slice`, with their binding texts.

    Args:
        interface: The interface.
        owner: Writes the full name of an interface where one of its types is used.
    """
    members: dict[str, str] = {}
    for definition in interface.types:
        kind = type(definition).__name__.lower()
        members[f"{kind} {definition.name}"] = _definition(definition, owner)
        if isinstance(definition, Resource):
            for function in definition.functions:
                members[f"func {definition.name}.{function.name}"] = _function(function, owner)
    for function in interface.functions:
        members[f"func {function.name}"] = _function(function, owner)
    return members


def interface_gates(interface: Interface) -> dict[str, Gate]:
    """Return the gates of the members of `interface_members`; a method without gates has those of its resource."""
    gates: dict[str, Gate] = {}
    for definition in interface.types:
        gates[f"{type(definition).__name__.lower()} {definition.name}"] = definition.gate
        if isinstance(definition, Resource):
            for function in definition.functions:
                gate = definition.gate if function.gate == Gate() else function.gate
                gates[f"func {definition.name}.{function.name}"] = gate
    for function in interface.functions:
        gates[f"func {function.name}"] = function.gate
    return gates


def world_members(world: UnfoldedWorld, owner: Owner = str) -> dict[str, str]:
    """Return the imports and exports of a world with the binding text of each; for an external interface, only its
    name."""
    members: dict[str, str] = {}
    for direction, items in (("import", world.imports), ("export", world.exports)):
        for name, item in items.items():
            if isinstance(item, Function):
                text = _function(item, owner)
            elif "/" in name:
                text = ""
            else:
                text = repr(sorted(interface_members(item, owner).items()))
            members[f"{direction} {owner(name) if '/' in name else name}"] = text
    return members


def interface_digest(interface: Interface) -> str:
    """Return `sha256:...` of the binding parts of a resolved interface, gates included."""
    gates = interface_gates(interface)
    return _digest({key: f"{text} {_gate(gates[key])}" for key, text in interface_members(interface).items()})


def world_digest(world: UnfoldedWorld) -> str:
    """Return `sha256:...` of the binding parts of a world."""
    return _digest(world_members(world))


def _digest(members: dict[str, str]) -> str:
    text = "".join(f"{key}: {value}\n" for key, value in sorted(members.items()))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _gate(gate: Gate) -> str:
    return f"since={gate.since} unstable={gate.unstable} deprecated={gate.deprecated}"


def _definition(definition: TypeDefinition, owner: Owner) -> str:
    match definition:
        case Record(fields=fields):
            return ", ".join(f"{each.name}: {_type(each.type, owner)}" for each in fields)
        case Variant(cases=cases):
            return ", ".join(
                each.name if each.payload is None else f"{each.name}({_type(each.payload, owner)})" for each in cases
            )
        case Enum(cases=names) | Flags(flags=names):
            return ", ".join(each.name for each in names)
        case Alias(type=aliased):
            return _type(aliased, owner)
        case Resource():
            return ""


def _function(function: Function, owner: Owner) -> str:
    parameters = ", ".join(f"{each.name}: {_type(each.type, owner)}" for each in function.parameters)
    result = "" if function.result is None else f" -> {_type(function.result, owner)}"
    return f"{function.kind}({parameters}){result}"


def _type(value: Type, owner: Owner) -> str:
    match value:
        case Primitive(name=name):
            return name
        case Named(name=name, owner=interface):
            return f"{owner(interface)}.{name}"
        case ListOf(element=element, length=length):
            return f"list<{_type(element, owner)}{'' if length is None else f', {length}'}>"
        case OptionOf(some=some):
            return f"option<{_type(some, owner)}>"
        case ResultOf(ok=ok, error=error):
            sides = ("_" if side is None else _type(side, owner) for side in (ok, error))
            return f"result<{', '.join(sides)}>"
        case TupleOf(items=items):
            return f"tuple<{', '.join(_type(item, owner) for item in items)}>"
        case Borrow(resource=resource):
            return f"borrow<{_type(resource, owner)}>"
        case Own(resource=resource):
            return _type(resource, owner)
