"""A short slice of `fuzz.py`, which tries far more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import children
from cases import Target, mutated
from dataflare.engine.engine import Engine
from fuzz import IN_CHILDREN, run, targets


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    with Engine(cache_dir=folder, flatten=None) as made:
        yield made


def test_good_files_are_read(engine: Engine) -> None:
    for target in targets(engine).values():
        for seed in target.seeds:
            target.read(seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_are_refused_without_harm(engine: Engine, seed: int) -> None:
    outcome = run(engine, cases=3000, seed=seed)
    assert outcome.bad == [] and outcome.cases == 3000
    assert 100 < outcome.accepted < 2000, "some are read, and most are refused"


def test_same_seed_tries_the_same() -> None:
    tries = [mutated(random.Random(7), [b"good file"]) for _ in range(2)]
    assert tries[0] == tries[1]


def test_what_is_no_error_of_the_package_is_found(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fuzz.targets", lambda _: {"broken": Target([b"good"], lambda data: 1 / 0)})
    outcome = run(engine, cases=50, last=tmp_path / "last")
    assert len(outcome.bad) == 50 and "ZeroDivisionError" in outcome.bad[0]
    assert (tmp_path / "last").read_bytes().startswith(b"broken\n")


@pytest.mark.parametrize(("module", "name"), IN_CHILDREN, ids=[name for _, name in IN_CHILDREN])
def test_what_could_end_the_process_is_refused_without_harm(module: str, name: str, tmp_path: Path) -> None:
    cases = 150 // children.target_of(module, name).weight
    found = children.run(module, name, cases=cases, keep=tmp_path, seed=11)
    assert found.bad == [] and found.cases == cases
    assert found.accepted > 0, "some are read"


def test_case_that_ends_a_child_is_kept_and_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashing.py").write_text(
        "import os\n"
        "from cases import Target\n"
        "def read(data):\n"
        "    if data[0] % 50 == 7: os.abort()\n"
        "    if data[0] % 50 == 8: raise KeyError('raw')\n"
        "def targets():\n"
        "    return {'some': Target([], read, lambda rng, seeds: rng.randbytes(4))}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = children.run("crashing", "some", cases=300, keep=tmp_path / "kept")
    assert found.cases == 300, "it goes on after a crash"
    crashes = [path for path in found.kept if "SIGABRT" in path.name]
    assert crashes and all(path.read_bytes()[0] % 50 == 7 for path in crashes)
    assert any("KeyError" in line for line in found.bad)
