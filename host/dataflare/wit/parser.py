"""Parse WIT: packages, interfaces, worlds, every value type, resources, gates and documentation.

The language is that of https://component-model.bytecodealliance.org/design/wit.html without its asynchronous part
(`async`, `stream`, `future`, `error-context`), which is refused with an error of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from dataflare.errors import ConfigError
from dataflare.user_files import read_file
from dataflare.wit.model import (
    Function,
    Gate,
    Include,
    Interface,
    InterfaceRef,
    Package,
    PackageName,
    Position,
    TypeDefinition,
    Use,
    WitError,
    World,
    WorldItem,
)
from dataflare.wit.tokens import MAX_SOURCE_BYTES
from dataflare.wit.type_parser import TypeParser

__all__ = ["Document", "parse", "parse_file"]

_TYPE_KEYWORDS = frozenset({"enum", "flags", "record", "resource", "type", "variant"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file. `name` is `None` if the file does not state its package (another file of the folder does)."""

    name: PackageName | None
    interfaces: tuple[Interface, ...]
    worlds: tuple[World, ...]
    nested: tuple[Package, ...]
    uses: tuple[InterfaceRef, ...]
    docs: str
    position: Position


def parse_file(path: Path) -> Document:
    """Parse a file of at most 4 MiB.

    Raises:
        WitError: The file cannot be read, is not UTF-8, or is not WIT; with the line and the column.
    """
    file = str(path)
    try:
        data = read_file(path, MAX_SOURCE_BYTES)
    except ConfigError as exc:
        raise WitError(exc.message.removeprefix(f"{file}: "), position=Position(file, 0, 0), hint=exc.hint) from exc
    if data.startswith(b"\0asm"):
        hint = "a component is not WIT: dataflare bindgen COMPONENT, without --wit"
        raise WitError("is WebAssembly, not the text of WIT", position=Position(file, 0, 0), hint=hint)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        before = data[: exc.start]
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        raise WitError("is not UTF-8", position=Position(file, before.count(b"\n") + 1, column)) from exc
    return parse(text, file=file)


def parse(text: str, *, file: str = "<text>") -> Document:
    """Parse the text of a file.

    Args:
        text: The text.
        file: The file's name in errors.

    Raises:
        WitError: It is not WIT; with the line and the column.
    """
    return _Parser(text, file).document()


class _Parser(TypeParser):
    """A recursive-descent parser with one token of lookahead."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self._aliases: dict[str, InterfaceRef] = {}

    # The file.

    def document(self) -> Document:
        start = self._token
        name: PackageName | None = None
        docs = ""
        interfaces: list[Interface] = []
        worlds: list[World] = []
        nested: list[Package] = []
        while self._token.kind != "end":
            first = self._token
            docs_before, gate = self._preamble()
            if self._at("package"):
                package = self._package_name()
                if self._at("{"):
                    nested.append(self._nested_package(package, docs_before))
                    continue
                self._expect(";")
                if name is not None or interfaces or worlds or nested:
                    raise WitError("`package` comes once, first in its file", position=first.position)
                name, docs = package, docs_before
            else:
                self._top_level_item(docs_before, gate, interfaces, worlds)
        bound_interfaces, bound_worlds = self._bind_aliases(interfaces, worlds)
        return Document(
            name=name,
            interfaces=bound_interfaces,
            worlds=bound_worlds,
            nested=tuple(nested),
            uses=tuple(self._aliases.values()),
            docs=docs,
            position=start.position,
        )

    def _nested_package(self, name: PackageName, docs: str) -> Package:
        outer, self._aliases = self._aliases, {}
        interfaces: list[Interface] = []
        worlds: list[World] = []
        self._expect("{")
        while not self._take("}"):
            item_docs, gate = self._preamble()
            if self._at("package"):
                raise WitError("a nested package holds no package", position=self._token.position)
            self._top_level_item(item_docs, gate, interfaces, worlds)
        bound_interfaces, bound_worlds = self._bind_aliases(interfaces, worlds)
        uses = tuple(self._aliases.values())
        self._aliases = outer
        return Package(name=name, interfaces=bound_interfaces, worlds=bound_worlds, uses=uses, docs=docs)

    def _top_level_item(self, docs: str, gate: Gate, interfaces: list[Interface], worlds: list[World]) -> None:
        position = self._token.position
        if self._take("interface"):
            name = self._name("an interface's name")
            interfaces.append(self._interface_body(name, docs, gate, position))
        elif self._take("world"):
            worlds.append(self._world(docs, gate, position))
        elif self._take("use"):
            source = self._interface_ref()
            alias = self._name("a name") if self._take("as") else source.name
            self._expect(";")
            if alias in self._aliases:
                raise WitError(f"`{alias}` is used twice", position=position)
            self._aliases[alias] = source
        else:
            raise self._unexpected("`package`, `interface`, `world` or `use`")

    def _package_name(self) -> PackageName:
        self._expect("package")
        namespace = self._name("a namespace")
        self._expect(":")
        name = self._name("a package's name")
        return PackageName(namespace, name, self._version_suffix())

    def _version_suffix(self) -> str | None:
        return self._kind("version", "a version such as 1.0.0").text if self._take("@") else None

    def _bind_aliases(
        self, interfaces: list[Interface], worlds: list[World]
    ) -> tuple[tuple[Interface, ...], tuple[World, ...]]:
        """Replace the names of the file's top-level `use` lines by their targets."""
        aliases = self._aliases

        def ref(value: InterfaceRef) -> InterfaceRef:
            if value.package is None and value.name in aliases:
                return replace(aliases[value.name], position=value.position)
            return value

        def uses(values: tuple[Use, ...]) -> tuple[Use, ...]:
            return tuple(replace(use, source=ref(use.source)) for use in values)

        def interface(value: Interface) -> Interface:
            return replace(value, uses=uses(value.uses))

        def item(value: WorldItem) -> WorldItem:
            match value.item:
                case InterfaceRef() as mention:
                    return replace(value, item=ref(mention))
                case Interface() as inline:
                    return replace(value, item=interface(inline))
            return value

        def world(value: World) -> World:
            includes = tuple(replace(include, world=ref(include.world)) for include in value.includes)
            return replace(
                value, uses=uses(value.uses), includes=includes, items=tuple(item(each) for each in value.items)
            )

        if not aliases:
            return tuple(interfaces), tuple(worlds)
        own: list[Interface | World] = [*interfaces, *worlds]
        for each in own:
            if each.name in aliases and aliases[each.name] != InterfaceRef(each.name):
                raise WitError(f"`{each.name}` is there twice: a `use` has the name too", position=each.position)
        return tuple(interface(each) for each in interfaces), tuple(world(each) for each in worlds)

    # Interfaces and worlds.

    def _interface_body(self, name: str, docs: str, gate: Gate, position: Position) -> Interface:
        types: list[TypeDefinition] = []
        functions: list[Function] = []
        uses: list[Use] = []
        self._expect("{")
        while not self._take("}"):
            item_docs, item_gate = self._preamble()
            if self._at("use"):
                uses.append(self._use(item_gate))
            elif self._token.kind == "keyword" and self._token.text in _TYPE_KEYWORDS:
                types.append(self._type_definition(item_docs, item_gate))
            else:
                at = self._token.position
                item_name = self._name("`use`, a type, a function or `}`")
                self._expect(":")
                functions.append(self._function(item_name, "function", item_docs, item_gate, at))
                self._expect(";")
        return Interface(
            name=name,
            types=tuple(types),
            functions=tuple(functions),
            uses=tuple(uses),
            docs=docs,
            gate=gate,
            position=position,
        )

    def _use(self, gate: Gate) -> Use:
        position = self._expect("use").position
        source = self._interface_ref()
        self._expect(".")
        self._expect("{")

        def name() -> tuple[str, str]:
            original = self._name("a type's name")
            return original, self._name("a name") if self._take("as") else original

        names = self._list("}", name)
        self._expect(";")
        return Use(source=source, names=names, gate=gate, position=position)

    def _interface_ref(self) -> InterfaceRef:
        position = self._token.position
        name = self._name("a name")
        return self._rest_of_ref(name, position)

    def _rest_of_ref(self, name: str, position: Position) -> InterfaceRef:
        if not self._take(":"):
            return InterfaceRef(name, None, position)
        package = self._name("a package's name")
        self._expect("/")
        item = self._name("an interface's or a world's name")
        return InterfaceRef(item, PackageName(name, package, self._version_suffix()), position)

    def _world(self, docs: str, gate: Gate, position: Position) -> World:
        name = self._name("a world's name")
        items: list[WorldItem] = []
        includes: list[Include] = []
        uses: list[Use] = []
        types: list[TypeDefinition] = []
        self._expect("{")
        while not self._take("}"):
            item_docs, item_gate = self._preamble()
            if self._at("import") or self._at("export"):
                items.append(self._world_item(item_docs, item_gate))
            elif self._at("include"):
                includes.append(self._include(item_gate))
            elif self._at("use"):
                uses.append(self._use(item_gate))
            elif self._token.kind == "keyword" and self._token.text in _TYPE_KEYWORDS:
                types.append(self._type_definition(item_docs, item_gate))
            else:
                raise self._unexpected("`import`, `export`, `include`, `use`, a type or `}`")
        return World(
            name=name,
            items=tuple(items),
            includes=tuple(includes),
            uses=tuple(uses),
            types=tuple(types),
            docs=docs,
            gate=gate,
            position=position,
        )

    def _world_item(self, docs: str, gate: Gate) -> WorldItem:
        start = self._advance()
        at = self._token.position
        name = self._name("a name")
        item: InterfaceRef | Interface | Function
        if self._token.text != ":":
            item = InterfaceRef(name, None, at)
            self._expect(";")
        else:
            self._expect(":")
            if self._at("func") or self._at("async"):
                item = self._function(name, "function", docs, gate, at)
                self._expect(";")
            elif self._take("interface"):
                item = self._interface_body(name, docs, gate, at)
            else:
                package = self._name("`func`, `interface` or a package's name")
                self._expect("/")
                interface = self._name("an interface's name")
                item = InterfaceRef(interface, PackageName(name, package, self._version_suffix()), at)
                self._expect(";")
        return WorldItem(exported=start.text == "export", item=item, docs=docs, gate=gate, position=start.position)

    def _include(self, gate: Gate) -> Include:
        position = self._expect("include").position
        world = self._interface_ref()
        renames: tuple[tuple[str, str], ...] = ()
        if self._take("with"):
            self._expect("{")

            def rename() -> tuple[str, str]:
                original = self._name("a name")
                self._expect("as")
                return original, self._name("a name")

            renames = self._until("}", rename, "a name", position)
        # `include w with { ... }` needs no semicolon, though it may have one.
        if not renames or self._at(";"):
            self._expect(";")
        return Include(world=world, renames=renames, gate=gate, position=position)
