"""Handles: the host's objects that plugins hold, and the plugin's resources that the host holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dataflare.errors import UsageError, ValueTypeError

__all__ = ["GuestResource", "HandleTable", "Passing", "TooManyHandles"]


class TooManyHandles(UsageError):
    """An instance already holds as many handles as its limit allows."""


class GuestResource:
    """A handle to a resource that a plugin made. `instance.drop(resource)` gives it back.

    `name` is the resource's name in the WIT, `type_index` an index into `ComponentType.resources`.
    """

    __slots__ = ("handle", "name", "owner", "type_index")

    def __init__(self, owner: object, name: str, type_index: int, handle: int) -> None:
        self.owner = owner
        self.name = name
        self.type_index = type_index
        self.handle = handle

    def __repr__(self) -> str:
        return (
            f"GuestResource({self.name}, {self.handle})" if self.handle else f"GuestResource({self.name}, given away)"
        )


class Passing:
    """The plugin's resources in the value that is being written: each is lent, any number of times, or given away."""

    __slots__ = ("_given", "_lent")

    def __init__(self) -> None:
        # By identity: a value may have many thousands.
        self._lent: dict[int, GuestResource] = {}
        self._given: dict[int, GuestResource] = {}

    def begin(self) -> None:
        """Begin to write a value."""
        self._lent.clear()
        self._given.clear()

    def lend(self, resource: GuestResource) -> int:
        """Lend a resource for the call; return its handle.

        Raises:
            ValueTypeError: It was given away.
        """
        if not resource.handle:
            raise ValueTypeError(f"{resource!r} cannot be used any more")
        if id(resource) in self._given:
            raise ValueTypeError(f"{resource!r} is lent and given away in one call")
        self._lent[id(resource)] = resource
        return resource.handle

    def give(self, resource: GuestResource) -> int:
        """Give a resource away; return its handle.

        Raises:
            ValueTypeError: It was given away, or lent in the same value.
        """
        if not resource.handle:
            raise ValueTypeError(f"{resource!r} cannot be used any more")
        if id(resource) in self._given:
            raise ValueTypeError(f"{resource!r} is given away twice")
        if id(resource) in self._lent:
            raise ValueTypeError(f"{resource!r} is lent and given away in one call")
        self._given[id(resource)] = resource
        return resource.handle

    def commit(self) -> None:
        """Complete the value: the host no longer has the resources that it gives away."""
        for resource in self._given.values():
            resource.handle = 0
        self.begin()


class HandleTable:
    """The objects behind one instance's handles to host resources, by number."""

    def __init__(self, capacity: int) -> None:
        self._objects: dict[int, Any] = {}
        self._lent: set[int] = set()
        self.last = 0
        """The number that was given last; numbers only grow."""
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._objects)

    def since(self, number: int) -> list[Any]:
        """Return the objects with numbers above this one."""
        found = []
        for each, thing in reversed(self._objects.items()):
            if each <= number:
                break
            found.append(thing)
        return found

    def put(self, thing: Any, *, lent: bool = False) -> int:
        """Give an object a number, and return it; a `lent` object is not closed when its handle is dropped.

        Raises:
            TooManyHandles: There is no room; the object is closed, unless it is lent.
        """
        if len(self._objects) >= self._capacity:
            if not lent and (close := getattr(thing, "close_handle", None)) is not None:
                close()
            raise TooManyHandles(
                f"more than {self._capacity} handles", hint="drop handles as soon as they are not needed"
            )
        number = self.last = self.last + 1
        self._objects[number] = thing
        if lent:
            self._lent.add(number)
        return number

    def get(self, number: int) -> Any:
        """Return the object behind a number; KeyError if there is none."""
        return self._objects[number]

    def take(self, number: int) -> Any:
        """Remove a number, and return its object; KeyError if there is none."""
        self._lent.discard(number)
        return self._objects.pop(number)

    def drop(self, number: int) -> None:
        """Remove a number, and close its object unless it was lent."""
        thing = self._objects.pop(number, None)
        if number in self._lent:
            self._lent.discard(number)
        elif (close := getattr(thing, "close_handle", None)) is not None:
            close()

    def drop_all(self, numbers: Iterable[int]) -> None:
        """Drop these numbers; if closing objects fails, raise the first error at the end."""
        first: Exception | None = None
        for number in numbers:
            try:
                self.drop(number)
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def close(self) -> None:
        """Drop all numbers; if closing objects fails, raise the first error at the end."""
        self.drop_all(list(self._objects))
