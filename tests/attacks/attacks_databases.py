"""Attacks of those who write pipelines, by the databases that the connector `sql` uses."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from arena import Arena, Mutation, answers, attack
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.permissions.database_keys import DatabaseGrant, DatabaseModel
from dataflare.pipeline.databases.statements import check_one_statement
from dataflare.pipeline.run_errors import NodeFailed, StateError
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.pipeline.state_file import StateFile
from dataflare.runtime.host import Host
from dataflare.security.policy import Policy


def _place(arena: Arena, databases: Mapping[str, Any]) -> Host:
    with sqlite3.connect(arena.folder / "secret.db") as connection:
        connection.execute("CREATE TABLE t (name TEXT)")
        connection.execute("INSERT INTO t VALUES ('hunter2')")
    connection.close()
    policy = arena.folder / "policy.yaml"
    files = {"here": {"path": ".", "access": "write"}}
    grants = {"files": files, "databases": databases}
    policy.write_text(json.dumps({"version": 1, "connectors": {"grants": grants}}))
    return arena.host(policy=policy)


def _pipeline(arena: Arena, **nodes: Any) -> Path:
    file = arena.folder / "pipeline.yaml"
    own = {"db": {"url": "sqlite:secret.db", "access": "write"}}
    file.write_text(json.dumps({"name": "copy", "databases": own, "nodes": nodes}))
    return file


def _reading(arena: Arena, read: Any = "t") -> Path:
    return _pipeline(
        arena,
        read={"connector": "sql", "database": "db", "read": read},
        write={"connector": "jsonl", "write": "out.jsonl", "input": "read"},
    )


def _refused(arena: Arena, host: Host, file: Path) -> None:
    try:
        run(load_specification(file), host=host)
    except NodeFailed as error:
        assert isinstance(error.__cause__, PermissionDenied), error
    else:
        raise AssertionError("the pipeline got a database that it is not granted")
    assert not (arena.folder / "out.jsonl").exists()


@attack("deny")
def database_that_a_pipeline_names_itself(arena: Arena) -> None:
    """A pipeline says where its database is, though the policy grants none."""
    _refused(arena, _place(arena, {}), _reading(arena))


@attack("deny")
def database_granted_for_reading_is_written(arena: Arena) -> None:
    """A pipeline writes into a database that it may read."""
    host = _place(arena, {"db": {"url": "sqlite:secret.db"}})
    (arena.folder / "in.csv").write_text("name\nmallory\n")
    writing = {"connector": "sql", "database": "db", "write": "t", "input": "read"}
    _refused(arena, host, _pipeline(arena, read={"connector": "csv", "read": "in.csv"}, write=writing))


@attack("deny")
def password_in_the_url_of_a_database(arena: Arena) -> None:
    """A pipeline has a password in it, where everybody who reads the file sees it."""
    file = arena.folder / "pipeline.yaml"
    _reading(arena)
    for url in ("postgresql://etl:hunter2@db/shop", "postgresql://etl@db/shop?password=hunter2"):
        text = json.dumps({"db": {"url": url}})
        own = json.loads(file.read_text()) | {"databases": json.loads(text)}
        file.write_text(json.dumps(own))
        try:
            load_specification(file)
        except ConfigError:
            continue
        raise AssertionError(f"{url} was taken")


def _the_one_it_names(policy: Policy, _pipeline: str) -> Mapping[str, DatabaseGrant]:
    """The pipeline's own database, whatever the policy says."""
    return {"db": DatabaseGrant(kind="sqlite", place=str(policy.base_dir / "secret.db"), access="write")}


@attack("files-in")
def journal_that_has_another_file_deleted(arena: Arena) -> None:
    """Put a journal beside a state or a database that names the policy, which SQLite then deletes."""
    host = _place(arena, {"db": {"url": "sqlite:secret.db"}})
    StateFile(arena.folder / "copy.state", pipeline="copy").close()
    victim = arena.folder / "victim.txt"
    victim.write_text("precious")
    for name in ("secret.db", "copy.state"):
        write_journal(arena.folder / name, victim)

    def open_state() -> None:
        StateFile(arena.folder / "copy.state", pipeline="copy").close()

    arena.raises(StateError, open_state, says="names another file")
    arena.raises(NodeFailed, lambda: run(load_specification(_reading(arena)), host=host), says="names another file")
    assert victim.exists(), "it was deleted"


@attack("outputs")
def log_of_a_database_that_is_another_file(arena: Arena) -> None:
    """Put a link, or a hard link, to the policy in place of a database's journal or log, to have it overwritten."""
    for kind, beside in (("sqlite", ("-journal", "-wal", "-shm")), ("duckdb", (".wal", ".wal.checkpoint"))):
        place = arena.folder / f"secret.{kind}"
        (arena.folder / "secret.db").unlink(missing_ok=True)
        host = _place(arena, {"db": {"url": f"{kind}:{place.name}"}})
        victim = arena.folder / "victim.txt"
        victim.write_text("precious")
        for each in beside:
            for link in (os.symlink, os.link):
                log = arena.folder / f"{place.name}{each}"
                link(victim, log)
                read = load_specification(_reading(arena))
                arena.raises(NodeFailed, lambda read=read, host=host: run(read, host=host), says=str(log))
                log.unlink()
        assert victim.read_text() == "precious"


@attack("outputs")
def query_that_closes_its_brackets(arena: Arena) -> None:
    """Write a query that ends the brackets around it, and with them what selects the rows that are new."""
    end = ") AS asked --"
    for kind, query in (
        ("sqlite", f"SELECT 1 AS n, $a${end} $a$"),
        ("sqlite", f"SELECT 1 AS [a'] {end} '"),
        ("sqlite", f"SELECT 1 AS e'\\' {end} '"),
        ("postgresql", f"SELECT date'\\'{end} '"),
        ("postgresql", f"SELECT 1 AS \u20ace'\\'{end} '"),
        ("postgresql", f"SELECT 1 --\r{end}"),
        ("postgresql", f"SELECT $1${end} $1$"),
        ("postgresql", f"SELECT 1 `{end} `"),
        ("duckdb", f"SELECT 1 --\r{end}"),
    ):
        kinds: Any = kind
        arena.raises(ConfigError, lambda query=query, kinds=kinds: check_one_statement(query, kinds))


def write_journal(database: Path, names: Path) -> None:
    """Write a journal of a transaction that may have to be taken back, over several files, of which one is named."""
    mark, name = bytes.fromhex("d9d505f920a163d7"), str(names).encode()
    pages = database.stat().st_size // 4096
    head = (mark + struct.pack(">IIIII", 0, 1, pages, 512, 4096)).ljust(512, b"\0")
    end = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + mark
    database.with_name(f"{database.name}-journal").write_bytes(head + end)


@attack("secrets")
def several_hosts_in_the_url_of_a_database(arena: Arena) -> None:
    """Write a second host into a database's URL, in each of the ways that the driver knows, to get the password."""
    for place in ("a,b/db", "a%2Cb/db", "a/db?host=c,b", "a/db?host=c%2Cb", "a/db?host=c&host=b"):
        document = {"url": f"postgresql://user@{place}", "password": "token"}
        arena.raises(ValidationError, lambda document=document: DatabaseModel.model_validate(document))
    DatabaseModel.model_validate({"url": "postgresql://user@/db?host=/run/postgresql", "password": "token"})


_FOR_ALL = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""",
    re.DOTALL,
)
"""The texts of all databases at once."""


MUTATIONS = [
    *(
        Mutation(f"dataflare.pipeline.databases.statements:{each}", _FOR_ALL, ("query_that_closes_its_brackets",))
        for each in ("_SQLITE", "_OTHERS")
    ),
    Mutation(
        "dataflare.security.connector_databases:check_journal",
        answers(None),
        ("log_of_a_database_that_is_another_file",),
    ),
    Mutation(
        "dataflare.permissions.database_keys:_is_one_host", answers(True), ("several_hosts_in_the_url_of_a_database",)
    ),
    Mutation(
        "dataflare.capabilities.sqlite_state:check_journal", answers(None), ("journal_that_has_another_file_deleted",)
    ),
    Mutation(
        "dataflare.security.connector_databases:check_journal",
        answers(None),
        ("journal_that_has_another_file_deleted",),
    ),
    Mutation(
        "dataflare.security.policy:Policy.connector_databases",
        _the_one_it_names,
        ("database_that_a_pipeline_names_itself", "database_granted_for_reading_is_written"),
    ),
    Mutation(
        "dataflare.permissions.database_keys:_PARAMETERS",
        frozenset({"password"}),
        ("password_in_the_url_of_a_database",),
    ),
]
