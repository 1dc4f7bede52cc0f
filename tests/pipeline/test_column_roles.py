"""Roles that a pipeline gives to columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from database_kit import Database, pipeline
from dataflare.data.roles import Roles, roles_of, with_roles
from dataflare.errors import ConfigError
from dataflare.pipeline.check import check_pipeline
from dataflare.pipeline.column_roles import ColumnRoles
from dataflare.pipeline.plan import plan_pipeline
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import parse_specification
from dataflare.runtime.host import Host
from pipeline_fakes import FakeDestination, FakeHost

CHANGES = "id,name,op\n1,Ada,0\n2,Bob,\n1,,2\n3,Cy,1\n"


def test_roles_of_the_pipeline_replace_those_of_the_source():
    rows = pa.record_batch({"a": [1], "b": [2], "c": [0]})
    given = with_roles(rows.schema, key=["a"], cursor="b")
    made = ColumnRoles(key=["b", "a"], operation="c").apply(pa.RecordBatch.from_arrays(rows.columns, schema=given))
    assert roles_of(made.schema) == Roles(("b", "a"), "b", "c")
    assert made.schema.field("c").type == pa.int8()
    assert made.to_pydict() == rows.to_pydict()


@pytest.mark.parametrize(
    ("roles", "rows", "says"),
    [
        ({"key": ["z"]}, {"a": [1]}, "there is no column 'z'"),
        ({"operation": "a"}, {"a": ["x"]}, "an operation column is int8, not string"),
        ({"operation": "a"}, {"a": [1000]}, "an operation is 0"),
    ],
)
def test_role_that_a_column_cannot_have_is_an_error(roles: Any, rows: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ColumnRoles(**roles).apply(pa.record_batch(rows))


@pytest.mark.parametrize(
    ("reading", "writing"),
    [
        ({"roles": {"key": ["id"], "operation": "op"}}, {}),
        ({}, {"key": ["id"], "operation": "op"}),
        ({"roles": {"operation": "op"}}, {"key": ["id"]}),
    ],
)
def test_rows_of_a_file_delete_rows_of_a_table(
    database: Database, tmp_path: Path, reading: dict[str, Any], writing: dict[str, Any]
) -> None:
    (tmp_path / "in.csv").write_text(CHANGES)
    nodes = {
        "in": {"connector": "csv", "read": "in.csv", **reading},
        "out": {"connector": "sql", "database": "db", "write": "t", "input": "in", "mode": "merge", **writing},
    }
    run(pipeline(tmp_path, database, **nodes))
    assert database.rows("SELECT * FROM t ORDER BY id") == [(2, "Bob"), (3, "Cy")]


def test_plugin_is_told_the_roles(specify: Any, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CHANGES)
    target = FakeDestination()
    specification = specify(
        "  in: {connector: csv, read: in.csv, roles: {key: [id]}}\n"
        "  out: {plugin: destination.wasm, input: in, destination: {mode: merge, operation: op}}\n"
    )
    host: Any = FakeHost(destination=target)
    run(specification, host=host)
    assert roles_of(target.target.schema) == Roles(("id",), None, "op") and target.target.key == ("id",)
    assert target.written[0].schema.equals(target.target.schema, check_metadata=True)
    target.plan = lambda _: []  # type: ignore[attr-defined]
    plan = plan_pipeline(specification, host)
    assert plan.problems == [] and [each.key for each in plan.nodes] == [("id",), ("id",)]


@pytest.mark.parametrize(
    ("nodes", "says", "line"),
    [
        ("  in: {connector: csv, read: in.csv, roles: {key: [ID]}}\n", "no column 'ID'", 4),
        ("  in: {connector: csv, read: in.csv}\n", "no column 'opp'", 5),
    ],
)
def test_check_finds_roles_of_columns_that_there_are_not(tmp_path: Path, nodes: str, says: str, line: int) -> None:
    (tmp_path / "in.csv").write_text(CHANGES)
    out = "  out: {connector: sql, database: db, write: t, input: in, key: [id], operation: opp, mode: merge}\n"
    text = f"name: test\ndatabases: {{db: {{url: 'sqlite:db', access: write}}}}\nnodes:\n{nodes}{out}"
    made = parse_specification(text, file=tmp_path / "pipeline.yaml")
    with Host() as host:
        problems = check_pipeline(made, host)
    assert says in str(problems[0]) and f"pipeline.yaml:{line}" in str(problems[0])
    with pytest.raises(NodeFailed, match="no column"):
        run(made)


def test_roles_without_a_role_are_refused(specify: Any) -> None:
    with pytest.raises(ConfigError, match="gives no role"):
        specify("  in: {connector: csv, read: in.csv, roles: {}}\n  out: {connector: csv, write: o.csv, input: in}\n")
