"""The modules of a world: its class, the exceptions of unnamed error types, and the types that the engine checks."""

from __future__ import annotations

from dataflare.bindgen.annotations import Annotations
from dataflare.bindgen.interface_module import (
    ModuleText,
    assemble,
    exception_class,
    function_names,
    imports_text,
    method_names,
    result_type,
)
from dataflare.bindgen.names import BUILTINS, UniqueNames
from dataflare.bindgen.plan import Direction, Module, Plan, wit_functions
from dataflare.bindgen.text import HEADER, Node, Tree, docstring, quote, signature, wrap
from dataflare.wit import model as wit

__all__ = ["abi_text", "errors_text", "world_text"]


def errors_text(plan: Plan) -> str:
    """Write the module `errors`: exceptions for error types without a name."""
    annotations = Annotations(plan, None)
    blocks = []
    for error, name in plan.anonymous.items():
        docs = (
            "The error of a function, without a detail." if error is None else f"The error of a function: a `{error}`."
        )
        # The modules of interfaces import this one, and each other, in the order of their names.
        late = error is not None and any(isinstance(each, wit.Named) for each in wit.inner_types(error))
        blocks.append(exception_class(annotations, name, error, docs, "import", late=late))
    head = docstring(["Errors of functions whose types have no names of their own."], 0)
    siblings = [each.name for each in plan.modules]
    return assemble(head, imports_text(annotations.uses, siblings), list(plan.anonymous.values()), [], blocks)


def world_text(plan: Plan) -> str:
    """Write the package's own module: the class of the world, and the Protocol of its imports."""
    text = ModuleText(plan, None)
    annotations = text.annotations
    siblings = [each.name for each in plan.modules]
    blocks = []
    if plan.needs_imports:
        annotations.uses.add("_t")
        members = {*plan.function_names["import"].values(), *(each.name for each in plan.imported())}
        annotations.shadowed = frozenset(members) & BUILTINS
        lines = [f"class {plan.imports_class}(_t.Protocol):"]
        lines += docstring(
            [f"What components of `{plan.world.name}` import: implement it, and give it to the world."], 4
        )
        for module in plan.imported():
            returns = annotations.qualified(module, module.protocol)
            lines += ["", "    @property", *signature(module.name, ["self"], returns, 4)]
            lines += docstring([f"Implements `{module.wit_name}`."], 8)
            lines.append("        ...")
        for function in plan.functions["import"]:
            name = plan.function_names["import"][function.name]
            lines += ["", *text.function(name, function.name, function, implemented=True)]
        for full, function, resource, home in plan.world_resources():
            if full in plan.function_names["import"]:
                name = plan.function_names["import"][full]
                lines += [
                    "",
                    *text.function(name, full, function, implemented=True, resource=resource, home=home),
                ]
        blocks.append(lines)
    blocks.append(_world_class(plan, text))
    annotations.uses.update(("_t", "_df", "_abi"))
    names = [plan.class_name, *([plan.imports_class] if plan.needs_imports else [])]
    head = docstring([f"`{plan.world.name}`: typed Python for its components.", plan.docs], 0)
    return assemble(head, imports_text(annotations.uses, [*siblings, "errors"]), names, [], blocks)


def _world_class(plan: Plan, text: ModuleText) -> list[str]:
    annotations = text.annotations
    annotations.shadowed = frozenset(plan.function_names["export"].values()) & BUILTINS
    lines = [f"class {plan.class_name}({annotations.support('World')}):"]
    how = f'Use it as `with {plan.class_name}("component.wasm"'
    how += ", imports=...) as world:`." if plan.needs_imports else ") as world:`."
    lines += docstring([plan.docs or f"A component of `{plan.world.name}`.", how], 4)
    lines += ["", "    def __init__("]
    lines += ["        self,", f"        component: {annotations.support('ComponentSource')},"]
    if plan.needs_imports:
        lines += ["        *,", f"        imports: {plan.imports_class},"]
    lines += [f"        **options: _t.Unpack[{annotations.support('WorldOptions')}],", "    ) -> None:"]
    given = "imports" if plan.needs_imports else "None"
    lines.append(f"        super().__init__(_abi.WORLD, component, {given}, **options)")
    for module in plan.exported():
        made = annotations.qualified(module, module.exports)
        lines += wrap(Tree(f"{made}(", ("self._call",)), 8, before=f"self.{module.name} = ")
        lines += docstring([f"Calls `{module.wit_name}`."], 8)
    for function in plan.functions["export"]:
        name = plan.function_names["export"][function.name]
        lines += ["", *text.function(name, function.name, function, implemented=False)]
    return lines


def abi_text(plan: Plan) -> str:
    """Write the module `_abi`: the types of the world with their Python classes."""
    return _Abi(plan).text()


class _Abi:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._uses = {"_df"}
        self._names: dict[tuple[str, str, Direction], str] = {}
        self._scope = UniqueNames()
        self._lines: list[str] = []

    def text(self) -> str:
        plan = self._plan
        sides: list[tuple[str, Node]] = []
        for side in ("imports", "exports", "offered"):
            entries = [self._interface(each, side) for each in plan.modules if self._has(each, side)]
            direction: Direction = "export" if side == "exports" else "import"
            names = plan.function_names[direction]
            functions = (
                []
                if side == "offered"
                else [
                    self._function(each.name, names[each.name], each, None, None, "import")
                    for each in plan.functions[direction]
                ]
            )
            if side == "imports":
                functions += [
                    self._function(
                        name, names.get(name) or method_names(resource)[each.name], each, resource, home, "import"
                    )
                    for name, each, resource, home in plan.world_resources()
                ]
            if functions:
                entries.append(_entry("", Tree("_df.InterfaceType(", ('""', Tree("{", tuple(functions), "}")))))
            if entries:
                sides.append((side, Tree(f"{side}={{", tuple(entries), "}")))
        world = Tree("_df.WorldType(", (quote(plan.world.name), *(node for _, node in sides)))
        siblings = [*(each.name for each in plan.modules), "errors"]
        head = docstring(["The types of the world, as the engine checks them. Not for your own code."], 0)
        parts = [HEADER.rstrip("\n"), *head, "", *imports_text(self._uses, siblings), ""]
        return (
            "\n".join([*parts, *self._lines, *([""] if self._lines else []), *wrap(world, 0, before="WORLD = ")]) + "\n"
        )

    def _has(self, module: Module, side: str) -> bool:
        resources = any(isinstance(each, wit.Resource) for each in module.interface.types)
        if not module.wit_name or not (module.interface.functions or resources):
            return False
        if side == "exports":
            return "export" in module.directions
        return "import" in module.directions and module.offered == (side == "offered")

    def _interface(self, module: Module, side: str) -> Node:
        direction: Direction = "export" if side == "exports" else "import"
        names = function_names(module)
        functions: list[Node] = []
        for name, function, resource in wit_functions(module):
            python = method_names(resource)[function.name] if name not in names and resource else names[name]
            functions.append(self._function(name, python, function, resource, module, direction))
        python = module.name if side == "exports" or module.protocol else ""
        return _entry(module.wit_name, Tree("_df.InterfaceType(", (quote(python), Tree("{", tuple(functions), "}"))))

    def _function(
        self,
        name: str,
        python: str,
        function: wit.Function,
        resource: wit.Resource | None,
        module: Module | None,
        direction: Direction,
    ) -> Node:
        parts: list[Node] = [quote(python)]
        if function.kind == "method" and resource is not None and module is not None:
            handle = wit.Borrow(wit.Named(resource.name, module.owner))
            parts.append(Tree("(", ('"self"', self._type(handle, direction))))
        parts += [Tree("(", (quote(each.name), self._type(each.type, direction))) for each in function.parameters]
        result = result_type(function, resource, module)
        if result is not None:
            parts.append(_keyword("result", self._type(result, direction)))
            plain = self._plan.underlying(result)
            if isinstance(plain, wit.ResultOf):
                parts.append(f"error={self._exception(plain.error, direction)}")
        return _entry(name, Tree("_df.Func(", tuple(parts)))

    def _exception(self, error: wit.Type | None, direction: Direction) -> str:
        if isinstance(error, wit.Named):
            module = self._plan.module_of(error, direction)
            return self._of(module, module.exceptions[error.name])
        self._uses.add("_errors")
        return f"_errors.{self._plan.anonymous[error]}"

    def _of(self, module: Module, name: str) -> str:
        self._uses.add(f"_{module.name}")
        return f"_{module.name}.{name}"

    def _type(self, value: wit.Type | None, direction: Direction) -> Node:
        match value:
            case None:
                return "None"
            case wit.Primitive(name=name):
                return f"_df.{name.upper()}"
            case wit.ListOf(element=element):
                return Tree("_df.list_(", (self._type(element, direction),))
            case wit.OptionOf(some=some):
                return Tree("_df.option(", (self._type(some, direction),))
            case wit.ResultOf(ok=ok, error=error):
                return Tree("_df.result(", (self._type(ok, direction), self._type(error, direction)))
            case wit.TupleOf(items=items):
                return Tree("_df.tuple_(", tuple(self._type(each, direction) for each in items))
            case wit.Borrow(resource=resource):
                return self._handle("borrow", resource, direction)
            case wit.Own(resource=resource):
                return self._handle("own", resource, direction)
            case wit.Named():
                plain = self._plan.definition(value)
                if isinstance(plain, wit.Resource):
                    return self._handle("own", value, direction)
                return self._named(value, direction)

    def _handle(self, kind: str, named: wit.Named, direction: Direction) -> str:
        plain = self._plan.underlying(named)
        assert isinstance(plain, wit.Named)
        _, _, side = self._key(plain, direction)
        key: tuple[str, str, Direction] = (f"{plain.owner}#{kind}", plain.name, side)
        if key not in self._names:
            module = self._plan.module_of(plain, direction)
            definition = self._plan.definition(plain)
            assert isinstance(definition, wit.Resource)
            imported = "import" in module.directions
            parts: list[Node] = [quote(module.wit_name), quote(plain.name)]
            if module.offered:
                parts.append("None")
            elif imported:
                methods = tuple(quote(each) for each in method_names(definition).values())
                parts.append(self._host_resource(module, plain.name, methods))
            else:
                parts.append(self._of(module, module.classes[plain.name]))
            if imported:
                parts.append("imported=True")
            self._define(key, f"{module.name}_{kind}_{module.classes[plain.name]}", Tree(f"_df.{kind}(", tuple(parts)))
        return self._names[key]

    def _host_resource(self, module: Module, name: str, methods: tuple[str, ...]) -> str:
        key: tuple[str, str, Direction] = (f"{module.owner}#resource", name, "import")
        if key not in self._names:
            protocol = self._of(module, module.classes[name])
            self._define(key, f"{module.name}_{module.classes[name]}", Tree("_df.host_resource(", (protocol, *methods)))
        return self._names[key]

    def _named(self, named: wit.Named, direction: Direction) -> str:
        """Return the name of a type's definition, after writing it; not recursive, since types may nest deeply."""
        waiting = [named]
        while waiting:
            current = waiting[-1]
            key = self._key(current, direction)
            if key in self._names:
                waiting.pop()
                continue
            definition = self._plan.definition(current)
            missing = [
                each
                for value in wit.definition_types(definition)
                for each in wit.inner_types(value)
                if isinstance(each, wit.Named)
                and not isinstance(self._plan.definition(each), wit.Resource)
                and self._key(each, direction) not in self._names
            ]
            if missing:
                waiting += missing
                continue
            module = self._plan.module_of(current, direction)
            name = f"{module.name}_{module.classes[current.name]}"
            self._define(key, name, self._definition(module, definition, direction))
            waiting.pop()
        return self._names[self._key(named, direction)]

    def _key(self, named: wit.Named, direction: Direction) -> tuple[str, str, Direction]:
        module = self._plan.module_of(named, direction)
        return named.owner, named.name, direction if direction in module.directions else _other(direction)

    def _define(self, key: tuple[str, str, Direction], name: str, node: Node) -> None:
        name = self._scope.add(f"_{name}")
        self._names[key] = name
        self._lines += wrap(node, 0, before=f"{name} = ")

    def _definition(self, module: Module, definition: wit.TypeDefinition, direction: Direction) -> Node:
        own = isinstance(definition, wit.Record | wit.Enum | wit.Flags)
        made = self._of(module, module.classes[definition.name]) if own else ""
        match definition:
            case wit.Record(fields=fields):
                parts = [Tree("(", (quote(each.name), self._type(each.type, direction))) for each in fields]
                return Tree("_df.record(", (made, *parts))
            case wit.Variant(name=name, cases=cases):
                parts = [
                    Tree(
                        "(",
                        (
                            quote(each.name),
                            self._type(each.payload, direction),
                            self._of(module, module.cases[name, each.name]),
                        ),
                    )
                    for each in cases
                ]
                return Tree("_df.variant(", tuple(parts))
            case wit.Enum(cases=cases):
                return Tree("_df.enum(", (made, *(quote(each.name) for each in cases)))
            case wit.Flags(flags=flags):
                return Tree("_df.flags(", (made, *(quote(each.name) for each in flags)))
            case wit.Alias(type=aliased):
                return self._type(aliased, direction)
            case wit.Resource():
                raise AssertionError("a resource has handles, not values")


def _other(direction: Direction) -> Direction:
    return "import" if direction == "export" else "export"


def _entry(name: str, value: Node) -> Node:
    return _keyword(quote(name), value, ": ")


def _keyword(name: str, value: Node, between: str = "=") -> Node:
    if isinstance(value, Tree):
        return Tree(f"{name}{between}{value.head}", value.parts, value.tail)
    return f"{name}{between}{value}"
