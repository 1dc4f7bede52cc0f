"""What DataFlare plugins in Python have in common, apart from the bindings of their world."""

from __future__ import annotations

import functools
import json
import traceback
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from componentize_py_types import Err
from wit_world.imports import batches, types

DATA_ERRORS = get_args(batches.DataError)
Function = TypeVar("Function", bound=Callable[..., Any])


def guarded(export: Function) -> Function:
    """Answer an error of a batch with `data`, and any other exception with `internal`.

    One that leaves an export would trap, and take the instance with it.
    """

    @functools.wraps(export)
    def call(*arguments: Any) -> Any:
        try:
            return export(*arguments)
        except Err as exc:
            if isinstance(exc.value, DATA_ERRORS):
                raise Err(types.Error_Data(exc.value)) from None
            raise
        except Exception:
            raise Err(types.Error_Internal(traceback.format_exc())) from None

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
    """The answer of a plugin that has nothing to say."""
    return types.Health(types.HealthStatus.HEALTHY, "")
