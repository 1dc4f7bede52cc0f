"""Plugins that map batches to batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, overload

import pyarrow as pa

from dataflare.runtime.launch import Worker
from dataflare.runtime.plugin import Plugin, PluginParts
from dataflare.runtime.row_schemas import columns_text, same_columns
from dataflare.runtime.tables import map_rows

__all__ = ["Transformer"]


class Transformer(Plugin):
    """A plugin that maps batches to batches, whose columns may differ."""

    kind: ClassVar[str] = "transformer"

    def __init__(self, parts: PluginParts) -> None:
        super().__init__(parts)
        # The last announced schemas: input and output. Replaced as a whole, so any thread may read it.
        self._promise: tuple[pa.Schema, pa.Schema] | None = None

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Ask for the schema of `transform`'s results for this input schema. `transform` must keep to the last answer.

        Raises:
            PluginError: The plugin answered with an error; `invalid-input` for a schema that it cannot take.
            PluginFault: It trapped, or its answer is not a schema.
            UsageError: The plugin is closed.
        """
        wit_schema = self._wit_schema(schema)
        with self._lease() as worker:
            answer = worker.call(self._interface, "output-schema", wit_schema)
            promised = self._arrow_schema(worker, "output-schema", answer)
        self._promise = (schema, promised)
        return promised

    # pyarrow has no type annotations; without stubs, these overloads are the same to a type checker.
    @overload
    def transform(self, rows: pa.RecordBatch) -> pa.RecordBatch: ...
    @overload
    def transform(self, rows: pa.Table) -> pa.Table: ...  # type: ignore[overload-cannot-match]
    @overload
    def transform(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]: ...  # type: ignore[overload-cannot-match]
    def transform(self, rows: Any) -> Any:
        """Map a batch; the result may have more or fewer rows.

        Args:
            rows: A batch. For a table, of polars too, the result is a `pyarrow.Table`; for an iterable of batches, such
                as a reader, an iterator that maps each batch when it is taken.

        Raises:
            PluginError: The plugin answered with an error.
            PluginFault: It trapped, or the result has another schema than `output_schema` said for this input.
            UsageError: The plugin is closed.
        """
        if not isinstance(rows, pa.RecordBatch):
            return map_rows(rows, self.transform)
        batch = self._wit_batch(rows)
        with self._data_lease(rows.num_rows) as worker:
            result: pa.RecordBatch = worker.call(self._interface, "transform", batch).arrow
            self._check_promise(worker, rows.schema, result.schema)
            return self._within_limits(worker, "transform", result)

    def _check_promise(self, worker: Worker, given: pa.Schema, found: pa.Schema) -> None:
        if self._promise is None:
            return
        asked, promised = self._promise
        if asked.equals(given) and not same_columns(promised, found):
            raise self._broken_promise(
                worker,
                "transform",
                f"it returned the columns {columns_text(found)}, where `output-schema` promised "
                f"{columns_text(promised)}",
            )
