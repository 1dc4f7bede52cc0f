"""Destructors and allocators that are lowered functions, found before wasmtime sees the component.

A resource's destructor and the option `realloc` may be any core function, also one that another component's function
was lowered to. wasmtime 50 makes code for such a function in a module that may need instances that do not exist yet
when the resource is defined or the function is lowered: it then aborts the process. So such a component must not reach
it. Toolchains do not make any: their destructors and allocators are functions of core modules.

The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from typing import Final

from dataflare.component_binary import Truncated, sections
from dataflare.engine.reading.labels import TypeReader, UnknownForm
from dataflare.errors import UnsupportedComponent

__all__ = ["check_lowered"]

_CORE_INSTANCE, _COMPONENT, _ALIAS, _TYPE, _CANONICAL = 2, 4, 6, 7, 8
_MAX_NESTING: Final = 64
_CORE_FUNCTION: Final = b"\0\0"


def check_lowered(component: bytes, name: str) -> None:
    """Refuse a component in which a destructor or an allocator is a lowered function.

    Args:
        component: The bytes, whose header was checked.
        name: The component's name, for errors.

    Raises:
        UnsupportedComponent: There is such a function.
        NotAComponent: The file ends within a section.
    """
    try:
        _component(memoryview(component), 0)
    except _Lowered as error:
        raise UnsupportedComponent(
            f"has {error} that is a lowered component function, which the engine cannot carry",
            component=name,
            hint="call that function from a function of a core module",
        ) from None
    except (Truncated, UnicodeDecodeError, IndexError, UnknownForm):
        # wasmtime refuses it, too, while it validates: before it makes any code.
        return


class _Lowered(Exception):
    """A destructor or an allocator is a lowered function."""


def _component(data: memoryview, depth: int) -> None:
    if depth > _MAX_NESTING:
        return
    functions: list[bool] = []
    instances: list[dict[str, bool]] = []
    for part in sections(data):
        if part.id == _COMPONENT:
            _component(part.payload, depth + 1)
        elif part.id in (_CORE_INSTANCE, _ALIAS, _TYPE, _CANONICAL):
            _Reader(part.payload, functions, instances).read(part.id)


class _Reader(TypeReader):
    """Reads one section.

    Args:
        data: The section.
        functions: Whether each core function so far is a lowered one.
        instances: For each core instance so far, the same by name; empty for an instance of a module.
    """

    def __init__(self, data: memoryview, functions: list[bool], instances: list[dict[str, bool]]) -> None:
        super().__init__(data, lambda _: None)
        self._functions = functions
        self._instances = instances

    def read(self, section_id: int) -> None:
        step = {
            _CORE_INSTANCE: self._core_instance,
            _ALIAS: self._count_alias,
            _TYPE: lambda: self._type(0),
            _CANONICAL: self._canonical,
        }[section_id]
        self._repeat(step)

    def _core_instance(self) -> None:
        items: dict[str, bool] = {}
        if self._byte() == 0:
            self._u32()
            for _ in range(self._u32()):
                self._name()
                self._byte()
                self._u32()
        else:
            for _ in range(self._u32()):
                name, sort, index = self._name(), self._byte(), self._u32()
                if sort == 0:
                    items[name] = self._functions[index]
        self._instances.append(items)

    def _count_alias(self) -> None:
        start = self._at
        self._alias()
        if bytes(self._data[start : start + 2]) == _CORE_FUNCTION:
            end, self._at = self._at, start + 3
            instance, name = self._u32(), self._name()
            self._at = end
            self._functions.append(self._instances[instance].get(name, False))

    def _resource(self, form: int) -> None:
        start = self._at
        super()._resource(form)
        end, self._at = self._at, start + 1
        if self._byte():
            self._refuse_lowered("a destructor")
        self._at = end

    def _canonical(self) -> None:
        match self._byte():
            case 0x00:
                self._byte()
                self._u32()
                self._options()
                self._u32()
            case 0x01:
                self._byte()
                self._u32()
                self._options()
                self._functions.append(True)
            case 0x02 | 0x03 | 0x04:
                self._u32()
                self._functions.append(False)
            case other:
                raise UnknownForm(f"canonical function 0x{other:02x}")

    def _options(self) -> None:
        for _ in range(self._u32()):
            match self._byte():
                case 0x04:
                    self._refuse_lowered("an allocator (realloc)")
                case 0x03 | 0x05 | 0x07 | 0x08:
                    self._u32()

    def _refuse_lowered(self, what: str) -> None:
        if self._functions[self._u32()]:
            raise _Lowered(what)
