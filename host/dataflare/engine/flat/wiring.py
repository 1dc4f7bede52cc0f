"""A component's wiring: which core modules are instantiated with what, and what is lifted and lowered.

Everything is resolved by following indices; nothing is compiled. `CannotFlatten` is raised for anything that a
flattened component cannot have. The component must already be valid.

The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from dataflare.component_binary import Truncated, read_name, sections
from dataflare.engine.reading.labels import TypeReader, UnknownForm

__all__ = [
    "CannotFlatten",
    "CoreExport",
    "CoreInlineInstance",
    "CoreInstance",
    "HandleFunction",
    "ImportedFunction",
    "ImportedType",
    "Lift",
    "Lower",
    "OwnResource",
    "Wiring",
    "read_wiring",
]

_MAX_NESTING: Final = 64
_SORTS: Final = {1: "func", 3: "type", 4: "component", 5: "instance"}
_HANDLE_FUNCTIONS: Final = {2: "new", 3: "drop", 4: "rep"}
_CORE_SORTS: Final = {0: "core func", 1: "core table", 2: "core memory", 3: "core global", 0x11: "module", 0x12: "core"}


class CannotFlatten(Exception):
    """A component needs bridges; the text says why."""


@dataclass(frozen=True, slots=True)
class CoreExport:
    """An export of the core instance with this number; `sort` is `func`, `table`, `memory` or `global`."""

    instance: int
    name: str
    sort: str


@dataclass(frozen=True, slots=True)
class ImportedFunction:
    """A function that the component imports; `interface` is empty for a function of the world itself."""

    interface: str
    name: str


@dataclass(frozen=True, slots=True)
class ImportedType:
    """A type that the component imports."""

    interface: str
    name: str


@dataclass(frozen=True, slots=True)
class Lower:
    """An imported function lowered to a core function."""

    function: ImportedFunction
    memory: CoreExport | None
    realloc: CoreExport | None


@dataclass(frozen=True, slots=True)
class OwnResource:
    """A resource type that the component defines: its number, and the core function that destroys a resource."""

    number: int
    destructor: Any


@dataclass(frozen=True, slots=True)
class HandleFunction:
    """A core function on handles to a resource; `does` is `new`, `rep` or `drop`."""

    does: str
    resource: ImportedType | OwnResource


@dataclass(frozen=True, slots=True)
class Lift:
    """A core function lifted to a component function."""

    core: Any
    memory: CoreExport | None
    realloc: CoreExport | None
    post_return: Any


@dataclass(frozen=True, slots=True)
class CoreInlineInstance:
    """Core items combined under names."""

    items: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CoreInstance:
    """An instantiation of a core module: the module's number, and its argument instances, by number or inline."""

    module: int
    arguments: dict[str, int | CoreInlineInstance]


@dataclass(slots=True)
class Wiring:
    """What a component does when it is instantiated, in order.

    Attributes:
        modules: The bytes of its core modules.
        instances: The instantiations.
        lowers: The imported functions, and functions on handles, that it has as core functions.
        resources: How many resource types it defines.
        exports: What it exports: `Lift`, `OwnResource`, or a mapping of names for an instance, or something else.
    """

    modules: list[memoryview] = field(default_factory=list)
    instances: list[CoreInstance] = field(default_factory=list)
    lowers: list[Lower | HandleFunction] = field(default_factory=list)
    resources: int = 0
    exports: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ImportedInstance:
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class _Nested:
    """An inner component, and the index spaces around it, the nearest first. It may be instantiated elsewhere."""

    binary: memoryview
    around: list[_Spaces]


_Spaces: TypeAlias = "dict[str, list[Any]]"
_OTHER_TYPE: Final = object()


def read_wiring(component: bytes) -> Wiring:
    """Resolve a component's wiring.

    Raises:
        CannotFlatten: It has something that only bridges carry.
    """
    wiring = Wiring()
    try:
        wiring.exports = _component(memoryview(component), None, [], wiring, 0)
    except (Truncated, UnknownForm, UnicodeDecodeError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise CannotFlatten(f"it has wiring of an unknown form ({error})") from error
    return wiring


def _component(
    data: memoryview, given: dict[str, Any] | None, around: list[_Spaces], wiring: Wiring, depth: int
) -> dict[str, Any]:
    if depth > _MAX_NESTING:
        raise CannotFlatten("components are nested too deeply")
    spaces: _Spaces = {sort: [] for sort in (*_SORTS.values(), *_CORE_SORTS.values())}
    exports: dict[str, Any] = {}
    for part in sections(data):
        match part.id:
            case 0:
                read_name(part.payload, 0)
            case 1:
                spaces["module"].append(len(wiring.modules))
                wiring.modules.append(part.payload)
            case 4:
                _check_nested(part.payload, depth)
                spaces["component"].append(_Nested(part.payload, [spaces, *around]))
            case 2 | 5 | 6 | 7 | 8 | 10 | 11:
                _Reader(part.payload, spaces, [spaces, *around], wiring, exports, given, depth).read(part.id)
            case other:
                raise CannotFlatten(f"it has a section {other}")
    return exports


def _check_nested(data: memoryview, depth: int) -> None:
    """Check the parts that are not copied to the result, so that wasmtime would not see them: custom sections, and
    code."""
    if depth > _MAX_NESTING:
        raise CannotFlatten("components are nested too deeply")
    for part in sections(data):
        if part.id == 0:
            read_name(part.payload, 0)
        elif part.id == 1:
            _outermost(1)
        elif part.id == 4:
            _check_nested(part.payload, depth + 1)


def _outermost(depth: int) -> None:
    if depth:
        raise CannotFlatten("a component within it has code of its own")


class _Reader(TypeReader):
    """Reads one section into the index spaces of its component."""

    def __init__(
        self,
        data: memoryview,
        spaces: _Spaces,
        around: list[_Spaces],
        wiring: Wiring,
        exports: dict[str, Any],
        given: dict[str, Any] | None,
        depth: int,
    ) -> None:
        super().__init__(data, lambda _: None)
        self._spaces = spaces
        self._around = around
        self._wiring = wiring
        self._exports = exports
        self._given = given
        self._nesting = depth

    def read(self, section_id: int) -> None:
        step = {
            2: self._core_instance,
            5: self._instance,
            6: self._read_alias,
            7: self._read_type,
            8: self._canonical,
            10: self._import,
            11: self._export,
        }[section_id]
        self._repeat(step)

    def _sort(self) -> str:
        byte = self._byte()
        return _CORE_SORTS[self._byte()] if byte == 0 else _SORTS[byte]

    def _item(self, sort: str) -> Any:
        return self._spaces[sort][self._u32()]

    def _items(self) -> dict[str, Any]:
        """Read named items of any component sort."""
        found = {}
        for _ in range(self._u32()):
            name = self._external_text()
            found[name] = self._item(self._sort())
        return found

    def _external_text(self) -> str:
        if self._byte() > 1:
            raise UnknownForm("a name with options")
        return self._name()

    def _core_instance(self) -> None:
        _outermost(self._nesting)
        if self._byte() == 0:
            module = self._item("module")
            arguments: dict[str, int | CoreInlineInstance] = {}
            for _ in range(self._u32()):
                name = self._name()
                self._byte()
                arguments[name] = self._item("core")
            self._spaces["core"].append(len(self._wiring.instances))
            self._wiring.instances.append(CoreInstance(module, arguments))
        else:
            items = {}
            for _ in range(self._u32()):
                name = self._name()
                items[name] = self._item(_CORE_SORTS[self._byte()])
            self._spaces["core"].append(CoreInlineInstance(items))

    def _instance(self) -> None:
        if self._byte() == 0:
            nested: _Nested = self._item("component")
            given = {}
            for _ in range(self._u32()):
                name = self._name()
                given[name] = self._item(self._sort())
            made = _component(nested.binary, given, nested.around, self._wiring, self._nesting + 1)
            self._spaces["instance"].append(made)
        else:
            self._spaces["instance"].append(self._items())

    def _read_alias(self) -> None:
        sort = self._sort()
        match self._byte():
            case 0:
                instance = self._item("instance")
                name = self._name()
                if isinstance(instance, _ImportedInstance):
                    found = {"func": ImportedFunction, "type": ImportedType}[sort](instance.name, name)
                else:
                    found = instance[name]
            case 1:
                core = self._item("core")
                name = self._name()
                found = (
                    core.items[name]
                    if isinstance(core, CoreInlineInstance)
                    else CoreExport(core, name, sort.removeprefix("core "))
                )
            case _:
                spaces = self._around[self._u32()]
                found = spaces[sort][self._u32()]
        self._spaces[sort].append(found)

    def _read_type(self) -> None:
        form = self._data[self._at]
        if form == 0x3E:
            raise CannotFlatten("it has resources with asynchronous destructors")
        if form == 0x3F:
            self._spaces["type"].append(self._own_resource())
            return
        self._type(0)
        self._spaces["type"].append(_OTHER_TYPE)

    def _own_resource(self) -> OwnResource:
        _outermost(self._nesting)
        self._at += 2  # the form, and that the representation is an i32
        destructor = self._item("core func") if self._byte() else None
        self._wiring.resources += 1
        return OwnResource(self._wiring.resources - 1, destructor)

    def _canonical(self) -> None:
        _outermost(self._nesting)
        match self._byte():
            case 0:
                self._byte()
                core = self._item("core func")
                options = self._options()
                self._u32()
                self._spaces["func"].append(Lift(core, *options))
            case 1:
                self._byte()
                function = self._item("func")
                if not isinstance(function, ImportedFunction):
                    raise CannotFlatten("it calls its own exports")
                memory, realloc, _ = self._options()
                self._lower(Lower(function, memory, realloc))
            case 2 | 3 | 4 as does:
                resource = self._item("type")
                if not isinstance(resource, (ImportedType, OwnResource)):
                    raise CannotFlatten("it has a handle to something unknown")
                self._lower(HandleFunction(_HANDLE_FUNCTIONS[does], resource))
            case other:
                raise CannotFlatten(f"it has the canonical function 0x{other:02x}")

    def _lower(self, lower: Lower | HandleFunction) -> None:
        self._wiring.lowers.append(lower)
        self._spaces["core func"].append(lower)

    def _options(self) -> tuple[CoreExport | None, CoreExport | None, Any]:
        memory = realloc = post_return = None
        for _ in range(self._u32()):
            match self._byte():
                case 0:
                    pass
                case 1 | 2:
                    raise CannotFlatten("its texts are not UTF-8")
                case 3:
                    memory = self._item("core memory")
                case 4:
                    realloc = self._item("core func")
                case 5:
                    post_return = self._item("core func")
                case other:
                    raise CannotFlatten(f"a function has the canonical option 0x{other:02x}")
        for each in (memory, realloc):
            if each is not None and not isinstance(each, CoreExport):
                self._odd()
        return memory, realloc, post_return

    def _odd(self) -> NoReturn:
        raise CannotFlatten("its memory or its allocator is not an export of a module")

    def _import(self) -> None:
        name = self._external_text()
        sort = _SORTS[self._data[self._at]] if self._data[self._at] else "module"
        self._external()
        if self._given is not None:
            found = self._given[name]
        elif sort == "instance":
            found = _ImportedInstance(name)
        elif sort == "func":
            found = ImportedFunction("", name)
        elif sort == "type":
            found = ImportedType("", name)
        else:
            raise CannotFlatten(f"it imports a {sort}")
        self._spaces[sort].append(found)

    def _export(self) -> None:
        name = self._external_text()
        sort = self._sort()
        found = self._item(sort)
        if self._byte():
            self._external()
        self._exports[name] = found
        self._spaces[sort].append(found)
