"""Stubs for plugins in Python: the modules that componentize-py provides to a plugin, for type checkers and editors.

The names are componentize-py's: `wit_world`, `wit_world.imports`, `wit_world.exports` and `componentize_py_types`.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dataflare.bindgen.annotations import require_short
from dataflare.bindgen.interface_module import result_type
from dataflare.bindgen.names import BUILTINS, UniqueNames, snake
from dataflare.bindgen.plan import FULL_NAME, Direction, Module, Plan, make_plan, wit_functions
from dataflare.bindgen.text import HEADER, Tree, docstring, gate_text, wrap
from dataflare.errors import ConfigError
from dataflare.texts import first_repeated
from dataflare.wit import model as wit
from dataflare.wit.catalog import Catalog

__all__ = ["generate_guest"]

_PRIMITIVES = {"bool": "bool", "char": "str", "string": "str", "f32": "float", "f64": "float"}
_Labels: TypeAlias = Mapping[Direction, Mapping[str, str]]
_FOLDERS: dict[Direction, str] = {"import": "imports", "export": "exports"}
_TYPES = f"""{HEADER}import dataclasses as _dataclasses
import typing as _t

_S = _t.TypeVar("_S")
_T = _t.TypeVar("_T")
_E = _t.TypeVar("_E")

@_dataclasses.dataclass
class Some(_t.Generic[_S]):
    value: _S

@_dataclasses.dataclass
class Ok(_t.Generic[_T]):
    value: _T

@_dataclasses.dataclass(frozen=True)
class Err(Exception, _t.Generic[_E]):
    value: _E

Result: _t.TypeAlias = Ok[_T] | Err[_E]
"""


def generate_guest(catalog: Catalog, world: str) -> dict[str, str]:
    """Generate the stubs of a world; return the text of each file by its name.

    Raises:
        WitError: The world does not exist, or has something that componentize-py does not support.
        ConfigError: Two of its interfaces have the same name; componentize-py would rename them.
    """
    plan = make_plan(catalog, world)
    files = {"componentize_py_types.pyi": _TYPES}
    labels = {direction: _labels(_modules(plan, direction)) for direction in _FOLDERS}
    for direction, folder in _FOLDERS.items():
        modules = _modules(plan, direction)
        names = [snake(labels[direction][each.wit_name]) for each in modules]
        if (twice := first_repeated(names)) is not None:
            raise ConfigError(f"two interfaces are called {twice!r}", where=world, hint="stubs need one name for each")
        for module, name in zip(modules, names, strict=True):
            files[f"wit_world/{folder}/{name}.pyi"] = _Stub(plan, labels, module, direction).text()
        protocols = [_Stub(plan, labels, each, direction) for each in modules] if direction == "export" else []
        files[f"wit_world/{folder}/__init__.pyi"] = _package(labels, protocols)
    files["wit_world/__init__.pyi"] = _world(plan, labels)
    return files


def _modules(plan: Plan, direction: Direction) -> list[Module]:
    return [each for each in plan.modules if direction in each.directions and each.wit_name]


def _labels(modules: Sequence[Module]) -> dict[str, str]:
    """Return componentize-py's names of the interfaces of one direction, in kebab-case, by their names in the WIT.

    If several have the same name, the package's name is put before it, and the version after it if one package has
    several.
    """
    found = {each.wit_name: FULL_NAME.fullmatch(each.wit_name) for each in modules}
    names = Counter(each.interface.name for each in modules)
    versions = Counter(match.group(1, 2, 3) for match in found.values() if match)
    labels = {}
    for each in modules:
        match = found[each.wit_name]
        parts: tuple[str, ...] = (each.interface.name,)
        if match and names[each.interface.name] > 1:
            parts = match.group(1, 2, 3, 4) if match[4] and versions[match.group(1, 2, 3)] > 1 else match.group(1, 2, 3)
        labels[each.wit_name] = "-".join(re.sub("[^A-Za-z0-9]", "-", part) for part in parts)
    return labels


def _package(labels: _Labels, stubs: Sequence[_Stub]) -> str:
    lines: list[str] = []
    uses: set[str] = set()
    for stub in stubs:
        block = stub.protocol()
        if block:
            lines += ["", *block]
            uses |= stub.uses
    return _assemble(labels, "", lines, uses, dots="..")


def _world(plan: Plan, labels: _Labels) -> str:
    stub = _Stub(plan, labels, None, "import")
    stub.hidden = frozenset(snake(each.name) for each in plan.functions["import"]) & BUILTINS
    lines: list[str] = []
    for module in plan.modules:
        if not module.wit_name:
            for definition in module.interface.types:
                lines += ["", *stub.definition(definition)]
    for function in plan.functions["import"]:
        lines += ["", *stub.function(snake(function.name), function, None, indent=0)]
    lines += ["", "class WitWorld(_t.Protocol):", *(docstring([plan.docs], 4) or ["    ..."])]
    stub.direction = "export"
    stub.shadowed = frozenset(snake(each.name) for each in plan.functions["export"]) & BUILTINS
    for function in plan.functions["export"]:
        lines += stub.function(snake(function.name), function, None, first="self")
    return _assemble(labels, "", lines, stub.uses, dots=".")


def _assemble(labels: _Labels, docs: str, lines: Sequence[str], uses: set[str], *, dots: str) -> str:
    imports = ["import builtins as _builtins", "import dataclasses as _dataclasses", "import enum as _enum"]
    imports += ["import typing as _t", "", "from componentize_py_types import Result as _Result, Some as _Some", ""]
    for direction, folder in _FOLDERS.items():
        names = sorted(map(snake, labels[direction].values()))
        imports += [
            f"from {dots}{folder} import {name} as _{folder}_{name}" for name in names if f"_{folder}_{name}" in uses
        ]
    return "\n".join([HEADER.rstrip("\n"), *docstring([docs], 0), *imports, *lines]) + "\n"


class _Stub:
    """Writes the stub of one interface, as one direction sees it."""

    def __init__(self, plan: Plan, labels: _Labels, module: Module | None, direction: Direction) -> None:
        self._plan = plan
        self._labels = labels
        self._module = module
        self.direction = direction
        self.uses: set[str] = set()
        self.shadowed: frozenset[str] = frozenset()
        """Builtins that the class being written hides."""
        self.hidden: frozenset[str] = frozenset()
        """Builtins that the functions of the stub itself hide."""
        self._position = wit.NOWHERE
        """Of the definition or the function being written, for errors."""
        self._own = True
        """Whether the text is written into the interface's own module."""

    def text(self) -> str:
        module = self._module
        assert module is not None
        lines: list[str] = []
        if self.direction == "import":
            self.hidden = frozenset(snake(each.name) for each in module.interface.functions) & BUILTINS
        for definition in module.interface.types:
            if self._home(wit.Named(definition.name, module.owner))[0] == self.direction:
                lines += ["", *self.definition(definition)]
        if self.direction == "import":
            for function in module.interface.functions:
                lines += ["", *self.function(snake(function.name), function, None, indent=0)]
        return _assemble(self._labels, module.interface.docs, lines, self.uses, dots="..")

    def protocol(self) -> list[str]:
        """Write the class that a plugin implements for an exported interface; empty if it has no functions."""
        module = self._module
        assert module is not None
        if not module.interface.functions:
            return []
        self._own = False
        self.shadowed = frozenset(snake(each.name) for each in module.interface.functions) & BUILTINS
        name = _camel(self._labels[self.direction][module.wit_name])
        lines = [f"class {name}(_t.Protocol):", *docstring([module.interface.docs], 4)]
        for each, function, resource in wit_functions(module):
            if resource is None:
                lines += self.function(snake(each), function, None, first="self")
        self._own = True
        return lines

    def definition(self, definition: wit.TypeDefinition) -> list[str]:
        """Write the class or the alias of a type."""
        name = _camel(definition.name)
        self._position = definition.position
        docs = docstring([definition.docs, gate_text(definition.gate)], 4)
        self.shadowed = frozenset()
        match definition:
            case wit.Record(fields=fields):
                self.shadowed = frozenset(snake(each.name) for each in fields) & BUILTINS
                members = [f"    {snake(each.name)}: {self.type(each.type)}" for each in fields]
                body = [*docs, *members] or ["    ..."]
                return ["@_dataclasses.dataclass", f"class {name}:", *body]
            case wit.Variant(cases=cases):
                lines: list[str] = []
                for case in cases:
                    value = [f"    value: {self.type(case.payload)}"] if case.payload is not None else ["    ..."]
                    lines += ["@_dataclasses.dataclass", f"class {name}_{_camel(case.name)}:", *value, ""]
                union = " | ".join(f"{name}_{_camel(case.name)}" for case in cases)
                return [*lines, f"{name}: _t.TypeAlias = {union}"]
            case wit.Enum(cases=cases) | wit.Flags(flags=cases):
                flags = isinstance(definition, wit.Flags)
                numbers = [1 << index if flags else index for index in range(len(cases))]
                names = [each.name.replace("-", "_").upper() for each in cases]
                members = [f"    {each} = {number}" for each, number in zip(names, numbers, strict=True)]
                return [f"class {name}(_enum.{'Flag' if flags else 'Enum'}):", *docs, *(members or ["    ..."])]
            case wit.Alias(type=aliased):
                return [f"{name}: _t.TypeAlias = {self.type(aliased)}"]
            case wit.Resource():
                return self._resource(name, definition, docs)

    def _resource(self, name: str, resource: wit.Resource, docs: list[str]) -> list[str]:
        self.shadowed = frozenset(snake(each.name) for each in resource.functions) & BUILTINS
        lines = [f"class {name}{'(_t.Protocol)' if self.direction == 'export' else ''}:", *docs]
        for function in resource.functions:
            if function.kind == "constructor":
                lines += self.function("__init__", function, None, first="self")
            elif function.kind == "static":
                lines += ["    @classmethod", *self.function(snake(function.name), function, resource, first="cls")]
            else:
                lines += self.function(snake(function.name), function, resource, first="self")
        if self.direction == "import":
            lines.append("    def __enter__(self) -> _t.Self: ...")
            lines.append("    def __exit__(self, *_: object) -> _builtins.bool | None: ...")
        self.shadowed = frozenset()
        return lines if len(lines) > 1 else [*lines, "    ..."]

    def function(
        self, name: str, function: wit.Function, resource: wit.Resource | None, *, first: str = "", indent: int = 4
    ) -> list[str]:
        """Write a function; if its result is a WIT `result`, it returns the value or raises `Err`."""
        self._position = function.position
        scope = UniqueNames({first} if first else ())
        parameters = [f"{scope.add(snake(each.name))}: {self.type(each.type)}" for each in function.parameters]
        if first:
            parameters.insert(0, first)
        result = result_type(function, resource, self._module)
        plain = None if result is None else self._plan.underlying(result)
        raises = f"Raises:\n    Err: of {plain.error or 'None'}." if isinstance(plain, wit.ResultOf) else ""
        value = plain.ok if isinstance(plain, wit.ResultOf) else result
        returns = "None" if function.kind == "constructor" else self.type(value)
        docs = docstring([function.docs, gate_text(function.gate), raises], indent + 4)
        head = Tree(f"def {name}(", tuple(parameters))
        if docs:
            return [*wrap(head, indent, after=f" -> {returns}:"), *docs]
        return wrap(head, indent, after=f" -> {returns}: ...")

    def type(self, value: wit.Type | None) -> str:
        """Return the annotation of a type; `None` is the type of no value."""
        return require_short(self._type(value), self._position)

    def _type(self, value: wit.Type | None) -> str:
        match value:
            case None:
                return "None"
            case wit.Primitive(name=name):
                return self._builtin(_PRIMITIVES.get(name, "int"))
            case wit.ListOf(element=element):
                if self._plan.underlying(element) == wit.Primitive("u8"):
                    return self._builtin("bytes")
                return f"{self._builtin('list')}[{self.type(element)}]"
            case wit.OptionOf(some=some):
                nested = isinstance(self._plan.underlying(some), wit.OptionOf)
                return f"{f'_Some[{self.type(some)}]' if nested else self.type(some)} | None"
            case wit.ResultOf(ok=ok, error=error):
                return f"_Result[{self.type(ok)}, {self.type(error)}]"
            case wit.TupleOf(items=items):
                return f"{self._builtin('tuple')}[{', '.join(map(self.type, items)) or '()'}]"
            case wit.Borrow(resource=resource) | wit.Own(resource=resource):
                return self.type(resource)
            case wit.Named():
                definition = self._plan.definition(value)
                if isinstance(definition, wit.Alias):
                    return self.type(definition.type)
                return self._reference(value)

    def _reference(self, named: wit.Named) -> str:
        direction, module = self._home(named)
        if (direction == self.direction and module is self._module and self._own) or not module.wit_name:
            return _camel(named.name)  # types of the world itself are used only there
        name = f"_{_FOLDERS[direction]}_{snake(self._labels[direction][module.wit_name])}"
        self.uses.add(name)
        return f"{name}.{_camel(named.name)}"

    def _home(self, named: wit.Named) -> tuple[Direction, Module]:
        """Return where a type is defined: componentize-py has one class for both directions if it holds no resource."""
        imported = self._plan.module_of(named, "import")
        if "import" in imported.directions and (self.direction == "import" or not self._holds_resource(named)):
            return "import", imported
        module = self._plan.module_of(named, "export")
        return "export" if "export" in module.directions else "import", module

    def _holds_resource(self, named: wit.Named) -> bool:
        waiting, seen = [named], {named}
        while waiting:
            definition = self._plan.definition(waiting.pop())
            if isinstance(definition, wit.Resource):
                return True
            for ty in wit.definition_types(definition):
                found = {each for each in wit.inner_types(ty) if isinstance(each, wit.Named)} - seen
                seen |= found
                waiting += found
        return False

    def _builtin(self, name: str) -> str:
        return f"_builtins.{name}" if name in self.shadowed | self.hidden else name


def _camel(name: str) -> str:
    """Convert a name as componentize-py does: `HTTP-code` to `HttpCode`, `none` to `None_`."""
    camel = "".join(word[0].upper() + word[1:].lower() for word in name.split("-"))
    return f"{camel}_" if keyword.iskeyword(camel) else camel
