"""The host's side of `dataflare:data/batches`: a handle's object, and the functions that plugins call on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflare.budgets import Charge, current
from dataflare.data import builders, views
from dataflare.data.charges import BatchMemory, Loan, new_bytes, within_room
from dataflare.data.columns import column_index, empty_batch, find_column, owned
from dataflare.data.guard.arrays import MAX_ROWS
from dataflare.data.guard.batches import admit_columns
from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.ipc import decode_stream, encode_stream
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.json_writer import encode_json_lines
from dataflare.data.schemas import SchemaError, from_wit, to_wit
from dataflare.data.shapes import (
    BinaryValues,
    DataFailure,
    TextValues,
    malformed,
    other,
    too_large,
)
from dataflare.errors import UsageError
from dataflare.values import Err, Ok
from dataflare.wit_types.batches import Shape, WordBuffer
from dataflare.wit_types.schemas import Field, Schema

__all__ = ["INTERFACE", "MAX_BATCH_BYTES", "Batch", "as_result", "imports", "provide"]

INTERFACE = "dataflare:data/batches@1.0.0"
MAX_BATCH_BYTES = 512 * 2**20
"""Default limit in bytes of a batch that a plugin makes."""

_MAX_U32 = 2**32 - 1
_PAIR_BYTES = 128
"""Approximate size in bytes of a metadata pair, in addition to its texts."""
_SCHEMA_FIELD_BYTES = 1024
"""Approximate size in bytes of a schema field as Python objects."""

T = TypeVar("T")


class Batch:
    """An immutable batch of rows to which plugins hold handles.

    A view of a column is made at its first use, and kept as long as the batch. Any thread may use a batch; two threads
    that need the same view at the same time may make it twice.

    A column is checked (`dataflare.data.guard`) when it is first read, so a batch that only passes through costs
    nothing.

    Args:
        arrow: The rows.
        max_bytes: Limit in bytes of a batch or a text made from this one; default 512 MiB.
        memory: The charges to the plugin that made it; `None` for rows from the host.

    Raises:
        UsageError: `arrow` is not a record batch, or has more than 2**32 - 1 rows.
    """

    __slots__ = ("_checked", "_views", "arrow", "max_bytes", "memory")

    def __init__(
        self, arrow: pa.RecordBatch, *, max_bytes: int = MAX_BATCH_BYTES, memory: BatchMemory | None = None
    ) -> None:
        if not isinstance(arrow, pa.RecordBatch):
            raise UsageError(
                f"a {type(arrow).__name__} is not a pyarrow.RecordBatch", hint="take a table's to_batches()"
            )
        if arrow.num_rows > MAX_ROWS:
            raise UsageError(f"a batch of {arrow.num_rows} rows", hint="a batch has at most 2^32 - 1 rows: slice it")
        self.arrow = arrow
        self.max_bytes = max_bytes
        self._checked = vetted_columns(arrow)
        self.memory = BatchMemory.given(arrow) if memory is None else memory
        self._views: dict[tuple[str, str], tuple[Any, Charge | None]] = {}

    def __repr__(self) -> str:
        return f"Batch({self.arrow.num_rows} rows, {self.arrow.num_columns} columns)"

    @property
    def loan(self) -> Loan | None:
        """The part that the host gave; charged to an instance that keeps it after its call. `None` if there is none."""
        return self.memory.loan

    def num_rows(self) -> int:
        return int(self.arrow.num_rows)

    def shape(self) -> Shape:
        return Shape(int(self.arrow.num_rows), int(self.arrow.num_columns), int(self.arrow.get_total_buffer_size()))

    def column_names(self) -> list[str]:
        return list(self.arrow.schema.names)

    def schema(self) -> Schema:
        return self._once("schema", "", lambda: to_wit(self.arrow.schema))

    def validity(self, column: str) -> npt.NDArray[np.uint64] | None:
        return self._view("validity", column, lambda array: views.validity_words(array))

    def int64_column(self, column: str) -> npt.NDArray[np.int64]:
        return self._view("int64", column, lambda array: views.int64_values(array, column))

    def float64_column(self, column: str) -> npt.NDArray[np.float64]:
        return self._view("float64", column, lambda array: views.float64_values(array, column))

    def boolean_column(self, column: str) -> npt.NDArray[np.bool_]:
        return self._view("boolean", column, lambda array: views.boolean_values(array, column))

    def text_column(self, column: str) -> TextValues:
        return self._view(
            "text",
            column,
            lambda array: within_room(lambda most: views.text_values(array, column, most), self.max_bytes),
        )

    def binary_column(self, column: str) -> BinaryValues:
        return self._view("binary", column, lambda array: views.binary_values(array, column))

    def with_int64_column(self, column: str, values: Any, validity: Any = None) -> Batch:
        return self._with(column, builders.with_int64(self.arrow, column, values, validity))

    def with_float64_column(self, column: str, values: Any, validity: Any = None) -> Batch:
        return self._with(column, builders.with_float64(self.arrow, column, values, validity))

    def with_boolean_column(self, column: str, values: Any, validity: Any = None) -> Batch:
        return self._with(column, builders.with_boolean(self.arrow, column, values, validity))

    def with_text_column(self, column: str, values: Any, validity: Any = None) -> Batch:
        return self._with(column, builders.with_text(self.arrow, column, values, validity))

    def with_binary_column(self, column: str, values: Any, validity: Any = None) -> Batch:
        return self._with(column, builders.with_binary(self.arrow, column, values, validity))

    def cast_column(self, column: str, type_name: str) -> Batch:
        self._check_column(column)
        cast = functools.partial(builders.cast_column, self.arrow, column, type_name)
        return self._with(column, within_room(cast, self.max_bytes))

    def select(self, columns: Sequence[str]) -> Batch:
        arrow = builders.select(self.arrow, columns)
        return self._make(arrow, self.memory.picked(arrow, columns), self._checked & frozenset(columns))

    def rename_column(self, column: str, to: str) -> Batch:
        arrow = builders.rename_column(self.arrow, column, to)
        renamed = {to} if column in self._checked else set()
        return self._make(arrow, self.memory.renamed(arrow, column, to), self._checked - {column} | renamed)

    def with_column_metadata(self, column: str, metadata: Sequence[tuple[str, str]]) -> Batch:
        arrow = builders.with_metadata(self.arrow, column, metadata)
        memory = self.memory.shared(arrow).described(_text_bytes(metadata))
        return self._make(arrow, memory, self._checked)

    def filter(self, mask: Any) -> Batch:
        arrow = builders.filter_rows(self.checked(), mask)
        return self._make(arrow, BatchMemory.made(arrow), self._checked)

    def slice(self, offset: int, length: int) -> Batch:
        arrow = builders.slice_rows(self.arrow, offset, length)
        return self._make(arrow, self.memory.shared(arrow), self._checked)

    def to_arrow(self) -> pa.Buffer:
        return self._once("arrow", "", self._encode_stream)

    def to_arrow_words(self) -> WordBuffer:
        return _to_words(self.to_arrow())

    def to_json_lines(self) -> pa.Buffer:
        return self._once(
            "json", "", lambda: within_room(functools.partial(encode_json_lines, self.checked()), self.max_bytes)
        )

    def checked(self) -> pa.RecordBatch:
        """Check the columns that were not checked yet; return the batch.

        Raises:
            DataFailure: `wrong-type` for a type that plugins cannot use, `malformed` for invalid contents.
        """
        if len(self._checked) == self.arrow.num_columns:
            return self.arrow
        names = self.arrow.schema.names
        unchecked = [index for index, name in enumerate(names) if name not in self._checked]
        if unchecked:
            self._admit(unchecked, self._checked.union(names))
        return self.arrow

    @property
    def checked_names(self) -> frozenset[str]:
        """Names of the columns that were checked."""
        return self._checked

    def checked_columns(self, columns: Iterable[str]) -> pa.RecordBatch:
        """Check these columns; return the rows. Raises the same errors as a view of each column."""
        for column in columns:
            self._check_column(column)
        return self.arrow

    def made(self, arrow: pa.RecordBatch, memory: BatchMemory, checked: Iterable[str]) -> Batch:
        """Return a batch made from this one.

        Args:
            arrow: The rows.
            memory: The charges for them.
            checked: The columns that were checked, or made from checked ones.
        """
        return self._make(arrow, memory, frozenset(checked).intersection(arrow.schema.names))

    def _check_column(self, column: str) -> None:
        if column not in self._checked:
            self._admit([column_index(self.arrow, column)], self._checked | {column})

    def _admit(self, indices: Sequence[int], checked: frozenset[str]) -> None:
        # The batch before the names: another thread may read them in between.
        self.arrow = remember(admit_columns(self.arrow, indices), checked)
        self._checked = checked

    def _encode_stream(self) -> pa.Buffer:
        arrow = self.checked()
        budget = current()
        if budget.room() < arrow.get_total_buffer_size():  # a slice needs only a part of it
            budget.require(int(arrow.nbytes))
        return encode_stream(arrow)

    def _make(self, arrow: pa.RecordBatch, memory: BatchMemory, checked: frozenset[str]) -> Batch:
        return Batch(remember(arrow, checked), max_bytes=self.max_bytes, memory=memory)

    def _with(self, column: str, arrow: pa.RecordBatch) -> Batch:
        return self._make(arrow, self.memory.with_column(arrow, column), self._checked | {column})

    def _view(self, kind: str, column: str, make: Callable[[pa.Array], T]) -> T:
        key = (kind, column)
        if key not in self._views:
            self._check_column(column)
            array = find_column(self.arrow, column)
            self._keep(key, view := make(array), new_bytes(view, array))
        view = self._views[key][0]
        return view

    def _once(self, kind: str, column: str, make: Callable[[], T]) -> T:
        key = (kind, column)
        if key not in self._views:
            view = make()
            size = new_bytes(view) if isinstance(view, pa.Buffer) else _SCHEMA_FIELD_BYTES * len(self.arrow.schema)
            self._keep(key, view, size)
        view = self._views[key][0]
        return view

    def _keep(self, key: tuple[str, str], view: Any, size: int) -> None:
        self._views[key] = view, Charge(current(), size) if size else None


def imports(*, max_batch_bytes: int = MAX_BATCH_BYTES) -> dict[str, Callable[..., Any]]:
    """Make the functions of `INTERFACE`, by their names in the WIT.

    Args:
        max_batch_bytes: Limit in bytes of a batch or a text that a plugin makes; default 512 MiB.

    Returns:
        Functions on `Batch`, in the types of `dataflare.values`. They keep no state and may run in any thread.
    """

    def new_batch(rows: int) -> Batch:
        return made(empty_batch(rows))

    def made(arrow: pa.RecordBatch, *, at_least: int = 0) -> Batch:
        return Batch(arrow, max_bytes=max_batch_bytes, memory=BatchMemory.made(arrow, at_least=at_least))

    def from_arrow(encoded: Any) -> Batch:
        arrow = within_room(functools.partial(decode_stream, encoded), max_batch_bytes)
        return made(arrow, at_least=memoryview(encoded).nbytes)

    def from_arrow_words(encoded: Any) -> Batch:
        return from_arrow(_from_words(encoded))

    def from_json_lines(lines: bytes, schema: Any) -> Batch:
        if schema is None:
            return made(within_room(functools.partial(decode_json_lines, lines, None), max_batch_bytes))
        decoded = _decoded_schema(schema)
        try:
            arrow_schema = from_wit(decoded)
        except SchemaError as error:
            raise malformed(error.message) from error
        arrow = within_room(functools.partial(decode_json_lines, lines, arrow_schema), max_batch_bytes)
        texts = sum(_text_bytes(pairs) for pairs in (decoded.metadata, *(each.metadata for each in decoded.fields)))
        memory = BatchMemory.made(arrow)
        return Batch(arrow, max_bytes=max_batch_bytes, memory=memory.described(texts) if texts else memory)

    def concat(parts: Sequence[Batch]) -> Batch:
        if len(parts) == 1:
            return Batch(parts[0].arrow, max_bytes=max_batch_bytes, memory=parts[0].memory)
        arrow = within_room(functools.partial(builders.concat, [part.checked() for part in parts]), max_batch_bytes)
        return made(remember(arrow, frozenset(arrow.schema.names)))

    return {
        "[method]batch.num-rows": Batch.num_rows,
        "[method]batch.shape": Batch.shape,
        "[method]batch.column-names": Batch.column_names,
        "[method]batch.schema": Batch.schema,
        "[method]batch.validity": as_result(Batch.validity),
        "[method]batch.int64-column": as_result(Batch.int64_column),
        "[method]batch.float64-column": as_result(Batch.float64_column),
        "[method]batch.boolean-column": as_result(Batch.boolean_column),
        "[method]batch.text-column": as_result(Batch.text_column),
        "[method]batch.binary-column": as_result(Batch.binary_column),
        "[method]batch.with-int64-column": _copies(as_result(Batch.with_int64_column)),
        "[method]batch.with-float64-column": _copies(as_result(Batch.with_float64_column)),
        "[method]batch.with-boolean-column": _copies(as_result(Batch.with_boolean_column)),
        "[method]batch.with-text-column": _copies(
            _bulk(as_result(lambda self, column, *rest: Batch.with_text_column(self, _text(column), *rest)))
        ),
        "[method]batch.with-binary-column": _copies(as_result(Batch.with_binary_column)),
        "[method]batch.cast-column": as_result(Batch.cast_column),
        "[method]batch.select": as_result(Batch.select),
        "[method]batch.rename-column": as_result(Batch.rename_column),
        "[method]batch.with-column-metadata": as_result(Batch.with_column_metadata),
        "[method]batch.filter": _copies(as_result(Batch.filter)),
        "[method]batch.slice": as_result(Batch.slice),
        "[method]batch.to-arrow": as_result(lambda self: _u32_sized(self.to_arrow())),
        "[method]batch.to-arrow-words": as_result(Batch.to_arrow_words),
        "[method]batch.to-json-lines": as_result(lambda self: _u32_sized(self.to_json_lines())),
        "new-batch": new_batch,
        "from-arrow": as_result(from_arrow),
        "from-arrow-words": _copies(as_result(from_arrow_words)),
        "from-json-lines": _bulk(as_result(from_json_lines)),
        "concat": as_result(concat),
    }


def as_result(function: Callable[..., Any]) -> Callable[..., Ok[Any] | Err[Any]]:
    """Make a function that returns a WIT `result`: a `DataFailure` becomes a `data-error`, not an exception."""

    @functools.wraps(function)
    def call(*args: Any) -> Ok[Any] | Err[Any]:
        try:
            return Ok(function(*args))
        except DataFailure as failure:
            return Err(failure.error)
        except (pa.ArrowException, MemoryError) as error:
            # Arrow raises errors in many places, always because of the data: the plugin gets them as values, not
            # faults.
            return Err(other(f"{type(error).__name__}: {error}").error)

    return call


def _copies(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that copies what it keeps, so that it can get views of the plugin's memory."""
    function.takes_views = True  # type: ignore[attr-defined]  # what the engine looks for
    return function


def _bulk(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that takes texts as bytes."""
    function.text_as_bytes = True  # type: ignore[attr-defined]  # what the engine looks for
    return function


def _u32_sized(buffer: pa.Buffer) -> pa.Buffer:
    if buffer.size > _MAX_U32:
        raise too_large(f"{buffer.size} bytes are more than 2^32 - 1")
    return buffer


def _to_words(buffer: pa.Buffer) -> WordBuffer:
    _u32_sized(buffer)
    data = np.frombuffer(buffer, np.uint8)
    if len(data) % 8:
        data = np.concatenate([data, np.zeros(-len(data) % 8, np.uint8)])
    return WordBuffer(int(buffer.size), data.view(np.uint64))


def _from_words(encoded: Any) -> pa.Buffer:
    words = owned(encoded.words, np.uint64)
    if encoded.byte_length > len(words) * 8:
        raise malformed(f"{encoded.byte_length} bytes cannot be in {len(words)} words")
    return pa.py_buffer(words).slice(0, encoded.byte_length)


def _decoded_schema(schema: Any) -> Schema:
    """Convert the strings of a schema from bytes, as which the function gets all texts."""
    return Schema(
        tuple(
            Field(_text(field.name), _text(field.type_name), field.nullable, _text_pairs(field.metadata))
            for field in schema.fields
        ),
        _text_pairs(schema.metadata),
    )


def _text_bytes(metadata: Iterable[tuple[str, str]]) -> int:
    """Return the approximate size in bytes of metadata pairs."""
    return sum(_PAIR_BYTES + len(key) + len(value) for key, value in metadata)


def _text(value: str | bytes | memoryview) -> str:
    return value if isinstance(value, str) else str(value, "utf-8")


def _text_pairs(pairs: Any) -> tuple[tuple[str, str], ...]:
    return tuple((_text(key), _text(value)) for key, value in pairs)


class _Context(Protocol):
    @property
    def max_batch_bytes(self) -> int: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(max_batch_bytes=context.max_batch_bytes)
