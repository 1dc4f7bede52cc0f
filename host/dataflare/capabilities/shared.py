"""`dataflare:host/shared`: batches that the plugins of one pipeline share by name."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from dataflare.budgets import Charge, HostBudget, current
from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.data.batches import MAX_BATCH_BYTES, Batch
from dataflare.data.charges import BatchMemory
from dataflare.errors import ConfigError
from dataflare.grants import Grants
from dataflare.locks import Lock

__all__ = ["MemorySharedStore", "SharedLimits", "SharedStore", "imports", "provide"]

_MAX_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLimits:
    """The limit of one pipeline's shared batches.

    Args:
        total_bytes: All shared batches together, in bytes. Each batch counts separately, with the whole buffers that it
            keeps alive, even if it uses only a part of them.

    Raises:
        ConfigError: The value is not in 1 to 2**32 - 1.
    """

    total_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if not 1 <= self.total_bytes <= _MAX_U32:
            raise ConfigError(f"{self.total_bytes!r} is not in 1 to 2**32 - 1", where="shared.total_bytes")


class SharedStore(Protocol):
    """Named batches of one pipeline.

    Each call is atomic, any thread may make it, and it raises `CapabilityFailure` with a case of `shared-error`.
    """

    def get(self, name: str) -> pa.RecordBatch | None:
        """Return the batch with a name; `None` if there is none."""

    def put(self, name: str, data: pa.RecordBatch) -> None:
        """Store a batch under a name; replaces an existing one."""

    def close(self) -> None:
        """Release the batches; idempotent."""


class MemorySharedStore:
    """Batches in the host's memory, while the pipeline runs. Nothing is copied, since batches never change."""

    def __init__(self, *, limits: SharedLimits | None = None) -> None:
        self._limits = limits or SharedLimits()
        self._lock = Lock()
        self._batches: dict[str, tuple[pa.RecordBatch, int]] = {}
        self._used = 0

    @property
    def used_bytes(self) -> int:
        """Current size of the shared batches in bytes."""
        return self._used

    def get(self, name: str) -> pa.RecordBatch | None:
        with self._lock:
            found = self._batches.get(name)
        return None if found is None else found[0]

    def put(self, name: str, data: pa.RecordBatch) -> None:
        size = _size(data)
        with self._lock:
            _, old = self._batches.get(name, (None, 0))
            used = self._used - old + size
            if used > self._limits.total_bytes:
                raise CapabilityFailure("quota-exceeded", self._limits.total_bytes)
            self._batches[name] = (data, size)
            self._used = used

    def close(self) -> None:
        with self._lock:
            self._batches.clear()
            self._used = 0


def imports(
    store: SharedStore, granted: Mapping[str, str], *, max_batch_bytes: int = MAX_BATCH_BYTES
) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT.

    Args:
        store: The pipeline's batches.
        granted: The access by name: `"read"`, or `"write"` for reading and writing.
        max_batch_bytes: Limit in bytes of a batch that is made from a shared one.
    """
    # Charged once for each batch that an instance holds, even if it gets it several times or the store replaces it.
    charges: weakref.WeakValueDictionary[tuple[HostBudget, int], Charge] = weakref.WeakValueDictionary()

    def memory_of(arrow: pa.RecordBatch) -> BatchMemory:
        key = (current(), id(arrow))
        charge = charges.get(key)
        if charge is None:
            charges[key] = charge = Charge(key[0], int(arrow.get_total_buffer_size()), keeps=arrow)
        return BatchMemory.of(arrow, charge)

    def get(name: str) -> Batch | None:
        if name not in granted:
            raise CapabilityFailure("denied", f"reading {name[:64]!r} is not granted")
        found = store.get(name)
        if found is None:
            return None
        # A new object each time: the views that a plugin makes are freed with its handle.
        return Batch(found, max_bytes=max_batch_bytes, memory=memory_of(found))

    def put(name: str, data: Batch) -> None:
        if granted.get(name) != "write":
            raise CapabilityFailure("denied", f"writing {name[:64]!r} is not granted")
        store.put(name, data.arrow)

    return {"get": returns_result(get), "put": returns_result(put)}


def _size(data: pa.RecordBatch) -> int:
    return int(data.get_total_buffer_size()) + int(data.schema.serialize().size)


class _Context(Protocol):
    @property
    def shared(self) -> SharedStore: ...
    @property
    def grants(self) -> Grants: ...
    @property
    def max_batch_bytes(self) -> int: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(context.shared, context.grants.shared, max_batch_bytes=context.max_batch_bytes)
