"""Resolve packages: find the definition of each name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from dataflare.suggestions import close_matches
from dataflare.user_folders import files_below
from dataflare.wit.catalog import Catalog
from dataflare.wit.gates import apply_gates, features_of
from dataflare.wit.model import (
    Alias,
    Borrow,
    Case,
    Function,
    Interface,
    InterfaceRef,
    ListOf,
    Named,
    OptionOf,
    Own,
    Package,
    PackageName,
    Position,
    Record,
    Resource,
    ResultOf,
    TupleOf,
    Type,
    TypeDefinition,
    Use,
    Variant,
    WitError,
    World,
    WorldItem,
    uniqueness,
)
from dataflare.wit.parser import Document, parse_file
from dataflare.wit.type_rules import check_types

__all__ = ["load", "resolve"]


def load(*paths: Path, features: Collection[str] = ()) -> Catalog:
    """Read and resolve packages.

    A path is a file, which is one package, or a folder. The `.wit` files of one folder are one package, except in a
    folder called `deps`, where each file is a separate package. Subfolders are read in the same way, at any depth. So
    both `wit/<package>/*.wit` and the layout of other tools work: `wit/*.wit` with `wit/deps/<package>/*.wit` or
    `wit/deps/<package>.wit`.

    Args:
        paths: The files and folders.
        features: The features whose `@unstable` items are kept; all others are left out.

    Raises:
        WitError: A path cannot be read or has no WIT, a file is not valid, or a name cannot be resolved.
        ConfigError: A folder has too many files, or folders within each other.
    """
    packages: list[Package] = []
    for path in paths:
        for members in _package_files(path):
            where = members[0] if len(members) == 1 else members[0].parent
            packages += _merge(where, [parse_file(file) for file in members])
    return resolve(packages, features=features)


def _package_files(path: Path) -> Iterator[list[Path]]:
    """Yield the files of each package below a path."""
    if not os.path.isdir(path):  # unlike the method, it accepts any name
        yield [path]
        return
    files = sorted(each for each in files_below(path) if each.suffix == ".wit")
    if not files:
        raise WitError("is a directory with no .wit file in it", position=Position(str(path), 0, 0))
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file if file.parent.name == "deps" else file.parent, []).append(file)
    yield from by_folder.values()


def _merge(where: Path, documents: list[Document]) -> list[Package]:
    """Merge the files of one folder into one package; also return the packages that are nested in them."""
    nested = [package for document in documents for package in document.nested]
    named = [(document.name, document) for document in documents if document.name is not None]
    if not named:
        loose = [document for document in documents if document.interfaces or document.worlds]
        if loose or not nested:
            hint = "begin one of its files with `package namespace:name@version;`"
            raise WitError("no file says the package", position=Position(str(where), 0, 0), hint=hint)
        return nested
    name = named[0][0]
    for other, document in named:
        if other != name:
            raise WitError(f"one folder, two packages: {name} and {other}", position=document.position)
    documented = [document for _, document in named if document.docs]
    if len(documented) > 1:
        raise WitError(
            f"the package {name} is documented twice, first in {documented[0].position.file}",
            position=documented[1].position,
            hint="keep the documentation of `package` in one of its files",
        )
    package = Package(
        name=name,
        interfaces=tuple(interface for document in documents for interface in document.interfaces),
        worlds=tuple(world for document in documents for world in document.worlds),
        uses=tuple(use for document in documents for use in document.uses),
        docs="".join(document.docs for document in documented),
    )
    return [package, *nested]


def resolve(packages: Iterable[Package], *, features: Collection[str] = ()) -> Catalog:
    """Bind every name in packages that refer to each other.

    Args:
        packages: The packages as they were parsed.
        features: The features whose `@unstable` items are kept; all others are left out.

    Raises:
        WitError: No item has one of the features; a package, an interface or a type is missing or duplicate; types,
            uses or includes form a cycle; a handle refers to something that is not a resource; a result has a borrowed
            handle.
    """
    packages = list(packages)
    known = set[str]().union(*map(features_of, packages))
    for feature in features:
        if feature not in known:
            close = close_matches(feature, known)
            hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(sorted(known)[:20]) or 'none'}"
            raise WitError(f"no item has the feature `{feature}`", hint=hint)
    left_out: dict[str, str] = {}
    return _Resolver([apply_gates(each, features, left_out) for each in packages], left_out).run()


class _Resolver:
    def __init__(self, packages: Iterable[Package], left_out: Mapping[str, str]) -> None:
        self._left_out = left_out
        self._packages: dict[str, Package] = {}
        for package in packages:
            if str(package.name) in self._packages:
                raise WitError(f"the package `{package.name}` is there twice", hint="remove one of the folders")
            self._packages[str(package.name)] = package
        self._interfaces: dict[str, tuple[PackageName, Interface]] = {}
        worlds: dict[str, World] = {}
        for package in self._packages.values():
            members: tuple[Interface | World, ...] = (*package.interfaces, *package.worlds)
            for each in members:
                full = package.name.item(each.name)
                if full in self._interfaces or full in worlds:
                    raise WitError(f"`{each.name}` is there twice", position=each.position)
                if isinstance(each, Interface):
                    self._interfaces[full] = (package.name, each)
                else:
                    worlds[full] = each
        self._worlds = worlds
        self._scopes: dict[str, dict[str, Named]] = {}
        self._definitions: dict[tuple[str, str], TypeDefinition] = {}

    def run(self) -> Catalog:
        for full, (_, interface) in self._interfaces.items():
            self._own_scope(full, interface.types, interface.functions)
        for full, world in self._worlds.items():
            self._own_scope(full, world.types, ())
        self._check_top_level_uses()
        self._order_interfaces()
        packages = {}
        for key, package in self._packages.items():
            interfaces = tuple(
                self._interface(package.name.item(each.name), package.name, each) for each in package.interfaces
            )
            worlds = tuple(self._world(package.name.item(each.name), package.name, each) for each in package.worlds)
            packages[key] = replace(package, interfaces=interfaces, worlds=worlds)
        catalog = Catalog(packages=MappingProxyType(packages))
        definitions = self._bound_definitions(packages.values())
        check_types(definitions, _functions(packages.values()))
        for name, _ in catalog.worlds():
            catalog.world(name)
        return catalog

    # Scopes: the definitions of names.

    def _own_scope(self, full: str, types: tuple[TypeDefinition, ...], functions: tuple[Function, ...]) -> None:
        scope: dict[str, Named] = {}
        taken: set[str] = set()
        for each in (*types, *functions):
            if uniqueness(each.name) in taken:
                raise WitError(f"`{each.name}` is there twice", position=each.position)
            taken.add(uniqueness(each.name))
        for definition in types:
            scope[definition.name] = Named(definition.name, full)
            self._definitions[full, definition.name] = definition
        self._scopes[full] = scope

    def _check_top_level_uses(self) -> None:
        """Check that each top-level `use` names an interface, or a world of the same package, even if nothing uses
        it."""
        for package in self._packages.values():
            for ref in package.uses:
                if ref.package is None and package.name.item(ref.name) in self._worlds:
                    continue
                self._interface_name(ref, package.name)

    def _order_interfaces(self) -> None:
        """Add the names of each `use` to its interface's scope, used interfaces first."""
        state: dict[str, bool] = {}

        for start in self._interfaces:
            # An explicit stack: a chain of uses may be longer than Python's recursion limit.
            stack: list[tuple[str, Iterator[str]]] = []

            def enter(full: str, stack: list[tuple[str, Iterator[str]]] = stack) -> None:
                state[full] = False
                package, interface = self._interfaces[full]
                sources = [self._interface_name(use.source, package) for use in interface.uses]
                stack.append((full, iter(sources)))

            if start not in state:
                enter(start)
            while stack:
                full, sources = stack[-1]
                for source in sources:
                    if source not in state:
                        enter(source)
                        break
                    if not state[source]:
                        raise WitError(
                            f"`{source}` and `{full}` use each other", position=self._interfaces[full][1].position
                        )
                else:
                    package, interface = self._interfaces[full]
                    taken = {uniqueness(each.name) for each in interface.functions}
                    self._take_uses(full, interface.uses, package, taken)
                    state[full] = True
                    stack.pop()

    def _take_uses(self, full: str, uses: tuple[Use, ...], package: PackageName, taken: set[str]) -> None:
        scope = self._scopes[full]
        taken = taken | {uniqueness(name) for name in scope}
        for use in uses:
            source = self._interface_name(use.source, package)
            for original, alias in use.names:
                if original not in self._scopes[source]:
                    _refuse_left_out(self._left_out, f"{source}#{original}", use.position)
                    raise WitError(f"`{source}` has no type `{original}`", position=use.position)
                if uniqueness(alias) in taken:
                    raise WitError(f"`{alias}` is there twice", position=use.position)
                taken.add(uniqueness(alias))
                scope[alias] = self._scopes[source][original]

    def _interface_name(self, ref: InterfaceRef, package: PackageName) -> str:
        return self._full_name(ref, package, self._interfaces, "interface")

    def _full_name(self, ref: InterfaceRef, package: PackageName, known: Mapping[str, object], noun: str) -> str:
        full = (ref.package or package).item(ref.name)
        if full not in known:
            _refuse_left_out(self._left_out, full, ref.position)
            owner = str(ref.package or package)
            if owner not in self._packages:
                hint = f"there is: {', '.join(sorted(self._packages))}"
                raise WitError(f"there is no package `{owner}`", position=ref.position, hint=hint)
            raise WitError(f"there is no {noun} `{full}`", position=ref.position)
        return full

    # Bound copies.

    def _interface(self, full: str, package: PackageName, interface: Interface) -> Interface:
        bind = _Binder(full, self._scopes, self._definitions, self._left_out)
        uses = tuple(replace(use, source=self._full_ref(use.source, package)) for use in interface.uses)
        return replace(
            interface,
            uses=uses,
            types=tuple(bind.definition(each) for each in interface.types),
            functions=tuple(bind.function(each) for each in interface.functions),
        )

    def _full_ref(self, ref: InterfaceRef, package: PackageName) -> InterfaceRef:
        return replace(ref, package=ref.package or package)

    def _world(self, full: str, package: PackageName, world: World) -> World:
        self._take_uses(full, world.uses, package, set())
        bind = _Binder(full, self._scopes, self._definitions, self._left_out)
        includes = []
        for include in world.includes:
            self._full_name(include.world, package, self._worlds, "world")
            includes.append(replace(include, world=self._full_ref(include.world, package)))
        return replace(
            world,
            uses=tuple(replace(use, source=self._full_ref(use.source, package)) for use in world.uses),
            types=tuple(bind.definition(each) for each in world.types),
            items=tuple(self._world_item(full, package, bind, each) for each in world.items),
            includes=tuple(includes),
        )

    def _world_item(self, world: str, package: PackageName, bind: _Binder, item: WorldItem) -> WorldItem:
        match item.item:
            case InterfaceRef() as ref:
                self._interface_name(ref, package)
                return replace(item, item=self._full_ref(ref, package))
            case Function() as function:
                return replace(item, item=bind.function(function))
            case Interface() as inline:
                full = f"{world}#{inline.name}{'!' if item.exported else ''}"
                self._own_scope(full, inline.types, inline.functions)
                self._take_uses(full, inline.uses, package, {uniqueness(each.name) for each in inline.functions})
                return replace(item, item=self._interface(full, package, inline))

    def _bound_definitions(self, packages: Iterable[Package]) -> dict[tuple[str, str], TypeDefinition]:
        found = {}
        for package in packages:
            owners: tuple[Interface | World, ...] = (*package.interfaces, *package.worlds)
            for owner in owners:
                for definition in owner.types:
                    found[package.name.item(owner.name), definition.name] = definition
            for world in package.worlds:
                for item in world.items:
                    if isinstance(item.item, Interface):
                        full = f"{package.name.item(world.name)}#{item.item.name}{'!' if item.exported else ''}"
                        for definition in item.item.types:
                            found[full, definition.name] = definition
        return found


def _refuse_left_out(left_out: Mapping[str, str], full: str, position: Position) -> None:
    """Raise if a name is missing because of its gate."""
    if full in left_out:
        name = full.rpartition("#")[2]
        raise WitError(
            f"`{name}` is left out, since its feature `{left_out[full]}` is off",
            position=position,
            hint=f"gate this with @unstable(feature = {left_out[full]}) too, or turn the feature on",
        )


class _Binder:
    """Gives each `Named` of one scope its owner."""

    def __init__(
        self,
        full: str,
        scopes: Mapping[str, Mapping[str, Named]],
        definitions: Mapping[tuple[str, str], TypeDefinition],
        left_out: Mapping[str, str],
    ) -> None:
        self._full = full
        self._left_out = left_out
        self._scope = scopes[full]
        self._scopes = scopes
        self._definitions = definitions

    def definition(self, value: TypeDefinition) -> TypeDefinition:
        match value:
            case Record(fields=fields):
                return replace(value, fields=tuple(replace(each, type=self._type(each.type)) for each in fields))
            case Variant(cases=cases):
                return replace(value, cases=tuple(self._case(each) for each in cases))
            case Alias(type=aliased):
                return replace(value, type=self._type(aliased))
            case Resource(functions=functions):
                bound = tuple(self.function(each) for each in functions)
                for function in bound:
                    self._check_constructor(function, value)
                return replace(value, functions=bound)
            case _:
                return value

    def function(self, value: Function) -> Function:
        result = None if value.result is None else self._type(value.result)
        return replace(
            value,
            parameters=tuple(replace(each, type=self._type(each.type)) for each in value.parameters),
            result=result,
        )

    def _check_constructor(self, function: Function, resource: Resource) -> None:
        if function.kind == "constructor" and function.result is not None:
            ok = function.result.ok if isinstance(function.result, ResultOf) else None
            if ok != self._scope[resource.name]:
                raise WitError(f"a constructor returns `result<{resource.name}, ...>`", position=function.position)

    def _case(self, value: Case) -> Case:
        return value if value.payload is None else replace(value, payload=self._type(value.payload))

    def _type(self, value: Type) -> Type:
        match value:
            case Named():
                return self._named(value)
            case ListOf(element=inner):
                return replace(value, element=self._type(inner))
            case OptionOf(some=inner):
                return OptionOf(self._type(inner))
            case ResultOf(ok=ok, error=error):
                return ResultOf(None if ok is None else self._type(ok), None if error is None else self._type(error))
            case TupleOf(items=items):
                return TupleOf(tuple(self._type(each) for each in items))
            case Borrow(resource=resource):
                return Borrow(self._resource(resource))
            case Own(resource=resource):
                return self._resource(resource)
            case _:
                return value

    def _named(self, value: Named) -> Named:
        if value.name not in self._scope:
            _refuse_left_out(self._left_out, f"{self._full}#{value.name}", value.position)
            raise WitError(f"there is no type `{value.name}` here", position=value.position, hint="define or `use` it")
        return replace(self._scope[value.name], position=value.position)

    def _resource(self, value: Named) -> Named:
        named = end = self._named(value)
        passed: set[Named] = set()
        # An alias of a resource also has handles.
        while isinstance(definition := self._definitions[end.owner, end.name], Alias) and end not in passed:
            passed.add(end)
            if not isinstance(definition.type, Named) or definition.type.name not in self._scopes[end.owner]:
                break
            end = self._scopes[end.owner][definition.type.name]
        if not isinstance(definition, Resource):
            raise WitError(f"`{value.name}` is not a resource: it has no handle", position=value.position)
        return named


def _functions(packages: Iterable[Package]) -> Iterator[Function]:
    """Yield the functions of all interfaces and worlds, without those of resources."""
    for package in packages:
        for interface in package.interfaces:
            yield from interface.functions
        for world in package.worlds:
            for item in world.items:
                if isinstance(item.item, Interface):
                    yield from item.item.functions
                elif isinstance(item.item, Function):
                    yield item.item
