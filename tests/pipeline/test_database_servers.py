"""PostgreSQL's driver in a process of its own: what that process has, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import dataflare
from database_kit import Database, rows, write
from dataflare.pipeline.databases.connection import Connection
from dataflare.pipeline.databases.nodes import SqlRead
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.databases.source import SqlSource
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.row_errors import OnErrorModel
from dataflare.pipeline.run_errors import DatabaseError
from dataflare.runtime.isolation import landlock, spawn
from postgres_kit import Server
from postgres_kit import server as started_server

pytest.importorskip("adbc_driver_postgresql")

PATIENCE_S = 60.0
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(599)%' AND pid <> pg_backend_pid()"


def waits_for(database: Database, count: int) -> None:
    """Wait until so many connections of the server's are in the query that takes ten minutes."""
    until = time.monotonic() + PATIENCE_S
    with closing(Connection("look", database.grant, None)) as looking:
        while looking.one(SLEEPING, int) != count:
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.05)


@pytest.fixture
def server(postgres: Server) -> Database:
    made = Database("postgresql", postgres.url)
    made.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return made


def test_host_does_not_load_the_driver(tmp_path: Path, server: Database) -> None:
    write(tmp_path, server, rows(1, 2))
    nodes = {
        "r": {"connector": "sql", "database": "db", "read": "t"},
        "w": {"connector": "sql", "database": "db", "input": "r", "write": "u"},
    }
    databases = {"db": {"url": server.url, "access": "write"}}
    (tmp_path / "p.yaml").write_text(json.dumps({"name": "p", "databases": databases, "nodes": nodes}))
    child = (
        "import sys\nfrom dataflare.pipeline.runner import run\n"
        "from dataflare.pipeline.state_database import StateDatabase\n"
        f"state = StateDatabase({server.url!r}, pipeline='p')\nrun('p.yaml', state=state)\nstate.close()\n"
        "mapped = [each for each in open('/proc/self/maps') if 'adbc_driver' in each]\n"
        "print([each for each in sys.modules if each.startswith('adbc')], mapped)\n"
    )
    done = subprocess.run([sys.executable, "-c", child], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[] []\n", done.stderr
    assert server.rows("SELECT id FROM u ORDER BY id") == [(1,), (2,)]


def test_process_keeps_nothing_but_the_connection(server: Database) -> None:
    with closing(Connection("db", server.grant, None)) as used:
        confined = used._cursor
        assert confined is not None
        process = Path(f"/proc/{confined._process.pid}")
        names = {"no-capabilities", "rlimits", "no-new-privileges", "seccomp", *landlock.parts(landlock.version())}
        assert {*confined.in_force} == names
        status = process.joinpath("status").read_text()
        assert "Seccomp_filters:\t2" in status or "Seccomp_filters" not in status
        if os.geteuid() == 0:
            sockets = [os.readlink(each) for each in process.joinpath("fd").iterdir()]
            assert sum(each.startswith("socket:") for each in sockets) == 2
            assert all(each.startswith(("socket:", "/dev/null")) for each in sockets), sockets


def test_process_that_crashes_is_an_error_of_the_database(server: Database) -> None:
    with closing(Connection("db", server.grant, None)) as used:
        assert used._cursor is not None
        used.execute("CREATE TABLE t (n bigint)")
        used.begin()
        used.execute("INSERT INTO t VALUES (1)")
        os.kill(used._cursor._process.pid, signal.SIGSEGV)
        with pytest.raises(DatabaseError, match="the process that uses it has ended"):
            used.commit()
    assert server.rows("SELECT n FROM t") == []


def test_interrupt_ends_a_query_also_at_the_server(server: Database) -> None:
    node = SqlRead.model_validate(
        {"connector": "sql", "database": "db", "read": {"query": "SELECT 1 AS n, pg_sleep(599)::text AS s"}}
    )
    source = open_database(node, server.grant, lambda _: None)
    assert isinstance(source, SqlSource)
    with closing(source.start()):
        source.open()
        source.interrupt()
        with pytest.raises(DatabaseError):
            source.read()
    waits_for(server, 0)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_query_of_a_run_that_ends_goes_on_nowhere(tmp_path: Path, server: Database, how: signal.Signals) -> None:
    nodes = {
        "r": {"connector": "sql", "database": "db", "read": {"query": "SELECT pg_sleep(599)::text AS s"}},
        "w": {"connector": "jsonl", "input": "r", "write": "out.jsonl"},
    }
    pipeline = {"name": "p", "databases": {"db": {"url": server.url}}, "nodes": nodes}
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline))
    environment = {**os.environ, "PYTHONPATH": str(Path(dataflare.__file__).parents[1])}
    command = [sys.executable, "-m", "dataflare.cli.main", "run", "--no-state", "p.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        waits_for(server, 1)
        process.send_signal(how)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how), said
    waits_for(server, 0)


def certified(name: str) -> tuple[bytes, bytes]:
    """A key and a certificate for a host, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, *plain), made.public_bytes(pem)


def test_server_is_reached_by_tcp_with_its_certificate_and_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = certified("localhost")
    (tmp_path / "root.crt").write_bytes(certificate)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started_server() as made:
        Database("postgresql", made.url).execute("ALTER USER tester PASSWORD 'hunter2'")
        made.stop()
        made.own("server.key", key)
        made.own("server.crt", certificate)
        made.own("pg_hba.conf", b"hostssl all all 127.0.0.1/32 scram-sha-256\n")
        made.start(f"-c listen_addresses=127.0.0.1 -p {port} -c ssl=on -c unix_socket_directories=")
        url = f"postgresql://tester@localhost:{port}/postgres?sslmode=verify-full"
        grant = Database("postgresql", url).grant
        with pytest.raises(DatabaseError, match="certificate"):
            Connection("db", grant, "hunter2")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PGSSLROOTCERT", "root.crt")
        with pytest.raises(DatabaseError, match="password authentication failed") as caught:
            Connection("db", grant, "wrong")
        assert "wrong" not in str(caught.value)
        with closing(Connection("db", grant, "hunter2")) as used:
            query = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert str(used.one(query, str)).startswith("TLS")
            assert used._cursor is not None and "seccomp" in used._cursor.in_force
        monkeypatch.setenv("PGSSLROOTCERT", "system")
        with pytest.raises(DatabaseError, match="certificate"):
            Connection("db", grant, "hunter2")
        monkeypatch.setenv("SSL_CERT_FILE", "root.crt")
        Connection("db", grant, "hunter2").close()


def test_server_whose_process_keeps_too_much_is_not_used(server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel accepts one filter, and no more.
    once = (
        "import sys, json; sys.path += json.loads(sys.argv[1]); "
        "from dataflare.runtime.isolation import seccomp; "
        "left = [seccomp.install]; seccomp.install = lambda allowed: left.pop()(allowed) if left else open('/gone'); "
    )
    monkeypatch.setattr(spawn, "_BOOT", once + spawn._BOOT)
    with pytest.raises(DatabaseError, match="could not give up what connecting needed: seccomp") as caught:
        Connection("db", server.grant, None)
    assert "the first filter" in caught.value.hint and not caught.value.unavailable


def test_time_to_connect_is_that_of_the_url() -> None:
    url = "postgresql://tester@localhost/postgres"
    limits = [Database("postgresql", f"{url}{more}").grant.connect_s for more in ("", "?connect_timeout=3")]
    assert limits == [10, 3]
    assert Database("postgresql", f"{url}?connect_timeout=0").grant.connect_s == float("inf")


def test_host_that_has_no_address_is_an_error_that_may_pass() -> None:
    grant = Database("postgresql", "postgresql://tester@nowhere.invalid/postgres").grant
    with pytest.raises(DatabaseError, match=r"could not translate host name 'nowhere.invalid'") as caught:
        Connection("db", grant, None)
    assert caught.value.unavailable


def test_error_keeps_its_code_and_whether_a_retry_helps(server: Database) -> None:
    with closing(Connection("db", server.grant, None)) as used, closing(Connection("db", server.grant, None)) as other:
        used.execute("CREATE TABLE t (n bigint CHECK (n > 0))")
        with pytest.raises(DatabaseError, match="violates check constraint") as caught:
            used.execute("INSERT INTO t VALUES (0)")
        assert (caught.value.sqlstate, caught.value.of_rows, caught.value.unavailable) == ("23514", True, False)
        other.begin()
        other.execute("LOCK TABLE t")
        used.execute("SET lock_timeout = '50ms'")
        with pytest.raises(DatabaseError, match="lock timeout") as caught:
            used.execute("INSERT INTO t VALUES (1)")
        assert (caught.value.sqlstate, caught.value.unavailable) == ("55P03", True)


def test_values_of_a_statement_keep_their_types(server: Database) -> None:
    with closing(Connection("db", server.grant, None)) as used:
        used.execute("CREATE TABLE t (a text, b bytea, c bigint, d double precision)")
        given = ("it's", b"\0\xff", -(2**63), 1.5)
        assert used.answer("INSERT INTO t VALUES ($1, $2, $3, $4)", given) == []
        assert used.answer("SELECT a, b, c, d FROM t WHERE c = $1", (-(2**63),)) == [given]


READ = SqlRead.model_validate({"connector": "sql", "database": "db", "read": {"query": "SELECT 1 AS n"}})


@pytest.mark.parametrize(("on_error", "until"), [({}, 2), ({"retries": 1, "max_outage": "5min"}, 3)])
def test_server_that_is_not_there_yet_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, on_error: dict[str, Any], until: int
) -> None:
    with started_server() as made:
        made.stop()
        waits: list[float] = []

        def wait(_: Retries, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == until:
                made.start()

        monkeypatch.setattr(Retries, "wait", wait)
        node = READ.model_copy(update={"on_error": OnErrorModel.model_validate(on_error)})
        open_database(node, Database("postgresql", made.url).grant, lambda _: None).start().close()
        assert len(waits) == until
        assert [each >= 60 for each in waits] == [bool(on_error) and at > 0 for at in range(until)]


@pytest.mark.parametrize(("old", "new"), [("tester@", "nobody@"), ("/postgres?", "/nothing?")])
def test_server_that_refuses_is_not_asked_again(
    server: Database, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    def wait(*_: object) -> None:
        raise AssertionError("it was asked again")

    monkeypatch.setattr(Retries, "wait", wait)
    grant = Database("postgresql", server.url.replace(old, new)).grant
    with pytest.raises(DatabaseError, match="FATAL") as caught:
        open_database(READ, grant, lambda _: None).start()
    assert not caught.value.unavailable
