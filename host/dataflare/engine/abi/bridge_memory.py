"""One bridge's memory as codecs see it: bounds, the host's half, texts, bytes, arrays and handles."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dataflare.budgets import HostBudget
from dataflare.engine.abi.convert import as_bytes, as_numbers, as_utf8
from dataflare.engine.abi.handles import GuestResource, HandleTable, Passing
from dataflare.engine.abi.layout import (
    FILLED_FROM_AT,
    HOST_HALF_AT,
    IN_PLACE_BYTES,
    LEFT_CAPACITY,
    LEFT_LIST_AT,
    MEMORY_BYTES,
)
from dataflare.errors import ValueTypeError

__all__ = ["LIST_PART", "NO_CEILING", "BridgeMemory", "BrokenAddress", "OverBudget"]

NO_CEILING: Final = 2**60
"""A number of bytes that is never reached; means no ceiling."""

LIST_PART: Final = 4096
"""Number of list items that are read between two checks of the clock."""

_ITEM_BYTES: Final = 64
"""Approximate minimum size in Python of one list item, in bytes, even if it is smaller in wasm."""

_LARGE_BYTES: Final = 2**20
"""Copies of at least this many bytes check the memory budget first."""

_U32: Final = Struct("<I")
_PAIR: Final = Struct("<II")
_BYTE: Final = ctypes.c_ubyte * MEMORY_BYTES


class BrokenAddress(Exception):
    """Wasm gave an invalid address or handle; becomes a `ProtocolFault`."""


class OverBudget(Exception):
    """A read would exceed a limit; becomes a `LimitExceeded`."""


class BridgeMemory:
    """Reads and writes one bridge's memory. Every address that comes out of wasm is checked here.

    Args:
        base: The memory's address in this process; the memory has `MEMORY_BYTES`.
        table: The objects behind the instance's handles.
        owner: The instance to which the plugin's own resources belong.
        budget: How much the host may keep for the instance, and when its call must end.
    """

    __slots__ = (
        "array",
        "budget",
        "ceiling",
        "copied",
        "find_plugin",
        "given",
        "has_extras",
        "owner",
        "passing",
        "plugin",
        "raw_text",
        "read_in_place",
        "sources",
        "staged_bytes",
        "table",
        "top",
        "view",
        "views",
    )

    def __init__(self, base: int, table: HandleTable, owner: object, budget: HostBudget) -> None:
        self.view = memoryview(_BYTE.from_address(base)).cast("B")
        self.array: npt.NDArray[np.uint8] = np.frombuffer(self.view, np.uint8)
        self.table = table
        self.owner = owner
        self.budget = budget
        self.top = HOST_HALF_AT
        """Address of the host's next allocation."""
        self.views = False
        """Whether arrays that are read may be views, valid until the next call only."""
        self.raw_text = False
        """Whether texts are returned as UTF-8 bytes instead of `str`."""
        self.copied = 0
        """Bytes read so far, without the inline parts of records."""
        self.ceiling = NO_CEILING
        """The maximum of `copied`, in bytes; checked before each read."""
        self.has_extras = False
        """Whether the value that was last written has more than bytes: `given`, `passing` or `sources`."""
        self.given: list[int] = []
        """Numbers of the handles that the value being written has put into the table."""
        self.passing = Passing()
        self.plugin: Callable[[], memoryview] | None = None
        """Returns the plugin's own memory at its current size; `None` if it is not known which memory that is."""
        self.find_plugin: Callable[[], None] | None = None
        """Finds the plugin's memory; called once, at the first long value, while no code of the plugin runs."""
        self.read_in_place = False
        """Whether something was read in the plugin's own memory since the flag was last reset."""
        self.sources: list[memoryview | None] = []
        """Buffers of the value being written, to be copied once the plugin has allocated room for them."""
        self.staged_bytes = 0
        """Total size of `sources` in bytes."""

    def close(self) -> None:
        """Release the memory, which is about to be unmapped."""
        self.array = np.empty(0, np.uint8)
        self.view = memoryview(b"")
        self.owner = self.plugin = self.find_plugin = None
        self.sources.clear()

    # Reading.

    def part(self, at: int, size: int) -> memoryview:
        """Return a part of the memory as a view, after checking its bounds."""
        if at + size > MEMORY_BYTES:
            raise BrokenAddress(f"{size} bytes at address {at} are out of bounds")
        self.copied += size
        if self.copied > self.ceiling:
            raise OverBudget
        return self.view[at : at + size]

    def text(self, at: int, size: int) -> Any:
        if at >= MEMORY_BYTES:
            return self._text_in_place(at, size)
        if at + size > MEMORY_BYTES:
            raise BrokenAddress(f"a string of {size} bytes at address {at} is out of bounds")
        self.copied += size
        if self.copied > self.ceiling:
            raise OverBudget
        if size > _LARGE_BYTES:
            # One character above U+FFFF is enough to make four bytes of each.
            self.budget.require(size if self.raw_text else 4 * size)
        if self.raw_text:
            return self.view[at : at + size] if self.views else bytes(self.view[at : at + size])
        return str(self.view[at : at + size], "utf-8")

    def blob(self, at: int, size: int) -> Any:
        view = self.view
        if at >= MEMORY_BYTES:
            view, at = self._in_place(at, size)
        elif at + size > MEMORY_BYTES:
            raise BrokenAddress(f"{size} bytes at address {at} are out of bounds")
        self.copied += size
        if self.copied > self.ceiling:
            raise OverBudget
        if size > _LARGE_BYTES:
            self.budget.require(size)
        return bytes(view[at : at + size])

    def long_list(
        self, read: Callable[[BridgeMemory, int, int], list[Any]], at: int, length: int, step: int
    ) -> list[Any]:
        """Read a list in parts; check the time limit and the memory budget before each part.

        Args:
            read: Reads a part, given this memory, the part's address and its number of items.
            at: Address of the list.
            length: Number of items.
            step: Bytes of an item.
        """
        if at + length * step > MEMORY_BYTES:
            raise BrokenAddress(f"a list of {length} items at address {at} is out of bounds")
        self.budget.require(length * _ITEM_BYTES)
        items: list[Any] = []
        for start in range(0, length, LIST_PART):
            self.budget.check_time()
            items += read(self, at + start * step, min(LIST_PART, length - start))
        return items

    def numbers(self, at: int, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        size = length * dtype.itemsize
        memory = self.array
        if at >= MEMORY_BYTES:
            view, at = self._in_place(at, size)
            memory = np.frombuffer(view, np.uint8)
        if at + size > len(memory) or at % dtype.itemsize:
            raise BrokenAddress(f"an array of {length} {dtype} at address {at} is out of bounds")
        self.copied += size
        if self.copied > self.ceiling:
            raise OverBudget
        array = memory[at : at + size].view(dtype)
        if self.views:
            return array
        if size > _LARGE_BYTES:
            self.budget.require(size)
        return array.copy()

    def _in_place(self, at: int, size: int) -> tuple[memoryview, int]:
        """Return the plugin's memory, and the place in it that an address stands for."""
        place = at - MEMORY_BYTES
        if self.plugin is None or place >= LEFT_CAPACITY:
            raise BrokenAddress(f"{size} bytes at address {at} are out of bounds")
        self.read_in_place = True
        view = self.plugin()
        at = _U32.unpack_from(self.view, LEFT_LIST_AT + 4 * place)[0]
        if at + size > len(view):
            raise BrokenAddress(f"{size} bytes at address {at} of the plugin's memory are out of bounds")
        return view, at

    def _text_in_place(self, at: int, size: int) -> Any:
        view, at = self._in_place(at, size)
        self.copied += size
        if self.copied > self.ceiling:
            raise OverBudget
        self.budget.require(size if self.raw_text else 4 * size)
        try:
            text = str(view[at : at + size], "utf-8")
        except UnicodeDecodeError:
            raise BrokenAddress("broke the canonical ABI: a text is not valid UTF-8") from None
        if not self.raw_text:
            return text
        return view[at : at + size] if self.views else bytes(view[at : at + size])

    # Writing.

    def _knows_plugin(self) -> bool:
        if self.find_plugin is not None:
            find, self.find_plugin = self.find_plugin, None
            find()
        return self.plugin is not None

    def _stage(self, data: Any, size: int) -> int:
        """Keep a buffer until the plugin's memory has room for it; return the address that stands for it."""
        self.has_extras = True
        self.staged_bytes += size
        self._check_room(self.top + self.staged_bytes, size)
        self.sources.append(memoryview(data))
        return MEMORY_BYTES + len(self.sources) - 1

    def fill(self) -> None:
        """Copy the buffer that wasm asked for to the address that it asked for, in the plugin's memory."""
        number, to = _PAIR.unpack_from(self.view, FILLED_FROM_AT)
        source = self.sources[number]
        if source is None or self.plugin is None:
            raise BrokenAddress(f"the buffer {number} is wanted twice")
        self.sources[number] = None
        plugin = self.plugin()
        if to + len(source) > len(plugin):
            raise BrokenAddress(f"{len(source)} bytes do not fit at address {to} of the plugin's memory")
        plugin[to : to + len(source)] = source

    def _check_room(self, end: int, size: int) -> None:
        if end > MEMORY_BYTES:
            raise ValueTypeError(
                f"{size} bytes do not fit into the {MEMORY_BYTES - HOST_HALF_AT} bytes of one call",
                hint="use smaller batches",
            )

    def allocate(self, size: int, align: int = 64) -> int:
        """Allocate bytes in the host's half, valid until the next call; return their address."""
        at = (self.top + align - 1) & -align
        if at + size > MEMORY_BYTES:
            self._check_room(at + size, size)
        self.top = at + size
        return at

    def put_text(self, value: Any) -> tuple[int, int]:
        data = value.encode() if type(value) is str else as_utf8(value)
        size = len(data)
        if size >= IN_PLACE_BYTES and self._knows_plugin():
            return self._stage(data, size), size
        at = self.allocate(size, 1 if size < 1024 else 64)
        self.view[at : at + size] = data
        return at, size

    def put_blob(self, value: Any) -> tuple[int, int]:
        data = value if type(value) is bytes else as_bytes(value)
        size = len(data)
        if size >= IN_PLACE_BYTES and self._knows_plugin():
            return self._stage(data, size), size
        at = self.allocate(size, 8 if size < 1024 else 64)
        self.view[at : at + size] = data
        return at, size

    def put_numbers(self, value: Any, dtype: np.dtype[Any]) -> tuple[int, int]:
        if type(value) is not np.ndarray or value.dtype != dtype or value.ndim != 1 or not value.flags.c_contiguous:
            value = as_numbers(value, dtype)
        size = value.nbytes
        if size >= IN_PLACE_BYTES and self._knows_plugin():
            return self._stage(value.view(np.uint8), size), len(value)
        at = self.allocate(size, 8 if size < 1024 else 64)
        self.array[at : at + size] = value.view(np.uint8)
        return at, len(value)

    # Handles of the host's objects.

    def get(self, number: int) -> Any:
        try:
            return self.table.get(number)
        except KeyError:
            raise BrokenAddress(f"the handle {number} is not one of the host's") from None

    def take(self, number: int) -> Any:
        try:
            return self.table.take(number)
        except KeyError:
            raise BrokenAddress(f"the handle {number} is not one of the host's") from None

    def give(self, thing: Any) -> int:
        self.has_extras = True
        number = self.table.put(thing)
        self.given.append(number)
        return number

    def lend(self, thing: Any) -> int:
        self.has_extras = True
        number = self.table.put(thing, lent=True)
        self.given.append(number)
        return number

    # Handles of the plugin's own resources.

    def guest(self, handle: int, name: str, type_index: int) -> GuestResource:
        return GuestResource(self.owner, name, type_index, handle)

    def lend_guest(self, resource: Any, type_index: int) -> int:
        return self.passing.lend(self._own(resource, type_index))

    def give_guest(self, resource: Any, type_index: int) -> int:
        return self.passing.give(self._own(resource, type_index))

    def _own(self, resource: Any, type_index: int) -> GuestResource:
        """Return a resource if it is one of this type and of this instance."""
        if not isinstance(resource, GuestResource) or resource.type_index != type_index:
            raise ValueTypeError(f"a {type(resource).__name__} is no such resource of the plugin")
        if resource.owner is not self.owner:
            raise ValueTypeError(f"{resource!r} belongs to another instance")
        self.has_extras = True
        return resource

    # Side effects of writing one value.

    def begin(self, size: int) -> None:
        """Begin to write a value whose fixed part takes `size` bytes at `HOST_HALF_AT`."""
        self.top = HOST_HALF_AT + size
        if self.has_extras:
            self.staged_bytes = 0
            self.given.clear()
            self.sources.clear()
            self.passing.begin()
            self.has_extras = False

    def undo(self) -> None:
        """Remove the handles that an incomplete value has put into the table."""
        for number in self.given:
            self.table.take(number)
