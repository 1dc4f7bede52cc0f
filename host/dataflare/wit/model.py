"""The model of a WIT package.

The parser makes these values; the resolver returns them with every `Named` bound to the interface that defines it. All
are frozen: any thread may read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from dataflare.errors import ConfigError

__all__ = [
    "NOWHERE",
    "PRIMITIVES",
    "Alias",
    "Borrow",
    "Case",
    "Enum",
    "Flags",
    "Function",
    "Gate",
    "Include",
    "Interface",
    "InterfaceRef",
    "ListOf",
    "Named",
    "OptionOf",
    "Own",
    "Package",
    "PackageName",
    "Parameter",
    "Position",
    "Primitive",
    "Record",
    "RecordField",
    "Resource",
    "ResultOf",
    "TupleOf",
    "Type",
    "TypeDefinition",
    "Use",
    "Variant",
    "WitError",
    "World",
    "WorldItem",
    "definition_types",
    "function_types",
    "inner_types",
    "uniqueness",
]

PRIMITIVES = ("bool", "char", "f32", "f64", "s16", "s32", "s64", "s8", "string", "u16", "u32", "u64", "u8")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; `line` and `column` count from 1, columns in characters. Line 0 is the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE = Position("", 0, 0)


def uniqueness(name: str) -> str:
    """Return the part of a name that must be unique in a scope: without case and hyphens."""
    return name.lower().replace("-", "")


class WitError(ConfigError):
    """A WIT text is not valid. `position` says where; `where` is the same as `file:line:column`."""

    def __init__(self, message: str, *, position: Position = NOWHERE, hint: str = "") -> None:
        super().__init__(message, where=str(position) if position.file else "", hint=hint)
        self.position = position


@dataclass(frozen=True, slots=True)
class PackageName:
    """`namespace:name@version`; `version` is `None` if there is none."""

    namespace: str
    name: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}" + (f"@{self.version}" if self.version else "")

    def item(self, name: str) -> str:
        """Return the full name of an interface or a world of this package, such as `dataflare:data/batches@1.0.0`."""
        return f"{self.namespace}:{self.name}/{name}" + (f"@{self.version}" if self.version else "")


@dataclass(frozen=True, slots=True)
class InterfaceRef:
    """A reference to an interface or a world; `package` is `None` for one of the same package."""

    name: str
    package: PackageName | None = None
    position: Position = field(default=NOWHERE, compare=False)

    def __str__(self) -> str:
        return self.package.item(self.name) if self.package else self.name


@dataclass(frozen=True, slots=True)
class Gate:
    """`@since(version = ...)`, `@unstable(feature = ...)` and `@deprecated(version = ...)`; `None` where absent."""

    since: str | None = None
    unstable: str | None = None
    deprecated: str | None = None


# Types, as they are written for a value.


@dataclass(frozen=True, slots=True)
class Primitive:
    """One of `PRIMITIVES`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Named:
    """A named type. Once resolved, `owner` is the full name of the interface (or the world) that defines it, and `name`
    its name there. A resource's name means an owned handle."""

    name: str
    owner: str = ""
    position: Position = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ListOf:
    """`list<element>`, or `list<element, length>` of a fixed length."""

    element: Type
    length: int | None = None

    def __str__(self) -> str:
        return f"list<{self.element}>" if self.length is None else f"list<{self.element}, {self.length}>"


@dataclass(frozen=True, slots=True)
class OptionOf:
    """`option<some>`."""

    some: Type

    def __str__(self) -> str:
        return f"option<{self.some}>"


@dataclass(frozen=True, slots=True)
class ResultOf:
    """`result<ok, error>`; `None` for a side without a payload."""

    ok: Type | None = None
    error: Type | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"result<{'_' if self.ok is None else self.ok}, {self.error}>"
        return "result" if self.ok is None else f"result<{self.ok}>"


@dataclass(frozen=True, slots=True)
class TupleOf:
    """`tuple<items>`."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.items))}>"


@dataclass(frozen=True, slots=True)
class Borrow:
    """`borrow<resource>`."""

    resource: Named

    def __str__(self) -> str:
        return f"borrow<{self.resource}>"


@dataclass(frozen=True, slots=True)
class Own:
    """`own<resource>`. The resource's plain name means the same: the resolver replaces this by the name."""

    resource: Named

    def __str__(self) -> str:
        return f"own<{self.resource}>"


Type: TypeAlias = Primitive | Named | ListOf | OptionOf | ResultOf | TupleOf | Borrow | Own


def inner_types(value: Type | None) -> Iterator[Type]:
    """Yield the type and every type written inside it, outermost first; does not follow names to their definitions."""
    match value:
        case None:
            return
        case ListOf(element=inner) | OptionOf(some=inner):
            parts: tuple[Type | None, ...] = (inner,)
        case ResultOf(ok=ok, error=error):
            parts = (ok, error)
        case TupleOf(items=items):
            parts = items
        case Borrow(resource=resource) | Own(resource=resource):
            parts = (resource,)
        case _:
            parts = ()
    yield value
    for part in parts:
        yield from inner_types(part)


# Definitions.


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """A field of a record."""

    name: str
    type: Type
    docs: str = ""
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case of a variant or an enum, or a flag; only a variant's case can have a payload."""

    name: str
    payload: Type | None = None
    docs: str = ""
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a function."""

    name: str
    type: Type
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function. `kind` is `function`, `method`, `static` or `constructor`.

    A method's handle is not among its parameters. A constructor's name is `constructor`; its result is `None`, which
    means the resource, or a `result` of the resource.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    result: Type | None = None
    kind: str = "function"
    docs: str = ""
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        parameters = ", ".join(f"{each.name}: {each.type}" for each in self.parameters)
        arrow = "" if self.result is None else f" -> {self.result}"
        if self.kind == "constructor":
            return f"constructor({parameters}){arrow}"
        return f"{self.name}: {'static ' if self.kind == 'static' else ''}func({parameters}){arrow}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Definition:
    name: str
    docs: str = ""
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(_Definition):
    """`record name { fields }`."""

    fields: tuple[RecordField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(_Definition):
    """`variant name { cases }`."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enum(_Definition):
    """`enum name { cases }`."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(_Definition):
    """`flags name { flags }`."""

    flags: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(_Definition):
    """`type name = type`."""

    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(_Definition):
    """`resource name { functions }`."""

    functions: tuple[Function, ...] = ()


TypeDefinition: TypeAlias = Record | Variant | Enum | Flags | Alias | Resource


def function_types(function: Function) -> Iterator[Type]:
    """Yield the types of a function's parameters and of its result."""
    yield from (each.type for each in function.parameters)
    if function.result is not None:
        yield function.result


def definition_types(definition: TypeDefinition) -> Iterator[Type]:
    """Yield the types that a definition uses; for a resource, those of its functions."""
    match definition:
        case Record(fields=fields):
            yield from (each.type for each in fields)
        case Variant(cases=cases):
            yield from (each.payload for each in cases if each.payload is not None)
        case Alias(type=aliased):
            yield aliased
        case Resource(functions=functions):
            for function in functions:
                yield from function_types(function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """`use source.{name as alias}`: `names` holds pairs of the name there and the name here."""

    source: InterfaceRef
    names: tuple[tuple[str, str], ...]
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """`interface name { ... }`."""

    name: str
    types: tuple[TypeDefinition, ...] = ()
    functions: tuple[Function, ...] = ()
    uses: tuple[Use, ...] = ()
    docs: str = ""
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldItem:
    """One import or export of a world: a reference to an interface, or an interface or a function defined in place."""

    exported: bool
    item: InterfaceRef | Interface | Function
    docs: str = ""
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The name of the import or export: the full name of an interface, or the plain name in the world."""
        return str(self.item) if isinstance(self.item, InterfaceRef) else self.item.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """`include world with { name as alias }`."""

    world: InterfaceRef
    renames: tuple[tuple[str, str], ...] = ()
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`world name { ... }`, as it is written: includes are not unfolded."""

    name: str
    items: tuple[WorldItem, ...] = ()
    includes: tuple[Include, ...] = ()
    uses: tuple[Use, ...] = ()
    types: tuple[TypeDefinition, ...] = ()
    docs: str = ""
    gate: Gate = Gate()
    position: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package: the interfaces and worlds of all its files, in the order of the files' names.

    `uses` holds the targets of the files' top-level `use` lines; the parser has already replaced their aliases.
    """

    name: PackageName
    interfaces: tuple[Interface, ...] = ()
    worlds: tuple[World, ...] = ()
    uses: tuple[InterfaceRef, ...] = ()
    docs: str = ""
