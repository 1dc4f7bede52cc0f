"""Worlds with what foreign packages have; `foreign.py` does the same with the packages themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bindings_kit import check_lint, check_types, imported
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.runtime.host import Host
from dataflare.wit.resolve import load
from round_trips import round_trip

HERE = Path(__file__).parent
FEATURES = load(HERE / "worlds" / "features.wit")
ODD = load(HERE / "worlds" / "odd.wit")
WASI = load(HERE / "worlds" / "wasi.wit")


@pytest.mark.parametrize(
    ("catalog", "world", "functions"),
    [
        (FEATURES, "test:features/both@1.2.0", 28),
        (FEATURES, "test:features/cells@1.2.0", 5),
        (FEATURES, "test:features/empty@1.2.0", 7),
        (WASI, "test:served/service@0.1.0", 10),
        (ODD, "test:odd/names@1.0.0", 51),
        (ODD, "test:odd/resources@1.0.0", 34),
        (ODD, "test:odd/variants@1.0.0", 16),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_function_of_a_world_carries_random_values_both_ways(
    host: Host, tmp_path: Path, catalog: object, world: str, functions: int
) -> None:
    with imported(generate(catalog, world), tmp_path) as bindings:  # type: ignore[arg-type]  # it is a Catalog
        assert round_trip(host, bindings, catalog, world) == functions  # type: ignore[arg-type]  # the same


def test_wasi_of_the_embedder_runs_in_a_process_of_its_own(host: Host, tmp_path: Path) -> None:
    world = "test:served/service@0.1.0"
    with imported(generate(WASI, world), tmp_path) as bindings:
        assert round_trip(host, bindings, WASI, world, examples=1, isolation="process-best-effort") == 10


def test_wasi_stays_the_hosts_where_no_resource_is_shared() -> None:
    files = generate(WASI, "test:served/service@0.1.0")
    assert "def monotonic_clock" in files["__init__.py"] and "def poll" in files["__init__.py"]
    assert "def random" not in files["__init__.py"]


def test_odd_worlds_pass_the_checks_of_types(tmp_path: Path) -> None:
    for name, _ in ODD.worlds():
        write_folder(tmp_path / name.partition("/")[2].partition("@")[0], generate(ODD, name))
    assert check_types(tmp_path) == ""
    assert check_lint(tmp_path) == ""


def test_the_command_for_foreign_packages_says_what_failed(tmp_path: Path) -> None:
    (tmp_path / "good.wit").write_text("package a:b; interface i { f: func() -> u8; } world w { import i; export i; }")
    (tmp_path / "none.wit").write_text("package a:c; world w { export f: async func(); }")
    command = [sys.executable, str(HERE / "foreign.py"), "--no-checkers", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "1 worlds, 2 functions" in done.stdout and "`async` is not supported" in done.stdout
    (tmp_path / "bad.wit").write_text("package a:d; world w { export f: func() -> nothing-such; }")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "nothing-such" in done.stdout and "1 failures" in done.stdout
