"""The keys of a pipeline's YAML about columns that change."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from dataflare.documents.models import StrictModel

__all__ = ["SCHEMA_FIELD", "ContractAction", "ContractModel", "SchemaKey", "contract_of"]

ContractAction: TypeAlias = Literal["evolve", "freeze", "discard-column", "discard-row"]


class ContractModel(StrictModel):
    """What becomes of rows whose columns differ from the known ones."""

    new_columns: ContractAction = Field(
        default="evolve",
        description="`evolve` takes the column; `freeze` ends the run; `discard-column` leaves the column out; "
        "`discard-row` leaves out the rows with a value in it.",
    )
    changed_types: ContractAction = Field(
        default="evolve",
        description="`evolve` takes a type for both kinds of values, or the new one; `freeze` ends the run; "
        "`discard-column` makes values null that the known type does not hold; `discard-row` leaves their rows out.",
    )
    missing_columns: ContractAction = Field(
        default="evolve",
        description="`evolve` and `discard-column` keep the column, with nulls; `freeze` ends the run; `discard-row` "
        "leaves out rows without the column.",
    )

    @property
    def discards_rows(self) -> bool:
        """Whether it can leave rows out."""
        return "discard-row" in (self.new_columns, self.changed_types, self.missing_columns)


SchemaKey: TypeAlias = Annotated[
    Annotated[ContractAction, Tag("|action")] | Annotated[ContractModel, Tag("|contract")],
    Discriminator(lambda value: "|contract" if isinstance(value, dict | ContractModel) else "|action"),
]


# pydantic has an attribute of that name.
SCHEMA_FIELD: Final[Any] = Field(
    default=None,
    alias="schema",
    description="Only for what reads: what to do when columns differ from those of the last run, or of the file or "
    "rows before: `evolve`, `freeze`, `discard-column` or `discard-row`. A single action applies to all differences. "
    "Without it, each run takes the columns that it finds, and they may not change within a run.",
)


def contract_of(key: ContractAction | ContractModel | None) -> ContractModel | None:
    """Take a single action for all differences."""
    if key is None or isinstance(key, ContractModel):
        return key
    return ContractModel(new_columns=key, changed_types=key, missing_columns=key)
