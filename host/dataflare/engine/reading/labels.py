"""Names within a component's types, read before wasmtime sees the component.

wasmtime 50 ignores the case of labels (record fields, variant cases, enum names, flags) while it validates, but uses
their exact spelling while it generates adapters. If two spellings differ only in case, it aborts the process. So such a
component must not reach it.

The format: https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dataflare.component_binary import Truncated, read_name, read_u32, sections
from dataflare.errors import NotAComponent, UnsupportedComponent

__all__ = ["TypeReader", "UnknownForm", "check_labels"]

_COMPONENT, _TYPE = 4, 7
_MAX_NESTING: Final = 64
_PRIMITIVES: Final = frozenset(range(0x73, 0x80)) | {0x64}
_CORE_VALUES: Final = frozenset({0x7F, 0x7E, 0x7D, 0x7C, 0x7B})
_CORE_REFERENCES: Final = frozenset(range(0x69, 0x75))


def check_labels(component: bytes, name: str) -> None:
    """Refuse a component in which two labels differ only in case.

    Args:
        component: The bytes, whose header was checked.
        name: The component's name, for errors.

    Raises:
        UnsupportedComponent: There are such labels, or types of an unknown form.
        NotAComponent: A type cannot be read.
    """
    spellings: dict[str, str] = {}

    def label(text: str) -> None:
        other = spellings.setdefault(text.lower(), text)
        if other != text:
            raise UnsupportedComponent(
                f"names both {other!r} and {text!r}, which differ only in case",
                component=name,
                hint="spell the name the same everywhere",
            )

    try:
        _component(memoryview(component), label, 0)
    except NotAComponent as error:
        raise NotAComponent(error.message, component=name) from None
    except (Truncated, UnicodeDecodeError, IndexError):
        raise NotAComponent("is damaged: a type cannot be read", component=name) from None
    except UnknownForm as error:
        raise UnsupportedComponent(f"has a type of an unknown form ({error})", component=name) from None


class UnknownForm(Exception):
    """A type has a form that this module does not know."""


def _component(data: memoryview, label: Callable[[str], None], depth: int) -> None:
    if depth > _MAX_NESTING:
        raise UnknownForm(f"components nested more than {_MAX_NESTING} deep")
    for part in sections(data):
        if part.id == _COMPONENT:
            _component(part.payload, label, depth + 1)
        elif part.id == _TYPE:
            TypeReader(part.payload, label).section()


class TypeReader:
    """Walks one type section, and other sections with the same parts."""

    def __init__(self, data: memoryview, label: Callable[[str], None]) -> None:
        self._data = data
        self._at = 0
        self._label = label

    def section(self) -> None:
        self._repeat(lambda: self._type(0))
        if self._at != len(self._data):
            raise UnknownForm("bytes after the last type")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _u32(self) -> int:
        value, self._at = read_u32(self._data, self._at)
        return value

    def _name(self) -> str:
        text, self._at = read_name(self._data, self._at)
        return text

    def _repeat(self, read: Callable[[], object]) -> None:
        for _ in range(self._u32()):
            read()

    def _named(self) -> None:
        self._label(self._name())

    def _value(self) -> None:
        """A value type: a primitive, or an index as a signed LEB128."""
        if self._data[self._at] in _PRIMITIVES:
            self._at += 1
        else:
            self._index()

    def _index(self) -> None:
        while self._byte() >= 0x80:
            pass

    def _maybe_value(self) -> None:
        if self._byte():
            self._value()

    def _field(self) -> None:
        self._named()
        self._value()

    def _case(self) -> None:
        self._named()
        self._maybe_value()
        if self._byte():
            raise UnknownForm("a case that refines another")

    def _type(self, depth: int) -> None:
        if depth > _MAX_NESTING:
            raise UnknownForm(f"types nested more than {_MAX_NESTING} deep")
        form = self._byte()
        if form in _PRIMITIVES:
            return
        match form:
            case 0x72:
                self._repeat(self._field)
            case 0x71:
                self._repeat(self._case)
            case 0x6E | 0x6D:
                self._repeat(self._named)
            case 0x70 | 0x6B:
                self._value()
            case 0x67:
                self._value()
                self._u32()
            case 0x63:
                self._value()
                self._value()
            case 0x6F:
                self._repeat(self._value)
            case 0x6A:
                self._maybe_value()
                self._maybe_value()
            case 0x69 | 0x68:
                self._u32()
            case 0x66 | 0x65:
                self._maybe_value()
            case 0x40 | 0x43:
                self._function()
            case 0x41 | 0x42:
                self._repeat(lambda: self._declaration(depth))
            case 0x3F | 0x3E:
                self._resource(form)
            case _:
                raise UnknownForm(f"0x{form:02x}")

    def _function(self) -> None:
        # Names of parameters are not labels: nothing compares them.
        def parameter() -> None:
            self._name()
            self._value()

        self._repeat(parameter)
        if self._byte() == 0:
            self._value()
        elif self._byte() != 0:
            raise UnknownForm("a function of several results")

    def _resource(self, form: int) -> None:
        self._byte()
        if self._byte():
            self._u32()
        if form == 0x3E and self._byte():
            self._u32()

    def _declaration(self, depth: int) -> None:
        """A declaration within an instance's or a component's type."""
        match self._byte():
            case 0x00:
                self._core_type(depth + 1)
            case 0x01:
                self._type(depth + 1)
            case 0x02:
                self._alias()
            case 0x03 | 0x04:
                self._external_name()
                self._external()
            case other:
                raise UnknownForm(f"declaration 0x{other:02x}")

    def _alias(self) -> None:
        if self._byte() == 0x00:
            self._byte()
        match self._byte():
            case 0x00 | 0x01:
                self._u32()
                self._name()
            case 0x02:
                self._u32()
                self._u32()
            case other:
                raise UnknownForm(f"alias 0x{other:02x}")

    def _external_name(self) -> None:
        if self._byte() > 0x01:
            raise UnknownForm("a name with options")
        self._name()

    def _external(self) -> None:
        match self._byte():
            case 0x00:
                self._byte()
                self._u32()
            case 0x01 | 0x04 | 0x05:
                self._u32()
            case 0x02:
                if self._byte():
                    self._value()
                else:
                    self._u32()
            case 0x03:
                if not self._byte():
                    self._u32()
            case other:
                raise UnknownForm(f"sort 0x{other:02x}")

    # Core WebAssembly types have no labels, but stand between the others.

    def _core_type(self, depth: int) -> None:
        if depth > _MAX_NESTING:
            raise UnknownForm(f"types nested more than {_MAX_NESTING} deep")
        match self._byte():
            case 0x60:
                self._repeat(self._core_value)
                self._repeat(self._core_value)
            case 0x50:
                self._repeat(lambda: self._core_declaration(depth))
            case other:
                raise UnknownForm(f"core type 0x{other:02x}")

    def _core_value(self) -> None:
        form = self._byte()
        if form in (0x63, 0x64):
            self._index()
        elif form not in _CORE_VALUES and form not in _CORE_REFERENCES:
            raise UnknownForm(f"core value 0x{form:02x}")

    def _core_declaration(self, depth: int) -> None:
        match self._byte():
            case 0x00:
                self._name()
                self._name()
                self._core_external()
            case 0x01:
                self._core_type(depth + 1)
            case 0x02:
                self._byte()
                self._byte()
                self._u32()
                self._u32()
            case 0x03:
                self._name()
                self._core_external()
            case other:
                raise UnknownForm(f"core declaration 0x{other:02x}")

    def _core_external(self) -> None:
        match self._byte():
            case 0x00:
                self._u32()
            case 0x01:
                self._core_value()
                self._limits()
            case 0x02:
                self._limits()
            case 0x03:
                self._core_value()
                self._byte()
            case 0x04:
                self._byte()
                self._u32()
            case other:
                raise UnknownForm(f"core sort 0x{other:02x}")

    def _limits(self) -> None:
        flags = self._byte()
        if flags > 0x07:
            raise UnknownForm(f"limits 0x{flags:02x}")
        self._index()
        if flags & 0x01:
            self._index()
