"""Secrets that the operator granted by name; `plugin.yaml` lists `secrets` under `needs`.

Prefer `http`, whose host can add a secret to a request, so that the plugin never holds it.
"""

from __future__ import annotations

from dataflare_plugin import errors
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = ["NotGranted", "SecretError", "Unavailable", "get"]

_secrets = interface("secrets")


class SecretError(errors.PluginError):
    """A call failed; the text says why. This class itself: for another reason than those below."""


class NotGranted(SecretError, errors.Denied):
    """The operator did not grant a secret of this name, or it does not exist."""


class Unavailable(SecretError, errors.Unavailable):
    """The store cannot be reached now; a retry can help."""


_call = host_call({each.__name__: each for each in (NotGranted, Unavailable)}, SecretError)


def get(name: str) -> str:
    """The value of a secret now. Ask again instead of keeping it: it may be rotated.

    Raises:
        SecretError: It was not granted, or the store cannot be reached.
    """
    return str(_call(_secrets.get, name))
