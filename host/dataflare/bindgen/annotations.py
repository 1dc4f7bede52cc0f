"""WIT types as Python annotations."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from dataflare.bindgen.names import BUILTINS
from dataflare.bindgen.plan import Direction, Module, Plan
from dataflare.wit import model as wit

__all__ = ["ARRAYS", "Annotations", "Use", "has_arrays", "require_short"]

Use: TypeAlias = Literal["given", "taken", "field"]
"""The position of an annotation: a value that generated code returns (`given`) or accepts (`taken`), or an attribute of
a record, as it is read; its constructor accepts what calls do."""

ARRAYS: Final = {
    name: name[0].upper() + name[1:] for name in ("bool", "s8", "s16", "s32", "s64", "u16", "u32", "u64", "f32", "f64")
}
_PRIMITIVES: Final = {"bool": "bool", "char": "str", "string": "str", "f32": "float", "f64": "float"}
_MAX_CHARS: Final = 4_000


def require_short(text: str, position: wit.Position) -> str:
    """Return an annotation, unless it grew too long.

    Raises:
        WitError: It has more than 4,000 characters.
    """
    if len(text) > _MAX_CHARS:
        raise wit.WitError(
            f"a type takes more than {_MAX_CHARS} characters once its aliases are put in",
            position=position,
            hint="give its parts names of their own, as records",
        )
    return text


class Annotations:
    """Writes the annotations of one Python module, and records the imports that they need.

    Args:
        plan: The plan of the bindings.
        module: The module's part of the plan; `None` for a module that defines no types.
    """

    def __init__(self, plan: Plan, module: Module | None) -> None:
        self._plan = plan
        self._module = module
        self.uses: set[str] = set()
        """The names of imported modules that were used, such as `_df` or `_geometry`."""
        self.supported: set[str] = set()
        """The names of the support module that were used."""
        self.shadowed: frozenset[str] = frozenset()
        """Names that the class being written defines, and so hides from its annotations."""
        self.position = wit.NOWHERE
        """Of the definition or the function being written, for errors."""

    def of(self, value: wit.Type | None, use: Use, direction: Direction) -> str:
        """Return the annotation of a type; `None` is the type of no value.

        Raises:
            WitError: The annotation would be longer than 4,000 characters.
        """
        if value is None:
            return "None"
        return require_short(self._of(value, use, direction), self.position)

    def reference(self, named: wit.Named, direction: Direction) -> str:
        """Return the class of a named type."""
        module = self._plan.module_of(named, direction)
        return self.qualified(module, module.classes[named.name])

    def qualified(self, module: Module, name: str) -> str:
        """Return a name of another module, as this module must write it."""
        if module is self._module:
            return name
        self.uses.add(f"_{module.name}")
        return f"_{module.name}.{name}"

    def support(self, name: str) -> str:
        """Return a name of the support module, and record its use."""
        self.uses.add("_df")
        self.supported.add(name)
        return f"_df.{name}"

    def _builtin(self, name: str) -> str:
        if name in self.shadowed and name in BUILTINS:
            self.uses.add("_builtins")
            return f"_builtins.{name}"
        return name

    def _of(self, value: wit.Type, use: Use, direction: Direction) -> str:
        match value:
            case wit.Primitive(name=name):
                return self._builtin(_PRIMITIVES.get(name, "int"))
            case wit.ListOf(element=element):
                return self._list(element, use, direction)
            case wit.OptionOf(some=some):
                inner = self.of(some, use, direction)
                if isinstance(self._plan.underlying(some), wit.OptionOf):
                    inner = f"{self.support('Some')}[{inner}]"
                return f"{inner} | None"
            case wit.ResultOf(ok=ok, error=error):
                good, bad = self.of(ok, use, direction), self.of(error, use, direction)
                return f"{self.support('Ok')}[{good}] | {self.support('Err')}[{bad}]"
            case wit.TupleOf(items=items):
                inner = ", ".join(self.of(each, use, direction) for each in items) or "()"
                return f"{self._builtin('tuple')}[{inner}]"
            case wit.Borrow(resource=resource) | wit.Own(resource=resource):
                return self._of(resource, use, direction)
            case wit.Named():
                return self._named(value, use, direction)

    def _list(self, element: wit.Type, use: Use, direction: Direction) -> str:
        plain = self._plan.underlying(element)
        if isinstance(plain, wit.Primitive):
            if plain.name == "u8":
                return self.support("BytesLike") if use == "taken" else self._builtin("bytes")
            if plain.name in ARRAYS:
                return self.support(f"Array{'Like' if use == 'taken' else ''}{ARRAYS[plain.name]}")
        inner = self.of(element, use, direction)
        if use == "given":
            return f"{self._builtin('list')}[{inner}]"
        self.uses.add("_abc")
        return f"_abc.Sequence[{inner}]"

    def _named(self, value: wit.Named, use: Use, direction: Direction) -> str:
        definition = self._plan.definition(value)
        if isinstance(definition, wit.Resource) and self._plan.module_of(value, direction).offered:
            return self.support("HostObject")
        if not isinstance(definition, wit.Alias):
            return self.reference(value, direction)
        if not _differs(self._plan, value):
            return self.reference(value, direction)
        return self.of(definition.type, use, direction)


def _differs(plan: Plan, value: wit.Type) -> bool:
    """Whether the annotation of a type differs between `given` and `taken`."""
    waiting, seen = [value], {value}
    while waiting:
        for inner in wit.inner_types(waiting.pop()):
            if isinstance(inner, wit.ListOf):
                return True
            definition = plan.definition(inner) if isinstance(inner, wit.Named) else None
            if isinstance(definition, wit.Alias) and definition.type not in seen:
                seen.add(definition.type)
                waiting.append(definition.type)
    return False


def has_arrays(plan: Plan, value: wit.Type | None) -> bool:
    """Whether a value itself holds an array, not only in its records and variants."""
    waiting: list[wit.Type] = [] if value is None else [value]
    seen: set[wit.Type] = set()
    while waiting:
        for inner in wit.inner_types(waiting.pop()):
            plain = plan.underlying(inner)
            if isinstance(plain, wit.ListOf):
                element = plan.underlying(plain.element)
                if isinstance(element, wit.Primitive) and element.name in ARRAYS:
                    return True
            if plain is not inner and plain not in seen:
                seen.add(plain)
                waiting.append(plain)
    return False
