"""A PostgreSQL server of Debian's package, for tests."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PROGRAMS = "/usr/lib/postgresql"


@functools.cache
def programs() -> Path:
    """The folder of the server's programs; skips where there is none, and fails in continuous integration."""
    found = sorted(Path(_PROGRAMS).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    why = ""
    if not found:
        why = "there is no PostgreSQL server: apt install postgresql"
    elif os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        why = "PostgreSQL does not run as root, and there is no user postgres"
    if why:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found[-1].parent


class Server:
    """A server of its own, which listens to a socket in its folder only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Root starts it as the user of Debian's package.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8", "--locale=C")

    @property
    def url(self) -> str:
        """Where a pipeline finds it."""
        return f"postgresql://tester@/postgres?host={self.folder}"

    def start(self, more: str = "") -> None:
        """Start it; `more` are options that win."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c max_connections=20"
        self._run("pg_ctl", "-D", "data", "-o", f"{options} {more}", "-l", "log", "-w", "start")

    def own(self, name: str, data: bytes) -> Path:
        """Write a file of its data folder, which only the server reads."""
        path = self.folder / "data" / name
        path.write_bytes(data)
        path.chmod(0o600)
        if self._user:
            shutil.chown(path, self._user)
        return path

    def stop(self, how: str = "immediate") -> None:
        """Stop it; `immediate` is what a crash is."""
        self._run("pg_ctl", "-D", "data", "-m", how, "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        extra = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        subprocess.run(
            [programs() / program, *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            **extra,  # type: ignore[call-overload]
        )


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and remove it at the end."""
    programs()
    # The name of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="dataflare-pg-", dir="/tmp"))
    folder.chmod(0o755)
    made = Server(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
