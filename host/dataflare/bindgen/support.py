"""The base of the code that `dataflare bindgen` writes.

Import from here what you need in addition to the generated types: `ResultError`, `Ok`, `Err`, `Some`, `drop` and the
types of arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import dataflare.value_types as value_types  # pyright takes `from dataflare import` for the `__all__` of dataflare
from dataflare.bindgen import abi
from dataflare.bindgen.abi import *  # noqa: F403  # what each of the two defines, its own `__all__` says
from dataflare.bindgen.implementations import host_resource
from dataflare.bindgen.world import ComponentSource, World, WorldOptions
from dataflare.engine.abi.handles import GuestResource
from dataflare.errors import PluginError
from dataflare.texts import cut
from dataflare.value_types import *  # noqa: F403
from dataflare.value_types import Ok

__all__ = [
    "Call",
    "ComponentSource",
    "HostObject",
    "Resource",
    "ResultError",
    "World",
    "WorldOptions",
    "drop",
    "host_resource",
    "value_of",
]
__all__ += abi.__all__
__all__ += value_types.__all__

E = TypeVar("E")

HostObject: TypeAlias = Any
"""An object of one of the host's own interfaces, such as a batch."""

Call: TypeAlias = Callable[..., Any]
"""Calls an export, given its interface, its name in the WIT, and its arguments."""


class ResultError(PluginError, Generic[E]):
    """The error case of a WIT `result`. Generated code has a subclass for each type of error.

    A call of a component raises it. Raise it in your own implementation of an import to return an error.

    Args:
        error: The value of the error; `None` if the `result` has none.
    """

    error: E

    def __init__(self, error: E) -> None:
        super(PluginError, self).__init__(cut(f"{error!r}"))
        self.plugin = self.export = ""
        self.error = error
        self.retryable = False
        self.retry_after_ms = None


def value_of(result: Any, exception: type[ResultError[Any]]) -> Any:
    """Return the value of a `result`.

    Raises:
        ResultError: The result is the error case; the error has the class `exception`.
    """
    if type(result) is Ok:
        return result.value
    raise exception(result.error)


class Resource:
    """A handle to a resource that a component made. As a context manager, it drops the resource at the end.

    Closing the world drops all remaining resources.
    """

    __slots__ = ("_call", "_drop", "_resource")

    def __init__(self, resource: GuestResource) -> None:
        self._resource = resource
        instance = resource.owner.embedder()  # type: ignore[attr-defined]  # the instance that made it
        self._call: Call = instance.call
        self._drop: Callable[[GuestResource], None] = instance.drop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        drop(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._resource!r})"


def drop(resource: Resource) -> None:
    """Drop a resource; the component's destructor runs. A second time does nothing.

    Raises:
        PluginFault: The component did not survive its destructor.
    """
    resource._drop(resource._resource)
