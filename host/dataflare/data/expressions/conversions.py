"""Functions on types: convert to a type, and name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from dataflare.data.casts import cast
from dataflare.data.expressions.function import NEVER_NULL, SLOW, Function, Option, as_array, own, signatures, text
from dataflare.data.expressions.types import ANY
from dataflare.data.guard.costs import expanded_bytes, row_bytes
from dataflare.data.schemas import SchemaError, parse_type
from dataflare.data.shapes import malformed

__all__ = ["FUNCTIONS"]

_CAST_BYTES: Final = 512 * 2**20


def _cast(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    value = arguments[0]
    scalar = isinstance(value, pa.Scalar)
    array = pa.array([value.as_py()], value.type) if scalar else value
    result = cast(array, _target(options), "", _CAST_BYTES, function="cast")
    return result[0] if scalar else result


def _converted(arguments: Sequence[Any], options: Mapping[str, Any], rows: int) -> float:
    array = as_array(arguments[0])
    return float(expanded_bytes(array)) + float(len(array)) * row_bytes(_target(options))


def _target(options: Mapping[str, Any]) -> pa.DataType:
    try:
        return parse_type(options["type"])
    except SchemaError as error:
        raise malformed(f"cast: {error.message}") from None


def _type_option() -> Option:
    return text("type", "the Arrow type, in the notation of `schemas.field.type-name`", 1000, required=True, least=1)


FUNCTIONS: Final[tuple[Function, ...]] = (
    own(
        "cast",
        "Converted to another type, as `batch.cast-column` does",
        signatures((ANY,)),
        (("2",), 2),
        _cast,
        given={"type": "int64"},
        options=(_type_option(),),
        errors="a value does not fit the type, or there is no such conversion",
        rows=SLOW * 4,
        growth=_converted,
    ),
    own(
        "type_name",
        "The type of the argument, in the notation of `schemas.field.type-name`",
        signatures((ANY,)),
        ((2,), "int64"),
        lambda arguments, _: pa.scalar(str(arguments[0].type)),
        nulls=NEVER_NULL,
        growth=lambda arguments, _, rows: float(rows) * (8 + len(str(arguments[0].type))),
    ),
)
