"""What the command imports before it does anything: counted by module, since times depend on the machine."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer.main

from dataflare.cli.app import app
from dataflare.cli.commands import COMMANDS

HEAVY = {
    *("cryptography", "httpcore", "httpx", "numpy", "orjson", "pyarrow", "pydantic", "rich", "securesystemslib"),
    *("wasmtime", "yaml", "dataflare.engine", "dataflare.pipeline", "dataflare.runtime", "dataflare.security"),
}

IMPORTED = """
import atexit, sys
atexit.register(lambda: print("\\n".join(sys.modules), file=sys.stderr))
sys.argv = ["dataflare", *sys.argv[1:]]
from dataflare.cli.main import main
main()
"""


def run_and_list(*arguments: str) -> tuple[str, set[str]]:
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split("\n"))


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(option: str) -> None:
    shown, modules = run_and_list(option)
    assert "dataflare" in shown
    assert "dataflare.cli.app" in modules
    assert not HEAVY & modules


def test_command_imports_only_its_own_module() -> None:
    _, modules = run_and_list("key", "--help")
    others = {f"dataflare.cli.{each.module}" for each in COMMANDS} - {"dataflare.cli.keys"}
    assert "dataflare.cli.keys" in modules
    assert not others & modules


def test_summaries_are_the_beginning_of_what_commands_say_of_themselves() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for each in COMMANDS:
        said = " ".join(inspect.cleandoc(commands[each.name].help).split())
        assert said.startswith(each.summary.rstrip("."))
