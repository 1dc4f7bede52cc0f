"""Calls of other plugins of the pipeline that the operator granted; `plugin.yaml` lists `plugins` under `needs`."""

from __future__ import annotations

from dataflare_plugin import errors
from dataflare_plugin.batch import Batch
from dataflare_plugin.bindings import interface
from dataflare_plugin.errors import host_call

__all__ = ["CallError", "Denied", "Failed", "Faulted", "NotFound", "TooDeep", "call"]

_plugins = interface("plugins")


class CallError(errors.PluginError):
    """A call failed; the text says why. This class itself: for another reason than those below."""


class Denied(CallError, errors.Denied):
    """The operator did not grant calls of this plugin."""


class NotFound(CallError, errors.InvalidConfig):
    """The pipeline does not have this plugin."""


class TooDeep(CallError):
    """The call would close a cycle, or go deeper than the operator allows."""


class Failed(CallError):
    """The other plugin returned an error; the text is its message."""


class Faulted(CallError, errors.Unavailable):
    """The other plugin trapped, or exceeded a limit; a retry can help."""


_call = host_call({each.__name__: each for each in (Denied, NotFound, TooDeep, Failed, Faulted)}, CallError)


def call(plugin: str, batch: Batch) -> Batch:
    """Pass a batch to a processor or a transformer, and return its result. The handle is given away with it.

    Raises:
        CallError: It was not granted, or the other plugin failed.
    """
    return Batch(_call(_plugins.call, plugin, batch.raw))
