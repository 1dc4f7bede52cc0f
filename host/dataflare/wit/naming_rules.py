"""The naming rules of the standard's WIT, in addition to WIT's own rules.

They make an interface look the same in every language, and avoid what guest toolchains get wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dataflare.wit.catalog import Catalog
from dataflare.wit.model import (
    Alias,
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    Named,
    OptionOf,
    Package,
    Position,
    Primitive,
    Record,
    Resource,
    Type,
    TypeDefinition,
    Variant,
    World,
)
from dataflare.wit.tokens import tokenize

__all__ = ["RESERVED", "Problem", "check_catalog", "check_layout"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names with another meaning in a guest's language, so that generated code would break or mislead: Python builtins that
# bindings use (`bytes`, `type`), WIT keywords (`stream`), and words that cannot name a value.
RESERVED = _words(
    "async await bytes class def dict export false float function future import int lambda none null object return "
    "self str stream super true type yield"
)
_QUANTITIES = _words(
    "age created deadline delay duration elapsed expiry interval latency lifetime memory modified period size "
    "timeout ttl updated wait"
)
_UNITS = _words("bytes columns days hours minutes ms nanoseconds ns percent ratio records rows seconds us")
_SHORTENED_UNITS = _words("gb hrs kb kib mb mib micros millis mins msec nanos sec secs usec")
_KEBAB = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_WIDE = frozenset({"s64", "u64"})
_NUMERIC = frozenset({"f32", "f64", "s16", "s32", "s64", "s8", "u16", "u32", "u64", "u8"})


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A violation of a rule, with its position."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


def check_catalog(catalog: Catalog) -> list[Problem]:
    """List names, gates, documentation and signatures that break a rule, in the order of files and lines."""
    checker = _Checker(catalog)
    return sorted(problem for package in catalog.packages.values() for problem in checker.package(package))


def check_layout(text: str, file: str) -> list[Problem]:
    """List lines that are not indented by two spaces per level, tabs, and trailing spaces.

    Raises:
        WitError: The text has characters or comments that are not WIT.
    """
    levels: dict[int, int] = {}
    depth = 0
    first_of_line: dict[int, int] = {}
    for token in tokenize(text, file):
        line = token.position.line
        if token.text in ("}", ")", ">"):
            depth -= 1
        if line not in first_of_line and token.kind != "end":
            first_of_line[line] = depth
        if token.text in ("{", "(", "<"):
            depth += 1
        levels[line] = depth
    problems = []
    level = 0
    for number, line_text in enumerate(text.split("\n"), start=1):
        expected = first_of_line.get(number, level)
        level = levels.get(number, level)
        content = line_text.lstrip(" ")
        if line_text != line_text.rstrip():
            problems.append(Problem(file, number, len(line_text.rstrip()) + 1, "spaces at the end of the line"))
        elif "\t" in line_text:
            problems.append(Problem(file, number, line_text.index("\t") + 1, "a tab"))
        elif content and len(line_text) - len(content) != 2 * expected and not content.startswith("*"):
            problems.append(Problem(file, number, 1, f"indent by {2 * expected} spaces"))
    return problems


def _problem(position: Position, message: str) -> Problem:
    return Problem(position.file, position.line, position.column, message)


class _Checker:
    def __init__(self, catalog: Catalog) -> None:
        self._definitions: dict[tuple[str, str], TypeDefinition] = {
            (full, definition.name): definition for full, each in catalog.interfaces() for definition in each.types
        }

    def package(self, package: Package) -> Iterator[Problem]:
        for name in (package.name.namespace, package.name.name):
            if _KEBAB.fullmatch(name) is None:
                yield _problem(Position(str(package.name), 1, 1), f"`{name}` is not in kebab-case")
        for interface in package.interfaces:
            yield from self._interface(interface)
        for world in package.worlds:
            yield from self._item("world", world)
            for item in world.items:
                if isinstance(item.item, Function):
                    yield from self._function("function", item.item)

    def _interface(self, interface: Interface) -> Iterator[Problem]:
        yield from self._item("interface", interface)
        for definition in interface.types:
            yield from self._item("type", definition)
            yield from self._definition(definition)
        for function in interface.functions:
            yield from self._item("function", function)
            yield from self._signature(function)

    def _item(self, noun: str, item: Interface | World | TypeDefinition | Function) -> Iterator[Problem]:
        yield from self._name(item.name, item.position)
        yield from self._documented(noun, item.name, item.docs, item.position)
        yield from self._gate(noun, item.name, item.gate, item.position)

    def _gate(self, noun: str, name: str, gate: Gate, position: Position) -> Iterator[Problem]:
        if gate.since is None:
            yield _problem(position, f"the {noun} `{name}` has no `@since`")

    def _definition(self, definition: TypeDefinition) -> Iterator[Problem]:
        match definition:
            case Record(fields=fields):
                for each in fields:
                    yield from self._name(each.name, each.position)
                    yield from self._documented("field", each.name, each.docs, each.position)
                    yield from self._unit(each.name, each.type, each.position)
            case Variant(cases=cases) | Enum(cases=cases) | Flags(flags=cases):
                for case in cases:
                    yield from self._name(case.name, case.position)
                    yield from self._documented("case", case.name, case.docs, case.position)
        match definition:
            case Variant(name=name, cases=cases) if name.split("-")[-1] == "error":
                if (cases[-1].name, cases[-1].payload) != ("other", Primitive("string")):
                    yield _problem(definition.position, f"the error `{name}` does not end with the case other(string)")
            case Resource(functions=functions):
                for function in functions:
                    if function.gate.since is not None:
                        yield from self._gate("function", function.name, function.gate, function.position)
                    yield from self._function("function", function)

    def _function(self, noun: str, function: Function) -> Iterator[Problem]:
        yield from self._name(function.name, function.position)
        yield from self._documented(noun, function.name, function.docs, function.position)
        yield from self._signature(function)

    def _signature(self, function: Function) -> Iterator[Problem]:
        for each in function.parameters:
            yield from self._name(each.name, each.position)
            yield from self._unit(each.name, each.type, each.position)
            if self._primitive(each.type, optional=False) in _WIDE:
                yield _problem(
                    each.position, f"the parameter `{each.name}` is a bare 64-bit integer: put it into a record"
                )
        if function.result is not None and self._primitive(function.result, optional=False) in _WIDE:
            yield _problem(function.position, f"`{function.name}` returns a bare 64-bit integer: put it into a record")

    def _name(self, name: str, position: Position) -> Iterator[Problem]:
        if _KEBAB.fullmatch(name) is None:
            yield _problem(position, f"`{name}` is not in kebab-case, lower")
        if name in RESERVED:
            yield _problem(position, f"`{name}` is a word of a guest's language: choose another")

    def _documented(self, noun: str, name: str, docs: str, position: Position) -> Iterator[Problem]:
        if not docs.strip():
            yield _problem(position, f"the {noun} `{name}` has no documentation")

    def _unit(self, name: str, value: Type, position: Position) -> Iterator[Problem]:
        if self._primitive(value, optional=True) not in _NUMERIC:
            return
        words = name.split("-")
        if words[-1] in _SHORTENED_UNITS:
            yield _problem(position, f"write out the unit of `{name}`: {', '.join(sorted(_UNITS))}")
        elif _QUANTITIES.intersection(words) and words[-1] not in _UNITS:
            yield _problem(position, f"`{name}` does not end in its unit: {', '.join(sorted(_UNITS))}")

    def _primitive(self, value: Type, *, optional: bool) -> str | None:
        """Return the primitive behind a type's aliases, and behind options if `optional`; `None` if it is not a
        primitive."""
        while True:
            match value:
                case Primitive(name=name):
                    return name
                case OptionOf(some=some) if optional:
                    value = some
                case Named(name=name, owner=owner):
                    definition = self._definitions.get((owner, name))
                    if not isinstance(definition, Alias):
                        return None
                    value = definition.type
                case _:
                    return None
