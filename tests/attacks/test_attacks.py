"""Every attack is refused, with the right error and the right line in the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arena import ATTACKS, PROMISE_OF, PROMISES, Arena, attack_modules
from dataflare.engine.engine import Engine

attack_modules()


@pytest.fixture
def arena(tmp_path: Path, engine: Engine) -> Iterator[Arena]:
    made = Arena(tmp_path, engine)
    yield made
    made.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(arena: Arena, name: str) -> None:
    ATTACKS[name](arena)


def test_there_are_attacks_on_every_promise() -> None:
    assert set(PROMISE_OF.values()) == set(PROMISES)
    assert len(ATTACKS) >= 60
