"""Computes expressions: a list of nodes, each of which refers only to earlier nodes.

A list cannot have cycles, crosses the boundary in one call, and shares the nodes that several columns need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import pyarrow as pa

from dataflare.budgets import current
from dataflare.data.columns import find_column
from dataflare.data.expressions.function import Function
from dataflare.data.expressions.registry import FUNCTIONS
from dataflare.data.expressions.types import TEXT_OR_BINARY, accepting, plain, typed_nulls, whole, widened
from dataflare.data.guard.costs import expanded_bytes
from dataflare.data.schemas import SchemaError, parse_type
from dataflare.data.shapes import DataFailure, malformed, no_such_function, out_of_range, too_large, wrong_type
from dataflare.values import Variant

__all__ = ["MAX_NODES", "Call", "Plan", "read_plan"]

MAX_NODES: Final = 10_000
_MAX_ARGUMENTS: Final = 1_000
_MAX_OPTIONS: Final = 20
_SLICE_BYTES: Final = 64 * 2**20
"""Limit in bytes of a function's result for one slice of rows; a larger slice is halved."""
_LIVE_BYTES: Final = 256 * 2**20
"""Limit in bytes of all values of one slice that are still needed."""
_SLICE_STEPS: Final = 2.0**26
"""Limit of a function's work for one slice, in steps of about a nanosecond; a larger slice is halved."""
_ROW_STEPS: Final = 2.0**28
"""Limit of its work for one row, in the same steps: a running function cannot be interrupted."""
_UNSURE: Final = frozenset(
    each.id
    for each in (
        *(pa.time32("s"), pa.time64("us"), pa.date64()),
        *(pa.decimal32(1), pa.decimal64(1), pa.decimal128(1), pa.decimal256(1)),
    )
)
"""Types for which Arrow's functions can produce invalid values."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function; the arguments are indices into the list of nodes."""

    function: Function
    arguments: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the batch."""

    name: str


Node: TypeAlias = Call | Column | Any
"""A call, a column, or a `pyarrow.Scalar`."""


def read_plan(nodes: Sequence[Any]) -> Plan:
    """Check a list of nodes from a plugin.

    Args:
        nodes: `Variant`s of `column`, `literal` and `call`, in the types of `dataflare.values`.

    Raises:
        DataFailure: `malformed` for an unknown function or option, an index that is not before the node, or a literal
            that cannot be read; `too-large` for more than 10,000 nodes.
    """
    if len(nodes) > MAX_NODES:
        raise too_large(f"{len(nodes)} nodes are more than {MAX_NODES} in an expression")
    read: list[Node] = []
    check_time = current().check_time
    for place, node in enumerate(nodes):
        check_time()
        match node.case:
            case "column":
                read.append(Column(node.value))
            case "literal":
                read.append(_literal(node.value))
            case _:
                read.append(_call(node.value, place, read))
    return Plan(tuple(read))


def _call(call: Any, place: int, before: Sequence[Node]) -> Call:
    function = FUNCTIONS.get(call.name)
    if function is None:
        raise no_such_function(call.name[:100])
    arguments = tuple(map(int, call.arguments))
    if len(arguments) > _MAX_ARGUMENTS:
        raise too_large(f"{function.name}: {len(arguments)} arguments are more than {_MAX_ARGUMENTS}")
    for argument in arguments:
        if argument >= place:
            raise malformed(f"{function.name}: node {place} takes node {argument}, which is not before it")
    if function.literal_from is not None:
        for argument in arguments[function.literal_from :]:
            if not isinstance(before[argument], pa.Scalar):
                raise malformed(f"{function.name}: node {argument} is not a literal")
    return Call(function, arguments, _options(function, call.options))


def _options(function: Function, given: Sequence[Any]) -> dict[str, Any]:
    if len(given) > _MAX_OPTIONS:
        raise malformed(f"{function.name}: {len(given)} options are more than {_MAX_OPTIONS}")
    if not given and not function.options:
        return {}
    known = {each.name: each for each in function.options}
    values = {each.name: each.default for each in function.options}
    seen: set[str] = set()
    for name, literal in given:
        option = known.get(name)
        if option is None or name in seen:
            what = "is given twice" if name in seen else "is not an option"
            raise malformed(f"{function.name}: {name[:100]!r} {what}; there are: {', '.join(known) or 'none'}")
        seen.add(name)
        try:
            values[name] = option.read(_literal(literal).as_py())
        except ValueError as error:
            raise malformed(f"{function.name}: option {name} must be {error}") from None
    for option in function.options:
        if option.required and option.name not in seen:
            raise malformed(f"{function.name}: option {option.name} is missing: {option.says}")
    return values


def _literal(literal: Variant) -> pa.Scalar:
    match literal.case:
        case "null-value":
            return pa.scalar(None)
        case "boolean":
            return pa.scalar(literal.value, pa.bool_())
        case "int64":
            return pa.scalar(literal.value, pa.int64())
        case "float64":
            return pa.scalar(literal.value, pa.float64())
        case "text":
            return pa.scalar(literal.value, pa.string())
        case "binary":
            return pa.scalar(bytes(literal.value), pa.binary())
    name, value = literal.value.type_name, literal.value.text
    try:
        data_type = parse_type(name)
    except SchemaError as error:
        raise malformed(error.message) from None
    cast = FUNCTIONS["cast"]
    if pa.types.is_nested(data_type) or pa.types.is_dictionary(data_type):
        raise malformed(f"a literal cannot be a {name}")
    try:
        return cast.run([pa.scalar(value, pa.string())], {"type": name})
    except DataFailure:
        raise malformed(f"the literal {value[:100]!r} cannot be read as {name}") from None


class _SliceTooLarge(Exception):
    """A function's result for this many rows could be too large."""


class Plan:
    """A checked list of nodes."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def columns(self) -> set[str]:
        """Return the names of the columns that nodes refer to."""
        return {node.name for node in self._nodes if isinstance(node, Column)}

    def column_name(self, root: int) -> str | None:
        """Return the column's name if a node is just a column; `None` for any other node.

        Raises:
            DataFailure: `malformed` if there is no such node.
        """
        self._check(root)
        node = self._nodes[root]
        return node.name if isinstance(node, Column) else None

    def compute(self, batch: pa.RecordBatch, roots: Sequence[int], max_bytes: int) -> list[pa.Array]:
        """Compute the values of some nodes for all rows of a batch.

        Args:
            batch: The rows.
            roots: Indices of the nodes.
            max_bytes: Limit in bytes of all results together.

        Returns:
            An array for each of `roots`, with a value for each row.

        Raises:
            DataFailure: A column is missing, a type does not fit, a value is out of range, or a result is too large.
            dataflare.budgets.OverTime: The call's time is over.
        """
        for root in roots:
            self._check(root)
        rows = batch.num_rows
        step = max(rows, 1)
        needed = self._needed(roots)
        columns: dict[int, pa.Array] = {}
        last: dict[int, int] = {}
        for place in needed:
            node = self._nodes[place]
            if isinstance(node, Call):
                step = min(step, node.function.rows)
                last.update(dict.fromkeys(node.arguments, place))
            elif isinstance(node, Column):
                columns[place] = _column(batch, node.name, max_bytes)
        try:
            return self._in_slices(columns, last, needed, roots, rows, step, max_bytes)
        except DataFailure as failure:
            if failure.error.case == "out-of-range":
                self._require_types(columns, needed)
            raise

    def _in_slices(
        self,
        columns: Mapping[int, pa.Array],
        last: Mapping[int, int],
        needed: Sequence[int],
        roots: Sequence[int],
        rows: int,
        step: int,
        max_bytes: int,
    ) -> list[pa.Array]:
        """Compute the nodes `step` rows at a time, or fewer where a result could be too large."""
        room = float(max_bytes)
        parts: list[list[pa.Array]] = [[] for _ in roots]
        start = 0
        while start < rows or (parts and not parts[0]):
            count = min(step, rows - start)
            try:
                values = self._slice(columns, last, needed, roots, start, count, room)
            except _SliceTooLarge:
                step = max(1, count // 2)
                continue
            for part, each in zip(parts, values, strict=True):
                part.append(each)
                room -= each.nbytes
            if room < 0:
                raise too_large(f"the result is larger than {max_bytes} bytes")
            start += count
        return [part[0] if len(part) == 1 else pa.concat_arrays(part) for part in parts]

    def _check(self, root: int) -> None:
        if not 0 <= root < len(self._nodes):
            raise malformed(f"there is no node {root}: there are {len(self._nodes)}")

    def _needed(self, roots: Sequence[int]) -> list[int]:
        """Return the indices of all nodes that some nodes need, in order."""
        needed = set(roots)
        for place in range(max(roots, default=-1), -1, -1):
            node = self._nodes[place]
            if place in needed and isinstance(node, Call):
                needed.update(node.arguments)
        return sorted(needed)

    def _columns_below(self, place: int) -> list[str]:
        """Return the columns from which a node is computed, in order."""
        nodes = (self._nodes[each] for each in self._needed([place]))
        return list(dict.fromkeys(node.name for node in nodes if isinstance(node, Column)))

    def _require_types(self, columns: Mapping[int, pa.Array], needed: Sequence[int]) -> None:
        """Raise the `wrong-type` of the first function that does not take its arguments, whatever its rows are.

        A wrong type counts before any value. To look only after a failure costs nothing where all is well.
        """
        values: dict[int, Any] = {}
        for place in needed:
            node = self._nodes[place]
            if not isinstance(node, Call):
                values[place] = columns[place].slice(0, 0) if isinstance(node, Column) else node
                continue
            try:
                values[place] = _apply(
                    node, _no_rows(node.function, [values[each] for each in node.arguments]), 0, math.inf
                )
            except DataFailure as failure:
                if failure.error.case == "wrong-type":
                    raise failure.about(self._columns_below(place)) from None
                return  # the type of its result is not known

    def _slice(
        self,
        columns: Mapping[int, pa.Array],
        last: Mapping[int, int],
        needed: Sequence[int],
        roots: Sequence[int],
        start: int,
        rows: int,
        room: float,
    ) -> list[pa.Array]:
        """Compute the nodes for some rows; `last` has the last node that needs each node."""
        values: dict[int, Any] = {}
        sizes: dict[int, int] = {}
        live = 0
        kept = set(roots)
        for place in needed:
            node = self._nodes[place]
            if isinstance(node, Column):
                column = columns[place]
                values[place] = column if len(column) == rows else column.slice(start, rows)
                continue
            if isinstance(node, pa.Scalar):
                values[place] = node
                continue
            current().check_time()
            arguments = [values[each] for each in node.arguments]
            try:
                value = values[place] = _apply(node, arguments, rows, room)
            except DataFailure as failure:
                raise failure.about(self._columns_below(place)) from None
            if not isinstance(value, pa.Scalar):
                live += (size := int(value.nbytes))
                sizes[place] = size
                if live > min(room, _LIVE_BYTES) and (rows > 1 or live > room):
                    _refuse_rows(rows, f"what is computed for one row takes more than the {room:.0f} bytes left")
            for each in node.arguments:
                # Values that are no longer needed are freed: a chain of functions takes the memory of two values.
                if last[each] == place and each not in kept:
                    values.pop(each, None)
                    live -= sizes.pop(each, 0)
        return [_as_rows(values[root], rows, room) for root in roots]


def _column(batch: pa.RecordBatch, name: str, max_bytes: int) -> pa.Array:
    array = find_column(batch, name)
    if not isinstance(array, pa.DictionaryArray):
        return array
    if expanded_bytes(array) > max_bytes:
        raise too_large(f"column {name!r} is larger than {max_bytes} bytes once written out")
    return plain(array)


def _apply(call: Call, arguments: list[Any], rows: int, room: float) -> Any:
    function = call.function
    types = [each.type for each in arguments]
    signature = accepting(function.signatures, types)
    if signature is None:
        arguments = list(map(widened, arguments))
        signature = accepting(function.signatures, [each.type for each in arguments])
    if signature is None:
        expected = " or ".join(f"({each})" for each in function.signatures[:8])
        raise wrong_type("", expected, _types_text(types), function=function.name)
    arguments = typed_nulls(signature, arguments)
    grown = function.growth(arguments, call.options, rows)
    if grown > room or (rows > 1 and grown > _SLICE_BYTES):
        _refuse_rows(
            rows, f"{function.name}: one row may take {grown:.0f} bytes, more than the {room:.0f} that are left"
        )
    steps = 0.0 if function.work is None else function.work(arguments, call.options, rows)
    if steps > (_SLICE_STEPS if rows > 1 else _ROW_STEPS):
        _refuse_rows(rows, f"{function.name}: one text is too long for it, and for its pattern if it has one")
    try:
        return _checked(function.run(arguments, call.options), rows)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise wrong_type("", "types that go together", _types_text(types), function=function.name) from None
    except pa.ArrowMemoryError:
        raise too_large(f"{function.name}: the host has not enough memory") from None
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        if not call.options and _fails_without_rows(call, arguments):
            expected = f"types that it can compute with ({_first_line(error)})"
            raise wrong_type("", expected, _types_text(types), function=function.name) from None
        raise out_of_range(f"{function.name}: {_first_line(error)}") from None


def _no_rows(function: Function, arguments: Sequence[Any]) -> list[Any]:
    """Return arguments of the same types, without values; literals that a function needs as such stay."""
    kept = len(arguments) if function.literal_from is None else function.literal_from
    return [pa.nulls(0, each.type) for each in arguments[:kept]] + list(arguments[kept:])


def _fails_without_rows(call: Call, arguments: Sequence[Any]) -> bool:
    """Whether a function fails for the types of its arguments alone."""
    if call.function.literal_from is not None:
        return False
    try:
        call.function.run(_no_rows(call.function, arguments), call.options)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return True
    return False


def _types_text(types: Sequence[pa.DataType]) -> str:
    return "(" + ", ".join(str(each)[:100] for each in types[:20]) + ")"


def _refuse_rows(rows: int, what: str) -> NoReturn:
    """Refuse a slice, so that it is halved; `too-large` for one row."""
    raise _SliceTooLarge if rows > 1 else too_large(what)


def _checked(result: Any, rows: int) -> Any:
    """Convert a function's result to one array, and validate it; a scalar stays a scalar.

    Raises:
        ValueError: It is not valid, for example a time after the end of the day.
    """
    type_id = result.type.id
    if type_id in _UNSURE:
        # Arrow can round times past midnight, round dates to parts of a day, and exceed the digits of a decimal.
        (pa.repeat(result, 1) if isinstance(result, pa.Scalar) else result).validate(full=True)
    if isinstance(result, pa.Scalar):
        return result
    if isinstance(result, pa.ChunkedArray):
        result = whole(result)
    if len(result) != rows:
        raise ValueError(f"{len(result)} values came of {rows} rows")
    if type_id in TEXT_OR_BINARY.ids and (buffers := result.buffers())[2] is None:
        # If all texts are empty, some of Arrow's functions leave the buffer out, and others refuse that.
        return pa.Array.from_buffers(result.type, rows, [*buffers[:2], pa.py_buffer(b"")], offset=result.offset)
    return result


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _as_rows(value: Any, rows: int, room: float) -> pa.Array:
    """Return the value of a node as an array; repeat a literal."""
    if isinstance(value, pa.Scalar):
        size = len(value.as_buffer()) if value.is_valid and hasattr(value, "as_buffer") else 16
        if size * float(rows) > room:
            raise too_large(f"a literal of {size} bytes in {rows} rows")
        return pa.repeat(value, rows) if rows and value.type != pa.null() else pa.nulls(rows, value.type)
    return value
