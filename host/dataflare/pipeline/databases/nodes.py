"""The nodes that read and write tables of databases."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.models import FilePath, Name, StrictModel
from dataflare.pipeline.branches import nodes_of
from dataflare.pipeline.column_roles import ROLES_FIELD, RolesModel
from dataflare.pipeline.contract_keys import SCHEMA_FIELD, ContractModel, SchemaKey, contract_of
from dataflare.pipeline.dataset_models import OPERATION_FIELD, ReadModel, WriteModel
from dataflare.pipeline.nodes import Input, names_of_inputs
from dataflare.pipeline.row_errors import OnError, OnErrorModel, policy_of

__all__ = ["CONNECTOR", "OWN_TABLES", "SqlRead", "SqlWrite", "TableModel", "TablesModel"]

CONNECTOR = "sql"
OWN_TABLES: Final = "_dataflare_"
"""What the names of tables begin with that runs use for themselves, such as that of their tokens."""
_Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]


_WAITING: Final = frozenset({"retries", "max_outage"})


def _check_policy(policy: object, known: Collection[str]) -> None:
    """Refuse what a failure policy says of plugins: a database has no instance, and does not fault."""
    if isinstance(policy, OnErrorModel) and (stray := sorted(policy.model_fields_set - set(known))):
        context = {"key": "on_error", "name": stray[0], "hint": f"leave it out; known are {', '.join(sorted(known))}"}
        raise PydanticCustomError("policy", "`{name}` is not for this node", context)


class TableModel(StrictModel):
    """A table in a schema of the database."""

    table: _Text = Field(description="The table's or view's name.")
    within: _Text | None = Field(default=None, description="The schema that it is in; by default the database's own.")


class TablesModel(StrictModel):
    """Several tables of a schema of the database."""

    tables: Annotated[
        Annotated[Literal["all"], Tag("|all")]
        | Annotated[list[_Text], Field(min_length=1, max_length=10_000), Tag("|some")],
        Discriminator(lambda value: "|some" if isinstance(value, list) else "|all"),
    ] = Field(description="`all`, or a list of names and patterns such as `sales_*`.")
    within: _Text | None = Field(
        default=None, description="The schema that they are in; by default the database's own."
    )
    exclude: list[_Text] = Field(default=[], description="Names or patterns of tables that are left out.")


class QueryModel(StrictModel):
    """A query."""

    query: _Text = Field(description="A `SELECT`.")


_TABLE = Annotated[_Text, Tag("|name")] | Annotated[TableModel, Tag("|table")]


def _tag(value: Any) -> str:
    if isinstance(value, QueryModel) or (isinstance(value, dict) and "query" in value):
        return "|query"
    if isinstance(value, TablesModel) or (isinstance(value, dict) and "tables" in value):
        return "|tables"
    return "|table" if isinstance(value, dict | TableModel) else "|name"


class SqlRead(StrictModel):
    """A table or a query of a database that is read."""

    connector: Literal["sql"]
    database: Name = Field(description="The name of the database: under `databases`, or in the policy.")
    read: Annotated[
        _TABLE | Annotated[QueryModel, Tag("|query")] | Annotated[TablesModel, Tag("|tables")], Discriminator(_tag)
    ] = Field(
        description="A table's name, `{table: NAME, within: SCHEMA}`, `{query: SELECT ...}`, or several tables: "
        "`{tables: all}`, or `{tables: [NAME, PATTERN]}`, which are read one after the other."
    )
    mode: Literal["full", "incremental"] = Field(
        default="full", description="All rows, or those that are new by the cursor column."
    )
    cursor: _Text | None = Field(default=None, description="The cursor column, for `incremental`.")
    columns: list[_Text] = Field(default=[], description="The columns to read; without it, all.")
    schema_contract: SchemaKey | None = SCHEMA_FIELD
    roles: RolesModel | None = ROLES_FIELD
    on_error: OnErrorModel | None = Field(
        default=None, description="How a server that is away is waited for: only `retries` and `max_outage`."
    )
    dead_letters: FilePath | None = Field(
        default=None, description="A JSON Lines file for rows that `schema` leaves out (`discard-row`)."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_policy(self.on_error, _WAITING)
        if isinstance(self.read, TablesModel) and self.columns:
            context = {"key": "columns", "hint": "read this table by a node of its own"}
            raise PydanticCustomError("tables", "columns are of one table, and several are read", context)
        if (self.mode == "incremental") != (self.cursor is not None):
            hint = "give `cursor: COLUMN`" if self.cursor is None else "say `mode: incremental`"
            raise PydanticCustomError("cursor", "a cursor column goes with incremental reads", {"hint": hint})
        if self.dead_letters is not None and not (self.contract and self.contract.discards_rows):
            context = {"key": "dead_letters", "hint": "say which rows are left out, such as `schema: discard-row`"}
            raise PydanticCustomError("letters", "no rows are left out that could go to the file", context)
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """It takes no rows."""
        return ()

    @property
    def taken(self) -> tuple[str, ...]:
        """It takes no rows."""
        return ()

    @property
    def contract(self) -> ContractModel | None:
        """What becomes of columns that change; `None` where the pipeline does not say."""
        return contract_of(self.schema_contract)

    @property
    def errors(self) -> OnErrorModel:
        """What becomes of calls that fail: they are retried where that can help."""
        return self.on_error or OnErrorModel()

    @property
    def source(self) -> ReadModel:
        """What is read, as of any source."""
        if isinstance(self.read, QueryModel):
            name, within = f"query {sha256(self.read.query.encode()).hexdigest()[:16]}", ""
        else:
            name, within = self.one_table.table, self.one_table.within or ""
        namespace = f"{self.database}.{within}" if within else self.database
        return ReadModel(dataset=name, namespace=namespace, mode=self.mode, cursor=self.cursor, columns=self.columns)

    @property
    def table(self) -> TableModel | str:
        """The table, or the text of the query."""
        return self.read.query if isinstance(self.read, QueryModel) else self.one_table

    @property
    def one_table(self) -> TableModel:
        """The table, of a node that reads one."""
        assert not isinstance(self.read, QueryModel | TablesModel)
        return _table(self.read)

    @property
    def shown(self) -> str:
        """What it reads, for reports."""
        if isinstance(self.read, QueryModel | TablesModel):
            return f"sql {self.database}: {'a query' if isinstance(self.read, QueryModel) else 'several tables'}"
        return f"sql {self.database}: {self.one_table.table}"


class SqlWrite(StrictModel):
    """A table of a database that is written."""

    connector: Literal["sql"]
    database: Name = Field(description="The name of the database: under `databases`, or in the policy.")
    write: Annotated[_TABLE, Discriminator(_tag)] = Field(
        description="A table's name, or `{table: NAME, within: SCHEMA}`; it is created if it is missing."
    )
    input: Input
    mode: Literal["append", "replace", "merge"] = Field(
        default="append", description="Add rows, replace all, or insert and update by key."
    )
    key: list[_Text] | None = Field(
        default=None, description="The columns that identify a row; without it, those with the role in the schema."
    )
    operation: _Text | None = OPERATION_FIELD
    negative_zero: Literal["fail", "zero"] = Field(
        default="fail", description="What happens to -0.0, which SQLite does not have: it is rejected, or written as 0."
    )
    on_error: OnError | None = Field(
        default=None,
        description="Rows that the database rejects end the run (`fail`) or are left out (`skip`, which `dead_letters` "
        "stands for too); and how a server that is away is waited for. All but `reloads`, `max_faults` and "
        "`quarantine`.",
    )
    dead_letters: FilePath | None = Field(default=None, description="A JSON Lines file for rows that are left out.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_policy(self.on_error, {*_WAITING, "rows", "max_errors", "max_error_share"})
        if self.dead_letters is not None and self.errors.rows == "fail":
            context = {"key": "on_error", "hint": "leave rows out: `on_error: skip`"}
            raise PydanticCustomError("letters", "rows that fail end the run, and `dead_letters` has none", context)
        if _table(self.write).table.casefold().startswith(OWN_TABLES):
            context = {"key": "write", "hint": "choose a name that does not begin so"}
            raise PydanticCustomError(
                "table", f"tables whose names begin with `{OWN_TABLES}` are the program's", context
            )
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes whose rows this one takes, each once."""
        return nodes_of(self.taken)

    @property
    def taken(self) -> tuple[str, ...]:
        """Its inputs, as the pipeline names them: nodes, or the rejected rows of one."""
        return names_of_inputs(self.input)

    @property
    def errors(self) -> OnErrorModel:
        """What becomes of rows that the database rejects."""
        return policy_of(self.on_error, self.dead_letters)

    @property
    def destination(self) -> WriteModel:
        """How rows are written, as of any destination."""
        table = self.table
        return WriteModel(
            dataset=table.table, namespace=table.within or "", mode=self.mode, key=self.key, operation=self.operation
        )

    @property
    def table(self) -> TableModel:
        """The table."""
        return _table(self.write)

    @property
    def shown(self) -> str:
        """What it writes, for reports."""
        return f"sql {self.database}: {self.table.table}"


def _table(value: str | TableModel) -> TableModel:
    return TableModel(table=value) if isinstance(value, str) else value
