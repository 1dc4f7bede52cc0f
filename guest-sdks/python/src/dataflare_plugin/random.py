"""Random bytes; `plugin.yaml` lists `random` under `needs`."""

from __future__ import annotations

from dataflare_plugin.bindings import interface

__all__ = ["get_random_bytes"]

_random = interface("random")


def get_random_bytes(length: int) -> bytes:
    """Return so many random bytes, at most 65,536.

    Nobody can predict them, unless the operator asked for runs that repeat: then they follow from a seed.
    """
    return bytes(_random.get_random_bytes(length))
