"""Databases of all kinds, and what tests do to their table `t`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification
from dataflare.pipeline.state_file import StateFile


class Database:
    """One database of a kind, with what tests do to it from outside."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind, self.url = kind, url
        self.grant = DatabaseGrant(kind=kind, place=url.removeprefix(f"{kind}:"), access="write")  # type: ignore[arg-type]

    def execute(self, *statements: str) -> None:
        connection = Connection("db", self.grant, None)
        try:
            for each in statements:
                connection.execute(each)
            if self.grant.is_file:
                connection.commit()
        finally:
            connection.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = Connection("db", self.grant, None)
        try:
            return connection.rows(query)
        finally:
            connection.close()


def pipeline(folder: Path, database: Database, **nodes: dict[str, Any]) -> Specification:
    databases = {"db": {"url": database.url, "access": "write"}}
    return build_specification({"name": "test", "databases": databases, "nodes": nodes}, folder=folder)


def write(folder: Path, database: Database, table: pa.Table, **options: Any) -> RunReport:
    """Write rows into the table `t`, by way of a file of Arrow."""
    with pa.OSFile(str(folder / "in.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    nodes = {
        "in": {"connector": "arrow", "read": "in.arrow"},
        "out": {"connector": "sql", "database": "db", "write": "t", "input": "in", **options},
    }
    return run(pipeline(folder, database, **nodes))


def read(folder: Path, database: Database, state: StateFile | None = None, **options: Any) -> pa.Table:
    """Read the table `t`."""
    nodes = {
        "in": {"connector": "sql", "database": "db", "read": "t", **options},
        "out": {"connector": "parquet", "write": "out.parquet", "input": "in"},
    }
    run(pipeline(folder, database, **nodes), state=state)
    return parquet.read_table(folder / "out.parquet")


def rows(*ids: int, **more: Any) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), **more})
