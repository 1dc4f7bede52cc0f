"""Messages between the host and a worker: plain values first, then values of WIT types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
import pyarrow as pa

from dataflare.budgets import current
from dataflare.engine.abi.types import Resource, Type
from dataflare.runtime.isolation.typed_values import Handles, Reader, Writer
from dataflare.runtime.isolation.wire import BrokenWire, Wire

__all__ = ["Channel", "Message", "Packed"]

_VALUE_BYTES: Final = ((b",", 80), (b"[", 80), (b"{", 256))
"""The characters that begin a value in JSON, and the bytes of Python's smallest object."""

Typed: TypeAlias = Sequence[tuple[Type | None, Any]]


@dataclass(frozen=True, slots=True)
class Packed:
    """A message that can be sent. `values_bytes`: the size of its texts, lists and numbers."""

    text: bytes
    parts: list[memoryview]
    values_bytes: int


@dataclass(frozen=True, slots=True)
class Message:
    """A received message: its plain values, its typed values, and the bytes beside it."""

    plain: list[Any]
    typed: list[Any]
    beside: pa.Buffer


class Channel:
    """One end of a wire; one thread at a time.

    Args:
        wire: The wire that it uses.
        handles: The objects that stay on one side.
        resources: The resources of the component's type.
        max_batch_bytes: The largest size of a received batch, in bytes.
        charged: Whether received batches are charged to the current budget.
    """

    def __init__(
        self,
        wire: Wire,
        handles: Handles,
        resources: Sequence[Resource],
        *,
        max_batch_bytes: int,
        charged: bool = False,
    ) -> None:
        self._wire = wire
        self._handles = handles
        self._resources = resources
        self._max_batch_bytes = max_batch_bytes
        self._charged = charged

    def close(self) -> None:
        """Close this end; idempotent."""
        self._wire.close()

    def pack(self, *plain: Any, typed: Typed = ()) -> Packed:
        """Write a message.

        Raises:
            TypeError, ValueError, OverflowError, AttributeError, KeyError: A value does not fit its type.
        """
        writer = Writer(self._resources, self._handles)
        values = [writer.write(ty, value) for ty, value in typed]
        return Packed(orjson.dumps([plain, values]), writer.parts, writer.values_bytes)

    def send(self, packed: Packed, *, deadline: float = math.inf) -> None:
        """Send a message; raises the errors of `Wire.send`."""
        self._wire.send(packed.text, packed.parts, deadline=deadline)

    def receive(self, *, deadline: float = math.inf) -> Message:
        """Wait for a message; raises the errors of `Wire.receive`."""
        text, beside = self._wire.receive(deadline=deadline)
        # Two characters may become an object of many bytes.
        current().require(sum(size * text.count(begin) for begin, size in _VALUE_BYTES))
        try:
            message = orjson.loads(text)
        except ValueError as error:
            raise BrokenWire("a text that is not JSON") from error
        match message:
            case [list(plain), list(typed)]:
                return Message(plain, typed, beside)
        raise BrokenWire("a text that is not a message")

    def read(self, message: Message, types: Sequence[Type | None], *, raw_text: bool = False) -> tuple[list[Any], int]:
        """Decode the typed values of a message.

        Returns:
            The values, and the size of their texts, lists and numbers in bytes.

        Raises:
            BrokenWire: They do not have these types.
        """
        if len(message.typed) != len(types):
            raise BrokenWire(f"{len(message.typed)} values in place of {len(types)}")
        reader = Reader(
            self._resources,
            self._handles,
            message.beside,
            max_batch_bytes=self._max_batch_bytes,
            charged=self._charged,
            raw_text=raw_text,
        )
        values = [reader.read(ty, value) for ty, value in zip(types, message.typed, strict=True)]
        return values, reader.values_bytes
