"""Host functions, ready to be called from wasm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflare.engine.bridges.call_table import Link
from dataflare.errors import ConfigError
from dataflare.texts import cut_name

__all__ = ["HostFunction", "bind"]


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A host function, ready to be called from wasm.

    `views`: it takes arrays as views of the plugin's memory, valid only during the call (attribute `takes_views`).
    `raw_text`: it takes texts as UTF-8 bytes (attribute `text_as_bytes`).
    """

    call: Callable[..., Any]
    views: bool
    raw_text: bool


def bind(
    imports: list[Link], host: Mapping[str, Mapping[str, Callable[..., Any]]], *, component: str
) -> list[HostFunction]:
    """Find the host function for each import.

    Args:
        imports: What the component imports, by number.
        host: The available functions, by interface and by name in the WIT.
        component: The component's name, for errors.

    Raises:
        ConfigError: A function is missing.
    """
    bound = []
    for link in imports:
        function = host.get(link.interface, {}).get(link.name)
        if function is None:
            raise ConfigError(
                f"{component} imports {cut_name(link.full_name)}, which the host does not provide",
                hint="grant the capability, or give the function",
            )
        views = bool(getattr(function, "takes_views", False))
        bound.append(HostFunction(function, views, bool(getattr(function, "text_as_bytes", False))))
    return bound
