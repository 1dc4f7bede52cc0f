"""The type of a function of expressions, and helpers to declare the functions of one topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dataflare.data.expressions.types import TEXT_OR_BINARY, Signature, TypeClass

__all__ = [
    "ANY_NULL",
    "FAST",
    "NEVER_NULL",
    "SLOW",
    "SPECIAL",
    "Example",
    "Function",
    "Option",
    "arrow",
    "as_array",
    "character",
    "choice",
    "flag",
    "integer",
    "own",
    "signatures",
    "text",
    "text_bytes",
]

FAST: Final = 2**22
"""Rows that a function of plain numbers computes at a time; the deadline is checked in between."""
SLOW: Final = 2**16
"""Rows that a function of texts computes at a time."""
ANY_NULL: Final = "null where an argument is null"
NEVER_NULL: Final = "never null"
SPECIAL: Final = "nulls as said"

Run = Callable[[Sequence[Any], Mapping[str, Any]], Any]
Growth = Callable[[Sequence[Any], Mapping[str, Any], int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a function. `read` converts a plugin's literal to the option's value, or raises `ValueError`."""

    name: str
    says: str
    read: Callable[[Any], Any]
    default: Any = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Arguments, options and the result that they give, as Python values or Arrow scalars."""

    arguments: tuple[Any, ...]
    result: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function that expressions may call.

    Args:
        name: Its name; that of Arrow's function if there is one.
        says: What it returns, in one line.
        signatures: The accepted arguments; the first form that fits is used.
        options: Its options.
        nulls: How it treats nulls.
        errors: When it fails, in addition to wrong types; empty for never.
        example: One call.
        run: Computes it, given arrays and scalars of types that a signature accepts.
        rows: The number of rows that it computes at a time.
        growth: Bounds the bytes of the result, given arguments, options and rows.
        work: Bounds its work in steps of about a nanosecond, with the same arguments; `None` for a fast function.
        literal_from: From this argument on, all must be literals; `None` for no such rule.
    """

    name: str
    says: str
    signatures: tuple[Signature, ...]
    options: tuple[Option, ...]
    nulls: str
    errors: str
    example: Example
    run: Run
    rows: int
    growth: Growth
    work: Growth | None
    literal_from: int | None


def signatures(*forms: Sequence[TypeClass], variadic: bool = False) -> tuple[Signature, ...]:
    """Declare the forms of a function."""
    return tuple(Signature(tuple(form), variadic) for form in forms)


def own(
    name: str,
    says: str,
    forms: tuple[Signature, ...],
    example: tuple[tuple[Any, ...], Any],
    run: Run,
    *,
    given: Mapping[str, Any] | None = None,
    options: tuple[Option, ...] = (),
    nulls: str = ANY_NULL,
    errors: str = "",
    rows: int = FAST,
    growth: Growth | None = None,
    work: Growth | None = None,
    literal_from: int | None = None,
) -> Function:
    """Declare a function that `run` computes; `given` has the options of its example."""
    return Function(
        name=name,
        says=says,
        signatures=forms,
        options=options,
        nulls=nulls,
        errors=errors,
        example=Example(arguments=example[0], result=example[1], options=given or {}),
        run=run,
        rows=rows,
        growth=growth or (_values if literal_from is None and _takes_texts(forms) else _numbers),
        work=work or (_reading if rows == SLOW else None),
        literal_from=literal_from,
    )


def arrow(
    name: str,
    says: str,
    forms: tuple[Signature, ...],
    example: tuple[tuple[Any, ...], Any],
    *,
    make: Callable[[Mapping[str, Any]], pc.FunctionOptions] | None = None,
    kernel: str = "",
    **rest: Any,
) -> Function:
    """Declare a function that Arrow has; `make` converts our options to Arrow's."""
    called = kernel or name

    def run(arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        return pc.call_function(called, list(arguments), None if make is None else make(options))

    return own(name, says, forms, example, run, **rest)


# Costs.


def text_bytes(value: Any) -> int:
    """Return the bytes of all texts of an array, or of a scalar."""
    if isinstance(value, pa.Scalar):
        return len(value.as_buffer()) if value.is_valid and TEXT_OR_BINARY.holds(value.type) else 0
    if not TEXT_OR_BINARY.holds(value.type) or len(value) == 0:
        return 0
    return int(pc.sum(pc.binary_length(value).cast(pa.int64())).as_py() or 0)


def _takes_texts(forms: Sequence[Signature]) -> bool:
    return any(kind.ids & TEXT_OR_BINARY.ids for form in forms for kind in form.parameters)


def _values(arguments: Sequence[Any], _: Mapping[str, Any], rows: int) -> float:
    """Bound results that hold each argument once; a literal counts in every row."""
    texts = sum(text_bytes(each) * (rows if isinstance(each, pa.Scalar) else 1.0) for each in arguments)
    return float(texts + 16 * rows)


def _numbers(_: Sequence[Any], __: Mapping[str, Any], rows: int) -> float:
    return 16.0 * rows


def _reading(arguments: Sequence[Any], _: Mapping[str, Any], rows: int) -> float:
    """Bound the work by some steps for each byte of text."""
    return 8.0 * sum(text_bytes(each) for each in arguments if not isinstance(each, pa.Scalar))


def as_array(value: Any) -> pa.Array:
    """Return an argument as an array; a scalar becomes an array of one row."""
    return pa.array([value.as_py()], value.type) if isinstance(value, pa.Scalar) else value


# Options.


def flag(name: str, says: str, *, default: bool) -> Option:
    """Declare an option that is true or false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value

    return Option(name=name, says=says, read=read, default=default)


def integer(name: str, says: str, low: int, high: int, *, default: int | None = None, required: bool = False) -> Option:
    """Declare an option that is a whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return Option(name=name, says=says, read=read, default=default, required=required)


def text(
    name: str, says: str, most: int, *, default: str | None = None, required: bool = False, least: int = 0
) -> Option:
    """Declare an option that is a text of `least` to `most` bytes of UTF-8."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value.encode()) <= most:
            raise ValueError(f"a text of {least} to {most} bytes")
        return value

    return Option(name=name, says=says, read=read, default=default, required=required)


def character(name: str, says: str, *, default: str) -> Option:
    """Declare an option that is one character."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) != 1:
            raise ValueError("one character")
        return value

    return Option(name=name, says=says, read=read, default=default)


def choice(name: str, says: str, *choices: str, default: str | None = None, required: bool = False) -> Option:
    """Declare an option that is one of these texts."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return Option(name=name, says=f"{says}: {', '.join(choices)}", read=read, default=default, required=required)
