"""Functions on values of any type: comparisons, logic, nulls, conditions, membership."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.casts import convert
from dataflare.data.expressions.function import NEVER_NULL, SPECIAL, Function, arrow, flag, own, signatures
from dataflare.data.expressions.types import ANY, BOOLEAN, COMPARABLE, INTEGER, NUMBER, NUMERIC, one_of

__all__ = ["FUNCTIONS"]

_SAME: Final = tuple(each for kind in COMPARABLE for each in signatures((kind, kind)))
_ORDERED_MANY: Final = tuple(
    each for kind in COMPARABLE if kind is not BOOLEAN for each in signatures((kind,), variadic=True)
)
_SAME_MANY: Final = tuple(each for kind in COMPARABLE for each in signatures((kind,), variadic=True))
_TWO: Final = signatures((BOOLEAN, BOOLEAN))
_KLEENE: Final = "null only where the other argument does not decide"
_SKIP: Final = flag("skip_nulls", "leave nulls out; else the result is null where one is", default=True)
_NAN: Final = flag("nan_is_null", "take NaN for null too", default=False)


def _elementwise(options: Mapping[str, Any]) -> pc.ElementWiseAggregateOptions:
    return pc.ElementWiseAggregateOptions(skip_nulls=options["skip_nulls"])


def _between(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    value, low, high = arguments
    return pc.and_kleene(pc.greater_equal(value, low), pc.less_equal(value, high))


def _null_if(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    value, unwanted = arguments
    same = pc.fill_null(pc.equal(value, unwanted), False)
    return pc.if_else(same, pa.scalar(None, value.type), value)


def _members(arguments: Sequence[Any]) -> pa.Array:
    """Return the literals after the first argument, as values of its type."""
    value = arguments[0]
    literals = (convert(pa.array([each.as_py()], each.type), value.type) for each in arguments[1:])
    return pa.array([each[0].as_py() for each in literals], value.type)


def _is_in(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    # Not the default of `pc.is_in`, by which null is in a set that has null.
    return pc.is_in(arguments[0], options=pc.SetLookupOptions(_members(arguments), skip_nulls=True))


def _index_in(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    return pc.index_in(arguments[0], options=pc.SetLookupOptions(_members(arguments), skip_nulls=True))


def _choose(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    # Arrow's own function treats values of several types as one type.
    place, values = arguments[0], arguments[1:]
    if len({each.type for each in values}) > 1:
        raise ValueError("the values are not all of one type: cast them before")
    if pc.any(pc.or_(pc.less(place, 0), pc.greater_equal(place, len(values)))).as_py():
        raise ValueError(f"a number is not from 0 to {len(values) - 1}")
    result = pa.scalar(None, values[0].type)
    for at, value in enumerate(values):
        result = pc.if_else(pc.fill_null(pc.equal(place, at), False), value, result)
    return result


def _case_when(arguments: Sequence[Any], _: Mapping[str, Any]) -> Any:
    """Choose the value after the first condition that holds; the last argument is the default."""
    if len(arguments) % 2 == 0:
        raise ValueError("takes conditions and values in turn, and a value at the end for what else")
    result = arguments[-1]
    for at in range(len(arguments) - 3, -1, -2):
        result = pc.if_else(pc.fill_null(arguments[at], False), arguments[at + 1], result)
    return result


_CASES: Final = tuple(
    form for kind in COMPARABLE for count in range(1, 9) for form in signatures((*((BOOLEAN, kind) * count), kind))
)

FUNCTIONS: Final[tuple[Function, ...]] = (
    arrow("equal", "Whether `x = y`", _SAME, ((2, 2), True)),
    arrow("not_equal", "Whether `x` differs from `y`", _SAME, ((2, 2), False)),
    arrow("less", "Whether `x < y`", _SAME, ((2, 3), True)),
    arrow("less_equal", "Whether `x <= y`", _SAME, ((2, 2), True)),
    arrow("greater", "Whether `x > y`", _SAME, ((2, 3), False)),
    arrow("greater_equal", "Whether `x >= y`", _SAME, ((2, 2), True)),
    own(
        "between",
        "Whether `low <= x <= high`",
        tuple(each for kind in COMPARABLE for each in signatures((kind, kind, kind))),
        ((2, 1, 3), True),
        _between,
        nulls=_KLEENE,
    ),
    arrow(
        "max_element_wise",
        "The greatest of the arguments",
        _ORDERED_MANY,
        ((2, 3), 3),
        make=_elementwise,
        options=(_SKIP,),
        nulls="null where all are; see `skip_nulls`",
    ),
    arrow(
        "min_element_wise",
        "The least of the arguments",
        _ORDERED_MANY,
        ((2, 3), 2),
        make=_elementwise,
        options=(_SKIP,),
        nulls="null where all are; see `skip_nulls`",
    ),
    arrow("and", "Whether both hold", _TWO, ((True, False), False)),
    arrow("and_kleene", "Whether both hold", _TWO, ((None, False), False), nulls=_KLEENE),
    arrow("and_not", "Whether the first holds and the second does not", _TWO, ((True, False), True)),
    arrow(
        "and_not_kleene", "Whether the first holds and the second does not", _TWO, ((True, False), True), nulls=_KLEENE
    ),
    arrow("or", "Whether one holds", _TWO, ((True, False), True)),
    arrow("or_kleene", "Whether one holds", _TWO, ((None, True), True), nulls=_KLEENE),
    arrow("xor", "Whether exactly one holds", _TWO, ((True, True), False)),
    arrow("invert", "Whether it does not hold", signatures((BOOLEAN,)), ((True,), False)),
    arrow(
        "is_null",
        "Whether it is null",
        signatures((ANY,)),
        ((None,), True),
        make=lambda options: pc.NullOptions(nan_is_null=options["nan_is_null"]),
        options=(_NAN,),
        nulls=NEVER_NULL,
    ),
    arrow("is_valid", "Whether it is not null", signatures((ANY,)), ((2,), True), nulls=NEVER_NULL),
    arrow("is_nan", "Whether it is NaN", signatures((NUMBER,)), ((float("nan"),), True)),
    arrow("is_finite", "Whether it is neither NaN nor infinite", signatures((NUMERIC,)), ((1.5,), True)),
    arrow("is_inf", "Whether it is infinite", signatures((NUMERIC,)), ((float("inf"),), True)),
    arrow("true_unless_null", "True, or null", signatures((one_of(*COMPARABLE),)), ((7,), True)),
    arrow("coalesce", "The first argument that is not null", _SAME_MANY, ((None, 2, 3), 2), nulls="null where all are"),
    own("null_if", "`x`, but null where `x = y`", _SAME, ((0, 0), None), _null_if, nulls=SPECIAL),
    arrow(
        "if_else",
        "The second argument where the first holds, else the third",
        tuple(each for kind in COMPARABLE for each in signatures((BOOLEAN, kind, kind))),
        ((True, 1, 2), 1),
        nulls="null where the condition is, or what it picks",
    ),
    own(
        "case_when",
        "The value after the first condition that holds, else the last argument; at most 8 conditions",
        _CASES,
        ((False, 1, True, 2, 3), 2),
        _case_when,
        nulls="a condition that is null does not hold",
    ),
    own(
        "choose",
        "The argument after the first of this number, from 0; all of one type",
        tuple(each for kind in COMPARABLE for each in signatures((INTEGER, kind), variadic=True)),
        ((1, 10, 20), 20),
        _choose,
        errors="there is no argument of this number",
        nulls="null where the number is, or what it picks",
    ),
    own(
        "is_in",
        "Whether the first argument is one of the others, which are literals",
        _SAME_MANY,
        ((2, 1, 2), True),
        _is_in,
        nulls="false for null",
        errors="a literal does not fit the first argument's type",
        literal_from=1,
    ),
    own(
        "index_in",
        "Which of the other arguments, which are literals, the first one is, from 0",
        _SAME_MANY,
        ((2, 1, 2), 1),
        _index_in,
        nulls="null where it is not one of them",
        errors="a literal does not fit the first argument's type",
        literal_from=1,
    ),
)
