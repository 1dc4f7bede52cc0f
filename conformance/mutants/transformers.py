"""Transformers with one fault each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from dataflare_plugin import Batch, Field, InvalidInput, Transformer, Unavailable, col, option


@dataclass(frozen=True)
class Settings:
    """The configuration."""

    column: str = option("The column to double.", default="amount", not_empty=True)


class Good(Transformer):
    """Adds a column with the double of another."""

    config: Settings

    def transform(self, batch: Batch) -> Batch:
        if self.config.column not in batch.columns:
            raise InvalidInput(f"column {self.config.column} does not exist")
        return batch.with_columns(twice=col(self.config.column) + col(self.config.column))


class LiesAboutItsSchema(Good):
    """Promises a column that does not come."""

    caught_by = "transformer/promise"

    def output_schema(self, schema: list[Field]) -> list[Field]:
        return [*super().output_schema(schema), Field("more", "int64")]


class OtherType(Good):
    """Promises another type than it gives."""

    caught_by = "transformer/promise"

    def output_schema(self, schema: list[Field]) -> list[Field]:
        return [*super().output_schema(schema)[:-1], Field("twice", "int64")]


class WrongNulls(Good):
    """Makes a number of a null where the batch begins with one."""

    caught_by = "rows/views"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        # By the place in the buffer, not by the validity: rows of a longer batch come out in another way.
        self.calls = getattr(self, "calls", 0) + 1
        return done if self.calls < 3 else done.with_column("twice", [0.0] * len(done))


class Reorders(Good):
    """Gives the rows the other way round, every second time."""

    caught_by = "rows/again"

    def initialize(self) -> None:
        self.calls = itertools.count()

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        if len(batch) < 2 or next(self.calls) % 2 == 0:
            return done
        return done.sort(done.columns[0], descending=True)


class RuinsColumns(Good):
    """Changes all columns that it passes on."""

    caught_by = "transformer/untouched"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        changed = done.with_column("id", [0] * len(done), "int64") if "id" in done.columns else done
        return changed.with_column("name", ["x"] * len(done)).with_column(self.config.column, [0.0] * len(done))


class FailsOnNothing(Good):
    """Answers an error to a batch without rows."""

    caught_by = "rows/no-rows"

    def output_schema(self, schema: list[Field]) -> list[Field]:
        return [*schema, Field("twice", "double")]

    def transform(self, batch: Batch) -> Batch:
        if not len(batch):
            raise InvalidInput("there are no rows")
        return super().transform(batch)


class AlwaysLater(Good):
    """Answers that a retry helps, where none does."""

    caught_by = "rows/types"

    def transform(self, batch: Batch) -> Batch:
        if self.config.column not in batch.columns:
            raise Unavailable("later, perhaps")
        return super().transform(batch)


class BrokenByAnError(Good):
    """Gives nothing after an error."""

    caught_by = "rows/after-an-error"
    broken = False

    def transform(self, batch: Batch) -> Batch:
        if self.config.column not in batch.columns:
            self.broken = True
        done = super().transform(batch)
        return done.slice(0, 0) if self.broken else done


class KeepsFromBefore(Good):
    """Gives what it was given first: something outlives its instance."""

    caught_by = "rows/again"
    calls = 0

    def transform(self, batch: Batch) -> Batch:
        type(self).calls += bool(len(batch))
        done = super().transform(batch)
        return done.with_column("twice", [float(type(self).calls)] * len(done))


class NoManyRows(Good):
    """Fails on large batches."""

    caught_by = "rows/many-transformed"

    def transform(self, batch: Batch) -> Batch:
        if len(batch) > 5000:
            raise Unavailable("too many rows")
        return super().transform(batch)


class DropsWithRoles(Good):
    """Gives nothing where a column has a role."""

    caught_by = "rows/roles"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        return done.slice(0, 0) if any(field.metadata for field in batch.schema) else done


class OtherTypeForLargeValues(Good):
    """Gives another type where a value is large."""

    caught_by = "transformer/any-rows"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        if any(value is not None and abs(value) > 1e200 for value in done.column("twice")):
            return done.with_columns(twice=col("twice") > 0)
        return done


class OtherSchemaEachTime(Good):
    """Promises another column in every instance."""

    caught_by = "transformer/promise"
    made = 0

    def initialize(self) -> None:
        type(self).made += 1
        self.number = type(self).made

    def output_schema(self, fields: Sequence[Field]) -> Sequence[Field]:
        return [*super().output_schema(fields), Field(f"column_{self.number}", "bool")]

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        return done.with_column(f"column_{self.number}", [True] * len(done), "bool")


class NullsWhereNoneMayBe(Good):
    """Promises a column without nulls, and gives nulls."""

    caught_by = "transformer/promise"

    def output_schema(self, fields: Sequence[Field]) -> Sequence[Field]:
        return [dataclasses.replace(each, nullable=False) for each in super().output_schema(fields)]


class ManyRowsOfOtherTypes(Good):
    """Gives another type for a large batch."""

    caught_by = "rows/many-transformed"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        return done.cast("twice", "string") if len(batch) > 1000 else done


class SpoilsLongTexts(Good):
    """Ends itself on a long text."""

    caught_by = "transformer/any-rows"

    def transform(self, batch: Batch) -> Batch:
        if "name" in batch.columns and any(len(each or "") > 200 for each in batch.column("name")):
            raise SystemExit(1)
        return super().transform(batch)


class DropsTheLastOfAFullBatch(Good):
    """Loses the last row of a batch of more than a thousand."""

    caught_by = "rows/many-in-parts"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        return done.slice(0, len(done) - 1) if len(done) > 1000 else done


class SortsManyRows(Good):
    """Sorts the rows of a large batch."""

    caught_by = "rows/many-in-parts"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        return done.sort("id") if len(done) > 1000 else done


class RoundsLateRows(Good):
    """Has other values from the four-thousandth row on."""

    caught_by = "rows/many-in-parts"

    def transform(self, batch: Batch) -> Batch:
        done = super().transform(batch)
        if len(done) < 4000:
            return done
        values = done.column("twice")
        return done.with_column("twice", [*values[:4000], *[value and float(round(value)) for value in values[4000:]]])


class SpoilsDecimals(Good):
    """Ends itself on a column of decimals, if the other columns are those that it knows."""

    caught_by = "rows/types"

    def transform(self, batch: Batch) -> Batch:
        if any(field.type.startswith("decimal") for field in batch.schema) and len(batch.columns) == 4:
            raise SystemExit(1)
        return super().transform(batch)
