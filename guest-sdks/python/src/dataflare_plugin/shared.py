"""Batches that the plugins of one pipeline share by name; `plugin.yaml` lists `shared` under `needs`."""

from __future__ import annotations

from dataflare_plugin import errors
from dataflare_plugin.batch import Batch
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = ["Denied", "QuotaExceeded", "SharedError", "get", "put"]

_shared = interface("shared")


class SharedError(errors.PluginError):
    """A call failed; the text says why. This class itself: for another reason than those below."""


class Denied(SharedError, errors.Denied):
    """The operator did not grant reading or writing this name."""


class QuotaExceeded(SharedError, errors.Denied):
    """The shared batches would take more than the operator's limit."""


def _exceeded(limit_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(f"the shared batches would take more than {limit_bytes} bytes, the operator's limit")


_call = host_call({"Denied": Denied, "QuotaExceeded": _exceeded}, SharedError)


def get(name: str) -> Batch | None:
    """The batch of a name; `None` if there is none yet.

    Raises:
        SharedError: Reading it was not granted.
    """
    found = _call(_shared.get, name)
    return None if found is None else Batch(found)


def put(name: str, batch: Batch) -> None:
    """Share a batch under a name, in place of the one that has it. The handle is given away with it.

    Raises:
        SharedError: Writing it was not granted, or it is too large.
    """
    _call(_shared.put, name, batch.raw)
