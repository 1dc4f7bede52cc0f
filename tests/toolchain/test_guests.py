from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.errors import ConfigError
from dataflare.toolchain.guests import Project, find_root, load_project

from .conftest import ENTRY, REPOSITORY

GOOD = ENTRY.format(name="a", language="rust", output="build/a.wasm", committed="false")


def write_list(root: Path, text: str) -> Path:
    (root / "guest-sdks").mkdir()
    (root / "guest-sdks" / "guests.toml").write_text(text)
    return root


def test_every_guest_of_this_repository_has_its_folder_and_its_world() -> None:
    for guest in load_project(REPOSITORY).guests.values():
        assert f"world {guest.world} {{" in (guest.folder / "wit" / "world.wit").read_text()


def test_every_language_has_a_guest() -> None:
    assert {guest.language for guest in load_project(REPOSITORY).guests.values()} == {"javascript", "python", "rust"}


def test_paths_are_absolute(tmp_path: Path) -> None:
    guest = load_project(write_list(tmp_path, GOOD)).guests["a"]
    assert guest.output == tmp_path.resolve() / "build" / "a.wasm"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[guest", "cannot be read"),
        ("[other]\n", "only [[guest]] tables"),
        (GOOD + "extra = 1\n", "unknown keys: extra"),
        (GOOD.replace('"rust"', '"cobol"'), "cobol"),
        (GOOD.replace('name = "a"', 'name = "A b"'), "[a-z]"),
        (GOOD.replace("false", '"no"'), "committed: give a bool"),
        (GOOD.replace("build/a.wasm", "../a.wasm"), "outside the repository"),
        (GOOD + GOOD, "is taken"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(write_list(tmp_path, text))
    assert says in str(caught.value)
    assert "guests.toml" in str(caught.value)


def test_the_root_is_found_from_a_folder_within(make_project: Callable[..., Project]) -> None:
    project = make_project()
    assert find_root(project.guests["probe"].folder) == project.root


def test_no_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--root"):
        find_root(tmp_path)


def test_an_unknown_name_is_answered_with_those_that_there_are(make_project: Callable[..., Project]) -> None:
    with pytest.raises(ConfigError, match="there are probe"):
        make_project().select(["prob"])
