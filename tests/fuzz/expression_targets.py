"""Expressions and relations over arrays of every type: functions with extreme values and options, and whole plans."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa

from arrow_targets import listed_arrays
from cases import Target
from dataflare.budgets import HostBudget, OverHostBytes, serving
from dataflare.data.batches import Batch
from dataflare.data.batches import imports as batch_imports
from dataflare.data.expressions.function import Function, Option
from dataflare.data.expressions.interface import imports
from dataflare.data.expressions.registry import FUNCTIONS
from dataflare.data.expressions.relations import AGGREGATES
from dataflare.data.shapes import DataFailure
from dataflare.values import Err, Ok, Variant

MAX_BYTES: Final = 2**26
COMPUTE: Final = imports(max_batch_bytes=MAX_BYTES)
BATCHES: Final = batch_imports(max_batch_bytes=MAX_BYTES)
_INTEGERS: Final = (0, 1, -1, 2, 3, 7, 127, -128, 255, 32767, -32768, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 10**18)
_FLOATS: Final = (0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 2.0**63, 1e19)
_TEXTS: Final = (
    *("", "a", "ä", "ab ab", "\0", "x" * 50, "😀", "2024-03-10", "12", "(", "%Y", "true", "1e400", "Ǆ", "ß", "\u0301"),
    *("us", "NFC", "NFKD", "day", "year", "nanosecond", "half_up", "%c %Z %s %j", "UTC", "Europe/Berlin", "+05:30"),
    *(
        "earliest",
        "skip",
        "(?P<a>.)(?P<b>x*)",
        "(a*)*b",
        "a{1000}",
        "[[:alpha:]]+",
        r"\p{L}",
        "bool",
        "int64",
        "double",
    ),
    *("decimal128(38, 0)", "timestamp[ns, tz=UTC]", "list<item: int64>", "decimal256(76, 76)", "time64[ns]", "string"),
)
_TYPED: Final = ("decimal128(38, 0)", "timestamp[ns]", "date32[day]", "decimal256(76, -76)", "duration[s]", "float")
_WIDTHS: Final = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


@cache
def columns() -> tuple[pa.Array, ...]:
    """The listed arrays, and arrays of the extremes of each type."""
    made = list(listed_arrays())
    for array in listed_arrays():
        data_type = array.type
        if pa.types.is_integer(data_type):
            bits = data_type.bit_width
            signed = pa.types.is_signed_integer(data_type)
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            made.append(pa.array([low, high, None, *(each for each in _INTEGERS if low <= each <= high)], data_type))
        elif pa.types.is_timestamp(data_type) or pa.types.is_duration(data_type) or pa.types.is_date32(data_type):
            whole = _WIDTHS[data_type.bit_width]
            limit = 2 ** (data_type.bit_width - 1)
            values = [each for each in _INTEGERS if -limit <= each < limit]
            made.append(pa.array([-limit, limit - 1, None, *values], whole).view(data_type))
        elif pa.types.is_float32(data_type) or pa.types.is_float64(data_type):
            made.append(pa.array([*_FLOATS[:6], None], data_type))
        elif pa.types.is_decimal(data_type) and data_type.bit_width >= 128:
            most, width = 10**data_type.precision - 1, data_type.bit_width // 8
            unscaled = b"".join(each.to_bytes(width, "little", signed=True) for each in (most, -most, 0))
            made.append(pa.Array.from_buffers(data_type, 3, [None, pa.py_buffer(unscaled)]))
        elif pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
            made.append(pa.array([*_TEXTS, None], data_type))
    return tuple(made)


def _literal(rng: random.Random) -> Variant:
    match rng.randrange(7):
        case 0:
            return Variant("null-value", None)
        case 1:
            return Variant("boolean", rng.random() < 0.5)
        case 2:
            return Variant("int64", rng.choice(_INTEGERS))
        case 3:
            return Variant("float64", rng.choice(_FLOATS))
        case 4:
            return Variant("binary", rng.choice(_TEXTS).encode())
        case 5:
            return Variant(
                "typed", SimpleNamespace(type_name=rng.choice(_TYPED), text=rng.choice((*_TEXTS, "-1", "1")))
            )
        case _:
            return Variant("text", rng.choice(_TEXTS))


def _option(rng: random.Random, option: Option) -> Variant | None:
    """A literal that the option takes, most of the time; `None` to leave it out."""
    if not option.required and rng.random() < 0.4:
        return None
    for _ in range(60):
        literal = _literal(rng)
        if literal.case == "typed":
            continue
        try:
            option.read(literal.value)
        except ValueError:
            continue
        return literal
    return _literal(rng)


def _rows(rng: random.Random, count: int, pick: Callable[[], pa.Array] | None = None) -> Batch:
    """A batch of some columns, repeated, sliced at odd places."""
    rows, skipped = rng.choice((0, 1, 3, 9, 70)), rng.choice((0, 1, 3))
    made = {}
    for at in range(count):
        array = rng.choice(columns()) if pick is None else pick()
        places = pa.array([rng.randrange(len(array)) for _ in range(rows + skipped)], pa.int64())
        made[f"c{at}"] = array.take(places).slice(skipped, rows)
    return Batch(pa.RecordBatch.from_pydict(made), max_bytes=MAX_BYTES)


def _fitting(rng: random.Random, function: Function) -> tuple[list[Callable[[pa.DataType], bool]], int | None]:
    form = rng.choice(function.signatures)
    kinds = list(form.parameters)
    if form.variadic:
        kinds += kinds[-1:] * rng.randrange(3)
    return [each.holds for each in kinds], function.literal_from


def _plan(rng: random.Random) -> None:
    """Call a function with arguments that mostly fit, then functions of what came of it."""
    function = FUNCTIONS[rng.choice(list(FUNCTIONS))]
    kinds, literals = _fitting(rng, function)
    fitting = [[each for each in columns() if holds(each.type)] or list(columns()) for holds in kinds]
    picks = iter([rng.choice(each if rng.random() < 0.95 else columns()) for each in fitting])
    batch = _rows(rng, len(kinds), lambda: next(picks))
    nodes: list[Variant] = []
    for at in range(len(kinds)):
        as_literal = (literals is not None and at >= literals) or rng.random() < 0.15
        nodes.append(Variant("literal", _literal(rng)) if as_literal else Variant("column", f"c{at}"))
    nodes.append(_call(rng, function, list(range(len(nodes)))))
    for _ in range(rng.choice((0, 0, 1, 3))):
        other = FUNCTIONS[rng.choice(list(FUNCTIONS))]
        count = len(_fitting(rng, other)[0])
        nodes.append(_call(rng, other, [rng.choice((len(nodes) - 1, rng.randrange(len(nodes)))) for _ in range(count)]))
    last = len(nodes) - 1
    outputs = [SimpleNamespace(name="c0", node=last), SimpleNamespace(name="first", node=len(kinds))]
    made = _answer("with-columns", batch, nodes, outputs)
    _answer("filter", batch, nodes)
    _use(made)


def _call(rng: random.Random, function: Function, arguments: list[int]) -> Variant:
    options = [(each.name, given) for each in function.options if (given := _option(rng, each)) is not None]
    return Variant("call", SimpleNamespace(name=function.name, arguments=arguments, options=options))


def _relations(rng: random.Random) -> None:
    """Sort, group and join rows of any types."""
    batch = _rows(rng, rng.randrange(1, 5))
    names = batch.column_names()
    keys = [SimpleNamespace(column=rng.choice(names), descending=rng.random() < 0.5) for _ in range(rng.choice((1, 2)))]
    _use(_answer("sort", batch, keys, rng.choice(("first", "last"))))
    wanted = [
        SimpleNamespace(name=f"x{at}", aggregate=rng.choice(list(AGGREGATES)), column=rng.choice(names))
        for at in range(rng.randrange(4))
    ]
    for each in wanted:
        fits = AGGREGATES[each.aggregate].takes
        each.column = "" if fits is None else each.column
    _use(_answer("aggregate", batch, rng.sample(names, rng.randrange(len(names))), wanted))
    other = _rows(rng, 2) if rng.random() < 0.2 else batch
    renamed: Any = other
    for at, name in enumerate(other.column_names()):
        renamed = BATCHES["[method]batch.rename-column"](renamed, name, f"r{at}").value
    on = [(rng.choice(names), rng.choice(renamed.column_names()))]
    on = [(name, f"r{at}") for at, name in enumerate(names)][:1] if rng.random() < 0.7 else on
    _use(_answer("join", batch, renamed, on, rng.choice(("inner", "left-outer", "left-semi", "left-anti"))))


def _answer(name: str, *args: Any) -> Batch | None:
    answer = COMPUTE[name](*args)
    assert isinstance(answer, Ok | Err), f"{name} answered {answer!r}"
    if isinstance(answer, Err):
        assert answer.error.case != "other", f"{name}: {answer.error.value}"
        return None
    made: Batch = answer.value
    made.arrow.validate(full=True)
    return made


def _use(batch: Batch | None) -> None:
    """Look at a result as plugins would."""
    if batch is None:
        return
    batch.schema()
    for name in ("to-arrow", "to-json-lines"):
        answer = BATCHES[f"[method]batch.{name}"](batch)
        assert isinstance(answer, Ok) or answer.error.case != "other", answer
        if name == "to-arrow" and isinstance(answer, Ok):
            back = BATCHES["from-arrow"](bytes(answer.value))
            assert isinstance(back, Ok), f"what was computed cannot be read again: {back}"


def _read(run: Callable[[random.Random], None], data: bytes) -> None:
    with serving(HostBudget(MAX_BYTES)):
        try:
            run(random.Random(data))
        except OverHostBytes as error:
            raise DataFailure(Variant("too-large", str(error))) from error


def _seed(rng: random.Random, _: Sequence[bytes]) -> bytes:
    return rng.randbytes(8)


def targets() -> dict[str, Target]:
    """All targets, by name; a case is what the plan is drawn from."""
    return {
        "expressions": Target([b"seed"], partial(_read, _plan), _seed),
        "relations": Target([b"seed"], partial(_read, _relations), _seed),
    }
