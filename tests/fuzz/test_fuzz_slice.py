"""A short slice of `fuzz.py`, which tries far more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare.engine.engine import Engine
from fuzz import Target, mutated, run, targets


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("compiled")
    folder.chmod(0o700)
    with Engine(cache_dir=folder) as made:
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
