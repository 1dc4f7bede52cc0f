from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.errors import ConfigError
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.security.capability import requested_capabilities
from dataflare.toolchain.guests import Project, find_root, guest_of, load_project
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.toolchain.store import stage_wit
from dataflare.wit.resolve import load

from .conftest import FILE, REPOSITORY

GOOD = FILE.format(name="a", language="rust")


def write_file(root: Path, text: str, *, name: str = "a", language: str = "rust") -> Path:
    folder = root / "guest-sdks" / language / "examples" / name
    folder.mkdir(parents=True)
    (folder / "plugin.yaml").write_text(text)
    return root


def test_the_world_of_every_guest_of_this_repository_resolves(tmp_path: Path) -> None:
    for guest in load_project(REPOSITORY).guests.values():
        (tmp_path / guest.name).mkdir()
        catalog = load(stage_wit(guest, tmp_path / guest.name))
        assert f"plugin:component/{guest.world}" in {name for name, _ in catalog.worlds()}


def test_every_language_has_a_guest() -> None:
    assert {guest.language for guest in load_project(REPOSITORY).guests.values()} == {"javascript", "python", "rust"}


def test_component_is_committed_where_the_language_has_a_folder_for_it(tmp_path: Path) -> None:
    root = write_file(tmp_path, GOOD)
    assert load_project(root).guests["a"].output == tmp_path.resolve() / "build" / "guests" / "a.wasm"
    (root / "guest-sdks" / "rust" / "components").mkdir()
    guest = load_project(root).guests["a"]
    assert (guest.output, guest.committed) == (guest.sdk / "components" / "a.wasm", True)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[", 1, "is not YAML"),
        (GOOD + "extra: 1\n", 5, "extra: unknown key"),
        (GOOD + "licence: MIT\n", 5, "did you mean 'license'?"),
        (GOOD.replace("rust", "rusty"), 4, "no language 'rusty': did you mean 'rust'?"),
        (GOOD.replace("name: a", "name: A b"), 1, "[a-z]"),
        (GOOD.replace("name: a", "name: b"), 0, "it is 'b' in the folder 'a'"),
        (GOOD.replace("kind: source", "kind: sauce"), 3, "'sauce' is not one of"),
        (GOOD.replace("1.0.0", "one"), 2, "'one' is not a version"),
        (GOOD + "needs: [htp]\n", 5, "no interface 'htp': did you mean 'http'?"),
        (GOOD + "needs:\n  - http\n  - gpu\n", 7, "no interface 'gpu': known are clock"),
        (GOOD + "asks: { files: { data: { access: maybe } } }\n", 5, "'maybe' is not one of"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(write_file(tmp_path, text))
    assert says in str(caught.value)
    assert caught.value.where.endswith(f"plugin.yaml:{line}" if line else "plugin.yaml")


def test_two_guests_of_one_name_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path, GOOD)
    write_file(tmp_path, FILE.format(name="a", language="python"), language="python")
    with pytest.raises(ConfigError, match="the name 'a' is taken by"):
        load_project(tmp_path)


def test_what_a_plugin_asks_for_is_imported_too(tmp_path: Path) -> None:
    text = GOOD + "needs: [clock]\nasks: { files: { data: {} } }\nlimits: { memory: 64MiB }\n"
    file = load_project(write_file(tmp_path, text)).guests["a"].file
    assert file is not None
    assert file.interfaces() == ("clock", "files")
    assert "import dataflare:host/files@1.0.0;" in file.world()
    asked = requested_capabilities(file.manifest().asks)
    assert {str(each) for each in asked} == {"clock", "files:read:data"}
    assert file.manifest().limits == LimitsModel(memory="64MiB")  # type: ignore[call-arg]
    open_ = PluginFile(**{**file.model_dump(exclude_defaults=True), "asks": {}, "needs": ["clock", "files"]})
    assert {str(each) for each in requested_capabilities(open_.manifest().asks)} == {"clock", "files"}


def test_folder_without_the_file_is_answered_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataflare new NAME"):
        guest_of(tmp_path)


def test_the_root_is_found_from_a_folder_within(make_project: Callable[..., Project]) -> None:
    project = make_project()
    assert find_root(project.guests["probe"].folder) == project.root


def test_no_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--root"):
        find_root(tmp_path)


def test_an_unknown_name_is_answered_with_those_that_there_are(make_project: Callable[..., Project]) -> None:
    with pytest.raises(ConfigError, match="there are probe"):
        make_project().select(["prob"])
