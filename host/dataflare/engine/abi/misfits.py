"""The errors for values that do not fit the types of the function to which they are given."""

from __future__ import annotations

from struct import error as StructError
from typing import Any

from dataflare.engine.abi.convert import MISFITS
from dataflare.engine.abi.explain import explain
from dataflare.engine.abi.types import FuncT
from dataflare.errors import ValueTypeError

__all__ = ["misfit_of_argument", "misfit_of_result"]


def misfit_of_argument(
    error: BaseException, function: str, func: FuncT, values: tuple[Any, ...]
) -> ValueTypeError | None:
    """Say which argument of an export does not fit.

    Args:
        error: What writing the arguments raised.
        function: The export's name.
        func: Its type.
        values: The arguments.

    Returns:
        The error for the first part that does not fit; `None` if something else is wrong.
    """
    if not isinstance(error, (StructError, *MISFITS)):
        return None
    for (name, ty), value in zip(func.params, values, strict=True):
        if (found := explain(ty, value, name)) is not None:
            return found
    if isinstance(error, ValueTypeError):
        return None
    return ValueTypeError(f"{function}: an argument does not fit: {error}")


def misfit_of_result(error: BaseException, function: str, func: FuncT, value: Any) -> ValueTypeError | None:
    """Say which part of a host function's result does not fit; `None` if something else is wrong.

    Args:
        error: What writing the result raised.
        function: The host function's name, with its interface.
        func: Its type.
        value: The result.
    """
    if func.result is None or not isinstance(error, (StructError, *MISFITS)):
        return None
    found = explain(func.result, value, "result")
    return found and ValueTypeError(f"the host function {function} returned what does not fit: {found.message}")
