"""Functions of numbers: arithmetic, bits, rounding, angles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow.compute as pc

from dataflare.data.expressions.function import Function, Option, arrow, choice, integer, signatures
from dataflare.data.expressions.types import DATE, DURATION, INTEGER, NUMBER, NUMERIC, TIMESTAMP

__all__ = ["FUNCTIONS"]

_ONE: Final = signatures((NUMERIC,))
_ONE_NUMBER: Final = signatures((NUMBER,))
_TWO_NUMBERS: Final = signatures((NUMBER, NUMBER))
_TWO_INTEGERS: Final = signatures((INTEGER, INTEGER))
_SUM: Final = signatures((NUMERIC, NUMERIC), (TIMESTAMP, DURATION), (DURATION, TIMESTAMP), (DURATION, DURATION))
_DIFFERENCE: Final = signatures(
    (NUMERIC, NUMERIC), (TIMESTAMP, TIMESTAMP), (TIMESTAMP, DURATION), (DURATION, DURATION), (DATE, DATE)
)
_PRODUCT: Final = signatures((NUMERIC, NUMERIC), (DURATION, INTEGER), (INTEGER, DURATION))
_QUOTIENT: Final = signatures((NUMERIC, NUMERIC), (DURATION, INTEGER))
_OVERFLOW: Final = "the result does not fit its type"
_ZERO: Final = "an integer or a decimal is divided by 0"
_FAILS: Final = {"divide": _ZERO, "power": "an integer has a negative power"}
_DOMAIN: Final = "the argument is outside the function's domain"

_MODES: Final = (
    "down",
    "up",
    "towards_zero",
    "towards_infinity",
    "half_down",
    "half_up",
    "half_towards_zero",
    "half_towards_infinity",
    "half_to_even",
    "half_to_odd",
)
_MODE: Final = choice("mode", "how ties and rests are rounded", *_MODES, default="half_to_even")
_DIGITS: Final = integer("ndigits", "digits after the point; negative ones before it", -30, 30, default=0)


def _pair(
    name: str, says: str, forms: Any, example: tuple[tuple[Any, ...], Any], unchecked: str, checked: str
) -> list[Function]:
    """Declare two forms of a function: one that wraps around or gives NaN, and one that fails."""
    return [
        arrow(name, f"{says}; {unchecked}", forms, example, errors=_FAILS.get(name, "")),
        arrow(f"{name}_checked", f"{says}; fails where {checked}", forms, example, errors=checked),
    ]


def _round(options: Mapping[str, Any]) -> pc.RoundOptions:
    return pc.RoundOptions(options["ndigits"], options["mode"])


def _multiple_option() -> Option:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
            raise ValueError("a number above 0 and below 2^53")
        return value

    return Option(name="multiple", says="what results are multiples of", read=read, default=1.0)


_WRAPS: Final = "integers wrap around"
FUNCTIONS: Final[tuple[Function, ...]] = (
    *_pair("add", "`x + y`", _SUM, ((2, 3), 5), _WRAPS, _OVERFLOW),
    *_pair("subtract", "`x - y`", _DIFFERENCE, ((2, 3), -1), _WRAPS, _OVERFLOW),
    *_pair("multiply", "`x * y`", _PRODUCT, ((2, 3), 6), _WRAPS, _OVERFLOW),
    *_pair(
        "divide",
        "`x / y`; integers are cut towards 0",
        _QUOTIENT,
        ((7, 2), 3),
        "a float divided by 0 is infinite",
        f"{_OVERFLOW}, or y is 0",
    ),
    arrow(
        "modulo",
        "The rest of `x / y`, with the sign of y",
        _TWO_NUMBERS,
        ((-7, 3), 2),
        errors="an integer is divided by 0",
    ),
    arrow(
        "remainder",
        "The rest of `x / y`, with the sign of x",
        _TWO_NUMBERS,
        ((-7, 3), -1),
        errors="an integer is divided by 0",
    ),
    *_pair("power", "`x` to the power of `y`", _TWO_NUMBERS, ((2, 10), 1024), _WRAPS, _OVERFLOW),
    *_pair("negate", "`-x`", signatures((NUMERIC,), (DURATION,)), ((5,), -5), _WRAPS, _OVERFLOW),
    *_pair("abs", "The distance from 0", signatures((NUMERIC,), (DURATION,)), ((-5,), 5), _WRAPS, _OVERFLOW),
    arrow("sign", "-1, 0 or 1", _ONE, ((-2.5,), -1.0)),
    *_pair("sqrt", "The square root", _ONE_NUMBER, ((9.0,), 3.0), "NaN below 0", _DOMAIN),
    arrow("exp", "e to the power of `x`", _ONE_NUMBER, ((0.0,), 1.0)),
    arrow("expm1", "e to the power of `x`, minus 1; exact near 0", _ONE_NUMBER, ((0.0,), 0.0)),
    *_pair("ln", "The natural logarithm", _ONE_NUMBER, ((1.0,), 0.0), "NaN below 0", _DOMAIN),
    *_pair("log10", "The logarithm to base 10", _ONE_NUMBER, ((100.0,), 2.0), "NaN below 0", _DOMAIN),
    *_pair("log2", "The logarithm to base 2", _ONE_NUMBER, ((8.0,), 3.0), "NaN below 0", _DOMAIN),
    *_pair("log1p", "The natural logarithm of `1 + x`", _ONE_NUMBER, ((0.0,), 0.0), "NaN below -1", _DOMAIN),
    *_pair("logb", "The logarithm of `x` to base `y`", _TWO_NUMBERS, ((8.0, 2.0), 3.0), "NaN below 0", _DOMAIN),
    arrow("bit_wise_and", "The bits that both have", _TWO_INTEGERS, ((6, 3), 2)),
    arrow("bit_wise_or", "The bits that one of them has", _TWO_INTEGERS, ((6, 3), 7)),
    arrow("bit_wise_xor", "The bits that exactly one of them has", _TWO_INTEGERS, ((6, 3), 5)),
    arrow("bit_wise_not", "The bits that it has not", signatures((INTEGER,)), ((5,), -6)),
    *_pair("shift_left", "`x * 2^y`", _TWO_INTEGERS, ((1, 4), 16), "x where y is out of range", "y is out of range"),
    *_pair("shift_right", "`x / 2^y`", _TWO_INTEGERS, ((16, 4), 1), "x where y is out of range", "y is out of range"),
    arrow("ceil", "The next integer above", _ONE, ((1.2,), 2.0), errors=_OVERFLOW),
    arrow("floor", "The next integer below", _ONE, ((-1.2,), -2.0), errors=_OVERFLOW),
    arrow("trunc", "The integer towards 0", _ONE, ((-1.8,), -1.0), errors=_OVERFLOW),
    arrow(
        "round",
        "Rounded to a number of digits",
        _ONE,
        ((2.675,), 2.7),
        make=_round,
        given={"ndigits": 1},
        options=(_DIGITS, _MODE),
        errors=_OVERFLOW,
    ),
    arrow(
        "round_to_multiple",
        "Rounded to a multiple of a number",
        signatures((NUMBER,)),
        ((7.0,), 5.0),
        make=lambda options: pc.RoundToMultipleOptions(options["multiple"], options["mode"]),
        given={"multiple": 5.0},
        options=(_multiple_option(), _MODE),
        errors=_OVERFLOW,
    ),
    *_pair("sin", "The sine of radians", _ONE_NUMBER, ((0.0,), 0.0), "NaN for infinity", _DOMAIN),
    *_pair("cos", "The cosine of radians", _ONE_NUMBER, ((0.0,), 1.0), "NaN for infinity", _DOMAIN),
    *_pair("tan", "The tangent of radians", _ONE_NUMBER, ((0.0,), 0.0), "NaN for infinity", _DOMAIN),
    *_pair("asin", "The angle of a sine, in radians", _ONE_NUMBER, ((0.0,), 0.0), "NaN beyond 1", _DOMAIN),
    *_pair("acos", "The angle of a cosine, in radians", _ONE_NUMBER, ((1.0,), 0.0), "NaN beyond 1", _DOMAIN),
    arrow("atan", "The angle of a tangent, in radians", _ONE_NUMBER, ((0.0,), 0.0)),
    arrow("atan2", "The angle of the point (y, x), in radians", _TWO_NUMBERS, ((0.0, 1.0), 0.0)),
    arrow("sinh", "The hyperbolic sine", _ONE_NUMBER, ((0.0,), 0.0)),
    arrow("cosh", "The hyperbolic cosine", _ONE_NUMBER, ((0.0,), 1.0)),
    arrow("tanh", "The hyperbolic tangent", _ONE_NUMBER, ((0.0,), 0.0)),
)
