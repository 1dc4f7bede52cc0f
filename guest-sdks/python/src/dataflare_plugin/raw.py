"""For plugins that export classes of their own for the interfaces of their world, such as `Lifecycle` and `Source`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

from dataflare_plugin.bindings import Err, types
from dataflare_plugin.errors import as_wit

__all__ = ["guarded", "healthy", "parse_object"]

Function = TypeVar("Function", bound=Callable[..., Any])


def guarded(export: Function) -> Function:
    """Answer an error of a batch with `data`, and any other exception with `internal`.

    An exception that leaves an export would trap, and end the instance.
    """

    @functools.wraps(export)
    def call(*arguments: Any) -> Any:
        try:
            return export(*arguments)
        except Exception as error:
            raise as_wit(error) from None

    return call  # type: ignore[return-value]  # the same signature, which wraps() cannot say


def parse_object(config: str) -> dict[str, Any]:
    """The configuration as a dictionary, or `invalid-config`."""
    try:
        value = json.loads(config)
    except ValueError as exc:
        raise Err(types.Error_InvalidConfig(f"the configuration is not JSON: {exc}")) from None
    if not isinstance(value, dict):
        raise Err(types.Error_InvalidConfig("the configuration is not a JSON object"))
    return value


def healthy() -> types.Health:
    """The answer of a plugin that has no problem."""
    return types.Health(types.HealthStatus.HEALTHY, "")
