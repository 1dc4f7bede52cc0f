"""Classes of WIT records: made when a record's codec is compiled; faster than dataclasses, and frozen like them."""

from __future__ import annotations

import inspect
import keyword
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

if TYPE_CHECKING:
    from dataflare.engine.abi.types import RecordT

__all__ = ["MISSING", "Record", "attributes", "find_attribute", "record_class", "snake_case"]

MISSING: Final = object()
"""Means that an object does not have an attribute."""


def attributes(ty: RecordT) -> tuple[str, ...]:
    """Return the attribute names of the Python objects for a record."""
    return tuple(snake_case(name) for name, _ in ty.fields) if ty.made is None else ty.made.__match_args__


def find_attribute(owner: object, name: str) -> Any:
    """Return an attribute of an object, or `MISSING`.

    Raises:
        AttributeError: The object has a property of this name, which raised it.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        found = inspect.getattr_static(owner, name, MISSING)
        if found is not MISSING and not inspect.ismemberdescriptor(found):  # that is an empty slot
            raise
        return MISSING


class Record:
    """A WIT record, with an attribute for each field, in snake case. Immutable; equal if fields and values are."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self.__match_args__ == other.__match_args__ and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.__match_args__, self._values()))

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__match_args__)})"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise FrozenInstanceError(f"{name!r} of a record cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"{name!r} of a record cannot be deleted")


def record_class(names: tuple[str, ...]) -> type[Record]:
    """Make the class of a record with these attributes. Codecs fill its instances directly through the slots."""
    return type("Record", (Record,), {"__slots__": names, "__match_args__": names})


def snake_case(name: str) -> str:
    """Convert a WIT name to a Python name."""
    name = name.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name
