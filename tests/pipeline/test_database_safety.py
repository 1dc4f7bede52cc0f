"""Databases: two writers, outages, full disks, grants and secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from database_kit import Database, read, rows, write
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.destination import SqlDestination
from dataflare.pipeline.databases.nodes import SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import Specification, build_specification
from dataflare.runtime.datasets import Target
from dataflare.runtime.host import Host
from dataflare.security.policy import Policy
from dataflare.security.settings import Security

pytest.importorskip("adbc_driver_sqlite")


# Two writers, outages, full disks


def test_second_run_at_once_is_refused(database):
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    made = [open_database(node, database.grant, lambda _: None) for _ in range(2)]
    first, second = (each for each in made if isinstance(each, SqlDestination))
    try:
        first.start().open(Target("t", rows().schema), pipeline="p", run="r", generation=1)
        first.write(rows(1).to_batches()[0])
        if database.kind == "postgresql":
            with pytest.raises(Exception, match="another run writes the table 't'"):
                second.start().open(Target("t", rows().schema), pipeline="p", run="s", generation=2)
        first.flush(b"token")
        first.close()
        # A later run begins, and an older one does not come back.
        second.close()
        third = open_database(node, database.grant, lambda _: None)
        assert isinstance(third, SqlDestination)
        assert third.start().open(Target("t", rows().schema), pipeline="p", run="t", generation=3) == b"token"
        third.finish(b"more")
        third.close()
        fourth = open_database(node, database.grant, lambda _: None)
        assert isinstance(fourth, SqlDestination)
        with pytest.raises(Exception, match="a later run of 'p' has begun"):
            fourth.start().open(Target("t", rows().schema), pipeline="p", run="u", generation=2)
        fourth.close()
    finally:
        first.close()
        second.close()
    assert database.rows("SELECT id FROM t") == [(1,)]


def test_server_that_stops_and_starts_again_loses_nothing(tmp_path, postgres):
    database = Database("postgresql", postgres.url)
    database.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t (id bigint)")
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    destination = open_database(node, database.grant, lambda _: None)
    assert isinstance(destination, SqlDestination)
    destination.start().open(Target("t", rows().schema), pipeline="q", run="r", generation=1)
    destination.write(rows(1).to_batches()[0])
    destination.flush(b"one")
    destination.write(rows(2).to_batches()[0])
    postgres.stop()
    with pytest.raises(Exception, match=r"server closed the connection|terminating") as caught:
        destination.flush(b"two")
    assert "continues from its last checkpoint" in str(caught.value)
    destination.abort()
    destination.close()
    postgres.start()
    again = open_database(node, database.grant, lambda _: None)
    assert isinstance(again, SqlDestination)
    assert again.start().open(Target("t", rows().schema), pipeline="q", run="s", generation=2) == b"one"
    again.close()
    assert database.rows("SELECT id FROM t") == [(1,)]


def test_server_that_is_not_there_is_an_error_after_some_attempts(tmp_path, monkeypatch):
    monkeypatch.setattr("dataflare.pipeline.retries.Retries.wait", lambda *_: None)
    database = Database("postgresql", f"postgresql://tester@/postgres?host={tmp_path}")
    with pytest.raises(NodeFailed, match="connection to server") as caught:
        read(tmp_path, database)
    assert "is the server running" in caught.value.hint


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_full_disk_changes_nothing(tmp_path, kind):
    database = Database(kind, f"{kind}:{tmp_path / 'test.db'}")
    write(tmp_path, database, rows(1))
    (tmp_path / "in.csv").write_text("id,x\n" + "".join(f"{n},{'x' * 100}\n" for n in range(20_000)))
    (tmp_path / "p.yaml").write_text(
        f"name: test\ndatabases: {{db: {{url: '{database.url}', access: write}}}}\nnodes:\n"
        "  in: {connector: csv, read: in.csv}\n  out: {connector: sql, database: db, write: t, input: in}\n"
    )
    most = (tmp_path / "test.db").stat().st_size + 200_000
    child = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "from dataflare.pipeline.runner import run\nfrom dataflare.pipeline.run_errors import NodeFailed\n"
        "try:\n    run('p.yaml')\nexcept NodeFailed as error:\n    print(error.node, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", child], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("out "), done.stderr
    assert str(tmp_path / "test.db") in done.stdout
    assert "make room, and run again" in done.stdout
    assert read(tmp_path, database).to_pydict() == {"id": [1]}


# Grants and secrets


def policed(folder: Path, databases: str) -> Security:
    grants = f"{{files: {{here: {{path: ., access: write}}}}, databases: {{{databases}}}}}"
    text = f"version: 1\nconnectors: {{grants: {grants}}}"
    return Security(policy=Policy.parse(text, base_dir=folder))


def copying(folder: Path, own: str) -> Specification:
    (folder / "in.csv").write_text("id\n1\n")
    return build_specification(
        {
            "name": "test",
            "databases": {"db": {"url": own, "access": "write"}},
            "nodes": {
                "in": {"connector": "csv", "read": "in.csv"},
                "out": {"connector": "sql", "database": "db", "write": "t", "input": "in"},
            },
        },
        folder=folder,
    )


def test_policy_says_where_a_database_is(tmp_path):
    made = copying(tmp_path, "sqlite:own.db")
    with Host(security=policed(tmp_path, "db: {url: 'sqlite:granted.db', access: write}")) as host:
        run(made, host=host)
    assert (tmp_path / "granted.db").exists()
    assert not (tmp_path / "own.db").exists()


@pytest.mark.parametrize(
    ("databases", "what"),
    [("", "grants no database 'db'"), ("db: {url: 'sqlite:granted.db'}", "for reading only")],
)
def test_policy_refuses_what_it_does_not_grant(tmp_path, databases, what):
    made = copying(tmp_path, "sqlite:own.db")
    with Host(security=policed(tmp_path, databases)) as host, pytest.raises(NodeFailed, match=what) as caught:
        run(made, host=host)
    assert isinstance(caught.value.__cause__, PermissionDenied)
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://me:secret@host/db", "a URL has no password in it"),
        ("postgresql:me:secret@host/db", "it is not the URL of a database"),
        ("postgresql://me@host/db?connect_timeout=soon", "connect_timeout is not a number of seconds"),
        ("postgresql://me@host/db?connect_timeout=-1", "connect_timeout is not a number of seconds"),
        ("postgresql://me@host/db?password=secret", "'?password'? is not one of a database's URL"),
        ("postgresql://me@host/db?passfile=/etc/x", "'?passfile'? is not one of"),
        ("mysql://me@host/db", "not the URL of a database"),
        ("sqlite:", "not the URL of a database"),
    ],
)
def test_url_with_a_secret_or_of_nothing_is_refused(tmp_path, url, what):
    with pytest.raises(ConfigError, match=what) as caught:
        copying(tmp_path, url)
    assert "password: NAME" in str(caught.value) or "secret" not in str(caught.value).replace(url, "")


def test_password_comes_from_a_secret(tmp_path, postgres, monkeypatch):
    database = Database("postgresql", postgres.url)
    node = SqlWrite.model_validate({"connector": "sql", "database": "db", "write": "t", "input": "in"})
    grant = DatabaseGrant(kind="postgresql", place=postgres.url, access="write", password="db-password")
    with pytest.raises(ConfigError, match="no secret 'db-password'") as caught:
        open_database(node, grant, lambda _: None).start()
    assert "DATAFLARE_SECRET_DB_PASSWORD" in caught.value.hint
    monkeypatch.setenv("DATAFLARE_SECRET_DB_PASSWORD", "p@ss:w/rd")
    with Host() as host:
        assert host.connector_secret("db-password") == "p@ss:w/rd"
        opened = open_database(node, grant, host.connector_secret).start()
        opened.close()
    assert database.rows("SELECT 1") == [(1,)]
    assert grant.uri("p@ss:w/rd").startswith("postgresql://tester:p%40ss%3Aw%2Frd@/postgres?")


def test_database_that_is_not_there_is_not_made_by_reading(tmp_path):
    database = Database("sqlite", f"sqlite:{tmp_path / 'absent.db'}")
    with pytest.raises(NodeFailed, match="the file is not there"):
        read(tmp_path, database)
    assert not os.path.exists(tmp_path / "absent.db")
