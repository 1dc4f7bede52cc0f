"""The Python module of one interface: its types, the Protocol to implement, and the class that calls it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dataflare import values
from dataflare.bindgen.annotations import Annotations, has_arrays
from dataflare.bindgen.names import BUILTINS, UniqueNames, snake, upper
from dataflare.bindgen.plan import Direction, Module, Plan, function_name, wit_functions
from dataflare.bindgen.text import HEADER, Node, Tree, docstring, gate_text, quote, signature, wrap
from dataflare.wit import model as wit

__all__ = [
    "ModuleText",
    "assemble",
    "constructor",
    "exception_class",
    "field_names",
    "function_names",
    "imports_text",
    "member_names",
    "method_names",
    "result_type",
]

_STANDARD = {
    "_abc": "import collections.abc as _abc",
    "_builtins": "import builtins as _builtins",
    "_dataclasses": "import dataclasses as _dataclasses",
    "_enum": "import enum as _enum",
    "_t": "import typing as _t",
}
_MAX_OPERATORS = 100
"""Type checkers refuse expressions with many operators."""
_SUPPORT = "from dataflare.bindgen import support as _df"


def imports_text(uses: Iterable[str], siblings: Iterable[str], support: str = _SUPPORT) -> list[str]:
    """Write the import lines of a module that uses these names, in the order of formatters."""
    found = set(uses)
    lines = ["from __future__ import annotations"]
    standard = sorted(_STANDARD[each] for each in found if each in _STANDARD)
    if standard:
        lines += ["", *standard]
    if "_df" in found:
        lines += ["", support]
    local = ["from . import _abi"] if "_abi" in found else []
    local += [f"from . import {each} as _{each}" for each in sorted(siblings) if f"_{each}" in found]
    if local:
        lines += ["", *local]
    return lines


def field_names(record: wit.Record) -> dict[str, str]:
    """Return the attribute name of each field."""
    scope = UniqueNames({"mro"})  # a method of every class, which dataclasses would take for the field's default
    return {each.name: scope.add(snake(each.name)) for each in record.fields}


def member_names(cases: Sequence[wit.Case]) -> dict[str, str]:
    """Return the member name of each case of an enum, or of each flag."""
    scope = UniqueNames({"MRO"})
    return {each.name: scope.add(upper(each.name)) for each in cases}


def method_names(resource: wit.Resource) -> dict[str, str]:
    """Return the Python name of each method of a resource."""
    scope = UniqueNames({"mro"})
    return {each.name: scope.add(snake(each.name)) for each in resource.functions if each.kind == "method"}


def function_names(module: Module) -> dict[str, str]:
    """Return the Python name of each function of an interface, by its name in a component; without methods of
    resources."""
    scope = UniqueNames()
    names = {}
    for name, function, resource in sorted(wit_functions(module), key=lambda each: each[2] is not None):
        if function.kind != "method":
            names[name] = scope.add(function_name(function, resource))
    return names


def constructor(
    annotations: Annotations, fields: Sequence[tuple[str, wit.Type, str]], direction: Direction
) -> list[str]:
    """Write the constructor of a class for type checkers, if it accepts more than its attributes are read as.

    Args:
        annotations: Those of the class's module.
        fields: The attribute, the type and the default of each parameter.
        direction: That of the class.
    """
    taken = [annotations.of(ty, "taken", direction) for _, ty, _ in fields]
    if taken == [annotations.of(ty, "field", direction) for _, ty, _ in fields]:
        return []
    annotations.uses.add("_t")
    parameters = [f"{name}: {text}{default}" for (name, _, default), text in zip(fields, taken, strict=True)]
    itself = "_self" if any(name == "self" for name, _, _ in fields) else "self"
    head = signature("__init__", [itself, *parameters], "None", 8)
    return ["", "    if _t.TYPE_CHECKING:", "", *head[:-1], f"{head[-1]} ..."]


def exception_class(
    annotations: Annotations, name: str, error: wit.Type | None, docs: str, direction: Direction, *, late: bool = False
) -> list[str]:
    """Write the exception for an error type; `late` if the type's module may not have been run before."""
    of = annotations.of(error, "field", direction)
    base = f"{annotations.support('ResultError')}[{'_t.Any' if late else of}]"
    lines = [*wrap(Tree(f"class {name}(", (base,)), 0, after=":"), *docstring([docs], 4)]
    if late:
        annotations.uses.add("_t")
        lines += ["", f"    error: {of}"]
    if error is not None:
        lines += constructor(annotations, [("error", error, "")], direction)
    return lines


class ModuleText:
    """Writes classes of one module.

    Args:
        plan: The plan of the bindings.
        module: The interface; `None` for the world's own module.
    """

    def __init__(self, plan: Plan, module: Module | None) -> None:
        self._plan = plan
        self._module = module
        self.annotations = Annotations(plan, module)

    def interface(self) -> str:
        """Write the whole module of the interface."""
        module = self._module
        assert module is not None
        blocks: list[list[str]] = []
        for definition in _inner_first(module.interface.types, module.owner):
            blocks += self._definition(module, definition)
        if module.protocol:
            blocks.append(self._protocol(module))
        if module.exports:
            blocks.append(self._exports(module))
        name = module.wit_name or module.owner
        head = docstring([f"`{name}`.", module.interface.docs, gate_text(module.interface.gate)], 0)
        written = [
            module.classes[each.name]
            for each in module.interface.types
            if not (module.offered and isinstance(each, wit.Resource))
        ]
        names = [*written, *module.cases.values(), *module.exceptions.values()]
        names += [each for each in (module.protocol, module.exports) if each]
        siblings = [each.name for each in self._plan.modules if each is not module]
        constants = [f"_INTERFACE = {quote(module.wit_name)}"] if "_INTERFACE" in self.annotations.uses else []
        imports = imports_text(self.annotations.uses, [*siblings, "errors"], self._support_import())
        return assemble(head, imports, names, constants, blocks)

    def _support_import(self) -> str:
        """Return the support module to import: types alone need no engine, and numpy only if they hold arrays."""
        if not self._plan.types_only:
            return _SUPPORT
        more = self.annotations.supported - set(values.__all__)
        if not more or any("Like" not in each for each in more):
            return f"from dataflare import {'value_types' if more else 'values'} as _df"
        return (
            "if _t.TYPE_CHECKING:\n    from dataflare import value_types as _df\n"
            "else:\n    from dataflare import values as _df"
        )

    # Types.

    def _definition(self, module: Module, definition: wit.TypeDefinition) -> Iterator[list[str]]:
        name = module.classes[definition.name]
        self.annotations.shadowed = frozenset()
        self.annotations.position = definition.position
        direction: Direction = "import" if "import" in module.directions else "export"
        if self._plan.types_only and not isinstance(definition, wit.Record | wit.Alias):
            yield self._shape(name, definition)
            return
        match definition:
            case wit.Record():
                yield self._record(name, definition, direction)
            case wit.Variant():
                for case in definition.cases:
                    yield self._case(module.cases[definition.name, case.name], name, case, direction)
                union = " | ".join(module.cases[definition.name, each.name] for each in definition.cases)
                yield self._alias(name, union, definition)
            case wit.Enum(cases=cases):
                yield self._members(name, definition, cases)
            case wit.Flags(flags=bits):
                yield self._members(name, definition, bits)
            case wit.Alias():
                yield self._alias(name, self.annotations.of(definition.type, "field", direction), definition)
            case wit.Resource():
                if not module.offered:
                    yield self._resource(module, name, definition)
        if definition.name in module.exceptions:
            exception = module.exceptions[definition.name]
            error = wit.Named(definition.name, module.owner)
            docs = f"The error of a function: `{definition.name}`."
            yield exception_class(self.annotations, exception, error, docs, direction)

    def _record(self, name: str, record: wit.Record, direction: Direction) -> list[str]:
        names = field_names(record)
        self.annotations.shadowed = frozenset(names.values()) & BUILTINS
        arrays = any(has_arrays(self._plan, each.type) for each in record.fields)
        lines = [*self._class(name, arrays), *self._docs(record, "record")]
        if not record.fields:
            lines.pop()
        optional = _optional_end(record, self._plan)
        fields = [(names[each.name], each.type, " = None" if each.name in optional else "") for each in record.fields]
        for (name_, type_, default), each in zip(fields, record.fields, strict=True):
            lines.append(f"    {name_}: {self.annotations.of(type_, 'field', direction)}{default}")
            lines += docstring([each.docs], 4)
        lines += constructor(self.annotations, fields, direction)
        self.annotations.shadowed = frozenset()
        return lines

    def _case(self, name: str, union: str, case: wit.Case, direction: Direction) -> list[str]:
        lines = [
            *self._class(name, has_arrays(self._plan, case.payload)),
            *docstring([case.docs or f"The case `{case.name}` of `{union}`."], 4),
        ]
        if case.payload is not None:
            lines += ["", f"    value: {self.annotations.of(case.payload, 'field', direction)}"]
            lines += constructor(self.annotations, [("value", case.payload, "")], direction)
        return lines

    def _class(self, name: str, arrays: bool) -> list[str]:
        self.annotations.uses.add("_dataclasses")
        if arrays:
            base = self.annotations.support("Value")
            return ["@_dataclasses.dataclass(frozen=True, slots=True, eq=False)", f"class {name}({base}):"]
        return ["@_dataclasses.dataclass(frozen=True, slots=True)", f"class {name}:"]

    def _members(self, name: str, definition: wit.Enum | wit.Flags, cases: Sequence[wit.Case]) -> list[str]:
        self.annotations.uses.add("_enum")
        flags = isinstance(definition, wit.Flags)
        lines = [
            f"class {name}(_enum.{'Flag' if flags else 'Enum'}):",
            *self._docs(definition, definition_kind(definition)),
        ]
        for index, (case, member) in enumerate(zip(cases, member_names(cases).values(), strict=True)):
            lines.append(f"    {member} = {1 << index if flags else quote(case.name)}")
            lines += docstring([case.docs], 4)
        return lines

    def _shape(self, name: str, definition: wit.Variant | wit.Enum | wit.Flags | wit.Resource) -> list[str]:
        """Write an alias for the plain value of a call without bindings; its docstring has the cases."""
        self.annotations.uses.add("_t")
        cases: Sequence[wit.Case] = ()
        node: Node = "_t.Any"
        match definition:
            case wit.Variant(cases=cases):
                node = self.annotations.support("Variant")
            case wit.Enum(cases=cases):
                node = _literal(cases)
            case wit.Flags(flags=cases):
                node = Tree("frozenset[", (_literal(cases),), "]")
        docs = [definition.docs, gate_text(definition.gate), "\n".join(map(_case_text, cases))]
        return [*wrap(node, 0, before=f"{name}: _t.TypeAlias = "), *docstring(docs, 0)]

    def _alias(self, name: str, text: str, definition: wit.TypeDefinition) -> list[str]:
        self.annotations.uses.add("_t")
        docs = docstring([definition.docs, gate_text(definition.gate)], 0)
        lines = wrap(text, 0, before=f"{name}: _t.TypeAlias = ")
        if len(lines[0]) > 88 and " | " in text:
            first, *rest = text.split(" | ")
            if len(rest) > _MAX_OPERATORS:
                union = wrap(Tree("_t.Union[", (first, *rest), "]"), 0, before=f"{name}: _t.TypeAlias = ")
                return [f"{union[0]}  # noqa: UP007", *union[1:], *docs]
            parts = [text] if len(text) <= 84 else [first, *(f"| {each}" for each in rest)]
            lines = [f"{name}: _t.TypeAlias = (", *(f"    {each}" for each in parts), ")"]
        return [*lines, *docs]

    def _docs(self, definition: wit.TypeDefinition, kind: str) -> list[str]:
        text = definition.docs or f"The {kind} `{definition.name}`."
        return [*docstring([text, gate_text(definition.gate)], 4), ""]

    def _resource(self, module: Module, name: str, resource: wit.Resource) -> list[str]:
        names = method_names(resource)
        imported = "import" in module.directions
        self.annotations.shadowed = frozenset(names.values()) & BUILTINS
        if imported:
            self.annotations.uses.add("_t")
            lines = [f"class {name}(_t.Protocol):"]
        else:
            lines = [f"class {name}({self.annotations.support('Resource')}):"]
        lines += docstring([resource.docs or f"The resource `{resource.name}`.", gate_text(resource.gate)], 4)
        if not imported:
            lines += ["", "    __slots__ = ()"]
        for function in resource.functions:
            if function.kind == "method":
                full = f"[method]{resource.name}.{function.name}"
                lines += ["", *self.function(names[function.name], full, function, implemented=imported, method=True)]
        if not imported and "close" not in names.values():
            lines += [
                "",
                "    def close(self) -> None:",
                *docstring(["Give the resource back; a second time does nothing."], 8),
                f"        {self.annotations.support('drop')}(self)",
            ]
        self.annotations.shadowed = frozenset()
        return lines

    # Functions.

    def _protocol(self, module: Module) -> list[str]:
        self.annotations.uses.add("_t")
        names = function_names(module)
        self.annotations.shadowed = frozenset(names.values()) & BUILTINS
        lines = [f"class {module.protocol}(_t.Protocol):"]
        lines += docstring([module.interface.docs or f"Implements `{module.wit_name}`."], 4)
        for name, function, resource in wit_functions(module):
            if name in names:
                lines += ["", *self.function(names[name], name, function, implemented=True, resource=resource)]
        self.annotations.shadowed = frozenset()
        return lines

    def _exports(self, module: Module) -> list[str]:
        names = function_names(module)
        self.annotations.shadowed = frozenset(names.values()) & BUILTINS
        lines = [f"class {module.exports}:"]
        lines += docstring([module.interface.docs or f"Calls `{module.wit_name}`."], 4)
        lines += [
            "",
            '    __slots__ = ("_call",)',
            "",
            f"    def __init__(self, call: {self.annotations.support('Call')}) -> None:",
            "        self._call = call",
        ]
        for name, function, resource in wit_functions(module):
            if name in names:
                lines += ["", *self.function(names[name], name, function, implemented=False, resource=resource)]
        self.annotations.shadowed = frozenset()
        return lines

    def function(
        self,
        python: str,
        name: str,
        function: wit.Function,
        *,
        implemented: bool,
        method: bool = False,
        resource: wit.Resource | None = None,
        home: Module | None = None,
    ) -> list[str]:
        """Write a method for a function: one that the embedding program implements, or one that calls the component.

        `home` is the module of its resource, if the world's own module is being written.
        """
        # Functions of the world itself have the types of its imports.
        direction: Direction = "import" if implemented or self._module is None else "export"
        annotations = self.annotations
        annotations.position = function.position
        scope = UniqueNames({"self"})
        names = [scope.add(snake(each.name)) for each in function.parameters]
        takes, gives = ("given", "taken") if implemented else ("taken", "given")
        parameters = [
            f"{each}: {annotations.of(parameter.type, takes, direction)}"  # type: ignore[arg-type]  # one of `Use`
            for each, parameter in zip(names, function.parameters, strict=True)
        ]
        result = result_type(function, resource, home or self._module)
        plain = None if result is None else self._plan.underlying(result)
        value = plain.ok if isinstance(plain, wit.ResultOf) else result
        returns = annotations.of(value, gives, direction)  # type: ignore[arg-type]  # one of `Use`
        error = self._exception(plain) if isinstance(plain, wit.ResultOf) else ""
        lines = signature(python, ["self", *parameters], returns, 4)
        raises = f"Raises:\n    {error}: {self._error_docs(plain)}" if error else ""
        docs = function.docs or _default_docs(function, resource, implemented)
        lines += docstring([docs, gate_text(function.gate), raises], 8)
        if implemented:
            return [*lines, "        ..."]
        interface = "_INTERFACE" if self._module is not None else '""'
        if self._module is not None:
            annotations.uses.add("_INTERFACE")
        called = Tree("self._call(", (interface, quote(name), *(["self"] if method else []), *names))
        if isinstance(plain, wit.ResultOf):
            error = self._exception(plain, direction)
            called = Tree(f"{annotations.support('value_of')}(", (called, error))
        if value is None:
            return [*lines, *wrap(called, 8)]
        outer, annotations.shadowed = annotations.shadowed, frozenset(names) & BUILTINS
        given = annotations.of(value, "given", direction)
        annotations.shadowed = outer
        return [*lines, *wrap(called, 8, before=f"_result: {given} = "), "        return _result"]

    def _exception(self, result: wit.ResultOf, direction: Direction | None = None) -> str:
        """Return the exception for the error of a result: its plain name, or as a direction writes it."""
        if isinstance(result.error, wit.Named):
            module = self._plan.module_of(result.error, direction or "import")
            if direction is None:
                return module.exceptions[result.error.name]
            return self.annotations.qualified(module, module.exceptions[result.error.name])
        if direction is None:
            return self._plan.anonymous[result.error]
        self.annotations.uses.add("_errors")
        return f"_errors.{self._plan.anonymous[result.error]}"

    def _error_docs(self, result: wit.Type | None) -> str:
        error = result.error if isinstance(result, wit.ResultOf) else None
        if isinstance(error, wit.Named):
            docs = self._plan.definition(error).docs
            if docs:
                return docs.splitlines()[0]
        return "It failed." if error is None else f"It failed; `error` is a {error}."


def result_type(function: wit.Function, resource: wit.Resource | None, module: Module | None) -> wit.Type | None:
    """Return the type of a function's result; for a constructor, its resource."""
    if function.kind == "constructor" and function.result is None and resource is not None and module is not None:
        return wit.Named(resource.name, module.owner)
    return function.result


def _default_docs(function: wit.Function, resource: wit.Resource | None, implemented: bool) -> str:
    if function.kind == "constructor" and resource is not None:
        return f"Make a `{resource.name}`."
    return f"{'Implement' if implemented else 'Call'} `{function.name}`."


def _case_text(case: wit.Case) -> str:
    payload = f" with a `{case.payload}`" if case.payload is not None else ""
    docs = f": {' '.join(case.docs.split())}" if case.docs else ""
    return f"- `{case.name}`{payload}{docs}"


def _literal(cases: Sequence[wit.Case]) -> Node:
    return Tree("_t.Literal[", tuple(quote(each.name) for each in cases), "]") if cases else "str"


def _optional_end(record: wit.Record, plan: Plan) -> set[str]:
    """Return the optional fields at the end of a record, which may be left out."""
    found: set[str] = set()
    for each in reversed(record.fields):
        if not isinstance(plan.underlying(each.type), wit.OptionOf):
            break
        found.add(each.name)
    return found


def definition_kind(definition: wit.TypeDefinition) -> str:
    """Return the WIT keyword of a definition."""
    return type(definition).__name__.lower()


def assemble(
    head: Sequence[str],
    imports: Sequence[str],
    names: Sequence[str],
    constants: Sequence[str],
    blocks: Sequence[Sequence[str]],
) -> str:
    """Assemble a module's text from its parts."""
    listed = wrap(Tree("[", tuple(quote(each) for each in _sorted_names(names)), "]"), 0, before="__all__ = ")
    lines = [HEADER.rstrip("\n"), *head, "", *imports, "", *listed]
    if constants:
        lines += ["", *constants]
    for block in blocks:
        lines += ["", "", *block]
    return "\n".join(lines) + "\n"


def _sorted_names(names: Sequence[str]) -> list[str]:
    """Sort names as isort sorts `__all__`: constants, then classes, then the rest."""
    return sorted(
        names, key=lambda name: (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)
    )


def _inner_first(types: Sequence[wit.TypeDefinition], owner: str) -> list[wit.TypeDefinition]:
    """Sort the definitions of an interface, each after those that it uses. Not recursive: a chain may be long."""
    by_name = {each.name: each for each in types}
    done: dict[str, wit.TypeDefinition] = {}
    for start in types:
        waiting = [start.name]
        while waiting:
            definition = by_name[waiting[-1]]
            inner = () if isinstance(definition, wit.Resource) else wit.definition_types(definition)
            mentioned = [
                each.name
                for value in inner
                for each in wit.inner_types(value)
                if isinstance(each, wit.Named) and each.owner == owner and each.name not in done
            ]
            if mentioned:
                waiting += mentioned
            else:
                done.setdefault(definition.name, definition)
                waiting.pop()
    return list(done.values())
