"""The plan of a world's bindings: a Python module for each interface, with the names of everything in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from dataflare.bindgen.names import UniqueNames, camel, distinct, require_plain, snake
from dataflare.errors import ConfigError
from dataflare.interfaces import is_wasi, short_name
from dataflare.wit import model as wit
from dataflare.wit.catalog import Catalog, UnfoldedWorld

__all__ = ["FULL_NAME", "Direction", "Module", "Plan", "function_name", "make_plan", "plan_of_types", "wit_functions"]

Direction: TypeAlias = Literal["import", "export"]

FULL_NAME: Final = re.compile(r"([^:/@]+):([^:/@]+)/([^:/@]+)(?:@(.+))?")
"""An interface's full name: namespace, package, name, and version."""
_RESERVED: Final = frozenset({"abc", "abi", "builtins", "dataclasses", "df", "enum", "errors", "result", "t"})
"""Names under which generated modules import others, and the variable of their functions, with an underscore before
them."""
_WORLDS_OWN: Final[Mapping[Direction, frozenset[str]]] = {
    "import": frozenset({"property"}),
    "export": frozenset({"alive", "close", "interrupt", "stats"}),
}
"""Names that the classes of a world already have or use, for its imports and for the world itself."""
_MAX_FLAGS: Final = 32
_MAX_MEMBERS: Final = 100_000


@dataclass(slots=True, eq=False)
class Module:
    """One Python module: an interface as it is imported or exported, or both if there is no difference.

    `wit_name` is the engine's name of the interface, `owner` the name to which its types refer in the resolved WIT.
    """

    wit_name: str
    owner: str
    interface: wit.Interface
    directions: frozenset[Direction]
    offered: bool = False
    """Whether the host provides it, so that the embedding program need not implement it."""
    name: str = ""
    classes: dict[str, str] = field(default_factory=dict)
    """The Python name of each type."""
    cases: dict[tuple[str, str], str] = field(default_factory=dict)
    """The class of each case of each variant."""
    exceptions: dict[str, str] = field(default_factory=dict)
    """The exception of each type that is the error of a result."""
    protocol: str = ""
    """The class of its imports; empty if there is nothing to implement."""
    exports: str = ""
    """The class of its exports; empty if there is nothing to call."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """Everything that is written for one world."""

    world: UnfoldedWorld
    docs: str
    class_name: str
    imports_class: str
    modules: list[Module]
    definitions: Mapping[tuple[str, str], wit.TypeDefinition]
    functions: dict[Direction, list[wit.Function]]
    """The functions of the world itself."""
    function_names: dict[Direction, dict[str, str]]
    anonymous: dict[wit.Type | None, str] = field(default_factory=dict)
    """The exception of each unnamed type that is the error of a result."""
    types_only: bool = False
    """Whether only types are written, in the form of `dataflare.values`."""

    def module_of(self, named: wit.Named, direction: Direction) -> Module:
        """Return the module that defines a type, for one direction."""
        found = [each for each in self.modules if each.owner == named.owner]
        for each in found:
            if direction in each.directions:
                return each
        return found[0]

    def definition(self, named: wit.Named) -> wit.TypeDefinition:
        """Return the definition of a named type."""
        return self.definitions[named.owner, named.name]

    def underlying(self, value: wit.Type) -> wit.Type:
        """Return a type with its aliases resolved."""
        while isinstance(value, wit.Named) and isinstance(definition := self.definition(value), wit.Alias):
            value = definition.type
        return value

    def imported(self) -> list[Module]:
        """List the modules of interfaces that the embedding program implements."""
        return [each for each in self.modules if each.protocol]

    def exported(self) -> list[Module]:
        """List the modules of interfaces that the component implements."""
        return [each for each in self.modules if each.exports]

    @property
    def needs_imports(self) -> bool:
        """Whether the embedding program has anything to implement."""
        return bool(self.imported() or self.function_names["import"])

    def world_resources(self) -> list[tuple[str, wit.Function, wit.Resource, Module]]:
        """List the functions of resources of the world itself, with their names in a component."""
        return [
            (name, function, resource, module)
            for module in self.modules
            if not module.wit_name
            for name, function, resource in wit_functions(module)
            if resource is not None
        ]


def wit_functions(module: Module) -> Iterator[tuple[str, wit.Function, wit.Resource | None]]:
    """Yield the functions of an interface with their names in a component, and with the resource to which each
    belongs."""
    for definition in module.interface.types:
        if isinstance(definition, wit.Resource):
            for function in definition.functions:
                if function.kind == "constructor":
                    yield f"[constructor]{definition.name}", function, definition
                else:
                    yield f"[{function.kind}]{definition.name}.{function.name}", function, definition
    for function in module.interface.functions:
        yield function.name, function, None


def function_name(function: wit.Function, resource: wit.Resource | None) -> str:
    """Return a function's preferred Python name; for functions of a resource, it begins with the resource's name."""
    if resource is None:
        return snake(function.name)
    return snake(resource.name if function.kind == "constructor" else f"{resource.name}-{function.name}")


def make_plan(catalog: Catalog, name: str) -> Plan:
    """Decide on the modules and the names of a world's bindings.

    Raises:
        WitError: The world does not exist, or has something that the engine does not support.
        ConfigError: A name cannot be written.
    """
    world = catalog.world(name)
    source = dict(catalog.worlds())[name]
    owners = _inline_owners(catalog)
    modules = _modules(catalog, world, source, owners)
    definitions = {(each.owner, one.name): one for each in modules for one in each.interface.types}
    functions: dict[Direction, list[wit.Function]] = {
        "import": [each for each in world.imports.values() if isinstance(each, wit.Function)],
        "export": [each for each in world.exports.values() if isinstance(each, wit.Function)],
    }
    _check(modules, functions, where=name)
    _withdraw_offers(modules, definitions, functions)
    _name_modules(modules)
    plain = require_plain(source.name, name)
    plan = Plan(
        world=world,
        docs=source.docs,
        class_name=camel(plain),
        imports_class=f"{camel(plain)}Imports",
        modules=modules,
        definitions=definitions,
        functions=functions,
        function_names={"import": {}, "export": {}},
    )
    for module in modules:
        _name_types(module)
    for direction, reserved in _WORLDS_OWN.items():
        scope = UniqueNames({each.name for each in modules} | reserved)
        plan.function_names[direction] = {each.name: scope.add(snake(each.name)) for each in functions[direction]}
        if direction == "import":
            plan.function_names[direction] |= {
                name: scope.add(function_name(function, resource))
                for name, function, resource, _ in plan.world_resources()
                if function.kind != "method"
            }
    _name_exceptions(plan)
    return plan


def plan_of_types(catalog: Catalog, world: str | None, *, where: str) -> Plan:
    """Decide on the modules and the names for types only.

    Args:
        catalog: The resolved packages.
        world: The full name of the world whose types are written; `None` for those of all packages.
        where: The file or folder that was read, for errors.

    Raises:
        WitError: The world does not exist, or the engine does not support a type.
        ConfigError: A name cannot be written, or there are no types.
    """
    owners = _inline_owners(catalog)
    found = (
        {} if world else {name: Module(name, name, each, frozenset({"import"})) for name, each in catalog.interfaces()}
    )
    for name, source in catalog.worlds():
        if world in (None, name):
            for each in [*_modules(catalog, catalog.world(name), source, owners), _world_types(name, source)]:
                found.setdefault(each.owner, each)
    modules = [
        Module(each.wit_name, each.owner, _types_alone(each.interface), frozenset({"import"}))
        for each in found.values()
    ]
    modules = [each for each in modules if each.interface.types]
    if not modules:
        raise ConfigError("has no types", where=where, hint="for bindings of its functions, leave --types out")
    _check(modules, {}, where=where)
    _name_modules(modules)
    for module in modules:
        _name_types(module)
        module.cases = {}
        module.exceptions = {}
    return Plan(
        world=UnfoldedWorld(name=world or "", imports={}, exports={}),
        docs="",
        class_name="",
        imports_class="",
        modules=modules,
        definitions={(each.owner, one.name): one for each in modules for one in each.interface.types},
        functions={"import": [], "export": []},
        function_names={"import": {}, "export": {}},
        types_only=True,
    )


def _types_alone(interface: wit.Interface) -> wit.Interface:
    types = (replace(each, functions=()) if isinstance(each, wit.Resource) else each for each in interface.types)
    return replace(interface, types=tuple(types), functions=())


def _modules(catalog: Catalog, world: UnfoldedWorld, source: wit.World, owners: Mapping[int, str]) -> list[Module]:
    interfaces = {side: _interfaces(items) for side, items in (("import", world.imports), ("export", world.exports))}
    modules: list[Module] = []
    for name, interface in interfaces["import"].items():
        shared = name in interfaces["export"] and "/" in name and not _has_resources(catalog, name)
        both: frozenset[Direction] = frozenset({"import", "export"} if shared else {"import"})
        owner = owners.get(id(interface.types), name)
        modules.append(Module(name, owner, interface, both, _is_offered(name)))
    taken = {each.wit_name for each in modules if "export" in each.directions}
    for name, interface in interfaces["export"].items():
        if name not in taken:
            owner = owners.get(id(interface.types), name)
            modules.append(Module(name, owner, interface, frozenset({"export"})))
    mentioned = {each.owner for each in _mentioned(world)}
    known = dict(catalog.worlds())
    mentioned |= {name for name, each in known.items() if each is source and _own_resources(each)}
    for owner in sorted(mentioned & set(known)):
        modules.append(_world_types(owner, known[owner]))
    return modules


def _world_types(owner: str, world: wit.World) -> Module:
    """Make the module of types that are defined in a world itself. The component imports its resources."""
    pseudo = wit.Interface(name=f"{world.name}-types", types=world.types)
    return Module("", owner, pseudo, frozenset({"import", "export"}))


def _own_resources(world: wit.World) -> bool:
    return any(isinstance(each, wit.Resource) for each in world.types)


def _interfaces(items: Mapping[str, wit.Interface | wit.Function]) -> dict[str, wit.Interface]:
    return {name: each for name, each in items.items() if isinstance(each, wit.Interface)}


def _inline_owners(catalog: Catalog) -> dict[int, str]:
    """Return the owner name of types in interfaces that are written in a world, by the identity of their
    definitions."""
    owners = {}
    for full, world in catalog.worlds():
        for item in world.items:
            if isinstance(item.item, wit.Interface) and item.item.types:
                owners[id(item.item.types)] = f"{full}#{item.item.name}{'!' if item.exported else ''}"
    return owners


def _has_resources(catalog: Catalog, name: str) -> bool:
    known = dict(catalog.interfaces())
    waiting, seen = [name], {name}
    while waiting:
        interface = known[waiting.pop()]
        if any(isinstance(each, wit.Resource) for each in interface.types):
            return True
        sources = {str(use.source) for use in interface.uses} - seen
        seen |= sources
        waiting += sources
    return False


def _mentioned(world: UnfoldedWorld) -> Iterator[wit.Named]:
    for items in (world.imports, world.exports):
        for item in items.values():
            if isinstance(item, wit.Function):
                types: Iterable[wit.Type] = wit.function_types(item)
            else:
                types = _types_of(item)
            for ty in types:
                yield from (inner for inner in wit.inner_types(ty) if isinstance(inner, wit.Named))


def _types_of(interface: wit.Interface) -> Iterator[wit.Type]:
    """Yield the types that are used in an interface."""
    for definition in interface.types:
        yield from wit.definition_types(definition)
    for function in interface.functions:
        yield from wit.function_types(function)


def _is_offered(name: str) -> bool:
    return short_name(name) is not None or is_wasi(name)


def _withdraw_offers(
    modules: list[Module],
    definitions: Mapping[tuple[str, str], wit.TypeDefinition],
    functions: Mapping[Direction, list[wit.Function]],
) -> None:
    """Let the embedding program implement interfaces that share a resource with WASI: a resource has one
    implementation."""

    def resources(types: Iterable[wit.Type]) -> set[tuple[str, str]]:
        waiting, seen = [*types], set[tuple[str, str]]()
        while waiting:
            for inner in wit.inner_types(waiting.pop()):
                if isinstance(inner, wit.Named) and (inner.owner, inner.name) not in seen:
                    seen.add((inner.owner, inner.name))
                    definition = definitions[inner.owner, inner.name]
                    if not isinstance(definition, wit.Resource):
                        waiting += wit.definition_types(definition)
        return {each for each in seen if isinstance(definitions[each], wit.Resource)}

    own = resources(ty for side in functions.values() for function in side for ty in wit.function_types(function))
    mentioned = [
        (
            each,
            resources([*_types_of(each.interface), *(wit.Named(one.name, each.owner) for one in each.interface.types)]),
        )
        for each in modules
    ]
    waiting = [(each, found) for each, found in mentioned if each.offered and is_wasi(each.wit_name)]
    for each, found in mentioned:
        if not each.offered:
            own |= found
    changed = True
    while changed:
        changed = False
        for pair in waiting[:]:
            each, found = pair
            if found & own:
                each.offered = False
                own |= found
                waiting.remove(pair)
                changed = True


def _check(modules: list[Module], functions: Mapping[Direction, list[wit.Function]], *, where: str) -> None:
    """Refuse names that are not plain, and types that the engine does not support; the error has the position."""
    count = 0

    def check_types(types: Iterable[wit.Type], position: wit.Position) -> None:
        for ty in types:
            for inner in wit.inner_types(ty):
                if isinstance(inner, wit.ListOf) and inner.length is not None:
                    raise wit.WitError(
                        f"`{inner}` has a fixed length, which the engine cannot carry yet",
                        position=position,
                        hint="use a list, or a tuple",
                    )

    def check_function(function: wit.Function) -> None:
        require_plain(function.name, str(function.position))
        for each in function.parameters:
            require_plain(each.name, str(each.position))
        check_types(wit.function_types(function), function.position)

    for side in functions.values():
        for function in side:
            check_function(function)
    for module in modules:
        require_plain(module.interface.name, module.wit_name)
        for each in module.interface.functions:
            check_function(each)
        for definition in module.interface.types:
            require_plain(definition.name, str(definition.position))
            check_types(wit.definition_types(definition), definition.position)
            count += 1
            match definition:
                case wit.Record(fields=members):
                    names = [one.name for one in members]
                case wit.Variant(cases=cases) | wit.Enum(cases=cases):
                    names = [one.name for one in cases]
                case wit.Flags(flags=bits):
                    names = [one.name for one in bits]
                    if len(names) > _MAX_FLAGS:
                        raise wit.WitError(
                            f"`{definition.name}` has {len(names)} flags, and the engine can carry {_MAX_FLAGS}",
                            position=definition.position,
                            hint="split it in two",
                        )
                case wit.Resource(functions=methods):
                    names = []
                    for one in methods:
                        check_function(one)
                case _:
                    names = []
            count += len(names)
            for name in names:
                require_plain(name, str(definition.position))
    if count > _MAX_MEMBERS:
        raise ConfigError(
            f"has {count:,} types, fields and cases, more than {_MAX_MEMBERS:,}",
            where=where,
            hint="split it into several worlds",
        )


def _name_modules(modules: list[Module]) -> None:
    def part(module: Module, *which: int) -> str:
        match = FULL_NAME.fullmatch(module.wit_name)
        if match is None:
            return snake(module.interface.name)
        return "_".join(snake(re.sub(r"[^A-Za-z0-9-]", "-", match[i])) for i in which if match[i])

    spellings = [
        lambda each: snake(each.interface.name),
        lambda each: part(each, 2, 3),
        lambda each: part(each, 3, 4),
        lambda each: part(each, 2, 3, 4),
        lambda each: part(each, 1, 2, 3, 4),
        lambda each: part(each, 1, 2, 3, 4) + ("_exports" if "export" in each.directions else ""),
    ]
    # Modules that exist for one direction only are distinguished by it.
    exported_too = {each.wit_name for each in modules if each.directions == {"import"}}
    plain = [each for each in modules if not (each.directions == {"export"} and each.wit_name in exported_too)]
    scope = UniqueNames(_RESERVED.union(*_WORLDS_OWN.values()))
    for module, name in zip(plain, distinct(plain, spellings), strict=True):
        module.name = scope.add(name)
    names = {each.wit_name: each.name for each in plain}
    for module in modules:
        if not module.name:
            module.name = scope.add(f"{names[module.wit_name]}_exports")


def _name_types(module: Module) -> None:
    scope = UniqueNames()
    for definition in module.interface.types:
        module.classes[definition.name] = scope.add(camel(definition.name))
    for definition in module.interface.types:
        if isinstance(definition, wit.Variant):
            for case in definition.cases:
                name = module.classes[definition.name] + camel(case.name).rstrip("_")
                module.cases[definition.name, case.name] = scope.add(name)
    functions = [*wit_functions(module)]
    own = camel(module.interface.name)
    statics = [each for each in functions if not each[0].startswith("[method]")]
    if module.wit_name and statics:
        if "import" in module.directions and not module.offered:
            module.protocol = scope.add(own, f"{own}Imports")
        if "export" in module.directions:
            module.exports = scope.add(own, f"{own}Exports")
    module.exceptions = {each: "" for each in module.classes}
    for name, python in module.classes.items():
        module.exceptions[name] = scope.add(f"{python.rstrip('_')}Exception")


def _name_exceptions(plan: Plan) -> None:
    """Keep only the exceptions of types that are the error of some result."""
    used: set[tuple[str, str]] = set()
    scope = UniqueNames()
    for function in _all_functions(plan):
        result = None if function.result is None else plan.underlying(function.result)
        if isinstance(result, wit.ResultOf) and isinstance(result.error, wit.Named):
            used.add((result.error.owner, result.error.name))
        elif isinstance(result, wit.ResultOf) and result.error not in plan.anonymous:
            words = re.sub(r"[^A-Za-z0-9]+", " ", "no-detail" if result.error is None else str(result.error)).split()
            name = "".join(word[0].upper() + word[1:] for word in words)
            plan.anonymous[result.error] = scope.add(f"{name[:60]}Exception")
    for module in plan.modules:
        module.exceptions = {name: python for name, python in module.exceptions.items() if (module.owner, name) in used}


def _all_functions(plan: Plan) -> Iterator[wit.Function]:
    for side in plan.functions.values():
        yield from side
    for module in plan.modules:
        yield from (function for _, function, _ in wit_functions(module))
