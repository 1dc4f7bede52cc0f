"""Roles that a pipeline gives to columns, in place of those that a source names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import pyarrow as pa
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dataflare.data.roles import roles_of, with_roles
from dataflare.data.schemas import SchemaError
from dataflare.documents.models import StrictModel
from dataflare.pipeline.run_errors import DataError

__all__ = ["ROLES_FIELD", "ColumnRoles", "RolesModel"]

_Text = Annotated[str, Field(min_length=1, max_length=4096)]
_OPERATIONS = "an operation is 0 (insert), 1 (update) or 2 (delete)"


class RolesModel(StrictModel):
    """The roles of columns; a role that is not given stays as the source says."""

    key: list[_Text] | None = Field(default=None, description="The columns that identify a row, in order.")
    cursor: _Text | None = Field(default=None, description="The column whose values rise as rows are added or changed.")
    operation: _Text | None = Field(
        default=None, description="The column of whole numbers that says what a row does: 0 insert, 1 update, 2 delete."
    )

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.key is None and self.cursor is None and self.operation is None:
            raise PydanticCustomError("roles", "gives no role", {"hint": "give key, cursor or operation"})
        return self


ROLES_FIELD = Field(
    default=None,
    description="Only for what reads: the roles of columns (`key`, `cursor`, `operation`), for the nodes that take the "
    "rows. They replace those that the source names.",
)


class ColumnRoles:
    """Gives batches the roles that a pipeline says; one thread at a time.

    Args:
        key: The columns of the key; `None` leaves it.
        cursor: The cursor column; `None` leaves it.
        operation: The operation column, which becomes `int8`; `None` leaves it.
    """

    def __init__(
        self, *, key: Sequence[str] | None = None, cursor: str | None = None, operation: str | None = None
    ) -> None:
        self._key = key
        self._cursor = cursor
        self._operation = operation
        self._before = self._after = pa.schema([])

    @classmethod
    def of(cls, model: RolesModel | None) -> ColumnRoles | None:
        """What a node says; `None` where it says nothing."""
        return None if model is None else cls(key=model.key, cursor=model.cursor, operation=model.operation)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Give columns their roles.

        Raises:
            DataError: There is no such column, or it cannot have the role.
        """
        try:
            has = roles_of(schema)
            at = -1 if self._operation is None else schema.get_field_index(self._operation)
            if at >= 0 and pa.types.is_integer(schema.field(at).type):
                schema = schema.set(at, schema.field(at).with_type(pa.int8()))
            return with_roles(
                schema,
                key=has.key if self._key is None else self._key,
                cursor=self._cursor or has.cursor,
                operation=self._operation or has.operation,
            )
        except SchemaError as error:
            raise DataError(error.message, hint=f"there are the columns {', '.join(schema.names[:20])}") from error

    def apply(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Give a batch the roles.

        Raises:
            DataError: There is no such column, or a value of the operation column is not an operation.
        """
        if rows.schema is not self._before:
            self._before, self._after = rows.schema, self.schema(rows.schema)
        try:
            arrays = [array.cast(field.type) for array, field in zip(rows.columns, self._after, strict=True)]
        except pa.ArrowInvalid as error:
            raise DataError(f"column {self._operation!r}: {_OPERATIONS}: {error}") from error
        return pa.RecordBatch.from_arrays(arrays, schema=self._after)
